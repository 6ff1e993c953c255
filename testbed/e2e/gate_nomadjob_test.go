package e2e

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"

	nomadapi "github.com/hashicorp/nomad/api"

	"github.com/tealdeploy/teal/agent/deployment"
	"github.com/tealdeploy/teal/testbed/cluster"
	"github.com/tealdeploy/teal/testbed/world"
)

// suite writes examples/jobs/api-e2e.nomad.hcl for a service, and gives a gate
// that runs it with this line for each instance.
func (s *stage) suite(service, script, more string) string {
	s.t.Helper()
	text, err := s.Example("jobs", "api-e2e.nomad.hcl")
	s.must(err)
	s.must(s.WriteFile("policies/"+service+"-e2e.nomad.hcl", world.Renamed(text, "api-e2e", service+"-e2e")))
	return fmt.Sprintf("gate \"nomad-job\" \"suite\" {\n  jobspec = file(%q)\n  variables = { script = %q }\n  interval = \"200ms\"\n%s\n}",
		service+"-e2e.nomad.hcl", script, more)
}

// suites are the service's test jobs by ID, with their status.
func (s *stage) suites(service string) map[string]string {
	s.t.Helper()
	all, _, err := s.NomadClient().Jobs().PrefixList(service + "-e2e")
	s.must(err)
	found := map[string]string{}
	for _, job := range all {
		if !job.ParameterizedJob {
			found[job.ID] = job.Status
		}
	}
	return found
}

// suiteRuns waits until one of them runs.
func (s *stage) suiteRuns(service string) (id string) {
	s.t.Helper()
	s.must(cluster.Await(s.soon(), func(context.Context) error {
		for found, status := range s.suites(service) {
			if status == "running" {
				id = found
				return nil
			}
		}
		return fmt.Errorf("none runs: %v", s.suites(service))
	}))
	return id
}

// suitesEnd waits until none of them runs, and nothing of them is noted.
func (s *stage) suitesEnd(service string) {
	s.t.Helper()
	s.record(service, "that no test is left", func(r deployment.Service) bool { return len(r.Tests) == 0 })
	s.must(cluster.Await(s.soon(), func(context.Context) error {
		for id, status := range s.suites(service) {
			if status != "dead" {
				return fmt.Errorf("%s is %s", id, status)
			}
		}
		return nil
	}))
}

func gateOf(d deployment.Deployment, name string) deployment.GateRecord {
	i := slices.IndexFunc(d.Gates, func(g deployment.GateRecord) bool { return g.Name == name })
	if i < 0 {
		return deployment.GateRecord{}
	}
	return d.Gates[i]
}

// A person's own test job decides whether a version serves; its exit code and
// the end of its log are the evidence, and status shows that it runs.
func TestGateNomadJobPassesAndFails(t *testing.T) {
	s := open(t, "gnj1")
	s.agent("a")
	v := world.Service{Name: "gnj1", Version: "1.0.0"}
	s.begin(v)
	c := s.calls("gnj1", world.TrafficOptions{})

	v.Version, v.Gates = "2.0.0", s.suite("gnj1", "curl -fsS http://$address/version; echo tested $TEAL_COLOUR $TEAL_VERSION", "")
	s.write(v)
	d := s.ends("gnj1", "2.0.0", deployment.Succeeded)
	g := gateOf(d, "suite")
	if g.Verdict != "pass" || g.Figures["exit_code"] != "0" || g.Figures["instances"] != "2" || strings.Count(g.Figures["log"], "tested "+string(d.To)+" 2.0.0") != 2 {
		t.Errorf("the evidence is %+v", g)
	}
	c.serves(d.To)

	v.Version, v.Gates = "3.0.0", s.suite("gnj1", "curl -fsS http://$address/nowhere", "")
	s.write(v)
	d = s.ends("gnj1", "3.0.0", deployment.Failed)
	g = gateOf(d, "suite")
	if g.Figures["exit_code"] != "22" || !strings.Contains(g.Figures["log"], "404") {
		t.Errorf("the evidence is %+v", g)
	}
	s.says(d.Reason, "suite", "exit code 22")

	// The same of a job that is registered already, and dispatched.
	s.parameterized("gnj1", "curl -fsS http://$address/nowhere")
	v.Version, v.Gates = "4.0.0", "gate \"nomad-job\" \"suite\" {\n  dispatch = \"gnj1-e2e\"\n}"
	s.write(v)
	d = s.ends("gnj1", "4.0.0", deployment.Failed)
	g = gateOf(d, "suite")
	if !strings.HasPrefix(g.Figures["job"], "gnj1-e2e/dispatch-") || g.Figures["exit_code"] != "22" || !strings.Contains(g.Figures["log"], "404") {
		t.Errorf("the evidence is %+v", g)
	}
	s.says(d.Reason, "suite", "exit code 22")
	c.answers("2.0.0", 10)
	if n := c.unharmed(); n.Versions["3.0.0"] != 0 || n.Versions["4.0.0"] != 0 {
		t.Errorf("what failed its test has served: %s", n)
	}
	s.suitesEnd("gnj1")
}

