package faults

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/tealdeploy/teal/agent/deployment"
)

// The goals for the time until the next leader has obeyed a command, at p95.
const (
	goalFailover = 1500 // ms, after SIGKILL
	goalHandover = 300  // ms, after SIGTERM
)

// Report is build/faults.json.
type Report struct {
	Writes            int            `json:"writes"`      // of the undisturbed walks
	KillPoints        int            `json:"kill_points"` // at which the agent died
	Missed            int            `json:"missed"`      // tried, and no run had such a write
	Converged         int            `json:"converged"`
	FailedRequests    int            `json:"failed_requests"` // in all parts
	FrozenLeaders     int            `json:"frozen_leaders"`
	StaleWrites       int            `json:"stale_writes"`
	ConsulLeaderKills int            `json:"consul_leader_kills"`
	ConsulLeaders     map[string]int `json:"consul_leaders"` // which servers these were
	Failover          Percentiles    `json:"failover_ms"`
	Handover          Percentiles    `json:"handover_ms"`
	Away              []Away         `json:"away"`
	Pair              PairFigures    `json:"pair"`
	Fenced            []Fenced       `json:"fenced"`
	Kills             []Kill         `json:"kills"`
	Frozen            []Late         `json:"frozen"`
	Consul            string         `json:"consul"`
	Nomad             string         `json:"nomad"`
	Machine           string         `json:"machine"`
	Partial           string         `json:"partial,omitempty"` // only the parts that match this were done
	Wanted            Wanted         `json:"wanted"`
	Errors            []string       `json:"errors"` // parts that did not come to their end
}

// Wanted is how much a whole run was to do: one that did less has shown less.
type Wanted struct {
	FrozenLeaders int      `json:"frozen_leaders"`
	Failovers     int      `json:"failovers"` // of each kind
	Handovers     int      `json:"handovers"`
	LeaderKills   int      `json:"consul_leader_kills"`
	PairMinutes   float64  `json:"pair_minutes"`
	Away          []string `json:"away"` // how each of them begins
}

// Absences is how the names of all that may be away begin.
var Absences = []string{
	"leader cut off", "disk full for the audit file, release", "disk full for the audit file, rollback",
	"clock set at every state, release", "clock set at every state, rollback", "clock set back and the agent killed",
	"Nomad away during launch", "Nomad away during watch", "Nomad away during rollback",
}

// PairFigures are two agents that make one release after another.
type PairFigures struct {
	Minutes          float64                    `json:"minutes"`
	Releases         int                        `json:"releases"`
	Outcomes         map[deployment.Outcome]int `json:"outcomes"`
	Harms            map[string]int             `json:"harms"`
	LeaderChanges    int                        `json:"leader_changes"`
	SlowestMS        float64                    `json:"slowest_ms"`
	Requests         int                        `json:"requests"`
	FailedRequests   int                        `json:"failed_requests"`
	SpoiledRequests  int                        `json:"spoiled_requests"` // by bad versions, until they were taken back
	Handovers        int                        `json:"handovers"`
	Overlaps         int                        `json:"overlaps"`
	TokenRegressions int                        `json:"token_regressions"`
	Broken           string                     `json:"broken,omitempty"`
}

// Jobs is build/jobs.json.
type Jobs struct {
	Handovers        int     `json:"handovers"`
	Overlaps         int     `json:"overlaps"`
	TokenRegressions int     `json:"token_regressions"`
	MaxGapMS         float64 `json:"max_gap_ms"`        // after the last fault
	FaultsMaxGapMS   float64 `json:"faults_max_gap_ms"` // through all faults
	DeadlineMS       float64 `json:"deadline_ms"`
	Workers          int     `json:"workers"`
	Lines            int     `json:"lines"`
	LineEveryMS      float64 `json:"line_every_ms"` // the shortest overlap that is sure to be seen
	WorkerKills      int     `json:"worker_kills"`
	AgentKills       int     `json:"agent_kills"`
	LeaderKills      int     `json:"consul_leader_kills"`
}

// AddKills takes the first part in.
func (r *Report) AddKills(k Kills) {
	r.Writes, r.Kills = r.Writes+k.Writes, append(r.Kills, k.Kills...)
	for _, x := range k.Kills {
		r.FailedRequests += x.Harmed
		switch {
		case !x.Hit && x.Broken == "":
			r.Missed++
		case x.Broken == "":
			r.KillPoints++
			r.Converged++
		default:
			r.KillPoints++
		}
	}
}

// AddFailover takes the times in.
func (r *Report) AddFailover(f Failover) {
	r.Failover, r.Handover = percentiles(f.Killed), percentiles(f.Stopped)
}

// AddFrozen takes the frozen leaders in.
func (r *Report) AddFrozen(all []Late) {
	for _, x := range all {
		r.FailedRequests += x.Harmed
		r.StaleWrites += len(x.Stale)
		if x.Hit {
			r.FrozenLeaders++
		}
	}
	r.Frozen = append(r.Frozen, all...)
}

