package e2e

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	nomadapi "github.com/hashicorp/nomad/api"

	"github.com/tealdeploy/teal/agent/deployment"
	"github.com/tealdeploy/teal/testbed/cluster"
	"github.com/tealdeploy/teal/testbed/world"
)

// roles has, for each heading of docs/acl.md that gives rules, the test that
// takes every one of them away in turn.
var roles = map[string]func(*testing.T){
	"Agent, in Consul":          TestEveryRuleOfTheAgentIsNamed,
	"Agent, in Nomad":           TestEveryRuleOfTheAgentIsNamed,
	"Agent, for tests in Nomad": TestEveryRuleForTestsIsNamed,
	"Operator":                  TestEveryRuleOfPeopleIsNamed,
	"Operator, in Nomad":        TestEveryRuleForInitIsNamed,
	"Approver":                  TestEveryRuleOfPeopleIsNamed,
	"Named approver":            TestEveryRuleOfPeopleIsNamed,
	"Pipeline":                  TestEveryRuleOfPeopleIsNamed,
	"Worker":                    TestEveryRuleOfAWorkerIsNamed,
	"Auditor":                   TestEveryRuleOfPeopleIsNamed,
}

// Nobody gets rules from the docs that no test takes away: the tests read a
// role's rules from there, and there is no role that none of them knows.
func TestEveryRoleHasItsTest(t *testing.T) {
	text, err := os.ReadFile(filepath.Join("..", "..", "docs", "acl.md"))
	if err != nil {
		t.Fatal(err)
	}
	var documented []string
	for _, section := range strings.Split(string(text), "\n## ")[1:] {
		heading, rest, _ := strings.Cut(section, "\n")
		switch given := strings.Count(rest, "```hcl\n"); {
		case given > 1:
			t.Errorf("%q has %d blocks of rules; the tests know the first", heading, given)
		case given == 1:
			documented = append(documented, heading)
		}
	}
	slices.Sort(documented)
	if tested := slices.Sorted(maps.Keys(roles)); !slices.Equal(documented, tested) {
		t.Errorf("docs/acl.md has rules for %q\ntests take those away for %q", documented, tested)
	}
}

// rule is one of a policy's rules: in Consul, its resource and name and its
// text; in Nomad, a namespace's name, one capability in it and the whole
// block's text.
type rule struct{ resource, name, capability, text string }

var (
	consulRule = regexp.MustCompile(`(?m)^(\w+) "([^"]*)" \{\n +policy = "\w+"\n\}\n`)
	nomadRule  = regexp.MustCompile(`(?m)^(namespace) "([^"]*)" \{\n +capabilities = \[([^\]]*)\]\n\}\n`)
)

// rulesOf takes a policy apart. A rule that it does not understand would not be
// taken away: there may be none.
func (s *stage) rulesOf(policy string) (all []rule) {
	s.t.Helper()
	blocks := 0
	for _, m := range consulRule.FindAllStringSubmatch(policy, -1) {
		blocks++
		all = append(all, rule{resource: m[1], name: m[2], text: m[0]})
	}
	for _, m := range nomadRule.FindAllStringSubmatch(policy, -1) {
		blocks++
		for _, capability := range strings.Split(m[3], ",") {
			all = append(all, rule{resource: m[1], name: m[2], capability: strings.Trim(capability, ` "`), text: m[0]})
		}
	}
	if blocks == 0 || blocks != strings.Count(policy, "{") {
		s.t.Fatalf("%d rules found in:\n%s", blocks, policy)
	}
	return all
}

// lacking is a policy without one of its rules.
func lacking(policy string, r rule) string {
	less := ""
	if r.capability != "" {
		without := regexp.MustCompile(`"`+r.capability+`",? ?`).ReplaceAllString(r.text, "")
		if without = strings.Replace(without, ", ]", "]", 1); !strings.Contains(without, "[]") {
			less = without
		}
	}
	return strings.Replace(policy, r.text, less, 1)
}

// String is the rule as it is named where it is missing, less its braces.
func (r rule) String() string {
	if r.capability != "" {
		return r.resource + ` "` + r.name + `" { capabilities = ["` + r.capability + `"] }`
	}
	return strings.Join(strings.Fields(r.text), " ")
}

