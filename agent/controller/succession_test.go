package controller

import (
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/tealdeploy/teal/agent/deployment"
	"github.com/tealdeploy/teal/agent/kv"
	"github.com/tealdeploy/teal/agent/nomad/nomadtest"
)

// evicting has 2.0.0 serve on green, and 3.0.0 wait for the adopted job on blue,
// which Nomad does not get to stop.
func (w *world) evicting() {
	w.Helper()
	w.adopted()
	w.policy("2.0.0", quick)
	w.until(5*time.Minute, "2.0.0 is live", func(r deployment.Service) bool { return r.Active == deployment.Green && !r.InFlight() })
	w.nomad.Intercept(func(c nomadtest.Call) nomadtest.Fault { return nomadtest.Fault{Hang: c.Op == "Stop"} })
	w.policy("3.0.0", quick)
	w.state("3.0.0", deployment.Launching)
}

// A release is replaced by another, or given up, before the adopted job was
// stopped for it. That job has another ID than the candidates have: the next
// release has to know of it all the same.
func TestWhoIsToGoIsNotForgotten(t *testing.T) {
	for _, c := range []struct {
		name string
		end  func(w *world)
	}{
		{"superseded", func(w *world) {
			w.policy("3.0.1", quick)
			w.state("3.0.1", deployment.Launching)
		}},
		{"superseded twice", func(w *world) {
			w.policy("3.0.1", quick)
			w.state("3.0.1", deployment.Launching)
			w.policy("3.0.2", quick)
			w.state("3.0.2", deployment.Launching)
		}},
		{"too late", func(w *world) {
			w.until(time.Hour, "failed", func(r deployment.Service) bool { return !r.InFlight() })
		}},
		{"aborted", func(w *world) { w.obeyed(kv.Abort, "") }},
		{"aborted, and long ago", func(w *world) {
			w.obeyed(kv.Abort, "")
			w.nomad.Intercept(nil)
			w.until(time.Hour, "emptied", func(r deployment.Service) bool { _, there := r.Slots[deployment.Blue]; return !there })
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			inWorld(t, func(w *world) {
				w.evicting()
				c.end(w)
				w.nomad.Intercept(nil)
				w.policy("4.0.0", quick)
				w.state("4.0.0", deployment.Watching)
				w.serves(deployment.Blue)
				if got := w.nomad.Jobs(); !slices.Equal(got, []string{"api-blue", "api-green"}) {
					t.Errorf("jobs %v", got)
				}
			})
		})
	}
}

// Whoever looks at the job that is to go, before it was stopped, does not take
// it for one that somebody has just run beside the colours.
func TestWhoIsToGoIsNoStranger(t *testing.T) {
	inWorld(t, func(w *world) {
		w.evicting()
		if err := w.nomad.Client("people").Scale(w.Context(), "", "api", map[string]int{"web": 3}, nil); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		if held := w.record().Held; held != nil {
			t.Errorf("held: %s", held.Reason)
		}
		w.nomad.Intercept(nil)
		w.state("3.0.0", deployment.Watching)
	})
}

// Somebody forces traffic to the candidate, which is not there yet: who still has
// the colour is not taken for it.
func TestNothingIsForcedToWhoIsToGo(t *testing.T) {
	inWorld(t, func(w *world) {
		w.evicting()
		w.refused(kv.Cutover, `{"arg":"blue","force":true}`, "nothing of 3.0.0 runs on blue yet")
		w.serves(deployment.Green)
		w.nomad.Intercept(nil)
		w.sick["3.0.0"] = true
		w.until(time.Minute, "registered", func(deployment.Service) bool { return slices.Contains(w.nomad.Jobs(), "api-blue") })
		w.obeyed(kv.Pause, "")
		w.obeyed(kv.Cutover, `{"arg":"blue","force":true}`)
		w.until(time.Minute, "forced", func(r deployment.Service) bool { return r.Active == deployment.Blue })
	})
}

// A release is given up before its job was registered: nothing of it can have the
// traffic, not even by force, and what ran on the colour before is not taken for it.
// Once it is registered, force is force.
func TestNothingIsForcedToWhatWasNeverRegistered(t *testing.T) {
	inWorld(t, func(w *world) {
		w.evicting()
		w.obeyed(kv.Abort, "")
		before := w.record()
		for verb, value := range map[kv.Verb]string{kv.Rollback: `{"force":true}`, kv.Cutover: `{"arg":"blue","force":true}`} {
			w.refused(verb, value, "nothing of 3.0.0 is known to have been registered on blue")
		}
		if rec := w.record(); rec.InFlight() || rec.Deployment.ID != before.Deployment.ID {
			t.Errorf("%s", gistForPeople(rec))
		}
		w.serves(deployment.Green)
		w.nomad.Intercept(nil)
		w.sick["4.0.0"] = true
		w.policy("4.0.0", quick)
		w.until(5*time.Minute, "registered", func(r deployment.Service) bool { return r.InFlight() && r.Deployment.Registered })
		w.obeyed(kv.Abort, "")
		w.obeyed(kv.Rollback, `{"force":true}`)
	})
}