// AddAway takes absences in.
func (r *Report) AddAway(all []Away) {
	for _, x := range all {
		r.FailedRequests += x.Harmed
		r.StaleWrites += x.Stale
	}
	r.Away = append(r.Away, all...)
}

// AddFenced takes in the workers that were overtaken.
func (r *Report) AddFenced(all []Fenced) { r.Fenced = append(r.Fenced, all...) }

// AddPair takes two agents' releases in.
func (r *Report) AddPair(p Pair) {
	f := PairFigures{
		Minutes: math.Round(p.Took.Minutes()*10) / 10, Outcomes: p.Releases, Harms: p.Harms, LeaderChanges: p.Changes, SlowestMS: ms(p.Longest),
		Requests: p.Requests, FailedRequests: p.Harmed, SpoiledRequests: p.Spoiled,
		Handovers: p.Handovers, Overlaps: p.Overlaps, TokenRegressions: p.TokenRegressions, Broken: p.Broken,
	}
	for _, n := range p.Releases {
		f.Releases += n
	}
	r.Pair = f
	r.FailedRequests += p.Harmed
}

// AddHandovers takes the handovers in, and gives the other file.
func (r *Report) AddHandovers(h Handovers) Jobs {
	r.FailedRequests += h.Harmed
	r.ConsulLeaderKills += h.LeaderKills
	r.ConsulLeaders = h.Leaders
	return Jobs{
		Handovers: h.Handovers, Overlaps: h.Overlaps, TokenRegressions: h.TokenRegressions,
		MaxGapMS: ms(h.Calm), FaultsMaxGapMS: ms(h.MaxGap), DeadlineMS: ms(deadline),
		Workers: 2 * workersEach, Lines: h.Ticks, LineEveryMS: ms(tickEvery),
		WorkerKills: h.WorkerKills, AgentKills: h.AgentKills, LeaderKills: h.LeaderKills,
	}
}

// Print is for people.
func (r Report) Print(out io.Writer, j Jobs) {
	row := func(what string, value any, goal string) { fmt.Fprintf(out, "%-46s %10v  %s\n", what, value, goal) }
	fmt.Fprintln(out)
	row("writes of a release and a rollback", r.Writes, "")
	row("agent killed before or after one of them", r.KillPoints, fmt.Sprintf("%d more were not met in their runs", r.Missed))
	row("came to the same end", r.Converged, "all")
	row("leaders frozen with a write in their hands", r.FrozenLeaders, "")
	row("writes by leaders that woke up too late", r.StaleWrites, "none")
	row("Consul's leader killed during a cutover", r.ConsulLeaderKills, fmt.Sprint(r.ConsulLeaders))
	for _, a := range r.Away {
		end := "came to the same end"
		if a.Broken != "" {
			end = "BROKEN"
		}
		row(a.What, fmt.Sprintf("%.1f s", a.TookMS/1000), end)
	}
	row("releases by two agents, one after another", r.Pair.Releases, fmt.Sprintf("in %.1f minutes; one of the two was harmed in %d", r.Pair.Minutes, r.Pair.harmed()))
	row("their jobs with both colours at work", r.Pair.Overlaps, "none")
	for _, f := range r.Fenced {
		what, goal := "rows by a worker that woke up late", "none: PostgreSQL "+f.Postgres+" refuses them"
		if !f.Fence {
			what, goal = "  without the fence", "some: else this shows nothing"
		}
		row(what, f.Late, goal)
	}
	row("requests that failed in all of this", r.FailedRequests, "none")
	fmt.Fprintf(out, "\n%-46s %10s %10s %10s %10s\n", "until the next leader obeys, ms", "samples", "p50", "p95", "max")
	for _, p := range []struct {
		what string
		Percentiles
		goal float64
	}{{"after SIGKILL", r.Failover, goalFailover}, {"after SIGTERM", r.Handover, goalHandover}} {
		fmt.Fprintf(out, "%-46s %10d %10.0f %10.0f %10.0f  goal: p95 at most %.0f%s\n", p.what, p.Samples, p.P50, p.P95, p.Max, p.goal, missed(p.P95 > p.goal))
	}
	fmt.Fprintln(out)
	row("handovers of jobs, ten workers a colour", j.Handovers, fmt.Sprintf("with %d workers, %d agents and %d of Consul's leaders killed", j.WorkerKills, j.AgentKills, j.LeaderKills))
	row("workers at work while the other colour was", j.Overlaps, "none")
	row("tokens that went backwards", j.TokenRegressions, "none")
	row("longest time without an owner, ms", fmt.Sprintf("%.0f", j.MaxGapMS), fmt.Sprintf("at most %.0f, after the faults; through them %.0f", j.DeadlineMS, j.FaultsMaxGapMS))
	fmt.Fprintf(out, "\nConsul %s, Nomad %s, %s\n", r.Consul, r.Nomad, r.Machine)
}

