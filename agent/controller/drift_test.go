package controller

import (
	"testing"
	"testing/synctest"
	"time"

	nomadapi "github.com/hashicorp/nomad/api"

	"github.com/tealdeploy/teal/agent/deployment"
	"github.com/tealdeploy/teal/agent/nomad/nomadtest"
)

// A look at the jobs began before Teal wrote them, and its answer comes after:
// what it saw is not taken for somebody else's work.
func TestOldPictureOfTheJobsHoldsNothing(t *testing.T) {
	inWorld(t, func(w *world) {
		w.adopted()
		w.policy("2.0.0", quick)
		rec := w.until(3*time.Minute, "over", func(r deployment.Service) bool { return r.Active == deployment.Green && !r.InFlight() })
		w.nomad.Intercept(func(c nomadtest.Call) nomadtest.Fault { return nomadtest.Fault{Hang: c.Op == "Job"} })
		edit := func(f func(*nomadapi.Job)) {
			if err := w.nomad.Edit("", "api", f); err != nil {
				t.Fatal(err)
			}
			synctest.Wait()
		}
		another := func(job *nomadapi.Job) { job.SetMeta("team", "web") }
		edit(another) // and a look begins
		edit(func(job *nomadapi.Job) { delete(job.Meta, "team") })

		before := rec
		before.Slots = map[deployment.Colour]deployment.Slot{deployment.Blue: rec.Slots[deployment.Blue]}
		tenure := w.agents[0].ctl.tenure
		tenure.mu.Lock()
		look := tenure.loops["api"].look4jobs
		tenure.mu.Unlock()
		if look == nil {
			t.Fatal("nobody looks")
		}
		tenure.post("api", jobsSeen{look, before, []*nomadapi.Job{absent("default", "api")}})
		synctest.Wait()
		if held := w.record().Held; held != nil {
			t.Errorf("held for what was so before: %s", held.Reason)
		}
		w.nomad.Intercept(nil)
		time.Sleep(time.Minute)
		synctest.Wait()
		if held := w.record().Held; held != nil {
			t.Errorf("held: %s", held.Reason)
		}

		edit(another) // a new picture still counts
		w.until(time.Minute, "held", func(r deployment.Service) bool { return r.Held != nil && r.Held.Cause == deployment.JobEdited })
	})
}
