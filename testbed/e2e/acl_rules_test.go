package e2e

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	consulapi "github.com/hashicorp/consul/api"
	nomadapi "github.com/hashicorp/nomad/api"

	"github.com/tealdeploy/teal/agent/deployment"
	"github.com/tealdeploy/teal/testbed/cluster"
	"github.com/tealdeploy/teal/testbed/world"
)

// unquoted is a log as its lines were before hclog put them in quotes.
func unquoted(log string) string { return strings.ReplaceAll(log, `\"`, `"`) }

// routes are a service's, as text; claims of a new leader change only the
// entry's meta.
func (s *stage) routes(service string) string {
	s.t.Helper()
	text, err := json.Marshal(s.router(service).Routes)
	s.must(err)
	return string(text)
}

// bids gives a command, and is an error: what becomes of it is still to be seen.
func (s *stage) bids(ctx context.Context, args ...string) error {
	ran, err := s.CLI(ctx, args...)
	if err != nil {
		return err
	}
	return errors.New(ran.String())
}

// nudged says that a release may go on, as a person does who has given the rule
// that was missing, where it waits for that.
func (s *stage) nudged(ctx context.Context, rec deployment.Service) bool {
	s.t.Helper()
	args := []string{"deploy", "-detach", rec.Name}
	switch d := rec.Deployment; {
	case rec.Held != nil:
		args = []string{"resume", rec.Name}
	case rec.Problem != nil, d != nil && d.Outcome == deployment.Failed:
	default:
		return false
	}
	_, err := s.CLI(ctx, args...) // what becomes of it the record tells
	return err == nil
}

// named is how an agent names a rule of its own where it is missing.
func (s *stage) named(r rule) string {
	s.t.Helper()
	switch r.capability {
	case "":
	case "submit-job": // it includes parse-job, and is named beside it where there is neither
		return r.capability
	default:
		return r.String()
	}
	message := map[string]string{
		"key_prefix":     fmt.Sprintf(`key "%sleader" { policy = "read" }`, s.Keys.Prefix()),
		"session_prefix": `session "consul-1" { policy = "write" }`,
		"service":        fmt.Sprintf(`service %q { policy = "write" }`, r.name),
		"node_prefix":    `node_prefix "" { policy = "read" }`,
	}[r.resource]
	if message == "" {
		s.t.Fatalf("docs/acl.md has a rule that this test does not know: %s", r.text)
	}
	return message
}

// verdicts is where docs/acl.md has the keys of kv triggers.
const verdicts = "verdicts/"

