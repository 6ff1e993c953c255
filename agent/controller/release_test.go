package controller

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/tealdeploy/teal/agent/deployment"
	"github.com/tealdeploy/teal/agent/kv"
	"github.com/tealdeploy/teal/agent/nomad"
)

func nomadSubmission(version string) nomad.Submission {
	return nomad.Submission{Source: apiJobspec, Format: "hcl2", Variables: fmt.Sprintf("version = %q", version)}
}

func kinds(d *deployment.Deployment) string {
	var out []string
	for _, e := range d.Log {
		kind, _, _ := strings.Cut(e.What, ":")
		if kind != "note" && kind != "progress" {
			out = append(out, kind)
		}
	}
	return strings.Join(out, " ")
}

// A service that runs as an ordinary job is taken over as it is; then a new
// version goes the whole way by an edit of the policy alone.
func TestAdoptThenReleaseThenRetire(t *testing.T) {
	inWorld(t, func(w *world) {
		w.adopted()
		w.serves(deployment.Blue)
		w.jobs(deployment.Blue)
		if got := w.nomad.Jobs(); !slices.Equal(got, []string{"api"}) {
			t.Errorf("jobs %v: adoption registers nothing", got)
		}
		if r := w.record(); r.InFlight() || !r.Route.Loose || r.Slots[deployment.Blue].Version != "1.0.0" {
			t.Errorf("%+v", r)
		}

		w.policy("2.0.0", quick)
		w.state("2.0.0", deployment.Watching)
		w.serves(deployment.Green)
		rec := w.state("2.0.0", deployment.Soaking)
		w.jobs(deployment.Green)
		if got := w.nomad.Jobs(); !slices.Equal(got, []string{"api", "api-green"}) {
			t.Errorf("jobs %v: the previous colour is whole until the soak ends", got)
		}
		w.until(2*time.Minute, "done", func(r deployment.Service) bool { return !r.InFlight() })
		rec = w.record()
		if d := rec.Deployment; d.Outcome != deployment.Succeeded || kinds(d) != "begin planned launched gates-pass routed jobs-moved watch-pass soak-end retired" {
			t.Errorf("%s: %s", d.Outcome, kinds(d))
		}

		// The third version takes the adopted job's place, and from then on an
		// instance without a colour serves nothing.
		w.policy("3.0.0", quick)
		w.state("3.0.0", deployment.Watching)
		w.serves(deployment.Blue)
		if got := w.nomad.Jobs(); !slices.Equal(got, []string{"api-blue", "api-green"}) {
			t.Errorf("jobs %v", got)
		}
		if w.record().Route.Loose {
			t.Error("the blue subset still takes instances without a colour")
		}
	})
}

// Bad after cutover: taken back by one write; the record says why; the next
// good version ships.
func TestTriggerTakesTrafficBack(t *testing.T) {
	inWorld(t, func(w *world) {
		w.adopted()
		body := strings.Replace(quick, `watch  { for = "10s" }`, "watch {\n for = \"10m\"\n trigger \"errors\" \"http-5xx\" {\n above = 0.05\n min_requests = 50\n }\n }", 1)
		w.errors["green"] = 0.30
		w.policy("2.0.0", body)
		rec := w.until(time.Minute, "rolled back", func(r deployment.Service) bool {
			return r.Deployment != nil && r.Deployment.State == deployment.Done
		})
		d := rec.Deployment
		if d.Outcome != deployment.RolledBack || !strings.Contains(d.Reason, "http-5xx") || rec.Active != deployment.Blue {
			t.Errorf("%s %q, active %s", d.Outcome, d.Reason, rec.Active)
		}
		if took := d.Rollback.Decided.Sub(d.Cutover.Written); took > 5*time.Second {
			t.Errorf("noticed after %s", took)
		}
		w.serves(deployment.Blue)
		w.until(time.Minute, "jobs back", func(r deployment.Service) bool { return !r.Jobs.Moving() })
		w.jobs(deployment.Blue)

		w.errors["green"] = 0
		w.policy("2.0.1", body)
		w.state("2.0.1", deployment.Watching)
		w.serves(deployment.Green)
	})
}