// A test that runs in Nomad is not begun without a rule it needs, and no
// version serves untested; what is missing is told, and once it is given the
// release goes on. Its log is evidence only.
func TestEveryRuleForTestsIsNamed(t *testing.T) {
	s := openAlone(t, "tests", cluster.Options{NomadACL: true})
	policy := s.documented("Agent, for tests in Nomad", "tests")
	s.nomadRules("agent", s.documented("Agent, in Nomad", "tests"))
	s.nomadRules("more", policy)
	token := s.nomadToken("agent", "more")
	s.agentWith("a", world.AgentOptions{Env: []string{"NOMAD_TOKEN=" + token}})
	v := world.Service{Name: "tests", Version: "1.0.0", Watch: -1, Soak: -1}
	s.begin(v)
	c := s.calls("tests", world.TrafficOptions{})
	s.parameterized("tests", "echo tested")
	v.Gates = "gate \"nomad-job\" \"suite\" {\n  dispatch = \"tests-e2e\"\n}"
	for i, r := range s.rulesOf(policy) {
		was := v.Version
		v.Version = fmt.Sprintf("%d.0.0", i+2)
		s.nomadRules("more", lacking(policy, r))
		if r.capability == "read-logs" { // which a client of Nomad's decides, by what it last heard of the rules
			s.mayNotReadLogs(token)
		}
		s.write(v)
		rec := s.record("tests", "which rule is missing: "+r.String(), func(rec deployment.Service) bool {
			d := rec.Deployment
			return d != nil && d.Candidate.Version == v.Version && strings.Contains(fmt.Sprint(gateOf(*d, "suite")), r.String())
		})
		switch d := rec.Deployment; {
		case r.capability == "read-logs": // of evidence only
		case d.State != deployment.Gating:
			t.Errorf("without %s the release is %s %s", r, d.State, d.Outcome)
		default:
			c.answers(was, 10)
		}
		s.nomadRules("more", policy)
		c.serves(s.ends("tests", v.Version, deployment.Succeeded).To)
	}
	c.unharmed()
}

// teal init writes nothing without the rule to read the job, and names it.
func TestEveryRuleForInitIsNamed(t *testing.T) {
	s := openAlone(t, "start", cluster.Options{NomadACL: true})
	s.must(s.RunPlain(s.soon(), world.Service{Name: "start", Version: "1.0.0"}))
	policy := s.documented("Operator, in Nomad", "start")
	s.nomadRules("operator", policy)
	env := []string{"NOMAD_TOKEN=" + s.nomadToken("operator")}
	file := filepath.Join(s.Policies, "start.hcl")
	begins := func() world.Ran {
		t.Helper()
		ran, err := s.CLIWith(s.soon(), env, "init", "-job", "start", "-o", file)
		s.must(err)
		return ran
	}
	for _, r := range s.rulesOf(policy) {
		s.nomadRules("operator", lacking(policy, r))
		ran := begins()
		s.says(ran.Err, r.String())
		if _, err := os.Stat(file); ran.Code == 0 || err == nil {
			t.Errorf("without %s a policy is written:\n%s", r, ran)
		}
		s.nomadRules("operator", policy)
	}
	if ran := begins(); ran.Code != 0 {
		t.Error(ran)
	}
}

// mayNotReadLogs waits until a token may not read any log.
func (s *stage) mayNotReadLogs(token string) {
	s.t.Helper()
	allocs, _, err := s.NomadClient().Allocations().List(nil)
	s.must(err)
	client, err := nomadapi.NewClient(&nomadapi.Config{Address: s.URL(s.Nomad), SecretID: token})
	s.must(err)
	s.must(cluster.Await(s.soon(), func(ctx context.Context) error {
		body, err := client.Raw().Response("/v1/client/fs/logs/"+allocs[0].ID+"?plain=true&type=stdout&task="+slices.Sorted(maps.Keys(allocs[0].TaskStates))[0], (&nomadapi.QueryOptions{}).WithContext(ctx))
		switch {
		case err == nil:
			body.Close()
			return errors.New("the log can be read")
		case !strings.Contains(err.Error(), "Permission denied"):
			return err
		}
		return nil
	}))
}
