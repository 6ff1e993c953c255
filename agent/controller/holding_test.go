package controller

import (
	"testing"
	"time"

	nomadapi "github.com/hashicorp/nomad/api"

	"github.com/tealdeploy/teal/agent/deployment"
)

// handStops is a person who stops a job by hand, or runs it again.
func (w *world) handStops(id string, stop bool) {
	w.Helper()
	if err := w.nomad.Edit("", id, func(job *nomadapi.Job) { job.Stop = &stop }); err != nil {
		w.Fatal(err)
	}
}

// A release is held for something that somebody mends much later. What was held
// could not be done meanwhile, and no deadline has passed for that.
func TestAHoldIsNoPartOfADeadline(t *testing.T) {
	for _, c := range []struct {
		state deployment.State
		body  string
	}{
		{deployment.Launching, quick},
		{deployment.Approving, quick + "\n approval {\n required = true\n deadline = \"10m\"\n }"},
	} {
		t.Run(string(c.state), func(t *testing.T) {
			inWorld(t, func(w *world) {
				w.scalesDown = true
				w.adopted()
				w.sick["2.0.0"] = c.state == deployment.Launching
				w.policy("2.0.0", c.body)
				w.state("2.0.0", c.state)
				w.handStops("api", true)
				w.until(time.Minute, "held", func(r deployment.Service) bool { return r.Held != nil })
				time.Sleep(11 * time.Minute)
				w.handStops("api", false)
				w.until(time.Minute, "not held", func(r deployment.Service) bool { return r.Held == nil })
				time.Sleep(time.Minute)
				if d := w.record().Deployment; d.State != c.state {
					t.Errorf("%s: %s", d.State, d.Reason)
				}
			})
		})
	}
}
