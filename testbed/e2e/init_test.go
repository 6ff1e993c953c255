package e2e

import (
	"path/filepath"
	"testing"

	"github.com/tealdeploy/teal/agent/deployment"
	"github.com/tealdeploy/teal/testbed/world"
)

// `teal init` writes a policy from a running job; the agent that gets it takes
// the job over as it runs, and a new version is one edit away.
func TestInitFromARunningJob(t *testing.T) {
	s := open(t, "init")
	s.http("init")
	v := world.Service{Name: "init", Version: "1.0.0"}
	s.must(s.RunPlain(s.soon(), v))
	index := s.modifyIndex("init")
	c := s.calls("init", world.TrafficOptions{Uncoloured: "blue"})
	policy := filepath.Join(s.Policies, "init.hcl")
	s.teal(0, "init", "-job", "init", "-o", policy)
	s.says(s.teal(1, "init", "-job", "init", "-o", policy).Err, "exists")
	s.teal(0, "validate", s.Policies)
	s.agent("a")
	rec := s.record("init", "that it is adopted", func(r deployment.Service) bool { return r.Managed && r.Route.Prepared })
	if slot := rec.Slots[deployment.Blue]; !slot.Adopted || slot.Version != "1.0.0" || s.modifyIndex("init") != index {
		t.Errorf("adopted as %+v", slot)
	}
	s.must(s.Edit("policies/init.hcl", "1.0.0", "2.0.0"))
	s.comes("init", "2.0.0", deployment.Watching, deployment.Soaking)
	c.serves(deployment.Green)
	c.answers("2.0.0", 20)
	c.unharmed()
}
