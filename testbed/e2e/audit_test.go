package e2e

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/tealdeploy/teal/agent/audit"
	"github.com/tealdeploy/teal/agent/deployment"
	"github.com/tealdeploy/teal/testbed/cluster"
	"github.com/tealdeploy/teal/testbed/world"
)

// audited gives the site's agents an audit file.
func (s *stage) audited() (path string) {
	s.t.Helper()
	s.must(s.Edit("config.hcl", "path       = null", `path = "audit.log"`))
	return filepath.Join(s.Dir, "audit.log")
}

// lines reads an audit file.
func (s *stage) lines(path string) (all []audit.Line) {
	s.t.Helper()
	text, err := os.ReadFile(path)
	s.must(err)
	for raw := range strings.Lines(string(text)) {
		var l audit.Line
		s.must(json.Unmarshal([]byte(raw), &l))
		all = append(all, l)
	}
	return all
}

// A release and an agent that is killed are one whole chain, whose end is noted
// in Consul. Whoever changes a line is found.
func TestAuditFile(t *testing.T) {
	s := open(t, "aud")
	path := s.audited()
	a := s.agent("a")
	v := world.Service{Name: "aud", Version: "1.0.0"}
	s.begin(v)
	s.must(a.Kill())
	s.must(a.Start(s.soon()))
	v.Version, v.Gates = "2.0.0", smoke
	s.write(v)
	d := s.ends("aud", "2.0.0", deployment.Succeeded)

	var last audit.Line
	s.must(cluster.Await(s.soon(), func(context.Context) error { // written a moment after it was saved
		all := s.lines(path)
		last = all[len(all)-1]
		if last.Kind != "retired" || last.Deployment != d.ID {
			return fmt.Errorf("the last line is %s of %s", last.Kind, last.Deployment)
		}
		return nil
	}))
	s.says(s.teal(0, "audit", "verify", path).Out, "Whole", fmt.Sprint("the last is ", last.Seq))
	s.must(cluster.Await(s.soon(), func(context.Context) error {
		ran, err := s.CLI(s.soon(), "audit", "verify", "-agent", a.Name, path)
		if err == nil && !strings.Contains(s.teal(0, "status").Out, fmt.Sprintf("%d:", last.Seq)) {
			err = fmt.Errorf("not noted yet")
		}
		if err == nil && ran.Code != 0 {
			err = fmt.Errorf("%s", ran)
		}
		return err
	}))

	kinds := map[string]audit.Line{}
	opened := 0
	for _, l := range s.lines(path) {
		if l.Kind == audit.Opened {
			opened++
		}
		if l.Deployment == d.ID || l.Deployment == "" {
			kinds[l.Kind] = l
		}
	}
	if opened != 2 || !strings.Contains(kinds[audit.Opened].Reason, "not closed") {
		t.Errorf("opened %d times, %q", opened, kinds[audit.Opened].Reason)
	}
	passed := kinds["gates-pass"]
	if passed.Version != "2.0.0" || len(passed.Gates) != 2 || passed.Gates[1].Verdict != "pass" || passed.By == "" || passed.Epoch == 0 {
		t.Errorf("gates: %+v", passed)
	}
	for _, kind := range []string{"begin", "planned", "launched", "routed", "soak-end", "retired"} {
		if kinds[kind].State == "" {
			t.Errorf("there is no line %s", kind)
		}
	}

	s.must(a.Kill())
	s.must(s.Edit("audit.log", `"kind":"routed"`, `"kind":"ruoted"`))
	if ran := s.teal(3, "audit", "verify", path); !strings.Contains(ran.Out, fmt.Sprintf("line %d does not match its own sum", kinds["routed"].Seq)) {
		t.Errorf("%s", ran)
	}
}

// A disk that is full costs a release nothing. It is told, and once there is
// room again, what waited is written and the chain is whole.
func TestAuditDiskFull(t *testing.T) {
	s := open(t, "full")
	path := s.audited()
	a := s.agent("a")
	v := world.Service{Name: "full", Version: "1.0.0"}
	s.begin(v)
	c := s.calls("full", world.TrafficOptions{Rate: 100})
	c.answers("1.0.0", 20)

	// The file at the path is one that has no room: what Linux calls /dev/full.
	s.must(os.Rename(path, path+".1"))
	s.must(os.Symlink("/dev/full", path))
	v.Version, v.Gates = "2.0.0", smoke
	began := time.Now()
	s.write(v)
	s.ends("full", "2.0.0", deployment.Succeeded)
	t.Logf("released in %s without an audit file", time.Since(began).Round(time.Millisecond))
	c.answers("2.0.0", 20)
	c.unharmed()
	code, health, err := a.Health(s.soon())
	s.must(err)
	if code != http.StatusServiceUnavailable || !strings.Contains(health.Audit, "no space left") {
		t.Errorf("health %d: %q", code, health.Audit)
	}
	s.must(cluster.Await(s.soon(), func(context.Context) error {
		if out := s.teal(0, "status").Out; !strings.Contains(out, "not written: ") || !strings.Contains(out, "no space left") {
			return fmt.Errorf("status says nothing of it:\n%s", out)
		}
		return nil
	}))

	s.must(os.Remove(path))
	s.must(cluster.Await(s.soon(), func(context.Context) error {
		if code, health, err := a.Health(s.soon()); err != nil || code != http.StatusOK {
			return fmt.Errorf("health %d %q, %v", code, health.Audit, err)
		}
		return nil
	}))
	s.says(s.teal(0, "audit", "verify", path, path+".1").Out, "Whole")
	ends := map[string]bool{}
	for _, l := range s.lines(path) {
		ends[l.Kind+" "+l.Version] = true
	}
	if !ends["begin 2.0.0"] || !ends["retired 2.0.0"] {
		t.Errorf("what waited is not there: %v", ends)
	}
}