// A test that finds no place proves nothing and holds; one whose time is up has
// failed. Both are stopped.
func TestGateNomadJobHoldsAndTimesOut(t *testing.T) {
	s := open(t, "gnj2")
	s.agent("a")
	v := world.Service{Name: "gnj2", Version: "1.0.0"}
	s.begin(v)

	v.Version, v.Gates = "2.0.0", s.suite("gnj2", "true", "timeout = \"4s\"\n deadline = \"5s\"")
	text, err := s.Example("jobs", "api-e2e.nomad.hcl")
	s.must(err)
	big := strings.Replace(world.Renamed(text, "api-e2e", "gnj2-e2e"), "memory = 32", "memory = 90000000", 1)
	s.must(s.WriteFile("policies/gnj2-e2e.nomad.hcl", big))
	s.write(v)
	rec := s.record("gnj2", "that it is held", func(r deployment.Service) bool { return r.Held != nil })
	s.says(rec.Held.Reason, "suite", "never ran", "memory")
	if rec.Deployment.State != deployment.Gating || rec.Slots[rec.Active].Version != "1.0.0" {
		t.Errorf("it is %s, and %s serves", rec.Deployment.State, rec.Slots[rec.Active].Version)
	}
	s.suitesEnd("gnj2")
	s.teal(0, "abort", "gnj2")

	v.Version, v.Gates = "3.0.0", s.suite("gnj2", "sleep 600", "timeout = \"4s\"")
	s.write(v)
	d := s.ends("gnj2", "3.0.0", deployment.Failed)
	s.says(d.Reason, "did not come to its end in time")
	s.suitesEnd("gnj2")
}

// A test ends with its release: aborted, or superseded by a newer version.
func TestGateNomadJobEndsWithItsRelease(t *testing.T) {
	s := open(t, "gnj3")
	s.agent("a")
	v := world.Service{Name: "gnj3", Version: "1.0.0"}
	s.begin(v)
	v.Version, v.Gates = "2.0.0", s.suite("gnj3", "sleep 600", "")
	s.write(v)
	s.suiteRuns("gnj3")
	s.must(cluster.Await(s.soon(), func(context.Context) error { // the record follows the job by a moment
		if ran := s.teal(0, "status", "gnj3"); !strings.Contains(ran.Out, "gnj3-e2e-teal-") {
			return fmt.Errorf("status does not show the job that runs:\n%s", ran.Out)
		}
		return nil
	}))
	s.teal(0, "abort", "gnj3")
	s.ends("gnj3", "2.0.0", deployment.Aborted)
	s.suitesEnd("gnj3")

	v.Version = "3.0.0"
	s.write(v)
	s.suiteRuns("gnj3")
	v.Version, v.Gates = "4.0.0", ""
	s.write(v)
	s.ends("gnj3", "4.0.0", deployment.Succeeded)
	s.suitesEnd("gnj3")
}

// An agent that is killed while a test runs finds it again: it is not started
// twice, be it a job of its own or an instance of a parameterized one.
func TestGateNomadJobOutlivesItsAgent(t *testing.T) {
	for _, c := range []struct{ name, gate string }{
		{"gnj4", ""},
		{"gnj5", "gate \"nomad-job\" \"suite\" {\n  dispatch = \"gnj5-e2e\"\n}"},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := open(t, c.name)
			a := s.agent("a")
			v := world.Service{Name: c.name, Version: "1.0.0"}
			s.begin(v)
			v.Version, v.Gates = "2.0.0", s.suite(c.name, "sleep 3; echo slow and good", "")
			if c.gate != "" {
				v.Gates = c.gate
				s.parameterized(c.name, "sleep 3; echo slow and good")
			}
			s.write(v)
			first := s.suiteRuns(c.name)
			s.must(a.Kill())
			s.must(a.Start(s.soon()))
			d := s.ends(c.name, "2.0.0", deployment.Succeeded)
			g := gateOf(d, "suite")
			if g.Figures["job"] != first || !strings.Contains(g.Figures["log"], "slow and good") {
				t.Errorf("the first run was %s, the evidence is %+v", first, g)
			}
			if all := s.suites(c.name); len(all) != 1 {
				t.Errorf("the test was run %d times: %v", len(all), all)
			}
			s.suitesEnd(c.name)
		})
	}
}

// parameterized registers the example's test as a job that is dispatched, with this
// line for each instance.
func (s *stage) parameterized(service, script string) {
	s.t.Helper()
	text, err := s.Example("jobs", "api-e2e.nomad.hcl")
	s.must(err)
	text = strings.Replace(world.Renamed(text, "api-e2e", service+"-e2e"), `type = "batch"`,
		"type = \"batch\"\n  parameterized {\n    meta_required = [\"teal_addresses\"]\n  }", 1)
	text = strings.ReplaceAll(text, "$TEAL_ADDRESSES", "$NOMAD_META_teal_addresses")
	jobs := s.NomadClient().Jobs()
	job, err := jobs.ParseHCLOpts(&nomadapi.JobsParseRequest{JobHCL: text, Canonicalize: true, Variables: fmt.Sprintf("script = %q", script)})
	s.must(err)
	_, _, err = jobs.Register(job, nil)
	s.must(err)
}