// Each rule of an agent is missed by name when it is not there: the log or
// the record has it, the release goes nowhere and traffic neither, and once
// the rule is given the release goes on to its end.
func TestEveryRuleOfTheAgentIsNamed(t *testing.T) {
	s := openAlone(t, "each", cluster.Options{ACL: true, NomadACL: true, TLS: true})
	inConsul, inNomad := s.documented("Agent, in Consul", "each"), s.documented("Agent, in Nomad", "each")
	consul := s.token("agent", inConsul)
	s.nomadRules("agent", inNomad)
	env := []string{"CONSUL_HTTP_TOKEN=" + consul, "NOMAD_TOKEN=" + s.nomadToken("agent")}
	// Somebody else's service, to which people's own routes lead.
	for _, service := range []string{"each", "other"} {
		s.http(service)
	}
	a := s.agentWith("0", world.AgentOptions{Env: env})
	v := world.Service{Name: "each", Version: "1.0.0", Watch: -1, Soak: -1}
	s.begin(v)
	c := s.calls("each", world.TrafficOptions{})

	lack := func(name, message string, take, give func()) {
		t.Helper()
		if _, err := a.Terminate(s.soon()); err != nil {
			t.Fatal(err)
		}
		take()
		before, was := s.routes("each"), v.Version
		v.Version = name + ".0.0"
		s.write(v)
		a = s.agentWith(name, world.AgentOptions{Env: env, LogLevel: "info"})
		err := cluster.Await(s.soon(), func(ctx context.Context) error {
			said := unquoted(a.Tail(1000))
			if value, err := s.Value(ctx, s.Keys.State("each")); err == nil {
				rec, err := deployment.Decode("each", []byte(value))
				if err != nil {
					return err
				}
				for _, flag := range []*deployment.Flag{rec.Problem, rec.Held} {
					if flag != nil {
						said += flag.Reason + "\n"
					}
				}
				if d := rec.Deployment; d != nil {
					said += d.Reason + "\n" + evidence(*d)
				}
			}
			if !strings.Contains(said, message) {
				return fmt.Errorf("without it nothing says %q:\n%s", message, said)
			}
			return nil
		})
		if err != nil {
			t.Error(err) // the other rules are worth a look all the same
		}
		c.answers(was, 10)
		if now := s.routes("each"); now != before {
			t.Errorf("without %s the routes became\n%s\nthey were\n%s", message, now, before)
		}
		give()
		s.must(cluster.Await(s.soon(), func(ctx context.Context) error {
			rec, err := s.Record(ctx, "each")
			switch {
			case err != nil:
				return err
			case s.nudged(ctx, rec):
				err = errors.New("somebody had to say that it may go on")
			case rec.Deployment == nil || rec.Deployment.Candidate.Version != v.Version:
				err = fmt.Errorf("the release of %s has not begun", v.Version)
			case rec.Deployment.Outcome == "":
				err = fmt.Errorf("the release of %s is %s", v.Version, rec.Deployment.State)
			}
			return err
		}))
		d := s.ends("each", v.Version, deployment.Succeeded)
		c.serves(d.To)
		c.answers(v.Version, 10)
	}
	n := 1
	for _, r := range s.rulesOf(inConsul) {
		if r.resource == "service_prefix" || r.name == verdicts {
			continue // for people's own routes and for kv triggers; see below
		}
		n++
		message := s.named(r)
		t.Log(n, message)
		lack(fmt.Sprint(n), message, func() {
			s.rules("agent", lacking(inConsul, r))
			if r.resource == "node_prefix" { // the launch sees no instance, and says why when it gives up
				v.Deadline = 15 * time.Second
			}
		}, func() {
			s.rules("agent", inConsul)
			if v.Deadline != 0 {
				v.Deadline = 0
				s.write(v)
			}
		})
	}
	for _, r := range s.rulesOf(inNomad) {
		if r.name == "*" {
			continue // see below
		}
		n++
		t.Log(n, r)
		lack(fmt.Sprint(n), s.named(r), func() { s.nomadRules("agent", lacking(inNomad, r)) }, func() { s.nomadRules("agent", inNomad) })
	}
	c.unharmed()

	// Two rules whose lack stops no release of this kind. Without the stream of
	// events it is said that jobs changed by others are not noticed.
	if _, err := a.Terminate(s.soon()); err != nil {
		t.Fatal(err)
	}
	_, err := s.NomadClient().Namespaces().Register(&nomadapi.Namespace{Name: "elsewhere"}, nil) // else there is but one to read
	s.must(err)
	ownOnly := inNomad
	for _, r := range s.rulesOf(inNomad) {
		if r.name == "*" {
			ownOnly = lacking(ownOnly, r)
		}
	}
	s.nomadRules("agent", ownOnly)
	var readsServices, readsVerdicts string
	for _, r := range s.rulesOf(inConsul) {
		switch {
		case r.resource == "service_prefix":
			readsServices = lacking(inConsul, r)
		case r.name == verdicts:
			readsVerdicts = lacking(inConsul, r)
		}
	}
	if readsServices == "" || readsVerdicts == "" {
		t.Fatalf("docs/acl.md has no service_prefix, or no %s:\n%s", verdicts, inConsul)
	}
	// The second service is the one whose routes lead to somebody else's.
	also := strings.NewReplacer(`service "each"`, `service "each-2"`)
	s.rules("agent", also.Replace(readsServices))
	s.http("each-2")
	_, _, err = s.ConsulClient().ConfigEntries().Set(&consulapi.ServiceRouterConfigEntry{
		Kind: consulapi.ServiceRouter, Name: "each-2", Routes: []consulapi.ServiceRoute{{
			Match:       &consulapi.ServiceRouteMatch{HTTP: &consulapi.ServiceRouteHTTPMatch{PathPrefix: "/other"}},
			Destination: &consulapi.ServiceRouteDestination{Service: "other"},
		}},
	}, nil)
	s.must(err)
	before := s.routes("each-2")
	s.must(os.Remove(s.Policies + "/each.hcl"))
	s.write(world.Service{Name: "each-2", Version: "1.0.0", Watch: -1, Soak: -1})
	a = s.agentWith("last", world.AgentOptions{Env: env, LogLevel: "info"})
	rec := s.record("each-2", "which rule is missing", func(r deployment.Service) bool { return r.Problem != nil || r.Held != nil })
	if reason := rec.Problem; reason == nil {
		s.says(rec.Held.Reason, `service "other" { policy = "read" }`)
	} else {
		s.says(reason.Reason, `service "other" { policy = "read" }`)
	}
	if now := s.routes("each-2"); now != before {
		t.Errorf("written all the same:\n%s", now)
	}
	s.must(cluster.Await(s.soon(), func(context.Context) error {
		if said := unquoted(a.Tail(1000)); !strings.Contains(said, `namespace "*" { capabilities = ["read-job"] }`) {
			return fmt.Errorf("it is not said that jobs changed by others go unnoticed:\n%s", said)
		}
		return nil
	}))
	s.rules("agent", also.Replace(inConsul))
	s.teal(0, "deploy", "each-2")
	s.ends("each-2", "1.0.0", deployment.Succeeded)

	// A verdict that may not be read is none: the watch is held, and says why.
	s.rules("agent", also.Replace(readsVerdicts))
	key := verdicts + "2.0.0"
	s.must(s.Put(s.soon(), key, "yes"))
	s.write(world.Service{Name: "each-2", Version: "2.0.0", Watch: time.Second, Soak: -1,
		Triggers: fmt.Sprintf("trigger \"kv\" \"verdict\" {\n  key = \"%s{version}\"\n}", verdicts)})
	rec = s.record("each-2", "that it holds", func(r deployment.Service) bool { return r.Held != nil })
	s.says(rec.Held.Reason, fmt.Sprintf(`key %q { policy = "read" }`, key))
	s.rules("agent", also.Replace(inConsul)) // and the hold goes by itself
	s.ends("each-2", "2.0.0", deployment.Succeeded)
}

