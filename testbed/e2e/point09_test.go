package e2e

import (
	"fmt"
	"testing"
	"time"

	"github.com/tealdeploy/teal/agent/deployment"
	"github.com/tealdeploy/teal/agent/kv"
	"github.com/tealdeploy/teal/testbed/world"
)

// A pause beats the automatic cutover, and a rollback beats a pause.
func TestPoint09PauseAndRollback(t *testing.T) {
	s := open(t, "p09")
	s.agent("a")
	v := world.Service{Name: "p09", Version: "1.0.0"}
	s.begin(v)
	c := s.calls("p09", world.TrafficOptions{})

	v.Version, v.HealthyFor, v.Watch, v.Soak = "2.0.0", 5*time.Second, 2*time.Second, time.Hour
	s.write(v)
	s.must(s.AwaitInstances(s.soon(), "p09", func(all []world.Instance) bool { return len(all) == 4 }))
	s.teal(0, "pause", "p09", "-why", "not today")
	var to deployment.Colour
	s.remains("paused", 8*time.Second, func() error {
		rec, err := s.Record(t.Context(), "p09")
		if err != nil {
			return err
		}
		if to = rec.Deployment.To; !rec.Deployment.State.BeforeCutover() || rec.Active == to {
			return fmt.Errorf("it went on to %s", rec.Deployment.State)
		}
		return nil
	})
	s.says(s.teal(0, "status", "p09").Out, "PAUSED", "not today")
	s.teal(0, "resume", "p09")
	s.comes("p09", "2.0.0", deployment.Watching, deployment.Soaking)
	c.serves(to)

	s.order("p09", kv.Pause, "", true)
	s.teal(0, "rollback", "p09", "-why", "checkout is slow")
	d := s.ends("p09", "2.0.0", deployment.RolledBack)
	s.says(d.Reason, "checkout is slow")
	c.serves(d.From)
	c.answers("1.0.0", 20)
	if got, want := c.route(), fmt.Sprintf("%s %s %s", d.From, d.To, d.From); got != want {
		t.Errorf("routes went %s, want %s", got, want)
	}
	c.unharmed()
}
