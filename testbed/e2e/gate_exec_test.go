package e2e

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/tealdeploy/teal/agent/deployment"
	"github.com/tealdeploy/teal/testbed/cluster"
	"github.com/tealdeploy/teal/testbed/world"
)

func script(line, more string) string {
	return fmt.Sprintf("gate \"exec\" \"script\" {\n  command = [\"/bin/sh\", \"-ec\", %q]\n  interval = \"200ms\"\n%s\n}", line, more)
}

// A command decides only where the agent's config allows commands: it passes,
// fails, or cannot find out.
func TestGateExec(t *testing.T) {
	s := open(t, "gex1")
	a := s.agent("a")
	v := world.Service{Name: "gex1", Version: "1.0.0"}
	s.begin(v)

	mark := filepath.Join(s.Dir, "ran")
	v.Version, v.Gates = "2.0.0", script("touch "+mark, "timeout = \"2s\"\n deadline = \"2s\"")
	s.write(v)
	rec := s.record("gex1", "that it is held", func(r deployment.Service) bool { return r.Held != nil })
	s.says(rec.Held.Reason, "script", "gates { exec = true }")
	if _, err := os.Stat(mark); err == nil {
		t.Error("it was run without permission")
	}

	// Allowed, the release that waits goes on.
	s.must(s.Edit("config.hcl", "exec = false", "exec = true"))
	_, err := a.Terminate(s.soon())
	s.must(err)
	s.must(a.Start(s.soon()))
	s.teal(0, "resume", "gex1")
	s.ends("gex1", "2.0.0", deployment.Succeeded)

	v.Version, v.Gates = "3.0.0", script("curl -fsS http://$TEAL_ADDRESS/nowhere", "")
	s.write(v)
	d := s.ends("gex1", "3.0.0", deployment.Failed)
	if g := gateOf(d, "script"); g.Figures["exit_code"] != "22" || !strings.Contains(g.Figures["log"], "404") {
		t.Errorf("the evidence is %+v", g)
	}

	v.Version, v.Gates = "4.0.0", script("echo no licence is free; exit 75", "timeout = \"10s\"\n deadline = \"11s\"")
	s.write(v)
	rec = s.record("gex1", "that it is held", func(r deployment.Service) bool {
		return r.Held != nil && r.Deployment.Candidate.Version == "4.0.0"
	})
	s.says(rec.Held.Reason, "could not find out")
	if rec.Slots[rec.Active].Version != "2.0.0" {
		t.Errorf("%s serves", rec.Slots[rec.Active].Version)
	}
}

// A command ends with its release or when its time is up, and so does all that it has
// started. It has nothing of its agent's environment.
func TestGateExecIsKilled(t *testing.T) {
	s := open(t, "gex2")
	s.must(s.Edit("config.hcl", "exec = false", "exec = true"))
	s.agentWith("a", world.AgentOptions{Env: []string{"STRAY=of-the-agent"}})
	v := world.Service{Name: "gex2", Version: "1.0.0"}
	s.begin(v)
	file := filepath.Join(s.Dir, "pid")
	lasting := "sleep 600 >/dev/null 2>&1 & echo $! > " + file + "; wait"
	v.Version, v.Gates = "2.0.0", script(lasting, "")
	s.write(v)
	child := s.child(file)
	s.teal(0, "abort", "gex2")
	s.ends("gex2", "2.0.0", deployment.Aborted)
	s.gone(child)

	s.must(os.Remove(file))
	v.Version, v.Gates = "3.0.0", script(lasting, "timeout = \"2s\"")
	s.write(v)
	s.says(s.ends("gex2", "3.0.0", deployment.Failed).Reason, "script", "did not end in time and was killed")
	s.gone(s.child(file))

	v.Version, v.Gates = "4.0.0", script("env | cut -d= -f1 | sort | tr '\\n' ' '", "env = { OWN = \"1\" }")
	s.write(v)
	names := strings.Fields(gateOf(s.ends("gex2", "4.0.0", deployment.Succeeded), "script").Figures["log"])
	for _, name := range []string{"OWN", "PATH", "TEAL_ADDRESSES"} {
		if !slices.Contains(names, name) {
			t.Errorf("%s is not in the environment: %v", name, names)
		}
	}
	for _, name := range names {
		if !strings.HasPrefix(name, "TEAL_") && !slices.Contains([]string{"OWN", "PATH", "LANG", "HOME", "PWD", "OLDPWD", "SHLVL", "_"}, name) {
			t.Errorf("%s is in the environment, and not one of those it is given", name)
		}
	}
}

// child waits for the process that a command has noted in a file.
func (s *stage) child(file string) (pid int) {
	s.t.Helper()
	s.must(cluster.Await(s.soon(), func(context.Context) error {
		text, err := os.ReadFile(file)
		if err == nil {
			pid, err = strconv.Atoi(strings.TrimSpace(string(text)))
		}
		return err
	}))
	return pid
}

// gone waits until a process is no more.
func (s *stage) gone(pid int) {
	s.t.Helper()
	s.must(cluster.Await(s.soon(), func(context.Context) error {
		stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
		if err != nil && syscall.Kill(pid, 0) != nil || strings.Contains(string(stat), ") Z ") { // gone, or nobody's to reap
			return nil
		}
		return fmt.Errorf("process %d is still there", pid)
	}))
}