func (f PairFigures) harmed() (n int) {
	for _, k := range f.Harms {
		n += k
	}
	return n
}

func missed(yes bool) string {
	if yes {
		return "  MISSED"
	}
	return ""
}

// Verdict is an error when a promise was broken. That a time is missed counts
// only when strict: it depends on the machine.
func (r Report) Verdict(j Jobs, strict bool) error {
	var errs []error
	wrong := func(yes bool, format string, args ...any) {
		if yes {
			errs = append(errs, fmt.Errorf(format, args...))
		}
	}
	for _, e := range r.Errors {
		wrong(true, "%s", e)
	}
	whole := r.Partial == ""
	wrong(whole && r.KillPoints == 0 || r.Converged != r.KillPoints, "%d of %d kills came to the same end", r.Converged, r.KillPoints)
	wrong(r.FailedRequests > 0, "%d requests failed", r.FailedRequests)
	wrong(r.StaleWrites > 0, "%d writes by a leader that was deposed", r.StaleWrites)
	for _, x := range r.Frozen {
		wrong(x.Broken != "", "frozen at %s: %s", x.Write, x.Broken)
	}
	for _, x := range r.Away {
		wrong(x.Broken != "", "%s: %s", x.What, x.Broken)
	}
	for _, x := range r.Fenced {
		wrong(x.Broken != "", "a worker that woke up late: %s", x.Broken)
	}
	wrong(whole && len(r.Fenced) != 2, "no worker woke up late")
	wrong(r.Pair.Broken != "", "two agents: %s", r.Pair.Broken)
	wrong(r.Pair.Overlaps > 0, "two agents: %d workers were at work while one of the other colour was", r.Pair.Overlaps)
	wrong(r.Pair.TokenRegressions > 0, "two agents: %d lines under a token lower than an earlier one", r.Pair.TokenRegressions)
	wrong(whole && r.Pair.Releases == 0, "two agents made no release")
	wrong(whole && r.Pair.Minutes < r.Wanted.PairMinutes, "two agents made releases for %.1f minutes, %.1f were wanted", r.Pair.Minutes, r.Wanted.PairMinutes)
	wrong(whole && r.Pair.harmed() == 0, "neither of two agents was harmed")
	// A write may not come again in the runs it was waited for, and a freeze come too late for it.
	wrong(whole && r.Missed > max(1, r.KillPoints/20), "%d writes were not met in their runs, and %d were", r.Missed, r.KillPoints)
	wrong(whole && r.FrozenLeaders < (r.Wanted.FrozenLeaders+1)/2, "%d of %d leaders were frozen with a write in their hands", r.FrozenLeaders, r.Wanted.FrozenLeaders)
	wrong(whole && (r.Failover.Samples < r.Wanted.Failovers || r.Handover.Samples < r.Wanted.Failovers),
		"%d and %d changes of leader were timed, %d of each were wanted", r.Failover.Samples, r.Handover.Samples, r.Wanted.Failovers)
	for _, what := range r.Wanted.Away {
		done := slices.ContainsFunc(r.Away, func(a Away) bool { return strings.HasPrefix(a.What, what) })
		wrong(whole && !done, "not done: %s", what)
	}
	wrong(whole && (j.Handovers == 0 || j.Handovers < r.Wanted.Handovers), "jobs were handed over %d times, %d were wanted", j.Handovers, r.Wanted.Handovers)
	wrong(whole && r.ConsulLeaderKills < r.Wanted.LeaderKills, "%d of Consul's leaders were killed, %d were to be", r.ConsulLeaderKills, r.Wanted.LeaderKills)
	wrong(j.Overlaps > 0, "%d workers were at work while one of the other colour was", j.Overlaps)
	wrong(j.TokenRegressions > 0, "%d lines under a token lower than an earlier one", j.TokenRegressions)
	wrong(j.MaxGapMS > j.DeadlineMS, "nobody owned the jobs for %.0f ms after the last fault, the deadline is %.0f ms", j.MaxGapMS, j.DeadlineMS)
	wrong(strict && r.Failover.P95 > goalFailover, "failover took %.0f ms at p95, the goal is %d", r.Failover.P95, goalFailover)
	wrong(strict && r.Handover.P95 > goalHandover, "an orderly change took %.0f ms at p95, the goal is %d", r.Handover.P95, goalHandover)
	return errors.Join(errs...)
}

// Save writes a file of figures.
func Save(path string, figures any) error {
	body, err := json.MarshalIndent(figures, "", "  ")
	if err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return err
	}
	return os.WriteFile(path, append(body, '\n'), 0o644)
}

// round is for progress.
func round(since time.Time) time.Duration { return time.Since(since).Round(time.Second) }