// PEERS: 40 s of metrics outage roll back a healthy version elsewhere.
func TestMetricsAwayNeitherPassNorFail(t *testing.T) {
	inWorld(t, func(w *world) {
		w.adopted()
		w.policy("2.0.0", strings.Replace(quick, `watch  { for = "10s" }`, "watch {\n for = \"40s\"\n trigger \"errors\" \"http-5xx\" {}\n }", 1))
		rec := w.until(2*time.Minute, "held", func(r deployment.Service) bool { return r.Held != nil })
		if rec.Deployment.State != deployment.Watching || rec.Active != deployment.Green {
			t.Errorf("it is %s, %s serves: want it held where it is", rec.Deployment.State, rec.Active)
		}
		if why := rec.Held.Reason; !strings.Contains(why, "the watch goes on: trigger http-5xx has not seen enough") || !strings.Contains(why, "teal resume accepts 2.0.0") {
			t.Errorf("held: %s", why)
		}
		w.obeyed(kv.Resume, "")
		w.state("2.0.0", deployment.Soaking)
	})
}

// Manual rollback at any time after cutover, and again after the soak.
func TestRollbackByHand(t *testing.T) {
	inWorld(t, func(w *world) {
		w.adopted()
		w.refused(kv.Rollback, "", "no previous version")
		w.policy("2.0.0", quick)
		w.state("2.0.0", deployment.Soaking)
		w.obeyed(kv.Rollback, "")
		rec := w.until(time.Minute, "rolled back", func(r deployment.Service) bool { return !r.InFlight() })
		w.serves(deployment.Blue)
		if d := rec.Deployment; d.Outcome != deployment.RolledBack || d.Rollback.By != "consul kv" {
			t.Errorf("%s by %+v", d.Outcome, d.Rollback)
		}
		// The operator may change their mind: nothing found it bad.
		w.obeyed(kv.Cutover, "green")
		w.state("2.0.0", deployment.Watching)
		w.serves(deployment.Green)
		w.until(3*time.Minute, "done", func(r deployment.Service) bool { return !r.InFlight() })
		w.obeyed(kv.Rollback, "")
		w.until(time.Minute, "back again", func(r deployment.Service) bool { return r.Active == deployment.Blue })
		w.serves(deployment.Blue)
	})
}

// Invariant 3: rollback with Nomad away and the candidate dead.
func TestRollbackNeedsNothing(t *testing.T) {
	inWorld(t, func(w *world) {
		w.adopted()
		w.policy("2.0.0", quick)
		w.state("2.0.0", deployment.Watching)
		w.obeyed(kv.Pause, "")
		w.nomad.Fail("", "api-green", 2, "killed")
		w.nomad.SetAway(true)
		rec := w.until(time.Minute, "rolled back", func(r deployment.Service) bool { return r.Active == deployment.Blue })
		w.serves(deployment.Blue)
		if !strings.Contains(rec.Deployment.Rollback.Reason, "consul-health") {
			t.Errorf("reason %q", rec.Deployment.Rollback.Reason)
		}
	})
}

// A first release has no way back, serves only after its gates, and says so.
func TestFirstReleaseServesOnlyAfterGates(t *testing.T) {
	inWorld(t, func(w *world) {
		w.sick["1.0.0"] = true
		w.policy("1.0.0", quick)
		w.agent("agent-1")
		w.state("1.0.0", deployment.Launching)
		time.Sleep(time.Minute)
		synctest.Wait()
		if got := w.routed(); got != deployment.Green || w.record().Active != deployment.None {
			t.Errorf("requests go to %s, want green, which is empty", got)
		}
		w.until(15*time.Minute, "failed", func(r deployment.Service) bool { return r.Deployment.Outcome == deployment.Failed })
		w.mu.Lock()
		w.sick["1.0.0"] = false
		w.mu.Unlock()
		w.policy("1.0.1", quick)
		w.state("1.0.1", deployment.Watching)
		w.serves(deployment.Blue)
		w.refused(kv.Rollback, "", "first release")
	})
}

