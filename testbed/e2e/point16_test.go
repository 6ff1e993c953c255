package e2e

import (
	"strings"
	"testing"
	"time"

	"github.com/tealdeploy/teal/agent/deployment"
	"github.com/tealdeploy/teal/testbed/world"
)

// What Nomad refuses, cannot place or cannot start is told in its own words,
// and the active colour is not touched by it.
func TestPoint16NomadSaysNo(t *testing.T) {
	s := open(t, "p16")
	s.agent("a")
	for _, no := range []struct {
		name       string
		spoil      func(jobspec string) string
		words      []string
		problem    bool // it is known from the jobspec alone, and no release begins
		registered bool // it only shows when Nomad tries
	}{
		{"syntax", func(j string) string { return strings.Replace(j, "count = var.count", "count = = 2", 1) },
			[]string{"p16-syntax.nomad.hcl"}, true, false},
		{"unknown-variable", func(j string) string { return strings.Replace(j, "count = var.count", "count = var.cuont", 1) },
			[]string{"cuont"}, true, false},
		{"no-place", func(j string) string {
			return strings.Replace(j, "count = var.count", "count = var.count\n\n    constraint {\n      attribute = \"${attr.kernel.name}\"\n      value     = \"plan9\"\n    }", 1)
		}, []string{"plan9"}, false, false},
		{"too-large", func(j string) string { return strings.Replace(j, "memory = 64", "memory = 999999", 1) },
			[]string{"memory"}, false, false},
		{"no-binary", func(j string) string {
			return strings.Replace(j, "command = var.app", `command = "/no/such/program"`, 1)
		}, []string{"/no/such/program"}, false, true},
	} {
		t.Run(no.name, func(t *testing.T) {
			t.Parallel()
			s := &stage{s.Site, t}
			v := world.Service{Name: "p16-" + no.name, Version: "1.0.0"}
			first := s.begin(v)
			c := s.calls(v.Name, world.TrafficOptions{Rate: 20})
			good, err := s.APIJobspec(v.Name)
			s.must(err)
			v.Version, v.Deadline = "2.0.0", 12*time.Second
			v.Jobspec = no.spoil(good)
			if v.Jobspec == good {
				t.Fatal("the jobspec was not spoiled")
			}
			v.Vars = map[string]string{"count": "2"}
			s.write(v)
			if no.problem {
				rec := s.record(v.Name, "what is wrong", func(r deployment.Service) bool { return r.Problem != nil })
				s.says(rec.Problem.Reason, no.words...)
				if rec.InFlight() {
					t.Errorf("a release began: %s", rec.Deployment.State)
				}
				s.says(s.teal(2, "deploy", v.Name).Err, no.words...)
			} else {
				s.says(s.ends(v.Name, "2.0.0", deployment.Failed).Reason, no.words...)
			}
			job, err := s.Job(s.soon(), v.Name+"-"+string(first.To.Other()))
			s.must(err)
			if (job != nil) != no.registered {
				t.Errorf("the candidate was registered: %t, want %t", job != nil, no.registered)
			}
			rec, err := s.Record(s.soon(), v.Name)
			s.must(err)
			if rec.Active != first.To || rec.Slots[rec.Active].Version != "1.0.0" {
				t.Errorf("active is %s %s", rec.Active, rec.Slots[rec.Active].Version)
			}

			// The next good version ships.
			v.Version, v.Jobspec, v.Vars, v.Deadline = "3.0.0", "", nil, 0
			s.write(v)
			d := s.ends(v.Name, "3.0.0", deployment.Succeeded)
			c.serves(d.To)
			c.answers("3.0.0", 10)
			c.unharmed()
		})
	}
}
