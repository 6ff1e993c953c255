package e2e

import (
	"testing"
	"time"

	"github.com/tealdeploy/teal/agent/deployment"
	"github.com/tealdeploy/teal/agent/kv"
	"github.com/tealdeploy/teal/testbed/world"
)

// Nonsense in a command key is taken off, answered with what was expected, and
// changes nothing.
func TestGarbageInCommandKeys(t *testing.T) {
	s := open(t, "garbage")
	s.agent("a")
	v := world.Service{Name: "garbage", Version: "1.0.0"}
	s.begin(v)
	c := s.calls("garbage", world.TrafficOptions{})
	before, err := s.Value(s.soon(), s.Keys.State("garbage"))
	s.must(err)
	for _, g := range []struct {
		service string
		verb    kv.Verb
		value   string
		words   []string
	}{
		{"garbage", kv.Cutover, "purple", []string{"purple", "blue", "green"}},
		{"garbage", kv.Cutover, "", []string{"blue", "green"}},
		{"garbage", kv.Cutover, `{"arg": "green", "colour": 7}`, []string{"colour", "arg"}},
		{"garbage", kv.Cutover, "{", []string{"JSON"}},
		{"garbage", kv.Cutover, "\x00\xff\xfe", []string{"blue", "green"}},
		{"garbage", kv.Approve, "whatever", []string{"approv"}},
		{"garbage", kv.Rollback, "", []string{"back"}},
		{"garbage", kv.Abort, "", []string{"release"}},
		{"garbage", kv.Resume, "", []string{"paused"}},
		{"garbage", "destroy", "now", []string{"destroy", "rollback", "cutover"}},
		{"no-such-service", kv.Deploy, "", []string{"no-such-service", "policy"}},
		{"no-such-service", kv.Cutover, "green", []string{"no-such-service"}},
	} {
		s.says(s.order(g.service, g.verb, g.value, false).Reason, g.words...)
		left, err := s.Value(s.soon(), s.Keys.Command(g.service, g.verb))
		s.must(err)
		if left != "" {
			t.Errorf("%s %q was not taken off", g.verb, g.value)
		}
	}
	after, err := s.Value(s.soon(), s.Keys.State("garbage"))
	s.must(err)
	if before != after {
		t.Errorf("the record changed from\n%s\nto\n%s", before, after)
	}
	if record, err := s.Value(s.soon(), s.Keys.State("no-such-service")); err != nil || record != "" {
		t.Errorf("a record of a service that does not exist was made: %s, %v", record, err)
	}
	c.answers("1.0.0", 20)
	c.unharmed()
}

// `consul kv put` is a manual cutover and a manual rollback.
func TestConsulKVPut(t *testing.T) {
	s := open(t, "kvput")
	s.agent("a")
	v := world.Service{Name: "kvput", Version: "1.0.0"}
	s.begin(v)
	c := s.calls("kvput", world.TrafficOptions{Rate: 100})
	v.Version, v.Soak = "2.0.0", time.Hour
	s.write(v)
	d := s.comes("kvput", "2.0.0", deployment.Soaking)
	c.serves(d.To)

	put := func(verb kv.Verb, value string) {
		t.Helper()
		ran, err := s.ConsulCLI(s.soon(), "kv", "put", s.Keys.Command("kvput", verb), value)
		s.must(err)
		if ran.Code != 0 {
			t.Fatal(ran)
		}
	}
	put(kv.Rollback, "")
	s.ends("kvput", "2.0.0", deployment.RolledBack)
	c.serves(d.From)
	c.answers("1.0.0", 20)

	// An operator took it back and may change their mind: its gates passed.
	put(kv.Cutover, string(d.To))
	c.serves(d.To)
	c.answers("2.0.0", 20)
	s.must(s.awaitActive("kvput", d.To))
	put(kv.Cutover, string(d.From))
	c.serves(d.From)
	s.must(s.awaitActive("kvput", d.From))
	c.answers("1.0.0", 20)
	c.unharmed()
}

// awaitActive waits for the key that scripts read.
func (s *stage) awaitActive(service string, colour deployment.Colour) error {
	return s.AwaitKey(s.soon(), s.Keys.Active(service), isValue(string(colour)))
}

