package e2e

import (
	"strings"
	"testing"

	nomadapi "github.com/hashicorp/nomad/api"

	"github.com/tealdeploy/teal/agent/deployment"
	"github.com/tealdeploy/teal/testbed/cluster"
	"github.com/tealdeploy/teal/testbed/world"
)

// nomadRules makes a policy in Nomad, or replaces its rules.
func (s *stage) nomadRules(name, rules string) {
	s.t.Helper()
	_, err := s.NomadClient().ACLPolicies().Upsert(&nomadapi.ACLPolicy{Name: name, Rules: rules}, nil)
	s.must(err)
}

func (s *stage) nomadToken(policies ...string) string {
	s.t.Helper()
	return s.nomadACLToken(policies...).SecretID
}

func (s *stage) nomadACLToken(policies ...string) *nomadapi.ACLToken {
	s.t.Helper()
	token, _, err := s.NomadClient().ACLTokens().Create(&nomadapi.ACLToken{Type: "client", Policies: policies}, nil)
	s.must(err)
	return token
}

// Under Nomad's ACLs the documented rules are enough for an agent, from the
// adoption to giving back; the rule that is missing is named, and nothing is
// half done without it.
func TestNomadLeastPrivilege(t *testing.T) {
	s := openAlone(t, "nacl", cluster.Options{NomadACL: true})
	rules := s.documented("Agent, in Nomad", "nacl")
	if !strings.Contains(rules, `"submit-job", `) {
		t.Fatalf("docs/acl.md has no such capability:\n%s", rules)
	}
	s.nomadRules("agent", strings.Replace(rules, `"submit-job", `, `"parse-job", `, 1)) // which it includes
	s.agentWith("a", world.AgentOptions{Env: []string{"NOMAD_TOKEN=" + s.nomadToken("agent")}})
	v := world.Service{Name: "nacl", Version: "1.0.0"}
	s.must(s.RunPlain(s.soon(), v))
	s.http("nacl")
	s.write(v)
	rec := s.record("nacl", "which rule is missing", func(r deployment.Service) bool { return r.Problem != nil })
	s.says(rec.Problem.Reason, `namespace "default"`, "submit-job")

	s.nomadRules("agent", rules)
	c := s.calls("nacl", world.TrafficOptions{Uncoloured: "blue"})
	v.Version, v.Then = "2.0.0", "stop"
	s.write(v)
	d := s.ends("nacl", "2.0.0", deployment.Succeeded)
	if d.FromVersion != "1.0.0" {
		t.Errorf("released from %q", d.FromVersion)
	}
	c.serves(deployment.Green)
	c.answers("2.0.0", 20)
	c.unharmed()
	if job, err := s.Job(s.soon(), "nacl"); err != nil || job == nil || !*job.Stop {
		t.Errorf("the adopted job is not stopped after the soak: %v", err)
	}
	s.teal(0, "release", "nacl")
	s.record("nacl", "that it was given back", func(r deployment.Service) bool { return !r.Managed })
}
