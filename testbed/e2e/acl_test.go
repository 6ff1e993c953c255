package e2e

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	consulapi "github.com/hashicorp/consul/api"

	"github.com/tealdeploy/teal/agent/deployment"
	"github.com/tealdeploy/teal/testbed/cluster"
	"github.com/tealdeploy/teal/testbed/world"
)

// blocks are the texts in a language that docs/acl.md gives under a heading.
func (s *stage) blocks(heading, language string) []string {
	s.t.Helper()
	text, err := os.ReadFile(filepath.Join(s.Root, "docs", "acl.md"))
	s.must(err)
	_, section, _ := strings.Cut(string(text), "\n## "+heading+"\n")
	section, _, _ = strings.Cut(section, "\n## ")
	parts := strings.Split(section, "```"+language+"\n")
	if len(parts) < 2 {
		s.t.Fatalf("docs/acl.md has no %s under %q", language, heading)
	}
	for i, part := range parts {
		parts[i], _, _ = strings.Cut(part, "```")
	}
	return parts[1:]
}

// documented are the rules that docs/acl.md gives under a heading, for this
// site's prefix and a service.
func (s *stage) documented(heading, service string) string {
	s.t.Helper()
	rules := s.blocks(heading, "hcl")[0]
	return strings.NewReplacer(`"teal/`, `"`+s.Keys.Prefix(), `/api/`, `/`+service+`/`, `/api"`, `/`+service+`"`, `"api"`, `"`+service+`"`).Replace(rules)
}

// rules replaces those of a Consul policy.
func (s *stage) rules(name, rules string) {
	s.t.Helper()
	acl := s.ConsulClient().ACL()
	policy, _, err := acl.PolicyReadByName(name, nil)
	s.must(err)
	policy.Rules = rules
	_, _, err = acl.PolicyUpdate(policy, nil)
	s.must(err)
}

// token makes a Consul token with rules.
func (s *stage) token(name, rules string) string {
	s.t.Helper()
	_, _, err := s.ConsulClient().ACL().PolicyCreate(&consulapi.ACLPolicy{Name: name, Rules: rules}, nil)
	s.must(err)
	// By the command: the client of a newer Consul says things that this one
	// does not understand.
	ran, err := s.ConsulCLI(s.soon(), "acl", "token", "create", "-policy-name", name, "-format", "json")
	s.must(err)
	var token consulapi.ACLToken
	if err := json.Unmarshal([]byte(ran.Out), &token); err != nil || token.SecretID == "" {
		s.t.Fatalf("no token: %v\n%s", err, ran)
	}
	return token.SecretID
}

// Under ACLs that deny by default the documented rules are enough for each
// role, and what one may not do is refused with the rule that is missing.
func TestLeastPrivilege(t *testing.T) {
	s := openAlone(t, "acl", cluster.Options{ACL: true, NomadACL: true, TLS: true})
	as := func(token string, code int, args ...string) world.Ran {
		t.Helper()
		ran, err := s.CLIWith(s.soon(), []string{"CONSUL_HTTP_TOKEN=" + token}, args...)
		s.must(err)
		if ran.Code != code {
			t.Fatalf("want exit code %d:\n%s", code, ran)
		}
		return ran
	}
	agent := s.token("agent", s.documented("Agent, in Consul", "acl"))
	operator := s.token("operator", s.documented("Operator", "acl"))
	approver := s.token("approver", s.documented("Approver", "acl"))
	pipeline := s.token("pipeline", s.documented("Pipeline", "acl"))
	nobody := s.token("nobody", "")

	s.nomadRules("agent", s.documented("Agent, in Nomad", "acl"))
	s.agentWith("a", world.AgentOptions{Env: []string{"CONSUL_HTTP_TOKEN=" + agent, "NOMAD_TOKEN=" + s.nomadToken("agent")}})
	v := world.Service{Name: "acl", Version: "1.0.0"}
	s.begin(v)
	c := s.calls("acl", world.TrafficOptions{})

	v.Approval, v.Manual = "required = true", true
	s.reread(s.Agents()[0], func() { s.write(v) })
	as(pipeline, 0, "deploy", "-detach", "acl", "-var", "version=2.0.0")
	s.comes("acl", "2.0.0", deployment.Approving)
	s.says(as(pipeline, 2, "approve", "acl").Err, s.Keys.Command("acl", "approve"), "write")
	s.says(as(approver, 2, "abort", "acl").Err, s.Keys.Command("acl", "abort"), "write")
	s.says(as(nobody, 2, "status", "acl").Err, s.Keys.Prefix(), "read")
	as(approver, 0, "approve", "acl")
	d := s.ends("acl", "2.0.0", deployment.Succeeded)
	c.serves(d.To)
	as(operator, 0, "status", "acl")
	as(operator, 0, "cutover", "acl", string(d.From))
	c.serves(d.From)
	c.answers("1.0.0", 20)
	c.unharmed()
}

// An agent that lacks a rule says which one, leaves nothing half done, and
// goes on once it has it.
func TestMissingRuleIsNamed(t *testing.T) {
	s := openAlone(t, "rule", cluster.Options{ACL: true})
	rules := s.documented("Agent, in Consul", "rule")
	missing := "service \"rule\" {\n  policy = \"write\"\n}\n"
	if !strings.Contains(rules, missing) {
		t.Fatalf("docs/acl.md has no rule for the managed service:\n%s", rules)
	}
	token := s.token("agent", strings.Replace(rules, missing, "", 1))
	s.agentWith("a", world.AgentOptions{Env: []string{"CONSUL_HTTP_TOKEN=" + token}})
	v := world.Service{Name: "rule", Version: "1.0.0"}
	s.write(v)
	rec := s.record("rule", "which rule is missing", func(r deployment.Service) bool { return r.Problem != nil || r.Held != nil })
	reason := rec.Problem
	if reason == nil {
		reason = rec.Held
	}
	s.says(reason.Reason, `service "rule"`, "write")
	for _, kind := range []string{consulapi.ServiceRouter, consulapi.ServiceResolver, consulapi.ServiceDefaults} {
		if entry, _, err := s.ConsulClient().ConfigEntries().Get(kind, "rule", nil); err == nil {
			t.Errorf("written all the same: %+v", entry)
		}
	}
	s.rules("agent", rules)
	s.teal(0, "deploy", "rule")
}