// A colour that is not healthy, or not proven, gets traffic only by force,
// with a reason, and that is on record.
func TestCutoverByForce(t *testing.T) {
	s := open(t, "force")
	s.agent("a")
	v := world.Service{Name: "force", Version: "1.0.0"}
	s.begin(v)
	c := s.calls("force", world.TrafficOptions{})
	v.Version = "2.0.0"
	v.Gates = `gate "http" "never" {
	  path     = "/version"
	  json     = { version = "another" }
	  attempts = 1000
	}`
	s.write(v)
	d := s.comes("force", "2.0.0", deployment.Gating)
	refused := s.teal(2, "cutover", "force", string(d.To))
	s.says(refused.Err, "force")
	s.teal(1, "cutover", "-force", "force", string(d.To)) // without a reason
	s.teal(0, "cutover", "-force", "-why", "the gate is wrong", "force", string(d.To))
	c.serves(d.To)
	end := s.ends("force", "2.0.0", deployment.Succeeded)
	if end.Forced == nil || end.Forced.Reason != "the gate is wrong" || end.Forced.By == "" {
		t.Errorf("forced on record: %+v", end.Forced)
	}
	c.answers("2.0.0", 20)
	c.unharmed()
}

// An edit of policy or jobspec voids the passes and approvals that were given
// before it.
func TestEditVoidsApproval(t *testing.T) {
	s := open(t, "void")
	s.agent("a")
	v := world.Service{Name: "void", Version: "1.0.0"}
	s.begin(v)
	c := s.calls("void", world.TrafficOptions{})
	v.Version, v.Approval, v.Gates = "2.0.0", "required = true", smoke
	s.write(v)
	before := s.comes("void", "2.0.0", deployment.Approving)

	// Another gate, the same version.
	v.Gates = smoke + "\n" + `gate "http" "health" { path = "/health" }`
	s.write(v)
	after, err := s.AwaitRelease(s.soon(), "void", "2.0.0", func(d deployment.Deployment) bool {
		return d.State == deployment.Approving && d.Candidate.Proof() != before.Candidate.Proof()
	})
	s.must(err)
	if after.ID != before.ID || len(after.Gates) != 3 {
		t.Errorf("after the edit release %s with gates %+v, before it %s", after.ID, after.Gates, before.ID)
	}
	for _, g := range after.Gates {
		if g.Proof != after.Candidate.Proof() {
			t.Errorf("gate %s has a pass for %s, the candidate is %s", g.Name, g.Proof, after.Candidate.Proof())
		}
	}
	refused := s.order("void", kv.Approve, before.Candidate.Proof(), false)
	s.says(refused.Reason, "edited", before.Candidate.Proof())
	s.order("void", kv.Approve, after.Candidate.Proof(), true)
	d := s.ends("void", "2.0.0", deployment.Succeeded)
	c.serves(d.To)
	c.answers("2.0.0", 20)
	c.unharmed()
}

// A release that is aborted before cutover ends at once and nothing moved.
func TestAbort(t *testing.T) {
	s := open(t, "abort")
	s.agent("a")
	v := world.Service{Name: "abort", Version: "1.0.0"}
	s.begin(v)
	c := s.calls("abort", world.TrafficOptions{})
	v.Version, v.Approval = "2.0.0", "required = true"
	s.write(v)
	s.comes("abort", "2.0.0", deployment.Approving)
	s.teal(0, "abort", "abort", "-why", "wrong branch")
	d := s.ends("abort", "2.0.0", deployment.Aborted)
	s.says(d.Reason, "wrong branch")
	c.answers("1.0.0", 20)
	if n := c.unharmed(); n.Versions["2.0.0"] != 0 {
		t.Errorf("the aborted version served: %s", n)
	}
	// Restarting the agent does not begin it again by itself.
	a := s.Agents()[0]
	_, err := a.Terminate(s.soon())
	s.must(err)
	s.must(a.Start(s.soon()))
	s.leads(a)
	s.remains("after a restart", 2*time.Second, func() error { return s.idle("abort") })
}
