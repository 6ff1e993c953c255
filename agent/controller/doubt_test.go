package controller

import (
	"strings"
	"testing"
	"time"

	"github.com/tealdeploy/teal/agent/deployment"
	"github.com/tealdeploy/teal/agent/kv"
)

// briefly is a policy whose watch is over before errors can be proof.
var briefly = strings.Replace(quick, `watch  { for = "10s" }`, "watch {\n for = \"4s\"\n trigger \"errors\" \"http-5xx\" {}\n }", 1)

// The watch is over while what it saw speaks against the version: it is not let
// through for that, and taken back once that is proof.
func TestWatchDoesNotEndInDoubt(t *testing.T) {
	inWorld(t, func(w *world) {
		w.errors["none"], w.errors["green"] = 0, 0.3
		w.adopted()
		w.policy("2.0.0", briefly)
		began := w.state("2.0.0", deployment.Watching).Deployment.Since
		rec := w.until(time.Minute, "over", func(r deployment.Service) bool { return !r.InFlight() || r.Deployment.State == deployment.Soaking })
		if d := rec.Deployment; d.Outcome != deployment.RolledBack || !strings.Contains(d.Reason, "http-5xx") || d.Rollback.Decided.Sub(began) < 4*time.Second {
			t.Errorf("%s %s after %s: %s", d.State, d.Outcome, d.Since.Sub(began), d.Reason)
		}
		w.serves(deployment.Blue)
	})
}

// The doubt stays, for nothing more is heard: a person is asked, and may accept
// the version as it is.
func TestDoubtThatStaysIsAPersonsToSettle(t *testing.T) {
	inWorld(t, func(w *world) {
		w.errors["none"], w.errors["green"] = 0, 0.3
		w.adopted()
		w.policy("2.0.0", briefly)
		w.state("2.0.0", deployment.Watching)
		time.Sleep(3900 * time.Millisecond)
		w.mu.Lock()
		delete(w.errors, "green")
		w.mu.Unlock()
		time.Sleep(time.Minute)
		if rec := w.record(); rec.Held != nil || rec.Deployment.State != deployment.Watching {
			t.Errorf("%s, held %+v", rec.Deployment.State, rec.Held)
		}
		rec := w.until(2*time.Minute, "held", func(r deployment.Service) bool { return r.Held != nil })
		if why := rec.Held.Reason; !strings.Contains(why, "speaks against 2.0.0") || !strings.Contains(why, "teal resume accepts it") {
			t.Errorf("held: %s", why)
		}
		w.obeyed(kv.Resume, "")
		w.state("2.0.0", deployment.Soaking)
	})
}