// Each rule of those who command is missed by name, and before anything is
// done: what waits for approval goes on waiting, and no command is left lying.
func TestEveryRuleOfPeopleIsNamed(t *testing.T) {
	s := openAlone(t, "folk", cluster.Options{ACL: true, TLS: true})
	audited := s.audited()
	a := s.agent("a")
	v := world.Service{Name: "folk", Version: "1.0.0"}
	s.begin(v)
	v.Version, v.Approval, v.Watch, v.Soak = "2.0.0", "required = true", -1, -1
	s.write(v)
	waiting := s.comes("folk", "2.0.0", deployment.Approving)

	each := func(heading string, all ...[]string) {
		t.Helper()
		policy := s.documented(heading, "folk")
		role := strings.ReplaceAll(heading, " ", "-") // as Consul wants the name of a policy
		token := s.token(role, policy)
		for _, r := range s.rulesOf(policy) {
			s.rules(role, lacking(policy, r))
			said, refused := "", false
			for _, args := range all {
				// Leader and agents are asked for only when nobody answers.
				if strings.HasSuffix(r.name, "/agents/") || strings.HasSuffix(r.name, "/leader") {
					args = []string{"status"}
				}
				if role == "Pipeline" && strings.HasSuffix(r.name, "services/folk/") { // to follow what it has ordered
					args = []string{"deploy", "folk"}
				}
				ran, err := s.CLIWith(s.soon(), []string{"CONSUL_HTTP_TOKEN=" + token}, args...)
				s.must(err)
				said, refused = said+ran.String()+"\n", refused || ran.Code == 2
			}
			access := "read"
			if strings.Contains(r.text, "write") {
				access = "write"
			}
			named := false
			for line := range strings.Lines(said) {
				m := consulRule.FindStringSubmatch(strings.Replace(strings.TrimSpace(line), " { policy = \""+access+"\" }", " {\n  policy = \""+access+"\"\n}\n", 1))
				named = named || m != nil && strings.HasPrefix(m[2], r.name)
			}
			if !refused || !named {
				t.Errorf("%s without %s is refused %t, and the rule is named %t:\n%s", role, r.text, refused, named, said)
			}
			if d := s.comes("folk", "2.0.0", deployment.Approving); d.ID != waiting.ID || d.Approval != nil && d.Approval.By != "" {
				t.Errorf("%s without %s has done something all the same: %+v", role, r.text, d)
			}
			for _, prefix := range []string{s.Keys.Commands(), s.Keys.Approvals()} {
				left, _, err := s.ConsulClient().KV().Keys(prefix, "", nil)
				s.must(err)
				if len(left) > 0 {
					t.Errorf("%s without %s has left %v", role, r.text, left)
				}
			}
		}
		s.rules(role, policy)
	}
	each("Operator", []string{"status"}, []string{"abort", "folk"})
	each("Approver", []string{"approve", "folk"})
	each("Auditor", []string{"audit", "verify", "-agent", a.Name, audited}, []string{"report", "folk"})
	each("Pipeline", []string{"deploy", "-detach", "folk"}, []string{"plan", "folk"})
	v.Approval += "\n approvers = [\"alice\"]"
	s.write(v)
	s.record("folk", "that it waits for alice", func(r deployment.Service) bool {
		return r.InFlight() && r.Deployment.State == deployment.Approving && r.Deployment.Ask != nil
	})
	each("Named approver", []string{"approve", "-as", "alice", "folk"})
}

