package cli

import (
	"context"
	"encoding/json"
	"strings"
	"testing"

	"github.com/posener/complete"

	"github.com/tealdeploy/teal/agent/deployment"
	"github.com/tealdeploy/teal/agent/kv"
)

// asking is a service that waits for two of three approvers.
func asking(consents ...deployment.Consent) deployment.Service {
	rec := releasing(deployment.Approving, 20)
	rec.Deployment.Ask = &deployment.Ask{Quorum: 2, Approvers: []string{"alice", "bob", "carol"}, After: 5, Consents: consents}
	return rec
}

// counts is an agent that takes each consent as it comes; with void it says that
// it does not count.
func counts(void string, before ...deployment.Consent) func(*fakeConsul, string, string, kv.Consent, uint64) {
	return func(f *fakeConsul, who, svc string, c kv.Consent, index uint64) {
		rec := asking(append(before, deployment.Consent{By: who, At: at(30), Proof: c.Proof, Index: index, Why: c.Why, Void: void})...)
		if ask := rec.Deployment.Ask; ask.Met() {
			rec.Deployment.Approval = &deployment.Approval{By: deployment.Givers(ask.Counted()), At: at(30), Proof: c.Proof, Consents: ask.Counted()}
			rec.Deployment.State, rec.Deployment.Ask = deployment.CuttingOver, nil
		}
		f.record(rec)
	}
}

func TestApproverWritesTheirKey(t *testing.T) {
	f := newFakeConsul(t)
	f.record(asking())
	proof := asking().Deployment.Candidate.Proof()
	f.heeds = counts("")
	teal(t, "approve", "-as", "alice", "-why", "looks good", "api").want(t, exitOK, "1 of 2 approvals: alice; waits for bob or carol.\n", "")
	value, _ := f.value(testKeys.Approval("alice", "api"))
	first, err := kv.ParseConsent([]byte(value))
	if err != nil || first.Proof != proof || first.Why != "looks good" || first.By == "" || first.At == "" {
		t.Errorf("%s: %+v %v", value, first, err)
	}
	if _, there := f.value(testKeys.Command("api", kv.Approve)); there {
		t.Error("a command was put, too")
	}
	// What counts already is left alone; what does not is written anew.
	teal(t, "approve", "-as", "alice", "api").want(t, exitOK, "1 of 2 approvals: alice", "")
	if again, _ := f.value(testKeys.Approval("alice", "api")); again != value {
		t.Errorf("written again: %s, it was %s", again, value)
	}
	f.record(asking(deployment.Consent{By: "alice", Index: 7, Void: "it was given before"}))
	teal(t, "approve", "-as", "alice", "api").want(t, exitOK, "1 of 2 approvals: alice", "")
	if again, _ := f.value(testKeys.Approval("alice", "api")); again == value {
		t.Error("the same value was written, which Consul does not even note")
	}

	f.heeds = counts("", deployment.Consent{By: "alice", Index: 7})
	r := teal(t, "approve", "-as", "bob", "api", "-json")
	r.want(t, exitOK, "", "")
	var o ordered
	if err := json.Unmarshal([]byte(r.out), &o); err != nil || o.Result.Reason != "api 1.3.0 is approved by alice, bob." || !o.Result.Accepted || o.Result.By != "bob" || o.Deployment == nil {
		t.Errorf("%v %+v", err, o)
	}
}

func TestApproverIsToldWhyNot(t *testing.T) {
	f := newFakeConsul(t)
	f.record(asking())
	teal(t, "approve", "api").want(t, exitRefused, "", "it takes the approval of 2 of alice, bob and carol, each under their own name: teal approve -as <name> api")
	teal(t, "approve", "-as", "dave", "api").want(t, exitRefused, "", "dave is no approver of api: it takes 2 of alice, bob and carol")
	teal(t, "approve", "-as", "a/b", "api").want(t, exitError, "", "cannot be the name of an approver")
	teal(t, "approve", "-withdraw", "api").want(t, exitError, "", "-withdraw needs -as")
	teal(t, "approve", "-as", "alice", "-withdraw", "api").want(t, exitRefused, "", "nothing to take back")
	teal(t, "approve", "-as", "alice", "api", "ffff").want(t, exitRefused, "", "not ffff")
	f.heeds = counts("it was given before this began to wait")
	teal(t, "approve", "-as", "alice", "api").want(t, exitRefused, "", "refused: it was given before this began to wait")
	paused := asking()
	paused.Paused = &deployment.Flag{By: "bob@desk", Reason: "lunch"}
	f.record(paused)
	teal(t, "approve", "-as", "alice", "api").want(t, exitRefused, "", "stopped by bob@desk (lunch): teal resume api")
	f.record(releasing(deployment.Approving, 20))
	teal(t, "approve", "-as", "alice", "api").want(t, exitRefused, "", "names no approvers: teal approve api")

	f = newFakeConsul(t)
	f.record(asking())
	f.mu.Lock()
	f.deny = testKeys.Approval("bob", "")
	f.mu.Unlock()
	teal(t, "approve", "-as", "bob", "api").want(t, exitRefused, "", `key "teal/approvals/bob/api"`)
}

