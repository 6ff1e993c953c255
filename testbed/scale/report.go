package scale

import (
	"encoding/json"
	"fmt"
	"io"
	"math"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"time"

	"github.com/tealdeploy/teal/testbed/world"
)

// Report is build/scale.json.
type Report struct {
	Sizes    []Size    `json:"sizes"`
	Releases *Releases `json:"releases_at_once,omitempty"`
	// Real says what of it is real: see population.
	Real    string `json:"real"`
	Goals   []Goal `json:"goals"`
	Consul  string `json:"consul"`
	Nomad   string `json:"nomad"`
	Machine string `json:"machine"`
}

// Size is what was measured with so many policies.
type Size struct {
	Policies int `json:"policies"`

	// Of a leader, looked at for so long.
	Idle              string  `json:"idle"`
	Memory            float64 `json:"memory_mb"`      // at the end
	MemoryIdle        float64 `json:"memory_idle_mb"` // the most while idle
	MemoryPeak        float64 `json:"memory_peak_mb"` // the most since its start
	CPU               float64 `json:"cpu_percent_of_a_core"`
	ConsulConnections int     `json:"consul_connections"`
	ConsulHeld        int     `json:"consul_blocking_queries"`
	ConsulRequests    float64 `json:"consul_requests_a_second"`
	NomadConnections  int     `json:"nomad_connections"`
	NomadHeld         int     `json:"nomad_blocking_queries"`
	NomadRequests     float64 `json:"nomad_requests_a_second"`

	StartUp  float64 `json:"start_to_first_command_ms"`
	Calm     float64 `json:"start_to_idle_ms"` // to within the two seconds that it was looked at
	Handover Figure  `json:"sigterm_to_first_command"`
	Failover Figure  `json:"sigkill_to_first_command"`

	Command      Figure `json:"command"`
	CommandFloor Figure `json:"command_floor"` // see echo
	PolicyEdit   Figure `json:"policy_edit"`   // until the release has begun
	RouterEdit   Figure `json:"router_edit"`   // until it is held
	JobDrift     Figure `json:"job_drift"`     // until it is held
	Cutover      Figure `json:"cutover"`       // consul kv put to the route at the data plane
	CutoverFloor Figure `json:"cutover_floor"`
}

// Releases is what was measured with so many releases at once.
type Releases struct {
	Services       int     `json:"services"`
	Policies       int     `json:"policies"`
	All            float64 `json:"all_ended_ms"`
	Cutover        Figure  `json:"cutover"`         // decision to the route at the data plane
	Written        Figure  `json:"written"`         // decision to Consul's answer, a part of it
	Floor          Figure  `json:"floor"`           // as many bare writes at once, nothing else
	One            Figure  `json:"floor_meanwhile"` // one bare write at a time, during the releases
	CPU            float64 `json:"cpu_percent_of_a_core"`
	ConsulRequests float64 `json:"consul_requests_a_second"`
	MemoryPeak     float64 `json:"memory_peak_mb"`
}

// Figure is what became of some samples, in milliseconds.
type Figure struct {
	Samples int     `json:"samples"`
	P50     float64 `json:"p50_ms"`
	P99     float64 `json:"p99_ms"`
}

// Goal is one of issue-wide promises, and what was measured of it.
type Goal struct {
	What string  `json:"goal"`
	Most float64 `json:"at_most"`
	Is   float64 `json:"measured"`
	Met  bool    `json:"met"`
}

func newReport(w *world.World) Report {
	return Report{
		Real: "The first service is real: two colours in Nomad, released by an agent. The others are copies of its record, keys, config entries, policy and jobspec; " +
			"no jobs of theirs run, and no instances of theirs are in Consul. Those that are released at once are all real.",
		Consul: w.Consul[0].Binary.Version, Nomad: w.Nomad.Binary.Version,
		Machine: fmt.Sprintf("%s/%s, %d CPUs, %s", runtime.GOOS, runtime.GOARCH, runtime.NumCPU(), runtime.Version()),
	}
}

// weigh holds the figures against the goals: the largest size against the
// smallest.
func (r *Report) weigh() {
	if len(r.Sizes) == 0 {
		return
	}
	one, most := r.Sizes[0], r.Sizes[len(r.Sizes)-1]
	at := fmt.Sprintf("%d policies: ", most.Policies)
	more := fmt.Sprintf("%d policies against %d: ", most.Policies, one.Policies)
	goal := func(what string, atMost, is float64) {
		r.Goals = append(r.Goals, Goal{what, atMost, round(is), is <= atMost})
	}
	goal(more+"connections more", 0, float64(most.ConsulConnections+most.NomadConnections-one.ConsulConnections-one.NomadConnections))
	goal(more+"blocking queries more", 0, float64(most.ConsulHeld+most.NomadHeld-one.ConsulHeld-one.NomadHeld))
	goal(more+"Consul requests a second more", .05, most.ConsulRequests-one.ConsulRequests)
	goal(at+"MB of memory, idle", 100, most.MemoryIdle)
	goal(at+"% of a core, idle", 1, most.CPU)
	goal(at+"ms from SIGKILL of the leader to a command obeyed", 2000, most.Failover.P99)
	goal(at+"ms from SIGTERM of the leader to a command obeyed", 2000, most.Handover.P99)
	goal(more+"a command, p50 over p50", 1.1, most.Command.P50/one.Command.P50)
	goal(more+"the same, each over its floor", 1.1, most.Command.P50/most.CommandFloor.P50/(one.Command.P50/one.CommandFloor.P50))
	goal(at+"cutover over its floor, p50", 1.05, most.Cutover.P50/most.CutoverFloor.P50)
	goal(at+"cutover over its floor, p99", 1.2, most.Cutover.P99/most.CutoverFloor.P99)
	if x := r.Releases; x != nil {
		at := fmt.Sprintf("%d releases at once among %d policies: ", x.Services, x.Policies)
		goal(at+"cutover over its floor, p50", 1.05, x.Cutover.P50/x.Floor.P50)
		goal(at+"cutover over its floor, p99", 1.2, x.Cutover.P99/x.Floor.P99)
	}
}

