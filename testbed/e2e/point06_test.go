package e2e

import (
	"testing"
	"time"

	"github.com/tealdeploy/teal/agent/deployment"
	"github.com/tealdeploy/teal/testbed/world"
)

// Within the soak going back to the previous version is one write, without
// gates and without touching its job; after the soak it goes the full way.
func TestPoint06PreviousVersionAgain(t *testing.T) {
	s := open(t, "p06")
	s.agent("a")
	v := world.Service{Name: "p06", Version: "1.0.0"}
	s.begin(v)
	c := s.calls("p06", world.TrafficOptions{})

	// Two versions that have both passed the gates of the very same policy.
	v.Version, v.Gates, v.Soak = "2.0.0", smoke, 8*time.Second
	s.write(v)
	two := s.ends("p06", "2.0.0", deployment.Succeeded)
	v.Version = "3.0.0"
	s.write(v)
	s.comes("p06", "3.0.0", deployment.Soaking)
	c.serves(two.From)
	c.answers("3.0.0", 20)
	job := "p06-" + string(two.To)
	index := s.modifyIndex(job)

	v.Version = "2.0.0"
	s.write(v)
	d := s.ends("p06", "3.0.0", deployment.RolledBack)
	c.serves(two.To)
	c.answers("2.0.0", 20)
	if took := d.Rollback.Verified.Sub(d.Rollback.Decided); took > 3*time.Second {
		t.Errorf("going back took %s, want one write", took)
	}
	if now := s.modifyIndex(job); now != index {
		t.Error("the previous version's job was written to; going back is one write of the route")
	}

	// After the soak the previous version has to prove itself anew.
	v.Version = "4.0.0"
	s.write(v)
	s.ends("p06", "4.0.0", deployment.Succeeded)
	v.Version = "2.0.0"
	s.write(v)
	again, err := s.AwaitRelease(s.soon(), "p06", "2.0.0", func(d deployment.Deployment) bool {
		return d.ID != two.ID && (d.State == deployment.Soaking || d.Outcome != "")
	})
	s.must(err)
	if again.Outcome != "" || len(again.Gates) != 2 {
		t.Errorf("after the soak 2.0.0 is %s %s with gates %+v, want the full way", again.State, again.Outcome, again.Gates)
	}
	c.serves(again.To)
	c.answers("2.0.0", 20)
	c.unharmed()
}
