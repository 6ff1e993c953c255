package e2e

import (
	"context"
	"fmt"
	"path/filepath"
	"testing"

	"github.com/tealdeploy/teal/agent/api"
	"github.com/tealdeploy/teal/agent/deployment"
	"github.com/tealdeploy/teal/testbed/cluster"
	"github.com/tealdeploy/teal/testbed/world"
)

// Teal runs as a Nomad system job by examples/teal.nomad.hcl: it reads the
// policies delivered with the job, talks to Nomad through the Task API's
// socket with its workload identity, and releases. Running the job again with
// an edited policy releases the new version.
func TestAgentAsASystemJob(t *testing.T) {
	s := openAlone(t, "system", cluster.Options{})
	port, err := s.Port()
	s.must(err)
	v := world.Service{Name: "system", Version: "1.0.0", Watch: -1, Soak: -1}
	jobspec, err := s.APIJobspec(v.Name)
	s.must(err)
	s.must(s.WriteFile("folder/jobs/system.nomad.hcl", jobspec))
	run := func() {
		t.Helper()
		s.must(s.WriteFile("folder/policies/system.hcl", replaced(v.Policy(s.App), `"system.nomad.hcl"`, `"../jobs/system.nomad.hcl"`)))
		ran, err := s.NomadCLI(s.soon(), "job", "run", "-detach",
			"-var", "teal="+s.World.Teal, "-var", "folder="+filepath.Join(s.Dir, "folder"),
			"-var", "consul="+s.Consul[0].HTTP, "-var", "prefix="+s.Keys.Prefix(), "-var", fmt.Sprintf("port=%d", port),
			filepath.Join(s.Root, "examples", "teal.nomad.hcl"))
		s.must(err)
		if ran.Code != 0 {
			t.Fatal(ran)
		}
	}
	run()
	agent := &world.Agent{HTTP: fmt.Sprintf("127.0.0.1:%d", port)}
	defer func() {
		if t.Failed() {
			s.taskLogs("teal")
		}
	}()
	s.must(cluster.Await(s.soon(), func(ctx context.Context) error {
		status, h, err := agent.Health(ctx)
		if err == nil && (status != 200 || !h.Leading || h.Nomad != api.OK) {
			err = fmt.Errorf("health answers %d: %+v", status, h)
		}
		return err
	}))
	s.ends("system", "1.0.0", deployment.Succeeded)
	c := s.calls("system", world.TrafficOptions{})
	c.answers("1.0.0", 20)
	v.Version = "2.0.0"
	run()
	d := s.ends("system", "2.0.0", deployment.Succeeded)
	c.serves(d.To)
	c.answers("2.0.0", 20)
	c.unharmed()
}

// taskLogs writes what a job's tasks said to the test's output.
func (s *stage) taskLogs(job string) {
	files, _ := filepath.Glob(filepath.Join(s.World.Dir, "nomad-1", "alloc", "*", "alloc", "logs", job+".std*"))
	for _, f := range files {
		if tail, err := lastLines(f, 60); err == nil {
			fmt.Fprintf(s.t.Output(), "--- %s\n%s\n", f, tail)
		}
	}
}
