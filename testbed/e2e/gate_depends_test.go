package e2e

import (
	"strings"
	"testing"
	"time"

	"github.com/tealdeploy/teal/agent/deployment"
	"github.com/tealdeploy/teal/testbed/world"
)

// One service needs another at a version, healthy and at rest. It passes, fails
// or holds by what the other is, and what it was is kept.
func TestGateDepends(t *testing.T) {
	s := open(t, "needs")
	s.agent("a")
	v := world.Service{Name: "needs", Version: "1.0.0", Watch: -1, Soak: -1}
	auth := world.Service{Name: "needs-auth", Version: "2.1.0", Count: 1, Watch: -1, Soak: -1}
	s.begin(auth)
	s.begin(v)
	c := s.calls("needs", world.TrafficOptions{})
	gate := func(service, version, more string) string {
		return "gate \"depends\" \"auth\" {\n  service = \"" + service + "\"\n  version = \"" + version + "\"\n  interval = \"200ms\"\n" + more + "}"
	}
	says := func(words string) func(deployment.Service) bool {
		return func(r deployment.Service) bool {
			return r.InFlight() && strings.Contains(gateOf(*r.Deployment, "auth").Reason, words)
		}
	}

	v.Version, v.Gates = "2.0.0", gate("needs-auth", ">= 2.1, < 3", "")
	s.write(v)
	g := gateOf(s.ends("needs", "2.0.0", deployment.Succeeded), "auth")
	s.says(g.Reason, "needs-auth is at 2.1.0 on blue, and 1 of 1 instances are healthy")
	if g.Figures["version"] != "2.1.0" || g.Figures["healthy"] != "1" {
		t.Errorf("evidence: %v", g.Figures)
	}

	// A version that is not there.
	v.Version, v.Gates = "3.0.0", gate("needs-auth", "2.2.0", "")
	s.write(v)
	s.says(s.ends("needs", "3.0.0", deployment.Failed).Reason, "needs-auth is at 2.1.0, and 2.2.0 is needed")

	// It is on its way: the gate holds until its watch is over, then passes.
	auth.Version, auth.Watch, auth.Soak = "2.2.0", time.Hour, time.Hour
	s.write(auth)
	s.comes("needs-auth", "2.2.0", deployment.Watching)
	v.Version = "4.0.0"
	s.write(v)
	s.record("needs", "that it waits for the other's release", says("needs-auth is being released: 2.2.0 is watching"))
	c.answers("2.0.0", 20)
	s.teal(0, "rollback", "needs-auth")
	s.says(s.ends("needs", "4.0.0", deployment.Failed).Reason, "needs-auth is at 2.1.0, and 2.2.0 is needed")
	auth.Version, auth.Watch, auth.Soak = "2.2.1", -1, 10*time.Second
	s.write(auth)
	s.comes("needs-auth", "2.2.1", deployment.Soaking)
	v.Version, v.Gates = "5.0.0", gate("needs-auth", "~> 2.2.0", "")
	s.write(v)
	s.says(gateOf(s.ends("needs", "5.0.0", deployment.Succeeded), "auth").Reason, "needs-auth is at 2.2.1")

	// Of what nobody knows: on hold, and 5.0.0 serves.
	v.Version, v.Gates = "6.0.0", gate("needs-nobody", ">= 1", "timeout = \"1s\"\ndeadline = \"2s\"\n")
	s.write(v)
	rec := s.record("needs", "that it is held", func(r deployment.Service) bool { return r.Held != nil })
	s.says(rec.Held.Reason, "could not be judged within 2s", "there is no service needs-nobody that Teal manages")
	if rec.Slots[rec.Active].Version != "5.0.0" {
		t.Errorf("%s serves", rec.Slots[rec.Active].Version)
	}
	s.must(s.Put(s.soon(), s.Keys.State("needs-nobody"), "nonsense"))
	s.teal(0, "resume", "needs")
	rec = s.record("needs", "that the record cannot be read", func(r deployment.Service) bool {
		return r.Held != nil && strings.Contains(r.Held.Reason, "the record of needs-nobody cannot be read")
	})
	s.teal(0, "abort", "needs")
	s.ends("needs", "6.0.0", deployment.Aborted)

	// It is ill, and its soak over: else its own release would be taken back.
	s.ends("needs-auth", "2.2.1", deployment.Succeeded)
	sick, err := s.Instances(s.soon(), "needs-auth")
	s.must(err)
	for _, i := range sick {
		s.must(world.FaultAt(s.soon(), i.Address, "unhealthy"))
	}
	s.must(s.AwaitInstances(s.soon(), "needs-auth", func(all []world.Instance) bool {
		return world.Passing(all, "blue")+world.Passing(all, "green") == 0
	}))
	v.Version, v.Gates = "7.0.0", gate("needs-auth", "2.2.1", "")
	s.write(v)
	s.says(s.ends("needs", "7.0.0", deployment.Failed).Reason, "needs-auth is not healthy: 0 of 1 instances")
	c.answers("5.0.0", 20)
	c.unharmed()

	// Services that depend on one another are told before anybody waits.
	auth.Gates = gate("needs", ">= 1", "")
	s.write(auth)
	s.says(s.teal(1, "validate", s.Policies).Err, "Services depend on one another", "needs depends on needs-auth, which depends on needs")
}
