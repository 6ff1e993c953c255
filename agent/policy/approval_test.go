package policy

import (
	"fmt"
	"reflect"
	"strings"
	"testing"
	"time"
)

// approving is a policy with an approval block.
func approving(body string) string {
	return fmt.Sprintf("service \"api\" {\n  job = \"api.nomad.hcl\"\n  approval {\n%s\n  }\n}\n", body)
}

func TestApproval(t *testing.T) {
	for body, want := range map[string]Approval{
		`required = true`: {Required: true},
		`required = true
		 quorum = 1`: {Required: true},
		`required = true
		 deadline = "24h"
		 then = "abort"`: {Required: true, Deadline: 24 * time.Hour},
		`required = true
		 deadline = "24h"
		 then = "hold"
		 quorum = 2
		 approvers = ["carol", "alice", "bob@ops"]`: {Required: true, Deadline: 24 * time.Hour, Hold: true, Quorum: 2, Approvers: []string{"alice", "bob@ops", "carol"}},
		`required = true
		 approvers = ["alice"]`: {Required: true, Quorum: 1, Approvers: []string{"alice"}},
	} {
		if got := loadText(t, approving(body), `job "api" {}`).Approval; !reflect.DeepEqual(got, want) {
			t.Errorf("%s: %+v, want %+v", body, got, want)
		}
	}
}

// An approval that could never be given, or would prove less than it says, is
// found when the policy loads.
func TestApprovalThatProvesNothing(t *testing.T) {
	many := make([]string, MaxApprovers+1)
	for i := range many {
		many[i] = fmt.Sprintf("%q", fmt.Sprint("a", i))
	}
	for body, says := range map[string]string{
		"quorum = 2": "Name the approvers, such as approvers =",
		"quorum = 3\napprovers = [\"alice\", \"bob\"]":   "3 have to consent, and only 2 are named",
		"quorum = 0\napprovers = [\"alice\"]":            "at least 1 is required",
		"approvers = []":                                 "Nobody is named",
		"approvers = [\"alice\", \"Alice\"]":             "\"Alice\" is named twice",
		"approvers = [\"a/b\"]":                          "cannot be the name of an approver",
		"approvers = [\"\"]":                             "cannot be the name of an approver",
		"approvers = [" + strings.Join(many, ", ") + "]": "at most 32 can be",
		"then = \"hold\"":                                "Without a deadline the release waits for ever",
		"deadline = \"1h\"\nthen = \"pass\"":             "expected one of abort, hold",
	} {
		dir := t.TempDir()
		write(t, dir, "api.nomad.hcl", `job "api" {}`)
		_, diags := Load(write(t, dir, "api.hcl", approving("required = true\n"+body)))
		if !strings.Contains(diags.Error(), says) || len(diags) != 1 {
			t.Errorf("%s: want one mistake that says %q: %v", body, says, diags)
		}
	}
	for _, body := range []string{`approvers = ["alice"]`, `deadline = "1h"`} {
		dir := t.TempDir()
		write(t, dir, "api.nomad.hcl", `job "api" {}`)
		if _, diags := Load(write(t, dir, "api.hcl", approving(body))); !strings.Contains(diags.Error(), "Set required = true") {
			t.Errorf("%s, and nobody is ever asked: %v", body, diags)
		}
	}
}

// A release in flight outlives an upgrade of the agent: what a policy says
// without the newer settings is hashed as it always was.
func TestApprovalWithoutNamesKeepsItsHash(t *testing.T) {
	text, err := loadText(t, approving("required = true\ndeadline = \"1h\"\nthen = \"abort\"\nquorum = 1"), `job "api" {}`).judgement()
	if want := `"Approval":{"Required":true,"Deadline":3600000000000},`; err != nil || !strings.Contains(string(text), want) {
		t.Errorf("%s %v, want %s in it", text, err, want)
	}
}

// Who stands first among the approvers means nothing; who they are and how many
// it takes does.
func TestApproversAreHashed(t *testing.T) {
	hash := func(body string) string {
		return loadText(t, approving("required = true\n"+body), `job "api" {}`).Hash()
	}
	was := hash(`approvers = ["alice", "bob"]`)
	if hash(`approvers = ["bob", "alice"]`) != was {
		t.Error("the order of approvers is hashed")
	}
	for _, other := range []string{"", `approvers = ["alice", "carol"]`, "quorum = 2\napprovers = [\"alice\", \"bob\"]", "deadline = \"1h\"\nthen = \"hold\"\napprovers = [\"alice\", \"bob\"]"} {
		if hash(other) == was {
			t.Errorf("%q has the same hash", other)
		}
	}
	if hash("deadline = \"1h\"\nthen = \"hold\"") == hash(`deadline = "1h"`) {
		t.Error("what comes of a deadline is not hashed")
	}
}