// Print writes the table.
func (r Report) Print(out io.Writer) {
	line := func(name string, value func(Size) string) {
		fmt.Fprintf(out, "%-52s", name)
		for _, s := range r.Sizes {
			fmt.Fprintf(out, " %16s", value(s))
		}
		fmt.Fprintln(out)
	}
	number := func(x float64) string { return fmt.Sprintf("%.4g", x) }
	both := func(f Figure) string { return fmt.Sprintf("%.1f / %.1f", f.P50, f.P99) }
	fmt.Fprintln(out)
	line("policies", func(s Size) string { return fmt.Sprint(s.Policies) })
	line("memory of the idle leader, MB, at the end / most", func(s Size) string { return fmt.Sprintf("%.0f / %.0f", s.Memory, s.MemoryIdle) })
	line("memory at its highest since the start, MB", func(s Size) string { return fmt.Sprintf("%.0f", s.MemoryPeak) })
	line("CPU of the idle leader, % of a core", func(s Size) string { return number(s.CPU) })
	line("connections to Consul + Nomad", func(s Size) string { return fmt.Sprintf("%d + %d", s.ConsulConnections, s.NomadConnections) })
	line("requests held there, Consul + Nomad", func(s Size) string { return fmt.Sprintf("%d + %d", s.ConsulHeld, s.NomadHeld) })
	line("requests a second, Consul + Nomad", func(s Size) string {
		return number(s.ConsulRequests) + " + " + number(s.NomadRequests)
	})
	line("process start to first command obeyed, ms", func(s Size) string { return fmt.Sprintf("%.0f", s.StartUp) })
	line("SIGTERM of the leader to first command obeyed, ms", func(s Size) string { return both(s.Handover) })
	line("SIGKILL of the leader to first command obeyed, ms", func(s Size) string { return both(s.Failover) })
	line("a command obeyed, ms, p50 / p99", func(s Size) string { return both(s.Command) })
	line("  its floor: an answer without a look", func(s Size) string { return both(s.CommandFloor) })
	line("an edited policy noticed, ms", func(s Size) string { return both(s.PolicyEdit) })
	line("a hand-edited router noticed, ms", func(s Size) string { return both(s.RouterEdit) })
	line("a drifted job noticed, ms", func(s Size) string { return both(s.JobDrift) })
	line("consul kv put to the route at the data plane, ms", func(s Size) string { return both(s.Cutover) })
	line("  its floor: one compare-and-set", func(s Size) string { return both(s.CutoverFloor) })
	if x := r.Releases; x != nil {
		fmt.Fprintf(out, "\n%d releases at once among %d policies, all ended after %.0f s: decision to route %s ms, of which to Consul's answer %s ms; its floor, as many compare-and-sets at once, %s ms, and one of them during the releases %s ms; %.0f %% of a core, %.0f Consul requests a second, at most %.0f MB\n",
			x.Services, x.Policies, x.All/1000, both(x.Cutover), both(x.Written), both(x.Floor), both(x.One), x.CPU, x.ConsulRequests, x.MemoryPeak)
	}
	fmt.Fprintln(out)
	for _, g := range r.Goals {
		missed := ""
		if !g.Met {
			missed = "  missed"
		}
		fmt.Fprintf(out, "%-84s at most %6s: %8s%s\n", g.What, number(g.Most), number(g.Is), missed)
	}
	fmt.Fprintf(out, "\n%s\nConsul %s, Nomad %s, %s\n", r.Real, r.Consul, r.Nomad, r.Machine)
}

// Save writes the file.
func (r Report) Save(path string) error {
	body, err := json.MarshalIndent(r, "", "  ")
	if err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return err
	}
	return os.WriteFile(path, append(body, '\n'), 0o644)
}

func figure(samples []float64) Figure {
	sorted := slices.Sorted(slices.Values(samples))
	at := func(q float64) float64 { return sorted[max(0, int(math.Ceil(q*float64(len(sorted))))-1)] }
	return Figure{Samples: len(samples), P50: round(at(.50)), P99: round(at(.99))}
}

func ms(d time.Duration) float64 { return round(float64(d.Microseconds()) / 1000) }

func round(x float64) float64 { return math.Round(x*1000) / 1000 }
