package controller

import (
	"strings"
	"testing"
	"time"

	"github.com/tealdeploy/teal/agent/deployment"
	"github.com/tealdeploy/teal/agent/nomad"
	"github.com/tealdeploy/teal/agent/nomad/nomadtest"
	"github.com/tealdeploy/teal/jobspec"
)

// Somebody makes the previous colour smaller while Nomad's servers do not take
// writes: it gets its counts back as soon as they do, and not when Consul has the
// next news of it.
func TestCountsAreRestoredThoughNomadWasAway(t *testing.T) {
	inWorld(t, func(w *world) {
		w.scalesDown = true
		w.adopted()
		w.policy("2.0.0", strings.Replace(quick, `watch  { for = "10s" }`, `watch  { for = "1h" }`, 1))
		w.state("2.0.0", deployment.Watching)
		w.nomad.Intercept(func(c nomadtest.Call) (f nomadtest.Fault) {
			if c.Agent == "agent-1" && c.Op == "Raise" {
				f.Before = &nomad.Error{Op: "scale", Kind: nomad.ErrUnavailable, Err: errLost}
			}
			return f
		})
		if err := w.nomad.Client("people").Scale(w.Context(), "", "api", map[string]int{"web": 1}, nil); err != nil {
			t.Fatal(err)
		}
		w.until(time.Minute, "weakened", func(r deployment.Service) bool { return r.Deployment.Weakened != "" })
		w.nomad.Intercept(nil)
		w.until(time.Minute, "whole again", func(r deployment.Service) bool { return r.Deployment.Weakened == "" })
		if job, err := w.nomad.Client("people").Job(w.Context(), "", "api"); err != nil || jobspec.Counts(job)["web"] != 2 {
			t.Errorf("%v %v", jobspec.Counts(job), err)
		}
	})
}

// Somebody removes the previous colour's job from Nomad during the watch. Its
// counts cannot be given back to what is not there; the watch goes on.
func TestPreviousJobIsPurgedDuringTheWatch(t *testing.T) {
	inWorld(t, func(w *world) {
		w.scalesDown = true
		w.adopted()
		w.policy("2.0.0", quick)
		w.state("2.0.0", deployment.Watching)
		if err := w.nomad.Client("people").Stop(w.Context(), "", "api", true); err != nil {
			t.Fatal(err)
		}
		w.until(time.Minute, "weakened", func(r deployment.Service) bool { return r.Deployment.Weakened != "" })
		w.until(time.Minute, "held", func(r deployment.Service) bool { return r.Held != nil })
		w.serves(deployment.Green)
		if !strings.Contains(w.logs(), "it is not in Nomad any more") {
			t.Error("the log does not say why the counts are not restored")
		}
	})
}
