package e2e

import (
	"testing"

	"github.com/tealdeploy/teal/agent/deployment"
	"github.com/tealdeploy/teal/testbed/world"
)

// A changed count scales the active colour in place; it is no release.
func TestPoint11OnlyTheCountChanged(t *testing.T) {
	s := open(t, "p11")
	s.agent("a")
	v := world.Service{Name: "p11", Version: "1.0.0"}
	first := s.begin(v)
	c := s.calls("p11", world.TrafficOptions{})
	job := "p11-" + string(first.To)
	before, err := s.AwaitRunning(s.soon(), job, 2)
	s.must(err)

	v.Count, v.Watch, v.Soak = 3, -1, -1
	s.write(v)
	s.must(s.AwaitInstances(s.soon(), "p11", func(all []world.Instance) bool {
		return len(all) == 3 && world.Passing(all, string(first.To)) == 3
	}))
	rec := s.record("p11", "the new count", func(r deployment.Service) bool { return r.Slots[first.To].Expected == 3 })
	if rec.InFlight() || len(rec.Finished) != 1 || rec.Active != first.To {
		t.Errorf("scaling made a release: %v in flight %t", rec.Finished, rec.InFlight())
	}
	after, err := s.Running(s.soon(), job)
	s.must(err)
	for _, id := range before {
		if !contains(joined(after, " "), id) {
			t.Errorf("allocation %s was replaced", id)
		}
	}
	v.Count = 1
	s.write(v)
	s.record("p11", "the smaller count", func(r deployment.Service) bool { return r.Slots[first.To].Expected == 1 })
	s.must(s.AwaitInstances(s.soon(), "p11", func(all []world.Instance) bool { return len(all) == 1 }))
	c.answers("1.0.0", 50)
	c.unharmed()
}
