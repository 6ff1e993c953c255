package e2e

import (
	"testing"
	"time"

	"github.com/tealdeploy/teal/agent/deployment"
	"github.com/tealdeploy/teal/testbed/world"
)

// A version that fails a gate never serves: the active colour does not change,
// the candidate is stopped after it was kept for debugging, and the next good
// version ships at once.
func TestPoint04BadBeforeCutover(t *testing.T) {
	s := open(t, "p04")
	s.agent("a")
	v := world.Service{Name: "p04", Version: "1.0.0"}
	s.begin(v)
	c := s.calls("p04", world.TrafficOptions{})

	v.Version, v.Fault, v.KeepFailed = "2.0.0", "errors", 3*time.Second
	v.Gates = `gate "http" "smoke" {
	  path     = "/version"
	  attempts = 2
	  interval = "200ms"
	}`
	s.write(v)
	d := s.ends("p04", "2.0.0", deployment.Failed)
	s.says(d.Reason, "smoke", "500")
	if d.Cutover != nil {
		t.Errorf("a failed version has a cutover on record: %+v", d.Cutover)
	}
	job := "p04-" + string(d.To)
	if running, err := s.Running(s.soon(), job); err != nil || len(running) != 2 {
		t.Errorf("right after the failure %d instances run, %v: they are to be kept for debugging", len(running), err)
	}
	rec := s.record("p04", "that the candidate was stopped", func(r deployment.Service) bool {
		_, there := r.Slots[d.To]
		return !there
	})
	if rec.Active != d.From || rec.Slots[d.From].Version != "1.0.0" {
		t.Errorf("active is %s %s", rec.Active, rec.Slots[rec.Active].Version)
	}
	s.must(s.AwaitInstances(s.soon(), "p04", func(all []world.Instance) bool { return len(all) == 2 }))

	v.Version, v.Fault = "3.0.0", ""
	s.write(v)
	s.ends("p04", "3.0.0", deployment.Succeeded)
	c.serves(d.To)
	c.answers("3.0.0", 20)
	if n := c.unharmed(); n.Versions["2.0.0"] != 0 || n.Injected != 0 {
		t.Errorf("the failed version served: %s", n)
	}
}

// The next version does not wait until a failed one was stopped.
func TestPoint04NextVersionShipsAtOnce(t *testing.T) {
	s := open(t, "p04b")
	s.agent("a")
	v := world.Service{Name: "p04b", Version: "1.0.0"}
	s.begin(v)
	c := s.calls("p04b", world.TrafficOptions{})
	v.Version, v.Fault, v.KeepFailed = "2.0.0", "errors", time.Hour
	v.Gates = `gate "http" "smoke" {
	  path     = "/version"
	  attempts = 1
	}`
	s.write(v)
	s.ends("p04b", "2.0.0", deployment.Failed)
	v.Version, v.Fault = "3.0.0", ""
	s.write(v)
	d := s.ends("p04b", "3.0.0", deployment.Succeeded)
	c.serves(d.To)
	c.answers("3.0.0", 20)
	c.unharmed()
}
