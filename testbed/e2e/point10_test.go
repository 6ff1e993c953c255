package e2e

import (
	"slices"
	"testing"

	nomadapi "github.com/hashicorp/nomad/api"

	"github.com/tealdeploy/teal/agent/deployment"
	"github.com/tealdeploy/teal/testbed/world"
)

// A gate in progress goes on when an instance is moved: the new instance has to
// pass as well, and the release stays the same.
func TestPoint10GateGoesOnWhenInstancesMove(t *testing.T) {
	s := open(t, "p10")
	s.agent("a")
	v := world.Service{Name: "p10", Version: "1.0.0"}
	s.begin(v)
	c := s.calls("p10", world.TrafficOptions{})
	v.Version, v.Fault = "2.0.0", "errors"
	v.Gates = `gate "http" "smoke" {
	  path     = "/version"
	  attempts = 1000
	  interval = "200ms"
	  deadline = "5m"
	}`
	s.write(v)
	gating, err := s.AwaitRelease(s.soon(), "p10", "2.0.0", func(d deployment.Deployment) bool {
		return d.State == deployment.Gating && len(d.Gates) == 2 && d.Gates[1].Attempts > 0
	})
	s.must(err)
	job := "p10-" + string(gating.To)
	before, err := s.AwaitRunning(s.soon(), job, 2)
	s.must(err)
	alloc, _, err := s.NomadClient().Allocations().Info(before[0], nil)
	s.must(err)
	_, err = s.NomadClient().Allocations().Stop(&nomadapi.Allocation{ID: alloc.ID, Namespace: alloc.Namespace}, nil)
	s.must(err)
	s.must(s.AwaitInstances(s.soon(), "p10", func(all []world.Instance) bool {
		moved := !slices.ContainsFunc(all, func(i world.Instance) bool { return contains(i.ID, alloc.ID) })
		return moved && world.Passing(all, string(gating.To)) == 2
	}))
	s.must(s.Fault(s.soon(), "p10", string(gating.To), "none"))
	d := s.ends("p10", "2.0.0", deployment.Succeeded)
	if d.ID != gating.ID {
		t.Errorf("release %s became %s when an instance moved", gating.ID, d.ID)
	}
	c.serves(d.To)
	c.answers("2.0.0", 20)
	c.unharmed()
}
