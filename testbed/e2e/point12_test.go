package e2e

import (
	"testing"
	"time"

	"github.com/tealdeploy/teal/agent/deployment"
	"github.com/tealdeploy/teal/testbed/world"
)

// A previous colour that somebody scales down before the soak ends is noticed,
// shown, and restored, so that the way back is whole again.
func TestPoint12PreviousColourScaled(t *testing.T) {
	s := open(t, "p12")
	s.agent("a")
	v := world.Service{Name: "p12", Version: "1.0.0"}
	first := s.begin(v)
	c := s.calls("p12", world.TrafficOptions{})
	v.Version, v.Soak = "2.0.0", time.Hour
	s.write(v)
	s.comes("p12", "2.0.0", deployment.Soaking)
	one := 1
	_, _, err := s.NomadClient().Jobs().Scale("p12-"+string(first.To), "p12", &one, "somebody", false, nil, nil)
	s.must(err)
	rec := s.record("p12", "that the way back is weakened", func(r deployment.Service) bool {
		return r.Deployment != nil && r.Deployment.Weakened != ""
	})
	s.says(rec.Deployment.Weakened, "1 of 2", string(first.To))
	s.must(s.AwaitInstances(s.soon(), "p12", func(all []world.Instance) bool {
		return world.Passing(all, string(first.To)) == 2
	}))
	s.record("p12", "that the way back is whole again", func(r deployment.Service) bool {
		return r.Deployment != nil && r.Deployment.Weakened == ""
	})
	s.teal(0, "rollback", "p12")
	c.serves(first.To)
	c.answers("1.0.0", 20)
	c.unharmed()
}