// A candidate that does not start in time is given up, kept a while for
// debugging, then stopped; what serves is not touched.
func TestSlowStartIsGivenUp(t *testing.T) {
	inWorld(t, func(w *world) {
		w.adopted()
		w.sick["2.0.0"] = true
		w.policy("2.0.0", "launch {\n deadline = \"30s\"\n healthy_for = \"1s\"\n keep_failed = \"5m\"\n }")
		rec := w.until(time.Minute, "failed", func(r deployment.Service) bool {
			return r.Deployment != nil && r.Deployment.Outcome == deployment.Failed
		})
		if !strings.Contains(rec.Deployment.Reason, "0 passing") {
			t.Errorf("reason %q", rec.Deployment.Reason)
		}
		w.serves(deployment.Blue)
		if got := w.nomad.Jobs(); !slices.Equal(got, []string{"api", "api-green"}) {
			t.Errorf("jobs %v: a failed candidate is kept for debugging", got)
		}
		w.until(6*time.Minute, "stopped", func(r deployment.Service) bool { return len(r.Slots) == 1 })
		if got := w.nomad.Jobs(); !slices.Equal(got, []string{"api"}) {
			t.Errorf("jobs %v", got)
		}
	})
}

func TestApproval(t *testing.T) {
	inWorld(t, func(w *world) {
		w.adopted()
		body := quick + "\n approval {\n required = true\n deadline = \"1h\"\n }"
		w.policy("2.0.0", body)
		rec := w.state("2.0.0", deployment.Approving)
		old := rec.Deployment.Candidate.Proof()
		w.refused(kv.Cutover, "green", "has not passed")
		w.policy("2.0.1", body) // edited: the approval would be for something else
		w.state("2.0.1", deployment.Approving)
		w.refused(kv.Approve, old, "edited meanwhile")
		w.obeyed(kv.Approve, "")
		rec = w.state("2.0.1", deployment.Watching)
		if a := rec.Deployment.Approval; a == nil || a.Proof != rec.Deployment.Candidate.Proof() || a.By == "" || a.At.IsZero() || a.At.After(rec.Deployment.Cutover.Decided) {
			t.Errorf("approval %+v", a)
		}
		w.serves(deployment.Green)
	})
}

// An approval that nobody gives in time ends the release, and says so.
func TestApprovalExpires(t *testing.T) {
	inWorld(t, func(w *world) {
		w.adopted()
		w.policy("2.0.0", quick+"\n approval {\n required = true\n deadline = \"1h\"\n }")
		w.state("2.0.0", deployment.Approving)
		time.Sleep(59 * time.Minute)
		w.state("2.0.0", deployment.Approving) // a long wait is no failure
		rec := w.until(5*time.Minute, "expired", func(r deployment.Service) bool { return !r.InFlight() })
		if d := rec.Deployment; d.Outcome != deployment.Aborted || !strings.Contains(d.Reason, "nobody approved") {
			t.Errorf("%s %q", d.Outcome, d.Reason)
		}
		w.serves(deployment.Blue)
	})
}

// PEERS 11: only the count changed: scaled in place, no release.
func TestCountScalesInPlace(t *testing.T) {
	inWorld(t, func(w *world) {
		w.adopted()
		w.obeyed(kv.Deploy, `{"vars":{"count":"3"}}`)
		rec := w.record()
		if rec.InFlight() || rec.Slots[deployment.Blue].Expected != 3 || rec.Slots[deployment.Blue].Counts["web"] != 3 {
			t.Errorf("%+v", rec.Slots)
		}
		list, _, err := w.people.Instances(w.Context(), "api", 0)
		if err != nil || len(list) != 3 {
			t.Errorf("%d instances, %v, want 3", len(list), err)
		}
	})
}