// Each rule of a worker is missed by name, and nothing is processed without it;
// once it is given the same worker begins.
func TestEveryRuleOfAWorkerIsNamed(t *testing.T) {
	s := openAlone(t, "toil", cluster.Options{ACL: true, TLS: true, WithoutNomad: true})
	policy := strings.ReplaceAll(s.documented("Worker", "toil"), "/reports/", "/toil/")
	token := s.token("worker", policy)
	s.must(s.Put(s.soon(), s.Keys.JobProcessor("toil"), "blue"))
	for i, r := range s.rulesOf(policy) {
		message := map[string]string{
			"key":            fmt.Sprintf(`key %q { policy = "read" }`, s.Keys.JobProcessor("toil")),
			"key_prefix":     fmt.Sprintf(`key "%s`, s.Keys.Workers("toil", deployment.Blue)),
			"session_prefix": `session "consul-1" { policy = "write" }`,
		}[r.resource]
		if message == "" {
			t.Fatalf("docs/acl.md has a rule that this test does not know: %s", r.text)
		}
		s.rules("worker", lacking(policy, r))
		j := s.journal(fmt.Sprintf("journal-%d", i))
		w := s.Program(cluster.Program{
			Name: fmt.Sprintf("worker-%d", i), Path: s.World.Teal,
			Args:  []string{"work", "-service", "toil", "-colour", "blue", "--", "/bin/sh", "-c", "echo blue works >> " + j.path + "; exec sleep 1000"},
			Env:   append(s.Env(), "CONSUL_HTTP_TOKEN="+token),
			Ready: func(context.Context) error { return nil },
		})
		s.must(w.Start(s.soon()))
		s.must(cluster.Await(s.soon(), func(context.Context) error {
			if said := unquoted(w.Tail(100)); !strings.Contains(said, message) {
				return fmt.Errorf("without it nothing says %q:\n%s", message, said)
			}
			return nil
		}))
		if did, err := os.ReadFile(j.path); err == nil && len(did) > 0 {
			t.Errorf("without %s it processes: %s", r.text, did)
		}
		s.rules("worker", policy)
		j.more(deployment.Blue, "works")
		if _, err := w.Terminate(s.soon()); err != nil {
			t.Fatal(err)
		}
	}
}
