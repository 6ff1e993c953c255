package controller

import (
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/tealdeploy/teal/agent/deployment"
	"github.com/tealdeploy/teal/agent/kv"
	"github.com/tealdeploy/teal/agent/nomad/nomadtest"
	"github.com/tealdeploy/teal/jobspec"
)

// Only the count is edited while a candidate is made ready: it is no other
// version, and the release goes on. It ends with as many instances as the last
// edit says, however far it had come.
func TestCountIsEditedDuringARelease(t *testing.T) {
	hang := func(w *world, op string) {
		w.nomad.Intercept(func(c nomadtest.Call) nomadtest.Fault {
			return nomadtest.Fault{Hang: c.Op == op && c.Agent == "agent-1"}
		})
	}
	for _, stage := range []struct {
		name  string
		state deployment.State
		from  func(w *world)
	}{
		{"planned", deployment.Preparing, func(w *world) { hang(w, "Plan") }},
		{"waiting for the place", deployment.Launching, func(w *world) {
			w.policy("1.1.0", quick)
			w.until(5*time.Minute, "1.1.0 is live", func(r deployment.Service) bool { return r.Active == deployment.Green && !r.InFlight() })
			hang(w, "Stop")
		}},
		{"being registered", deployment.Launching, func(w *world) { hang(w, "Register") }},
		{"coming up", deployment.Launching, func(w *world) { w.sick["2.0.0"] = true }},
	} {
		for _, n := range []int{1, 3} {
			t.Run(fmt.Sprintf("%s, %d", stage.name, n), func(t *testing.T) {
				inWorld(t, func(w *world) {
					w.scalesDown = true
					w.adopted()
					stage.from(w)
					w.policy("2.0.0", quick)
					w.state("2.0.0", stage.state)
					time.Sleep(5 * time.Second)
					w.obeyed(kv.Deploy, fmt.Sprintf(`{"vars":{"count":"%d"}}`, n))
					w.nomad.Intercept(nil)
					w.mu.Lock()
					w.sick = map[string]bool{}
					w.mu.Unlock()
					to := w.record().Deployment.To
					w.until(time.Minute, "all are there", func(deployment.Service) bool {
						job, err := w.nomad.Client("people").Job(w.Context(), "", jobspec.ColouredID("api", to))
						return err == nil && job != nil && jobspec.Counts(job)["web"] == n
					})
					w.health(to, deployment.Passing)
					w.state("2.0.0", deployment.Watching)
					w.serves(to)
					if rec := w.record(); rec.Slots[to].Expected != n || rec.Problem != nil || w.instances(to) != n {
						t.Errorf("%d instances, expected %d, problem %v", w.instances(to), rec.Slots[to].Expected, rec.Problem)
					}
				})
			})
		}
	}
}

// The same while the candidate proves itself.
func TestCountIsEditedBeforeTheInstancesAreProven(t *testing.T) {
	inWorld(t, func(w *world) {
		w.scalesDown = true
		w.adopted()
		w.policy("2.0.0", quick+"\n gate \"kv\" \"word\" {\n key = \"words/{hash}\"\n }")
		w.state("2.0.0", deployment.Gating)
		w.obeyed(kv.Pause, "")
		w.ill(deployment.Green)
		synctest.Wait() // the agent has seen it
		w.obeyed(kv.Resume, "")
		w.obeyed(kv.Deploy, `{"vars":{"count":"1"}}`)
		w.health(deployment.Green, deployment.Passing)
		w.until(time.Minute, "the one instance passes", func(r deployment.Service) bool {
			return len(r.Deployment.Gates) > 0 && r.Deployment.Gates[0].Verdict == "pass" && r.Deployment.Gates[0].Figures["expected"] == "1"
		})
	})
}