// PEERS 13: the router edited by hand is detected, held, shown, and never
// overwritten; resume accepts it.
func TestEditedRouterHolds(t *testing.T) {
	inWorld(t, func(w *world) {
		w.adopted()
		w.policy("2.0.0", quick)
		w.state("2.0.0", deployment.Watching)
		w.addRoute("/admin")
		rec := w.until(time.Minute, "held", func(r deployment.Service) bool { return r.Held != nil })
		if rec.Held.Cause != deployment.RouteEdited {
			t.Errorf("held %+v", rec.Held)
		}
		time.Sleep(time.Minute)
		synctest.Wait()
		if !w.hasRoute("/admin") || w.record().Deployment.State != deployment.Watching {
			t.Errorf("route there: %v, %s", w.hasRoute("/admin"), w.record().Deployment.State)
		}
		w.obeyed(kv.Resume, "")
		w.state("2.0.0", deployment.Soaking)
		w.obeyed(kv.Rollback, "")
		w.until(time.Minute, "back", func(r deployment.Service) bool { return r.Active == deployment.Blue })
		if !w.hasRoute("/admin") {
			t.Error("an accepted route was lost by the rollback")
		}
		w.serves(deployment.Blue)
	})
}

// PEERS 14: without its policy traffic and jobs stay as they are; release
// gives plain entries back.
func TestReleaseGivesEverythingBack(t *testing.T) {
	inWorld(t, func(w *world) {
		w.adopted()
		w.policy("2.0.0", quick)
		w.until(5*time.Minute, "done", func(r deployment.Service) bool { return r.Active == deployment.Green && !r.InFlight() })
		w.removePolicy()
		time.Sleep(time.Minute)
		synctest.Wait()
		w.serves(deployment.Green)
		w.obeyed(kv.Release, "")
		for _, kind := range []string{"service-router", "service-resolver", "service-defaults"} {
			if e, err := w.people.Entry(w.Context(), kind, "api"); err != nil || e != nil {
				t.Errorf("%s is left: %+v %v", kind, e, err)
			}
		}
		if got := w.nomad.Jobs(); !slices.Equal(got, []string{"api-green"}) {
			t.Errorf("jobs %v: only what serves goes on", got)
		}
		if w.record().Managed {
			t.Error("still managed")
		}
		// Taken over again later, as it stands then.
		w.policy("2.0.0", quick+"\n# again")
		w.obeyed(kv.Deploy, "")
		rec := w.record()
		if !rec.Managed || rec.Active != deployment.Green || rec.InFlight() {
			t.Errorf("managed %v, active %s", rec.Managed, rec.Active)
		}
		w.serves(deployment.Green)
	})
}

func TestNonsenseIsRefusedWithAWayOut(t *testing.T) {
	inWorld(t, func(w *world) {
		w.adopted()
		w.refused(kv.Cutover, "purple", "expected blue or green")
		w.refused(kv.Cutover, "", "expected blue or green")
		w.refused(kv.Cutover, "blue", "serves already")
		w.refused(kv.Cutover, "green", "nothing runs on green")
		w.refused(kv.Approve, "", "nothing of api waits")
		w.refused(kv.Abort, "", "nothing of api is being released")
		w.refused(kv.Resume, "", "neither paused nor held")
		w.refused(kv.Pause, `{"arg":`, "expected bare text or JSON")
		w.refused(kv.Deploy, `{"vars":{"a b":"c"}}`, "cannot be the name")
		w.refused("explode", "", "expected one of")
		if r := w.obeyed(kv.Deploy, ""); !strings.Contains(r.Reason, "serves already") {
			t.Errorf("%q", r.Reason)
		}
	})
}

// Manual pause beats the automatic cutover, and a manual cutover beats the
// pause.
func TestPauseBeatsAutomaticCutover(t *testing.T) {
	inWorld(t, func(w *world) {
		w.adopted()
		w.policy("2.0.0", "launch { healthy_for = \"30s\" }\nwatch { for = \"10s\" }\nsoak { for = \"1m\" }")
		w.state("2.0.0", deployment.Launching)
		w.obeyed(kv.Pause, "")
		time.Sleep(10 * time.Minute)
		synctest.Wait()
		w.serves(deployment.Blue)
		w.obeyed(kv.Resume, "")
		w.state("2.0.0", deployment.Watching)
		w.serves(deployment.Green)
	})
}

