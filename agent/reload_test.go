package agent

import (
	"context"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"
)

const policyText = `
service "NAME" {
  job  = "job.nomad.hcl"
  auto = false
}
`

func policyFile(t *testing.T, dir, service string) string {
	t.Helper()
	write(t, filepath.Join(dir, "job.nomad.hcl"), `job "x" {}`)
	return write(t, filepath.Join(dir, service+".hcl"), strings.ReplaceAll(policyText, "NAME", service))
}

// following is an agent that keeps up with its files, and no more.
type following struct {
	*Agent
	*testing.T
	dir    string
	log    *lockedBuffer
	reload chan os.Signal
}

func follow(t *testing.T, config string) *following {
	noEnvironment(t)
	dir := t.TempDir()
	write(t, filepath.Join(dir, "config.hcl"), config)
	policyFile(t, filepath.Join(dir, "policies"), "api")
	f := &following{T: t, dir: dir, log: &lockedBuffer{}, reload: make(chan os.Signal, 1)}
	var err error
	f.Agent, err = New(Options{Config: filepath.Join(dir, "config.hcl"), Stderr: f.log, Reload: f.reload})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- f.Agent.follow(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	f.until("the first reading", func(s facts) bool { return s.count == 1 })
	return f
}

// until waits for the facts to be as expected.
func (f *following) until(what string, ok func(facts) bool) facts {
	f.Helper()
	deadline := time.After(10 * time.Second)
	for {
		now, changed := f.facts.now()
		if ok(now) {
			return now
		}
		select {
		case <-changed:
		case <-deadline:
			f.Fatalf("not seen: %s; %+v\n%s", what, now, f.log)
		}
	}
}

// says waits for a line of the log.
func (f *following) says(text string, times int) {
	f.Helper()
	for deadline := time.Now().Add(10 * time.Second); f.log.count(text) < times; time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			f.Fatalf("%q is not logged %d times\n%s", text, times, f.log)
		}
	}
}

func TestConfigIsEdited(t *testing.T) {
	f := follow(t, "log {\n  level = \"warn\"\n}\n")
	config := filepath.Join(f.dir, "config.hcl")
	if f.Agent.log.IsInfo() {
		t.Error("logs more than asked for")
	}
	write(t, config, "log {\n  level = \"debug\"\n}\n")
	f.says("config read", 1)
	if !f.Agent.policies.log.IsDebug() {
		t.Error("the level has not changed")
	}

	// A broken edit keeps what was in force.
	write(t, config, "log {\n  level = \"loud\"\n}\nnonsense = 1\n")
	now := f.until("a mistake", func(s facts) bool { return len(s.configErrors) == 2 })
	all := strings.Join(now.configErrors, "\n")
	if !strings.Contains(all, "config.hcl:2: ") || !strings.Contains(all, "config.hcl:4: ") {
		t.Errorf("without file and line: %s", all)
	}
	f.says("config.hcl:2: ", 1)
	if !f.Agent.log.IsDebug() {
		t.Error("a broken config changed the level")
	}
	if h := f.Health(t.Context()); h.Good() || !slices.Equal(h.ConfigErrors, now.configErrors) {
		t.Errorf("health: %+v", h)
	}

	// A good one ends that, and says what it cannot do.
	write(t, config, "name = \"other\"\nconsul {\n  token = \"secret\"\n}\nlog {\n  level = \"info\"\n  json = true\n}\naudit {\n  path = \"a.log\"\n}\nnotify \"webhook\" \"x\" {\n  url = \"http://secret@h/\"\n}\n")
	f.until("no mistake", func(s facts) bool { return len(s.configErrors) == 0 })
	for _, name := range []string{"setting=name", "setting=consul", "setting=log.json", "setting=audit", "setting=notify"} {
		f.says(name, 1)
	}
	if f.log.count("setting=") != 5 || f.log.count("secret") > 0 {
		t.Errorf("%s", f.log)
	}
	if f.Agent.log.IsDebug() {
		t.Error("the level has not changed back")
	}
}

// Another path's policies are taken only when they have no mistake.
func TestPoliciesMove(t *testing.T) {
	f := follow(t, `policies = "policies"`)
	config := filepath.Join(f.dir, "config.hcl")
	first, _ := f.facts.now()
	policyFile(t, filepath.Join(f.dir, "other"), "web")
	policyFile(t, filepath.Join(f.dir, "other"), "shop")
	broken := write(t, filepath.Join(f.dir, "other", "broken.hcl"), "service {\n}\n")

	write(t, config, `policies = "other"`)
	now := f.until("the mistake", func(s facts) bool { return len(s.policyErrors) > 0 })
	if now.policies != first.policies || now.count != 1 || !strings.Contains(now.policyErrors[0], "broken.hcl:1: ") {
		t.Errorf("%+v", now)
	}
	if err := os.Remove(broken); err != nil {
		t.Fatal(err)
	}
	f.until("the other policies", func(s facts) bool { return s.count == 2 && len(s.policyErrors) == 0 })
	policyFile(t, filepath.Join(f.dir, "policies"), "old") // no longer watched
	policyFile(t, filepath.Join(f.dir, "other"), "third")
	f.until("an edit there", func(s facts) bool { return s.count == 3 })

	write(t, config, `policies = "nowhere"`)
	now = f.until("that there is nothing", func(s facts) bool { return len(s.policyErrors) > 0 })
	if now.count != 3 {
		t.Errorf("%+v", now)
	}
}

// A mistake in a policy keeps the last good one, is told once with file and
// line, and shows in health and in what the others are told.
func TestPolicyIsBroken(t *testing.T) {
	f := follow(t, "")
	before, _ := f.facts.now()
	path := write(t, filepath.Join(f.dir, "policies", "api.hcl"), "service \"api\" {\n  jib = 1\n}\n")
	now := f.until("the mistake", func(s facts) bool { return len(s.policyErrors) > 0 })
	if now.policies != before.policies || now.count != 1 || !strings.Contains(strings.Join(now.policyErrors, "\n"), "api.hcl:2: ") {
		t.Errorf("%+v", now)
	}
	f.says("api.hcl:2: ", 1)
	if h := f.Health(t.Context()); h.Good() || !slices.Equal(h.PolicyErrors, now.policyErrors) {
		t.Errorf("health: %+v", h)
	}
	if info := f.info(now, "here"); !slices.Equal(info.Errors, now.policyErrors) || info.Policies != before.policies {
		t.Errorf("info: %+v", info)
	}
	policyFile(t, filepath.Join(f.dir, "policies"), "web") // another change: it is not told again
	f.until("another policy", func(s facts) bool { return s.count == 2 })
	f.says("policies read", 3)
	if n := f.log.count("api.hcl:2: "); n != 1 {
		t.Errorf("told %d times\n%s", n, f.log)
	}
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	f.until("no mistake", func(s facts) bool { return len(s.policyErrors) == 0 && s.count == 1 })
}

// SIGHUP reads both again, also when nothing has changed.
func TestHangup(t *testing.T) {
	f := follow(t, "")
	time.Sleep(3 * settle) // nothing has changed: nothing is read
	if f.log.count("config read") != 0 || f.log.count("policies read") != 1 {
		t.Errorf("%s", f.log)
	}
	f.reload <- syscall.SIGHUP
	f.says("config read", 1)
	f.says("policies read", 2)
}

func TestErrorsOfAnAgentAreBounded(t *testing.T) {
	many := make([]string, 10000)
	if got := bounded(many); len(got) != maxErrors+1 || !strings.Contains(got[maxErrors], "9950") {
		t.Errorf("%d, %q", len(got), got[maxErrors])
	}
}
