package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"path/filepath"
	"runtime"
	"slices"

	"github.com/tealdeploy/teal/testbed/load"
	"github.com/tealdeploy/teal/testbed/world"
)

// figure is what became of one kind's samples.
type figure struct {
	Samples  int      `json:"samples"`
	P50      float64  `json:"p50_ms"`
	P99      float64  `json:"p99_ms"`
	RatioP50 *float64 `json:"ratio_p50,omitempty"` // to the floor's
	RatioP99 *float64 `json:"ratio_p99,omitempty"`
}

// report is build/bench.json.
type report struct {
	Floor          figure         `json:"floor"`
	Cutover        figure         `json:"cutover"`
	KVCutover      figure         `json:"kv_cutover"`
	Rollback       figure         `json:"rollback"`
	HealthRollback figure         `json:"health_rollback"`
	UnderLoad      underLoad      `json:"under_load"`
	Recovered      world.Recovery `json:"fault_to_recovered"`
	Consul         string         `json:"consul"`
	Nomad          string         `json:"nomad"`
	Machine        string         `json:"machine"`

	detail string // of lost requests
}

type underLoad struct {
	Cutovers    int `json:"cutovers"`
	Requests    int `json:"requests"`
	Failed      int `json:"failed"`
	WrongColour int `json:"wrong_colour"`
}

// The goals, as ratios to the floor.
const (
	goalP50 = 1.05
	goalP99 = 1.2
)

func (b *bench) report(n load.Count, cutovers int, after world.Recovery) report {
	floor := summed(b.figures["floor"])
	against := func(kind string) figure {
		f := summed(b.figures[kind])
		p50, p99 := round(f.P50/floor.P50), round(f.P99/floor.P99)
		f.RatioP50, f.RatioP99 = &p50, &p99
		return f
	}
	return report{
		Floor: floor, Cutover: against("cutover"), KVCutover: against("kv_cutover"),
		Rollback: against("rollback"), HealthRollback: against("health_rollback"),
		UnderLoad: underLoad{cutovers, n.Requests, n.Lost, n.WrongColour}, Recovered: after,
		Consul: b.world.Consul[0].Binary.Version, Nomad: b.world.Nomad.Binary.Version,
		Machine: fmt.Sprintf("%s/%s, %d CPUs, %s", runtime.GOOS, runtime.GOARCH, runtime.NumCPU(), runtime.Version()),
		detail:  n.String(),
	}
}

func summed(ms []float64) figure {
	sorted := slices.Sorted(slices.Values(ms))
	at := func(q float64) float64 { return sorted[max(0, int(math.Ceil(q*float64(len(sorted))))-1)] }
	return figure{Samples: len(ms), P50: round(at(.50)), P99: round(at(.99))}
}

func round(x float64) float64 { return math.Round(x*1000) / 1000 }

type row struct {
	name string
	figure
}

func (r report) rows() []row {
	return []row{
		{"floor: one compare-and-set", r.Floor},
		{"cutover, from the gate's pass", r.Cutover},
		{"cutover, from consul kv put", r.KVCutover},
		{"rollback, from the command", r.Rollback},
		{"rollback, from Consul's critical", r.HealthRollback},
	}
}

func (r report) print(out io.Writer) {
	fmt.Fprintf(out, "\n%-34s %8s %10s %10s %10s %10s\n", "decision to route, ms", "samples", "p50", "p99", "x floor", "x floor")
	for _, row := range r.rows() {
		fmt.Fprintf(out, "%-34s %8d %10.1f %10.1f", row.name, row.Samples, row.P50, row.P99)
		if row.RatioP50 != nil {
			fmt.Fprintf(out, " %10.3f %10.3f%s", *row.RatioP50, *row.RatioP99, missed(row.figure))
		}
		fmt.Fprintln(out)
	}
	fmt.Fprintf(out, "goal: at most %.2f times the floor at p50, %.2f at p99\n", goalP50, goalP99)
	fmt.Fprintf(out, "\n%d cutovers under load: %s\n", r.UnderLoad.Cutovers, r.detail)
	if f := r.Recovered; f.Samples > 0 {
		fmt.Fprintf(out, "%d faults (%s): from the fault to the last bad answer p50 %.0f ms, p95 %.0f ms; to the decision p50 %.0f ms\n", f.Samples, f.Fault, f.P50, f.P95, f.Decided)
	}
	fmt.Fprintf(out, "Consul %s, Nomad %s, %s\n", r.Consul, r.Nomad, r.Machine)
}

func missed(f figure) string {
	if f.RatioP50 != nil && (*f.RatioP50 > goalP50 || *f.RatioP99 > goalP99) {
		return "  missed"
	}
	return ""
}

func (r report) save(path string) error {
	body, err := json.MarshalIndent(r, "", "  ")
	if err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return err
	}
	return os.WriteFile(path, append(body, '\n'), 0o644)
}

func (r report) verdict(strict bool) error {
	var errs []error
	if r.UnderLoad.Failed != 0 || r.UnderLoad.WrongColour != 0 {
		errs = append(errs, fmt.Errorf("requests were lost or answered by the wrong colour: %s", r.detail))
	}
	for _, row := range r.rows() {
		if strict && missed(row.figure) != "" {
			errs = append(errs, fmt.Errorf("%s: the goal was missed", row.name))
		}
	}
	return errors.Join(errs...)
}