// What a newer agent wrote is held, not overwritten, and says so when asked.
func TestRecordOfANewerAgentIsHeld(t *testing.T) {
	inWorld(t, func(w *world) {
		a := w.adopted()
		a.stop()
		future := `{"format":99,"name":"api","active":"blue"}`
		w.plant(future)
		w.policy("2.0.0", quick)
		w.agent("agent-2")
		w.refused(kv.Deploy, "", "newer teal")
		time.Sleep(time.Minute)
		synctest.Wait()
		if pair, _, _ := w.people.Get(w.Context(), w.keys.State("api"), 0); string(pair.Value) != future {
			t.Errorf("overwritten: %s", pair.Value)
		}
		if got := w.nomad.Jobs(); !slices.Equal(got, []string{"api"}) {
			t.Errorf("jobs %v", got)
		}
	})
}

// Somebody stops the way back in Nomad: it is noticed and held.
func TestJobChangedByOthersHolds(t *testing.T) {
	inWorld(t, func(w *world) {
		w.adopted()
		w.policy("2.0.0", quick)
		w.state("2.0.0", deployment.Watching)
		w.ordinary("9.9.9") // over the adopted job, past Teal
		rec := w.until(time.Minute, "held", func(r deployment.Service) bool { return r.Held != nil })
		if rec.Held.Cause != deployment.JobEdited || !strings.Contains(rec.Held.Reason, "registered anew") {
			t.Errorf("held %+v", rec.Held)
		}
		w.serves(deployment.Green)
	})
}

func TestPlanChangesNothing(t *testing.T) {
	inWorld(t, func(w *world) {
		w.adopted()
		w.policy("1.0.0", quick+"\n auto = false")
		synctest.Wait()
		before := w.consul.Index()
		r := w.obeyed(kv.Plan, `{"vars":{"version":"2.0.0"}}`)
		if !strings.Contains(r.Output, "releasing 2.0.0 to green") || !strings.Contains(r.Output, "api-green") {
			t.Errorf("output:\n%s", r.Output)
		}
		if got := w.nomad.Jobs(); !slices.Equal(got, []string{"api"}) {
			t.Errorf("jobs %v", got)
		}
		if wrote := w.consul.Index() - before; wrote != 2 { // the command, its answer
			t.Errorf("%d writes to Consul, want 2", wrote)
		}
		w.nomad.SetMemory(1)
		w.refused(kv.Plan, `{"vars":{"version":"2.0.0"}}`, "second full copy")
	})
}

// A failed candidate is to be stopped while Nomad is away; meanwhile somebody
// forces traffic to it. When Nomad is back the old order must not be carried
// out.
func TestKeptCandidateThatIsWantedAgainIsNotStopped(t *testing.T) {
	inWorld(t, func(w *world) {
		w.takenBack()
		w.nomad.SetAway(true)
		time.Sleep(11 * time.Minute)
		synctest.Wait()
		w.obeyed(kv.Cutover, "green")
		w.state("2.0.0", deployment.Watching)
		w.nomad.SetAway(false)
		time.Sleep(2 * time.Minute)
		synctest.Wait()
		if got := w.nomad.Jobs(); !slices.Equal(got, []string{"api", "api-green"}) {
			t.Errorf("jobs %v: what serves was stopped", got)
		}
		w.serves(deployment.Green)
	})
}

