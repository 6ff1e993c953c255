package e2e

import (
	"testing"
	"time"

	"github.com/tealdeploy/teal/agent/deployment"
	"github.com/tealdeploy/teal/agent/kv"
	"github.com/tealdeploy/teal/testbed/world"
	"github.com/tealdeploy/teal/testbed/xds"
)

// A service's first release serves only after its gates, and that there is
// nothing to go back to is said plainly.
func TestPoint01FirstDeployment(t *testing.T) {
	s := open(t, "p01")
	c := s.listens("p01", world.TrafficOptions{Rate: 100})
	s.write(world.Service{
		Name: "p01", Version: "1.0.0", Watch: 2 * time.Second,
		Gates: `gate "http" "smoke" {
		  path = "/version"
		  json = { version = "{version}" }
		}`,
		Approval: "required = true",
	})
	s.agent("a")

	d := s.comes("p01", "1.0.0", deployment.Approving)
	if d.From != deployment.None {
		t.Errorf("from %s, want none", d.From)
	}
	for _, g := range d.Gates {
		if g.Verdict != "pass" {
			t.Errorf("waits for approval with gate %s %s on %s", g.Kind, g.Name, g.Verdict)
		}
	}
	if active, err := s.Value(s.soon(), s.Keys.Active("p01")); err != nil || active == "blue" || active == "green" {
		t.Errorf("before approval the active colour is %q, %v: want none", active, err)
	}
	// The candidate is there and reachable by the preview header, and only so.
	_, err := c.Follower.WaitRoute(s.soon(), func(x xds.Table) bool { return x.Healthy(string(d.To)) == 2 })
	s.must(err)
	if status, subset, err := c.Ask(s.soon(), "/", "x-teal-colour", string(d.To)); err != nil || status != 200 || subset != string(d.To) {
		t.Errorf("preview: status %d from %q, %v", status, subset, err)
	}
	if status, _, err := c.Ask(s.soon(), "/", "", ""); err != nil || status < 500 {
		t.Errorf("an ordinary request before approval got status %d, %v: nothing may serve yet", status, err)
	}
	s.says(s.teal(2, "rollback", "p01").Err, "teal abort")

	s.teal(0, "approve", "p01")
	s.comes("p01", "1.0.0", deployment.Watching)
	c.serves(d.To)
	s.must(c.Begin(s.soon()))
	refused := s.order("p01", kv.Rollback, "", false)
	s.says(refused.Reason, "no previous version")
	s.ends("p01", "1.0.0", deployment.Succeeded)
	c.answers("1.0.0", 50)
	c.unharmed()
	s.says(s.teal(0, "status", "p01").Out, "1.0.0", string(d.To))
}

// A first release has no previous colour to keep whole: the next version does
// not wait for its soak.
func TestPoint01FirstDeploymentDoesNotSoak(t *testing.T) {
	s := open(t, "p01b")
	s.agent("a")
	v := world.Service{Name: "p01b", Version: "1.0.0", Soak: time.Hour}
	s.write(v)
	s.ends("p01b", "1.0.0", deployment.Succeeded)
	c := s.calls("p01b", world.TrafficOptions{})
	v.Version, v.Soak = "1.0.1", time.Second
	s.write(v)
	d := s.ends("p01b", "1.0.1", deployment.Succeeded)
	c.serves(d.To)
	c.answers("1.0.1", 20)
	c.unharmed()
}
