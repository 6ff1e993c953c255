package e2e

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/tealdeploy/teal/agent/deployment"
	"github.com/tealdeploy/teal/testbed/cluster"
	"github.com/tealdeploy/teal/testbed/world"
)

// reread edits files and waits until the agent has read them, be it a policy
// that begins nothing.
func (s *stage) reread(a *world.Agent, edit func()) {
	s.t.Helper()
	_, before, err := a.Health(s.soon())
	s.must(err)
	edit()
	s.must(cluster.Await(s.soon(), func(ctx context.Context) error {
		_, now, err := a.Health(ctx)
		if err == nil && now.Policies == before.Policies {
			err = fmt.Errorf("%s has not read the policies again", a.Name)
		}
		return err
	}))
}

// unhealthy waits until the agent's health is bad, and gives the mistakes.
func (s *stage) unhealthy(a *world.Agent) []string {
	s.t.Helper()
	var mistakes []string
	s.must(cluster.Await(s.soon(), func(ctx context.Context) error {
		status, h, err := a.Health(ctx)
		if mistakes = append(h.PolicyErrors, h.ConfigErrors...); err == nil && (status != 503 || len(mistakes) == 0) {
			err = fmt.Errorf("health answers %d with mistakes %q", status, mistakes)
		}
		return err
	}))
	return mistakes
}

func (s *stage) healthy(a *world.Agent) {
	s.t.Helper()
	s.must(cluster.Await(s.soon(), func(ctx context.Context) error {
		status, h, err := a.Health(ctx)
		if err == nil && status != 200 {
			err = fmt.Errorf("health answers %d: %+v", status, h)
		}
		return err
	}))
}

// A broken edit keeps the policy that was there and is reported with file and
// line: in health, status and the log. The service can still be taken back.
func TestBrokenPolicyKeepsTheOld(t *testing.T) {
	s := open(t, "broken")
	a := s.agent("a")
	v := world.Service{Name: "broken", Version: "1.0.0"}
	s.begin(v)
	s.healthy(a)
	c := s.calls("broken", world.TrafficOptions{})
	v.Version, v.Soak = "2.0.0", time.Hour
	s.write(v)
	d := s.comes("broken", "2.0.0", deployment.Soaking)
	c.serves(d.To)

	s.must(s.Edit("policies/broken.hcl", "keep_failed", "keep_fialed"))
	mistakes := strings.Join(s.unhealthy(a), "\n")
	s.says(mistakes, "broken.hcl:", "keep_fialed", "keep_failed")
	s.says(s.teal(0, "status").Out, "broken.hcl:")
	s.says(a.Tail(400), "keep_fialed")
	ran := s.teal(1, "validate", s.Policies)
	s.says(ran.Out+ran.Err, "broken.hcl", "keep_fialed")

	s.teal(0, "rollback", "broken")
	s.ends("broken", "2.0.0", deployment.RolledBack)
	c.serves(d.From)

	// Mended, with a new version: it is released.
	v.Version, v.Soak = "3.0.0", time.Second
	s.write(v)
	s.healthy(a)
	d = s.ends("broken", "3.0.0", deployment.Succeeded)
	c.serves(d.To)
	c.answers("3.0.0", 20)
	c.unharmed()
	s.teal(0, "validate", s.Policies)
}

// Two policies for one service: neither comes into force, the last good one
// stays, and both places are named.
func TestTwoPoliciesForOneService(t *testing.T) {
	s := open(t, "twice")
	a := s.agent("a")
	v := world.Service{Name: "twice", Version: "1.0.0"}
	s.begin(v)
	v.Version = "2.0.0"
	s.must(s.WriteFile("policies/copy.hcl", v.Policy(s.App)))
	mistakes := strings.Join(s.unhealthy(a), "\n")
	s.says(mistakes, "copy.hcl:", "twice.hcl:")
	s.must(s.idle("twice"))
	rec, err := s.Record(s.soon(), "twice")
	s.must(err)
	if got := rec.Slots[rec.Active].Version; got != "1.0.0" {
		t.Errorf("%s serves", got)
	}
}

// SIGHUP reads policies and config again; a broken config stays out of force
// and is reported.
func TestReloadOnHangup(t *testing.T) {
	s := open(t, "hup")
	a := s.agent("a")
	s.leads(a)
	good := "config.hcl"
	s.must(s.Edit(good, `level = "info"`, `level = "loud"`))
	s.must(a.Signal(syscall.SIGHUP))
	s.says(strings.Join(s.unhealthy(a), "\n"), "config.hcl:", "loud")
	s.must(s.Edit(good, `level = "loud"`, `level = "info"`))
	s.must(a.Signal(syscall.SIGHUP))
	s.healthy(a)
	s.leads(a)
}

// An agent that has no policy error and no Consul trouble is a passing service
// of Consul's; one that ends in order is gone from it.
func TestAgentIsAConsulService(t *testing.T) {
	s := open(t, "self")
	a := s.agent("a")
	s.leads(a)
	mine := func(all []world.Instance) *world.Instance {
		for _, i := range all {
			if i.Address == a.HTTP {
				return &i
			}
		}
		return nil
	}
	s.must(s.AwaitInstances(s.soon(), "teal", func(all []world.Instance) bool {
		i := mine(all)
		return i != nil && i.Health == "passing"
	}))
	metrics, err := http.Get("http://" + a.HTTP + "/v1/metrics")
	s.must(err)
	text, err := io.ReadAll(metrics.Body)
	metrics.Body.Close()
	s.must(err)
	s.says(string(text), "teal_leader 1\n", "teal_policies 0\n")
	code, err := a.Terminate(s.soon())
	s.must(err)
	if code != 0 {
		t.Errorf("SIGTERM: exit code %d", code)
	}
	s.must(s.AwaitInstances(s.soon(), "teal", func(all []world.Instance) bool { return mine(all) == nil }))
}

// A record that a newer agent wrote is neither obeyed nor overwritten.
func TestRecordOfANewerVersion(t *testing.T) {
	s := open(t, "newer")
	a := s.agent("a")
	v := world.Service{Name: "newer", Version: "1.0.0"}
	s.begin(v)
	c := s.calls("newer", world.TrafficOptions{})
	s.must(a.Kill())
	future := `{"format": 99, "name": "newer", "active": {"shade": "teal"}}`
	s.must(s.Put(s.soon(), s.Keys.State("newer"), future))
	s.must(a.Start(s.soon()))
	s.leads(a)
	v.Version = "2.0.0"
	s.write(v)
	s.says(s.order("newer", "deploy", "", false).Reason, "99", "newer")
	s.says(s.order("newer", "rollback", "", false).Reason, "99")
	s.says(s.teal(0, "status").Out, "newer", "99")
	got, err := s.Value(s.soon(), s.Keys.State("newer"))
	s.must(err)
	if got != future {
		t.Errorf("the record was overwritten with %s", got)
	}
	if job, err := s.Job(s.soon(), "newer-green"); err != nil || job != nil {
		t.Errorf("a job was registered: %v", err)
	}
	c.answers("1.0.0", 20)
	c.unharmed()
}
