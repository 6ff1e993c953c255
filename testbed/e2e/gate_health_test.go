package e2e

import (
	"slices"
	"strings"
	"testing"

	"github.com/tealdeploy/teal/agent/deployment"
	"github.com/tealdeploy/teal/testbed/world"
)

// A candidate that was healthy at its gates and falls ill before the cutover does not
// serve: nothing is written, and the release is held. Asked again, Consul's health is a
// gate that does not let it through, and what is healthy again goes on.
func TestHealthGateHoldsWhatFellIll(t *testing.T) {
	s := open(t, "g-health")
	s.agent("a")
	v := world.Service{Name: "g-health", Version: "1.0.0"}
	s.begin(v)
	c := s.calls(v.Name, world.TrafficOptions{})
	v.Version, v.Approval = "2.0.0", "required = true"
	s.write(v)
	d := s.comes(v.Name, v.Version, deployment.Approving)
	if g := gateOf(d, "instances"); g.Verdict != "pass" {
		t.Errorf("before, its health is on record as %+v", g)
	}
	to := string(d.To)

	all, err := s.Instances(s.soon(), v.Name)
	s.must(err)
	ill := slices.IndexFunc(all, func(i world.Instance) bool { return i.Colour == to })
	s.must(world.FaultAt(s.soon(), all[ill].Address, "unhealthy"))
	s.must(s.AwaitInstances(s.soon(), v.Name, func(all []world.Instance) bool { return world.Passing(all, to) == 1 }))
	s.teal(0, "approve", v.Name)
	rec := s.record(v.Name, "that the cutover was not made", func(r deployment.Service) bool { return r.Held != nil })
	s.says(rec.Held.Reason, "cutover to "+to+" not made: 1 of 2 instances")
	s.teal(0, "resume", v.Name)
	rec = s.record(v.Name, "that its health is not known to be good", func(r deployment.Service) bool {
		return r.InFlight() && r.Deployment.State == deployment.Gating && strings.Contains(gateOf(*r.Deployment, "instances").Reason, "1 of 2 instances")
	})
	if g := gateOf(*rec.Deployment, "instances"); g.Verdict != "hold" || !strings.Contains(g.Reason, "is critical") || rec.Slots[rec.Active].Version != "1.0.0" {
		t.Errorf("%+v, and %s serves", g, rec.Slots[rec.Active].Version)
	}
	c.answers("1.0.0", 20)

	s.must(world.FaultAt(s.soon(), all[ill].Address, "none"))
	s.comes(v.Name, v.Version, deployment.Approving) // consent was to what passed before
	s.teal(0, "approve", v.Name)
	s.ends(v.Name, v.Version, deployment.Succeeded)
	c.answers("2.0.0", 20)
	c.unharmed()
}
