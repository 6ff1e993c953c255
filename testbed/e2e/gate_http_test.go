package e2e

import (
	"fmt"
	"strings"
	"testing"

	"github.com/tealdeploy/teal/agent/deployment"
	"github.com/tealdeploy/teal/testbed/world"
)

// account is a sequence that logs in at the example app, and with the session
// and the token that it is given asks for the account.
func account(user string) string {
	return fmt.Sprintf(`
  step "login" {
    path    = "/login"
    headers = { Content-Type = "application/x-www-form-urlencoded" }
    body    = "user=smoke&password=teapot"
    save "token" { json = "token" }
  }
  step "account" {
    path    = "/account"
    headers = { Authorization = "Bearer {saved.token}" }
    json    = { user = %q }
  }`, user)
}

// A gate goes through a login: on each instance by itself, with its session in a
// cookie and its token in a header.
func TestStepsGate(t *testing.T) {
	gateTrial{
		kind: "http",
		pass: account("smoke"), passSays: "steps login, account: 2 of 2 instances answered as expected",
		fail: account("somebody else"), failSays: "at step account answered JSON where user is",
		// Whom to trust is our affair, and nothing is known of the candidate.
		blind: "scheme = \"https\"\ntls {\nca_file = \"/nowhere/ca.pem\"\n}" + account("smoke"), blindSays: "ca_file: open /nowhere/ca.pem: no such file",
	}.put(t)
}

// No one of a session's secrets is anywhere in Consul or in what agents say,
// whether its release passes or not.
func TestStepsLeaveNoSecrets(t *testing.T) {
	s := open(t, "g-secrets")
	a := s.agentWith("a", world.AgentOptions{LogLevel: "trace"})
	v := world.Service{Name: "g-secrets", Version: "1.0.0"}
	s.begin(v)
	v.Version = "2.0.0"
	// The password is wrong, and what is answered holds it no more than the record.
	v.Gates = "gate \"http\" \"account\" {\n" + strings.ReplaceAll(account("smoke"), "teapot", "k3ttl3-s3cr3t") + "\n}"
	s.write(v)
	d := s.ends(v.Name, v.Version, deployment.Failed)
	s.says(d.Reason, "at step login answered 401, expected 200")
	v.Version, v.Gates = "3.0.0", "gate \"http\" \"account\" {\n"+strings.ReplaceAll(account("smoke"), "user=smoke", "user=s3cr3t-smoke")+"\n}"
	s.write(v)
	d = s.ends(v.Name, v.Version, deployment.Failed)
	s.says(d.Reason, "at step account answered JSON where user is")
	pairs, _, err := s.ConsulClient().KV().List(s.Keys.Prefix(), nil)
	s.must(err)
	searched := "log: " + a.Tail(100_000)
	for _, p := range pairs {
		searched += fmt.Sprintf("\n%s: %s", p.Key, p.Value)
	}
	s.says(searched, "at step login answered 401", "at step account answered JSON where user is", "[redacted]")
	if at := strings.Index(searched, "s3cr3t"); at >= 0 {
		t.Errorf("a secret is told: …%s…", searched[max(0, at-300):at+20])
	}
}

// beside is a parallel group of gates.
func beside(gates ...string) string { return "parallel {\n" + strings.Join(gates, "\n") + "\n}" }

// Gates of a group are asked side by side: all have to pass, one that fails ends
// the others, and one that cannot tell holds, whatever the others say.
func TestParallelGates(t *testing.T) {
	s := open(t, "g-beside")
	s.agent("a")
	v := world.Service{Name: "g-beside", Version: "1.0.0"}
	s.begin(v)
	c := s.calls(v.Name, world.TrafficOptions{})
	c.answers("1.0.0", 20)

	health := `gate "http" "health" { path = "/health" }`
	word := "gate \"kv\" \"word\" {\nkey = \"words/{service}/{hash}\"\ninterval = \"100ms\"\n%s\n}"
	verdicts := func(d deployment.Deployment) string {
		return fmt.Sprintf("%s %s", gateOf(d, "health").Verdict, gateOf(d, "word").Verdict)
	}

	// Both pass, and the second has its turn although the first is not over.
	v.Version, v.Gates = "2.0.0", beside(fmt.Sprintf(word, `deadline = "10m"`), health)
	s.write(v)
	rec := s.record(v.Name, "that one has passed beside one that waits", func(r deployment.Service) bool {
		return r.InFlight() && r.Deployment.Candidate.Version == v.Version && gateOf(*r.Deployment, "health").Verdict == "pass" && gateOf(*r.Deployment, "word").Verdict == "hold"
	})
	s.must(s.Put(s.soon(), "words/g-beside/"+rec.Deployment.Candidate.Proof(), "yes"))
	if d := s.ends(v.Name, v.Version, deployment.Succeeded); verdicts(d) != "pass pass" {
		t.Errorf("%s", verdicts(d))
	}
	c.answers("2.0.0", 20)

	// One fails: the other one, which would wait for an hour, is not waited for.
	v.Version, v.Gates = "3.0.0", beside(fmt.Sprintf(word, `deadline = "1h"`), `gate "http" "health" { path = "/no-such-page" }`)
	s.write(v)
	d := s.ends(v.Name, v.Version, deployment.Failed)
	s.says(d.Reason, `gate http "health"`, "answered 404, expected 200")
	if verdicts(d) != "fail hold" {
		t.Errorf("%s", verdicts(d))
	}

	// One does not know, and the other's pass does not help.
	v.Version, v.Gates = "4.0.0", beside(fmt.Sprintf(word, "timeout = \"1s\"\ndeadline = \"2s\""), health)
	s.write(v)
	rec = s.record(v.Name, "that it is held", func(r deployment.Service) bool {
		return r.Held != nil && r.InFlight() && r.Deployment.Candidate.Version == v.Version
	})
	s.says(rec.Held.Reason, `gate kv "word"`, "could not be judged within 2s")
	if verdicts(*rec.Deployment) != "pass hold" {
		t.Errorf("%s", verdicts(*rec.Deployment))
	}
	s.teal(0, "abort", v.Name)
	s.ends(v.Name, v.Version, deployment.Aborted)
	if n := c.unharmed(); n.Versions["3.0.0"] != 0 || n.Versions["4.0.0"] != 0 {
		t.Errorf("a version served that did not pass: %s", n)
	}
}
