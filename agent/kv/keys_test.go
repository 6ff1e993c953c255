package kv

import (
	"strings"
	"testing"

	"github.com/tealdeploy/teal/agent/deployment"
)

// The layout is a contract with operators' scripts and ACL policies.
func TestKeys(t *testing.T) {
	k := NewKeys("")
	for got, want := range map[string]string{
		k.Prefix():                        "teal/",
		k.Leader():                        "teal/leader",
		k.Agent("a1"):                     "teal/agents/a1",
		k.Active("api"):                   "teal/services/api/active",
		k.State("api"):                    "teal/services/api/state",
		k.Deployment("api", "d1"):         "teal/services/api/deployments/d1",
		k.JobProcessor("api"):             "teal/services/api/job-processor-leader",
		k.Workers("api", ""):              "teal/services/api/workers/",
		k.Workers("api", deployment.None): "teal/services/api/workers/",
		k.Worker("api", deployment.Green, "host-1"): "teal/services/api/workers/green/host-1",
		k.Command("api", Cutover):                   "teal/commands/api/cutover",
		k.Result("api", Cutover):                    "teal/results/api/cutover",
		k.Approval("alice", "api"):                  "teal/approvals/alice/api",
		NewKeys("team/teal").Leader():               "team/teal/leader",
		NewKeys("team/teal/").Leader():              "team/teal/leader",
	} {
		if got != want {
			t.Errorf("%s, want %s", got, want)
		}
	}
}

func TestVerbs(t *testing.T) {
	for _, v := range Verbs {
		if !v.Known() || !strings.Contains(VerbNames(), string(v)) {
			t.Errorf("%s is not known", v)
		}
	}
	if Verb("Deploy").Known() || Verb("").Known() {
		t.Error("anything is a verb")
	}
}

// FuzzSplit: keys come apart only as they were put together.
func FuzzSplit(f *testing.F) {
	for _, seed := range []string{"teal/commands/api/cutover", "teal/commands/api/", "teal/commands//cutover", "teal/commands/a/b/c",
		"teal/services/api/state", "teal/services//state", "teal/services/a/b/state", "teal/services/api/states", "x", "",
		"teal/approvals/alice/api", "teal/approvals/alice/", "teal/approvals//api", "teal/approvals/a/b/c", "teal/approvals/a b/api"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, key string) {
		k := NewKeys("")
		svc, verb, ok := k.SplitCommand(key)
		switch {
		case ok && (k.Command(svc, verb) != key || svc == "" || verb == "" || strings.Contains(svc+string(verb), "/")):
			t.Fatalf("%q is the command %q of %q", key, verb, svc)
		case !ok && (svc != "" || verb != ""):
			t.Fatalf("%q is no command, and %q of %q", key, verb, svc)
		}
		svc, ok = k.SplitState(key)
		if ok && (k.State(svc) != key || svc == "" || strings.Contains(svc, "/")) {
			t.Fatalf("%q is the state of %q", key, svc)
		}
		who, svc, ok := k.SplitApproval(key)
		switch {
		case ok && (k.Approval(who, svc) != key || svc == "" || strings.Contains(svc, "/") || ApproverName(who) != nil):
			t.Fatalf("%q is the approval of %q by %q", key, svc, who)
		case !ok && (who != "" || svc != ""):
			t.Fatalf("%q is no approval, and that of %q by %q", key, svc, who)
		}
		for _, svc := range []string{"api", "a.b", "api-2"} {
			if who, got, ok := k.SplitApproval(k.Approval("alice@ops", svc)); !ok || who != "alice@ops" || got != svc {
				t.Fatalf("an approval of %q is %q's", svc, got)
			}
			if got, ok := k.SplitState(k.State(svc)); !ok || got != svc {
				t.Fatalf("the state of %q is %q's", svc, got)
			}
			if got, verb, ok := k.SplitCommand(k.Command(svc, Pause)); !ok || got != svc || verb != Pause {
				t.Fatalf("a command of %q is %q's", svc, got)
			}
		}
	})
}
