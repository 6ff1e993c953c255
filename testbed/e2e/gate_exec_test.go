package e2e

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
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

// A command ends with its release, and so does all that it has started.
func TestGateExecIsKilled(t *testing.T) {
	s := open(t, "gex2")
	s.must(s.Edit("config.hcl", "exec = false", "exec = true"))
	s.agent("a")
	v := world.Service{Name: "gex2", Version: "1.0.0"}
	s.begin(v)
	file := filepath.Join(s.Dir, "pid")
	v.Version, v.Gates = "2.0.0", script("sleep 600 >/dev/null 2>&1 & echo $! > "+file+"; wait", "")
	s.write(v)
	pid := 0
	s.must(cluster.Await(s.soon(), func(context.Context) error {
		text, err := os.ReadFile(file)
		if err == nil {
			pid, err = strconv.Atoi(strings.TrimSpace(string(text)))
		}
		return err
	}))
	s.teal(0, "abort", "gex2")
	s.ends("gex2", "2.0.0", deployment.Aborted)
	s.must(cluster.Await(s.soon(), func(context.Context) error {
		stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
		if err != nil && syscall.Kill(pid, 0) != nil || strings.Contains(string(stat), ") Z ") { // gone, or nobody's to reap
			return nil
		}
		return fmt.Errorf("process %d is still there", pid)
	}))
}
