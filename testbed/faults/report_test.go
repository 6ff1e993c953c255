package faults

import (
	"bytes"
	"strings"
	"testing"
	"time"

	"github.com/tealdeploy/teal/agent/deployment"
)

// good is a run in which nothing broke.
func good() (r Report, h Handovers) {
	r.AddKills(Kills{Writes: 3, Kills: []Kill{
		{Write: "a", Moment: Before, Hit: true}, {Write: "a", Moment: After, Hit: true}, {Write: "b", Moment: Before},
	}})
	for range 6 {
		r.AddKills(Kills{Kills: []Kill{{Write: "c", Hit: true}}})
	}
	r.AddFailover(Failover{Killed: []time.Duration{time.Second}, Stopped: []time.Duration{100 * time.Millisecond}})
	r.AddFrozen([]Late{{Write: "a", Hit: true}})
	r.AddAway([]Away{{What: "Nomad away"}})
	r.AddFenced([]Fenced{{Fence: true}, {Late: 1}})
	r.AddPair(Pair{Took: time.Minute, Releases: map[deployment.Outcome]int{deployment.Succeeded: 2}, Harms: map[string]int{"killed": 1}})
	r.Wanted = Wanted{FrozenLeaders: 2, Failovers: 1, Handovers: 2, LeaderKills: 1, PairMinutes: 1, Away: []string{"Nomad"}}
	return r, Handovers{Ledger: Ledger{Handovers: 2, Ticks: 9, MaxGap: time.Minute}, Calm: time.Second, LeaderKills: 1}
}

// Whatever breaks is counted where it belongs and fails the run; what was not
// met in a run is no kill.
func TestTheVerdictMissesNothing(t *testing.T) {
	r, h := good()
	jobs := r.AddHandovers(h)
	if r.KillPoints != 8 || r.Converged != 8 || r.Missed != 1 || r.FrozenLeaders != 1 || r.ConsulLeaderKills != 1 || jobs.MaxGapMS != 1000 || jobs.FaultsMaxGapMS != 60000 {
		t.Errorf("%+v, %+v", r, jobs)
	}
	if err := r.Verdict(jobs, true); err != nil {
		t.Errorf("nothing broke, and yet: %v", err)
	}
	for _, x := range []struct {
		breaks func(*Report, *Handovers)
		says   string
	}{
		{func(r *Report, _ *Handovers) { r.AddKills(Kills{Kills: []Kill{{Hit: true, Broken: "x"}}}) }, "8 of 9 kills"},
		{func(r *Report, _ *Handovers) { r.AddKills(Kills{Kills: []Kill{{Broken: "the run itself"}}}) }, "8 of 9 kills"},
		{func(r *Report, _ *Handovers) { r.AddKills(Kills{Kills: []Kill{{Hit: true, Harmed: 2}}}) }, "2 requests failed"},
		{func(r *Report, _ *Handovers) { *r = Report{} }, "0 of 0 kills"},
		{func(r *Report, _ *Handovers) { r.AddFrozen([]Late{{Stale: []string{"router"}}}) }, "1 writes by a leader"},
		{func(r *Report, _ *Handovers) { r.AddFrozen([]Late{{Broken: "no end"}}) }, "no end"},
		{func(r *Report, _ *Handovers) { r.AddAway([]Away{{What: "Nomad", Broken: "no end"}}) }, "Nomad: no end"},
		{func(r *Report, _ *Handovers) { r.AddAway([]Away{{Stale: 1}}) }, "1 writes by a leader"},
		{func(r *Report, _ *Handovers) { r.Fenced = nil }, "no worker woke up"},
		{func(r *Report, _ *Handovers) { r.Fenced[0].Broken = "late" }, "woke up late: late"},
		{func(r *Report, _ *Handovers) { r.AddPair(Pair{}) }, "made no release"},
		{func(r *Report, _ *Handovers) { r.AddPair(Pair{Broken: "no end"}) }, "two agents: no end"},
		{func(r *Report, _ *Handovers) { r.AddPair(Pair{Harmed: 5}) }, "5 requests failed"},
		{func(r *Report, _ *Handovers) { r.AddPair(Pair{Ledger: Ledger{Overlaps: 6}}) }, "6 workers"},
		{func(r *Report, _ *Handovers) { r.AddPair(Pair{Ledger: Ledger{TokenRegressions: 7}}) }, "7 lines"},
		{func(r *Report, _ *Handovers) { r.Errors = append(r.Errors, "no server") }, "no server"},
		{func(r *Report, _ *Handovers) { r.AddFailover(Failover{Killed: []time.Duration{2 * time.Second}}) }, "failover took 2000 ms"},
		{func(r *Report, _ *Handovers) { r.AddFailover(Failover{Stopped: []time.Duration{2 * time.Second}}) }, "orderly change took 2000 ms"},
		{func(_ *Report, h *Handovers) { h.Overlaps = 1 }, "1 workers were at work"},
		{func(_ *Report, h *Handovers) { h.TokenRegressions = 4 }, "4 lines"},
		{func(_ *Report, h *Handovers) { h.Calm = time.Minute }, "60000 ms after the last fault"},
		{func(_ *Report, h *Handovers) { h.Harmed = 3 }, "3 requests failed"},
		{func(_ *Report, h *Handovers) { h.Handovers = 1 }, "handed over 1 times, 2 were wanted"},
		{func(_ *Report, h *Handovers) { h.LeaderKills = 0 }, "0 of Consul's leaders were killed"},
		{func(r *Report, _ *Handovers) { r.Missed = 2 }, "2 writes were not met"},
		{func(r *Report, _ *Handovers) { r.FrozenLeaders = 0 }, "0 of 2 leaders were frozen"},
		{func(r *Report, _ *Handovers) { r.AddFailover(Failover{}) }, "0 and 0 changes of leader"},
		{func(r *Report, _ *Handovers) { r.Away = nil }, "not done: Nomad"},
		{func(r *Report, _ *Handovers) { r.Away[0].What = "clock set" }, "not done: Nomad"},
		{func(r *Report, _ *Handovers) { r.Pair.Minutes = .9 }, "for 0.9 minutes, 1.0 were wanted"},
		{func(r *Report, _ *Handovers) { r.Pair.Harms = nil }, "neither of two agents was harmed"},
	} {
		r, h := good()
		x.breaks(&r, &h)
		jobs := r.AddHandovers(h)
		if err := r.Verdict(jobs, true); err == nil || !strings.Contains(err.Error(), x.says) {
			t.Errorf("%q is not said: %v", x.says, err)
		}
		var out bytes.Buffer
		r.Print(&out, jobs)
		if !strings.Contains(out.String(), "until the next leader obeys") {
			t.Errorf("no table:\n%s", out.String())
		}
	}
}