// Whatever the release comes to meanwhile is told.
func TestApproverIsToldWhatCameBetween(t *testing.T) {
	for want, change := range map[string]func(*deployment.Service){
		"the jobspec or the policy was edited meanwhile": func(s *deployment.Service) { s.Deployment.Candidate.Policy = "another" },
		"it does not wait for approval any more: it is done": func(s *deployment.Service) {
			s.Deployment.State, s.Deployment.Reason = deployment.Done, "not approved within 1h"
		},
		"another release has taken the place":    func(s *deployment.Service) { s.Deployment.ID = "d8" },
		"it was approved already, by bob, carol": func(s *deployment.Service) { s.Deployment.Approval = &deployment.Approval{By: "bob, carol"} },
	} {
		f := newFakeConsul(t)
		f.record(asking())
		f.heeds = func(f *fakeConsul, _, _ string, _ kv.Consent, _ uint64) {
			rec := asking()
			change(&rec)
			f.record(rec)
		}
		teal(t, "approve", "-as", "alice", "api").want(t, exitRefused, "", want)
	}
}

func TestApproverTakesBack(t *testing.T) {
	f := newFakeConsul(t)
	index := f.put(testKeys.Approval("alice", "api"), "x")
	f.record(asking(deployment.Consent{By: "alice", Index: index}))
	done := make(chan struct{})
	go func() {
		defer close(done)
		f.watched(testKeys.State("api"))
		f.record(asking())
	}()
	teal(t, "approve", "-as", "alice", "-withdraw", "api").want(t, exitOK, "0 of 2 approvals; waits for 2 of alice, bob and carol.\n", "")
	<-done
	if _, there := f.value(testKeys.Approval("alice", "api")); there {
		t.Error("the key is there")
	}

	// Too late: the agent had counted it.
	index = f.put(testKeys.Approval("alice", "api"), "x")
	f.record(asking(deployment.Consent{By: "alice", Index: index}))
	done = make(chan struct{})
	go func() {
		defer close(done)
		f.watched(testKeys.State("api"))
		rec := asking()
		rec.Deployment.State, rec.Deployment.Ask = deployment.CuttingOver, nil
		rec.Deployment.Approval = &deployment.Approval{By: "alice, bob", Consents: []deployment.Consent{{By: "alice", Index: index}}}
		f.record(rec)
	}()
	teal(t, "approve", "-as", "alice", "-withdraw", "api").want(t, exitRefused, "", "it was approved already, by alice, bob; teal rollback api")
	<-done
}

// An approval that no agent notes is withdrawn: it must not count hours later.
func TestApprovalThatNobodyNotesIsWithdrawn(t *testing.T) {
	f := newFakeConsul(t)
	f.record(asking())
	teal(t, "approve", "-as", "alice", "-timeout=100ms", "api").want(t, exitUnreachable, "", "no agent leads")
	if _, there := f.value(testKeys.Approval("alice", "api")); there {
		t.Error("the key is there")
	}
	ctx, cancel := context.WithCancel(t.Context())
	go func() {
		f.watched(testKeys.State("api"))
		cancel()
	}()
	tealIn(t, ctx, nil, "approve", "-as", "alice", "api").want(t, exitUnknown, "", "it was withdrawn")
	if _, there := f.value(testKeys.Approval("alice", "api")); there {
		t.Error("the key is there")
	}
}

func TestStatusShowsApprovers(t *testing.T) {
	f := newFakeConsul(t)
	f.lead("teal-1")
	f.record(asking(deployment.Consent{By: "alice", Index: 7}, deployment.Consent{By: "bob", Index: 8, Void: "it is for something \x1b[31melse"}))
	const words = "1 of 2 approvals: alice; waits for bob or carol; what bob gave does not count: it is for something"
	for _, args := range [][]string{{"status"}, {"status", "api"}} {
		r := teal(t, args...)
		r.want(t, exitOK, words, "")
		if strings.Contains(r.out, "\x1b") {
			t.Error("an escape sequence from KV reached the terminal")
		}
	}
	teal(t, "status", "api").want(t, exitOK, "teal approve -as <name> api", "")
	teal(t, "status", "-json").want(t, exitOK, `"approvals": "1 of 2 approvals`, "")

	all := commands(t.Context(), newTerminal(&buffer{}, &buffer{}))
	made, _ := all["approve"]()
	flags := made.(interface{ AutocompleteFlags() complete.Flags }).AutocompleteFlags()
	if got := strings.Join(flags["-as"].Predict(complete.Args{}), " "); got != "alice bob carol" {
		t.Errorf("-as is completed by %q", got)
	}
}

func TestReportShowsApprovers(t *testing.T) {
	f := newFakeConsul(t)
	d := takenBack("d7")
	proof := d.Candidate.Proof()
	d.Approval = &deployment.Approval{By: "alice, bob", At: at(24), Proof: proof, Consents: []deployment.Consent{
		{By: "alice", At: at(21), Proof: proof, Index: 4711, Why: "looks good"}, {By: "bob", At: at(24), Proof: proof, Index: 4712}}}
	f.kept(d)
	rec := running()
	rec.Finished = []string{"d7"}
	f.record(rec)
	r := teal(t, "report", "api", "d7")
	r.want(t, exitOK, "alice, bob", "")
	for _, says := range []string{"4711", "4712", "looks good", proof} {
		if !strings.Contains(r.out, says) {
			t.Errorf("%q is not in\n%s", says, r.out)
		}
	}
	teal(t, "report", "api", "d7", "-format", "markdown").want(t, exitOK, "4712", "")
	teal(t, "history", "api", "d7").want(t, exitOK, "alice at ", "")

	d.Approval, d.Ask = nil, &deployment.Ask{Quorum: 2, Approvers: []string{"alice", "bob"}, Consents: []deployment.Consent{{By: "bob", At: at(24), Proof: proof, Index: 4712}}}
	f.kept(d)
	teal(t, "report", "api", "d7").want(t, exitOK, "1 of 2 approvals: bob; waits for alice", "")
	teal(t, "history", "api", "d7").want(t, exitOK, "Not approved: 1 of 2 approvals: bob", "")
}