// Nomad is away when the old colour is to be retired: it is still whole, and
// still the way back.
func TestRollbackWhileRetiringWithNomadAway(t *testing.T) {
	inWorld(t, func(w *world) {
		w.adopted()
		w.policy("2.0.0", strings.Replace(quick, `soak   { for = "1m" }`, "soak {\n for = \"1m\"\n then = \"stop\"\n }", 1))
		w.state("2.0.0", deployment.Soaking)
		w.nomad.SetAway(true)
		w.state("2.0.0", deployment.Retiring)
		w.obeyed(kv.Rollback, "")
		w.until(time.Minute, "back", func(r deployment.Service) bool { return r.Active == deployment.Blue })
		w.nomad.SetAway(false)
		time.Sleep(time.Minute)
		synctest.Wait()
		w.serves(deployment.Blue)
		if got := w.nomad.Jobs(); !slices.Contains(got, "api") {
			t.Errorf("jobs %v: the colour that serves was retired", got)
		}
	})
}

// The service serves, from a job that the policy does not name: a route to the
// empty colour would take its traffic from it. It is left alone until that is
// cleared up.
func TestServiceThatAnotherJobServes(t *testing.T) {
	inWorld(t, func(w *world) {
		w.consul.SetInstance("api", deployment.Instance{ID: "other-1", Node: "n1", Address: "10.0.0.9", Port: 80, Health: deployment.Passing})
		w.policy("1.0.0", quick)
		w.agent("agent-1")
		rec := w.until(time.Minute, "refused", func(r deployment.Service) bool { return r.Problem != nil })
		if why := rec.Problem.Reason; !strings.Contains(why, "other-1") || !strings.Contains(why, "no job api in namespace default") {
			t.Errorf("does not say what serves, and what was looked for: %s", why)
		}
		if to := w.routed(); to != deployment.None {
			t.Errorf("requests are led to %s", to)
		}
		w.consul.RemoveInstance("api", "n1", "other-1")
		w.obeyed(kv.Deploy, "")
		w.state("1.0.0", deployment.Watching)
	})
}

// A machine died with an instance of an earlier version: Consul keeps it as
// critical for three days. Whoever waits for it is told what to do.
func TestWhoNeverGoesIsNamed(t *testing.T) {
	inWorld(t, func(w *world) {
		w.adopted()
		w.consul.SetInstance("api", deployment.Instance{
			ID: "lost-1", Node: "n7", Address: "10.0.0.7", Port: 1, Health: deployment.Critical, Colour: deployment.Green,
			Meta: map[string]string{"teal_colour": "green"},
		})
		w.policy("2.0.0", quick)
		rec := w.until(time.Hour, "failed", func(r deployment.Service) bool { return r.Deployment != nil && !r.InFlight() })
		if why := rec.Deployment.Reason; !strings.Contains(why, "lost-1 on node n7, which is critical") || !strings.Contains(why, "consul force-leave -prune n7") {
			t.Errorf("%s", why)
		}
		w.consul.RemoveInstance("api", "n7", "lost-1")
		w.obeyed(kv.Deploy, "")
		w.state("2.0.0", deployment.Watching)
	})
}

// Instances of an earlier version that Consul still has, when their job is long
// gone, are not taken for the candidate's: nothing is registered beside them.
func TestCandidateWaitsForWhoIsSlowToGo(t *testing.T) {
	inWorld(t, func(w *world) {
		w.adopted()
		for _, id := range []string{"late-1", "late-2"} {
			w.consul.SetInstance("api", deployment.Instance{
				ID: id, Node: "node", Address: "127.0.0.1", Port: 1, Health: deployment.Passing, Colour: deployment.Green,
				Meta: map[string]string{"teal_colour": "green"},
			})
		}
		w.policy("2.0.0", quick)
		w.state("2.0.0", deployment.Launching)
		time.Sleep(30 * time.Second)
		if r := w.record(); r.Deployment.State != deployment.Launching || slices.Contains(w.nomad.Jobs(), "api-green") {
			t.Errorf("beside instances of an earlier version: %s, jobs %v", r.Deployment.State, w.nomad.Jobs())
		}
		w.consul.RemoveInstance("api", "node", "late-1")
		w.consul.RemoveInstance("api", "node", "late-2")
		w.state("2.0.0", deployment.Watching)
		w.serves(deployment.Green)
	})
}
