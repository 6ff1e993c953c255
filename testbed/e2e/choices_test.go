package e2e

import (
	"testing"
	"time"

	"github.com/tealdeploy/teal/agent/deployment"
	"github.com/tealdeploy/teal/testbed/world"
)

// With auto = false an edit begins nothing until it is asked for; the command
// then releases what the edit says.
func TestEditWaitsWhereThePolicySaysSo(t *testing.T) {
	s := open(t, "manual")
	a := s.agent("a")
	v := world.Service{Name: "manual", Version: "1.0.0"}
	s.begin(v)
	c := s.calls("manual", world.TrafficOptions{})
	v.Version, v.Manual = "2.0.0", true
	s.reread(a, func() { s.write(v) })
	s.remains("after the edit", 2*time.Second, func() error { return s.idle("manual") })
	s.teal(0, "deploy", "manual", "-until", "done")
	d := s.ends("manual", "2.0.0", deployment.Succeeded)
	c.serves(d.To)
	c.answers("2.0.0", 20)
	c.unharmed()
}

// With newer = "replace" a newer version does not wait for the end of the soak:
// it takes the previous colour's place, and no request is lost on the way.
func TestNewerReplacesWhereThePolicySaysSo(t *testing.T) {
	s := open(t, "replace")
	s.agent("a")
	v := world.Service{Name: "replace", Version: "1.0.0"}
	s.begin(v)
	c := s.calls("replace", world.TrafficOptions{Rate: 50})
	v.Version, v.Soak, v.Newer = "2.0.0", time.Hour, "replace"
	s.write(v)
	second := s.comes("replace", "2.0.0", deployment.Soaking)
	c.serves(second.To)
	c.answers("2.0.0", 20)
	v.Version, v.Soak = "3.0.0", time.Second
	s.write(v)
	third := s.ends("replace", "3.0.0", deployment.Succeeded)
	if third.To != second.From || third.FromVersion != "2.0.0" {
		t.Errorf("3.0.0 went from %s to %s", third.FromVersion, third.To)
	}
	s.ends("replace", "2.0.0", deployment.Succeeded)
	c.serves(third.To)
	c.answers("3.0.0", 20)
	c.unharmed()
}
