package e2e

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	nomadapi "github.com/hashicorp/nomad/api"

	"github.com/tealdeploy/teal/agent/deployment"
	"github.com/tealdeploy/teal/testbed/world"
)

// smoke is a gate that a good version passes.
const smoke = `gate "http" "smoke" {
  path     = "/version"
  json     = { version = "{version}" }
  interval = "200ms"
}`

// A good version goes the whole way: gates, approval, cutover, watch, soak;
// then the old colour is kept, scaled to zero or stopped, as the policy says.
func TestPoint03GoodVersion(t *testing.T) {
	s := open(t, "p03")
	s.agent("a")
	for _, then := range []string{"keep", "scale", "stop"} {
		t.Run(then, func(t *testing.T) {
			t.Parallel()
			s := &stage{s.Site, t}
			v := world.Service{Name: "p03-" + then, Version: "1.0.0"}
			old := s.begin(v)
			c := s.calls(v.Name, world.TrafficOptions{Rate: 50})
			c.answers("1.0.0", 20)

			v.Version, v.Then, v.Gates, v.Approval = "2.0.0", then, smoke, "required = true"
			s.write(v)
			s.comes(v.Name, "2.0.0", deployment.Approving)
			if n := c.Load.Tally(); n.Versions["2.0.0"] != 0 {
				t.Errorf("2.0.0 served before it was approved: %s", n)
			}
			s.teal(0, "approve", v.Name, "-why", "looks good")
			d := s.ends(v.Name, "2.0.0", deployment.Succeeded)
			if d.Approval == nil || d.Approval.By == "" || d.Approval.Proof != d.Candidate.Proof() {
				t.Errorf("approval on record: %+v", d.Approval)
			}
			if len(d.Gates) != 2 || d.Gates[0].Verdict != "pass" || d.Gates[1].Verdict != "pass" {
				t.Errorf("gates on record: %+v", d.Gates)
			}
			m := d.Cutover
			if m == nil || m.Written.Before(m.Decided) || m.Verified.Before(m.Written) {
				t.Errorf("cutover on record: %+v", m)
			}
			c.serves(d.To)
			c.answers("2.0.0", 20)
			c.unharmed()
			if got, want := c.route(), fmt.Sprintf("%s %s", d.From, d.To); got != want {
				t.Errorf("routes went %s, want %s", got, want)
			}
			s.retired(old, then, 2)
			s.submitted(v.Name + "-" + string(d.To))
			s.says(s.teal(0, "history", v.Name).Out, "1.0.0", "2.0.0", "succeeded")
		})
	}
}

// submitted wants Nomad to have kept the jobspec as its author wrote it.
func (s *stage) submitted(job string) {
	s.t.Helper()
	j, err := s.Job(s.soon(), job)
	s.must(err)
	sub, _, err := s.NomadClient().Jobs().Submission(job, int(*j.Version), nil)
	s.must(err)
	want, err := os.ReadFile(filepath.Join(s.Policies, strings.TrimSuffix(strings.TrimSuffix(job, "-blue"), "-green")+".nomad.hcl"))
	s.must(err)
	if sub.Source != string(want) || !strings.Contains(sub.Variables, "2.0.0") {
		s.t.Errorf("Nomad shows %s as submitted with\n%s\nand the variables\n%s", job, sub.Source, sub.Variables)
	}
}

// retired wants the old colour's job to be as the policy says.
func (s *stage) retired(old deployment.Deployment, then string, count int) {
	s.t.Helper()
	name := fmt.Sprintf("%s-%s", old.Service, old.To)
	want := map[string]int{"keep": count}[then]
	s.must(s.AwaitInstances(s.soon(), old.Service, func(all []world.Instance) bool {
		n := 0
		for _, i := range all {
			if i.Colour == string(old.To) {
				n++
			}
		}
		return n == want
	}))
	job, err := s.Job(s.soon(), name)
	s.must(err)
	if job == nil {
		s.t.Fatalf("job %s is gone", name)
	}
	if stopped := *job.Stop; stopped != (then == "stop") {
		s.t.Errorf("with then = %s job %s is stopped: %t", then, name, stopped)
	}
	if then != "stop" && total(job) != want {
		s.t.Errorf("with then = %s job %s has a count of %d, want %d", then, name, total(job), want)
	}
}

func total(job *nomadapi.Job) int {
	n := 0
	for _, g := range job.TaskGroups {
		n += *g.Count
	}
	return n
}
