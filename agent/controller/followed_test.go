package controller

import (
	"strings"
	"testing"
	"time"

	"github.com/tealdeploy/teal/agent/deployment"
	"github.com/tealdeploy/teal/agent/kv"
	"github.com/tealdeploy/teal/agent/nomad/nomadtest"
)

// The route is one write, and callers' proxies follow it when they get to it. Until
// then they send requests to what served before. So nothing stops that within the
// moment in which they follow, whoever wants it and however little the policy asks
// for: not the retiring, nor the next release, which needs the colour, nor the end
// of what was taken back, nor the giving back of the service.
func TestWhatServedGoesOnUntilCallersFollow(t *testing.T) {
	const hasty = "\n launch {\n healthy_for = \"1s\"\n keep_failed = \"1ms\"\n }\n watch { for = \"%w\" }\n soak {\n for = \"0s\"\n then = \"%t\"\n }"
	body := func(watch, then string) string { return strings.NewReplacer("%w", watch, "%t", then).Replace(hasty) }
	idle := func(r deployment.Service) bool { return !r.InFlight() }
	for name, c := range map[string]struct {
		body string
		then func(w *world) // what wants it to stop, once 2.0.0 serves
		job  string
	}{
		"it is retired":                  {body("0s", "stop"), func(*world) {}, "api"},
		"the next release needs it":      {body("0s", "keep"), func(w *world) { w.policy("3.0.0", body("0s", "keep")) }, "api"},
		"what was taken back is stopped": {body("1h", "keep"), func(w *world) { w.obeyed(kv.Rollback, "") }, "api-green"},
		"the service is given back":      {body("0s", "keep"), func(w *world) { w.obeyed(kv.Release, "") }, "api"},
	} {
		t.Run(name, func(t *testing.T) {
			inWorld(t, func(w *world) {
				w.adopted()
				stops := make(chan time.Time, 10)
				w.nomad.Observe(func(write nomadtest.Write) {
					w.witness.writes(write)
					if *write.Now.ID == c.job && write.Now.Stop != nil && *write.Now.Stop {
						stops <- time.Now()
					}
				})
				w.policy("2.0.0", c.body)
				rec := w.until(time.Minute, "2.0.0 serves", func(r deployment.Service) bool {
					return r.Slots[r.Active].Version == "2.0.0" && (idle(r) || r.Deployment.State != deployment.CuttingOver)
				})
				moved := rec.Slots[rec.Active].Serves
				c.then(w)
				if c.job == "api-green" {
					back := w.until(time.Minute, "1.0.0 serves", func(r deployment.Service) bool { return r.Active == rec.Active.Other() })
					moved = back.Slots[back.Active].Serves
				}
				select {
				case at := <-stops:
					if after := at.Sub(moved); after < callersFollow || after > callersFollow+10*time.Second {
						t.Errorf("%s was stopped %s after traffic had moved away from it", c.job, after)
					}
				case <-time.After(5 * time.Minute):
					t.Errorf("%s was never stopped", c.job)
				}
			})
		})
	}
}

// Whatever waits for the end of a job that takes its time says so, and goes on once it
// has ended: a release that stands still without a word is a riddle to who is on call.
func TestAJobThatIsSlowToEndIsTold(t *testing.T) {
	for name, wants := range map[string]func(w *world){
		"the next release": func(w *world) {
			w.policy("3.0.0", quick)
			w.until(4*time.Minute, "live", func(r deployment.Service) bool { return r.Slots[r.Active].Version == "3.0.0" })
		},
		"giving back": func(w *world) { w.obeyed(kv.Release, "") },
	} {
		t.Run(name, func(t *testing.T) {
			inWorld(t, func(w *world) {
				w.adopted()
				w.nomad.SetBehaviour(func(nomadtest.Launch) nomadtest.Behaviour { return nomadtest.Behaviour{Stop: 100 * time.Second} })
				w.sick["2.0.0"] = true
				w.policy("2.0.0", quick)
				w.until(time.Minute, "registered", func(r deployment.Service) bool { return r.InFlight() && r.Deployment.Registered })
				w.obeyed(kv.Abort, "")
				began := time.Now()
				wants(w)
				if took := time.Since(began); took < 90*time.Second {
					t.Errorf("it went on after %s", took)
				}
				if log := w.logs(); strings.Count(log, "it was told to end and runs on") != 1 || !strings.Contains(log, "nomad job status api-green") {
					t.Errorf("what is waited for is not told once:\n%s", log)
				}
			})
		})
	}
}
