package controller

import (
	"strings"
	"testing"
	"testing/synctest"
	"time"

	consulapi "github.com/hashicorp/consul/api"

	"github.com/tealdeploy/teal/agent/consul/consultest"
	"github.com/tealdeploy/teal/agent/deployment"
	"github.com/tealdeploy/teal/agent/kv"
)

// twoOfThree is a policy with named approvers; more goes into its block.
func twoOfThree(more string) string {
	return quick + "\n approval {\n required = true\n approvers = [\"alice\", \"bob\", \"carol\"]\n quorum = 2\n" + more + "\n }"
}

// hears waits until the record says of its approvers what is wanted.
func (w *world) hears(words string) deployment.Service {
	w.Helper()
	return w.until(time.Minute, words, func(r deployment.Service) bool {
		return given(r).Words() == words
	})
}

// given is what a release that waits for approvers has come to.
func given(r deployment.Service) deployment.Ask {
	if !r.InFlight() || r.Deployment.Ask == nil {
		return deployment.Ask{}
	}
	return *r.Deployment.Ask
}

// waiting releases a version under a policy and is what then waits.
func (w *world) waiting(version, body string) string {
	w.Helper()
	w.policy(version, body)
	return w.state(version, deployment.Approving).Deployment.Candidate.Proof()
}

// Two of three approve, one by the proof alone and one with a reason. The
// command proves nobody and is refused.
func TestQuorumOfApprovers(t *testing.T) {
	inWorld(t, func(w *world) {
		w.adopted()
		proof := w.waiting("2.0.0", twoOfThree(""))
		w.hears("0 of 2 approvals; waits for 2 of alice, bob and carol")
		w.refused(kv.Approve, "", "teal approve -as <name> api")
		w.refused(kv.Approve, proof, "2 of alice, bob and carol")
		w.approves("dave", proof)
		w.approves("alice", proof)
		rec := w.hears("1 of 2 approvals: alice; waits for bob or carol")
		w.serves(deployment.Blue)
		w.approves("carol", `{"proof":"`+proof+`","why":"looks good"}`)
		rec = w.state("2.0.0", deployment.Watching)
		a := rec.Deployment.Approval
		if a == nil || a.By != "alice, carol" || a.Proof != proof || len(a.Consents) != 2 || rec.Deployment.Ask != nil {
			t.Fatalf("approval %+v, asked %+v", a, rec.Deployment.Ask)
		}
		for i, who := range []string{"alice", "carol"} {
			pair, _, err := w.people.Get(w.Context(), w.keys.Approval(who, "api"), 0)
			if err != nil || pair == nil {
				t.Fatalf("the key of %s: %v %v", who, pair, err)
			}
			if c := a.Consents[i]; c.By != who || c.Proof != proof || c.Index != pair.ModifyIndex || c.At.IsZero() || c.Void != "" {
				t.Errorf("%+v, and the key was written at %d", c, pair.ModifyIndex)
			}
		}
		if a.Consents[1].Why != "looks good" {
			t.Errorf("%+v", a.Consents[1])
		}
		w.serves(deployment.Green)
	})
}

// What was given to something else, to nothing, or before it waited, does not
// count, and it is said why. An edit back to what was approved once is no way
// around that.
func TestConsentToSomethingElse(t *testing.T) {
	inWorld(t, func(w *world) {
		w.adopted()
		body := twoOfThree("")
		old := w.waiting("2.0.0", body)
		w.approves("alice", old)
		w.hears("1 of 2 approvals: alice; waits for bob or carol")

		proof := w.waiting("2.0.1", body) // the jobspec's version is another
		w.hears("0 of 2 approvals; waits for 2 of alice, bob and carol; what alice gave does not count: it is for " + old + ", and what waits is " + proof)
		w.approves("bob", "")
		w.approves("carol", `{"proof":`)
		rec := w.until(time.Minute, "all said", func(r deployment.Service) bool { return len(given(r).Consents) == 3 })
		for _, says := range []string{"what bob gave does not count: it does not say to what", "what carol gave does not count: it is not valid"} {
			if words := rec.Deployment.Ask.Words(); !strings.Contains(words, says) {
				t.Errorf("%q is not said in %q", says, words)
			}
		}
		w.approves("bob", proof)
		w.hears("1 of 2 approvals: bob; waits for alice or carol; what alice gave does not count: it is for " + old + ", and what waits is " + proof +
			"; what carol gave does not count: " + rec.Deployment.Ask.Consents[2].Void)

		// Another policy and the old one again: the very same is to be approved anew.
		if w.waiting("2.0.1", twoOfThree(`deadline = "10m"`)) == proof {
			t.Fatal("another policy has the same proof")
		}
		w.policy("2.0.1", body)
		rec = w.until(time.Minute, "the old policy again", func(r deployment.Service) bool {
			return r.InFlight() && r.Deployment.State == deployment.Approving && r.Deployment.Candidate.Proof() == proof && len(given(r).Consents) == 3
		})
		if c, _ := rec.Deployment.Ask.Of("bob"); !strings.Contains(c.Void, "before this began to wait") {
			t.Errorf("%+v", c)
		}
		w.approves("bob", proof) // which Consul does not even note: the key holds it already
		w.approves("alice", proof)
		w.until(time.Minute, "alice", func(r deployment.Service) bool {
			return strings.HasPrefix(given(r).Words(), "1 of 2 approvals: alice")
		})
		time.Sleep(time.Minute)
		w.state("2.0.1", deployment.Approving)
		w.withdraws("bob")
		w.approves("bob", proof)
		w.state("2.0.1", deployment.Watching)
	})
}

// What is taken back before the quorum is met does not count, and the same person
// does not count twice.
func TestConsentTakenBack(t *testing.T) {
	inWorld(t, func(w *world) {
		w.adopted()
		proof := w.waiting("2.0.0", twoOfThree(""))
		w.approves("alice", proof)
		w.hears("1 of 2 approvals: alice; waits for bob or carol")
		w.approves("alice", `{"proof":"`+proof+`","why":"twice"}`)
		w.until(time.Minute, "the second", func(r deployment.Service) bool { c, _ := given(r).Of("alice"); return c.Why == "twice" })
		w.withdraws("alice")
		w.hears("0 of 2 approvals; waits for 2 of alice, bob and carol")
		w.approves("bob", proof)
		w.hears("1 of 2 approvals: bob; waits for alice or carol")
		time.Sleep(time.Minute)
		w.state("2.0.0", deployment.Approving)
		w.serves(deployment.Blue)
		w.approves("carol", proof)
		rec := w.state("2.0.0", deployment.Watching)
		var told []string
		for _, e := range rec.Deployment.Log {
			if strings.HasPrefix(e.What, "consent") || strings.HasPrefix(e.What, "withdraw") || strings.HasPrefix(e.What, "approve") {
				told = append(told, e.By+" "+e.What)
			}
		}
		if got, want := strings.Join(told, "\n"), strings.Join([]string{
			"alice consent: 1 of 2 approvals: alice; waits for bob or carol",
			"alice consent: 1 of 2 approvals: alice; waits for bob or carol",
			"alice withdraw: 0 of 2 approvals; waits for 2 of alice, bob and carol",
			"bob consent: 1 of 2 approvals: bob; waits for alice or carol",
			"carol consent: 2 of 2 approvals: bob, carol",
			"bob, carol approve: 2 of 2 approvals: bob, carol",
		}, "\n"); got != want {
			t.Errorf("evidence:\n%s\nwant:\n%s", got, want)
		}
	})
}

// Somebody takes back in the very moment in which the leader is about to save
// the approval: whichever came first at Consul wins.
func TestWithdrawalThatCameFirstWins(t *testing.T) {
	inWorld(t, func(w *world) {
		w.adopted()
		proof := w.waiting("2.0.0", twoOfThree(""))
		w.approves("alice", proof)
		w.hears("1 of 2 approvals: alice; waits for bob or carol")
		done := false
		w.consul.Intercept(func(call consultest.Call) consultest.Fault {
			if call.Agent == "agent-1" && call.Op == "Txn" && !done {
				done = true
				w.withdraws("alice")
			}
			return consultest.Fault{}
		})
		w.approves("bob", proof)
		w.hears("1 of 2 approvals: bob; waits for alice or carol")
		if !done {
			t.Fatal("nothing was saved")
		}
		time.Sleep(time.Minute)
		w.state("2.0.0", deployment.Approving)
		w.approves("carol", proof)
		w.state("2.0.0", deployment.Watching)
	})
}

// The record is written by somebody else in the moment of the approval, which
// comes about all the same.
func TestQuorumOutlivesAForeignWrite(t *testing.T) {
	inWorld(t, func(w *world) {
		w.adopted()
		proof := w.waiting("2.0.0", twoOfThree(""))
		w.approves("alice", proof)
		w.hears("1 of 2 approvals: alice; waits for bob or carol")
		w.touch()
		w.approves("bob", proof)
		w.state("2.0.0", deployment.Watching)
	})
}

// What comes of a deadline is the policy's to say.
func TestApproversDeadline(t *testing.T) {
	inWorld(t, func(w *world) {
		w.adopted()
		proof := w.waiting("2.0.0", twoOfThree(`deadline = "10m"`))
		w.approves("alice", proof)
		time.Sleep(9 * time.Minute)
		rec := w.until(20*time.Minute, "expired", func(r deployment.Service) bool { return !r.InFlight() })
		d := rec.Deployment
		if d.Outcome != deployment.Aborted || d.Reason != "not approved within 10m0s: 1 of 2 approvals: alice; waits for bob or carol" || len(d.Ask.Counted()) != 1 {
			t.Errorf("%s %q %+v", d.Outcome, d.Reason, d.Ask)
		}
		w.serves(deployment.Blue)
	})
	inWorld(t, func(w *world) {
		w.adopted()
		proof := w.waiting("2.0.0", twoOfThree("deadline = \"10m\"\n then = \"hold\""))
		w.approves("alice", proof)
		held := func(r deployment.Service) bool { return r.Held != nil }
		time.Sleep(9 * time.Minute)
		rec := w.until(20*time.Minute, "held", held)
		if want := "not approved within 10m0s: 1 of 2 approvals: alice; waits for bob or carol; teal resume waits as long again, teal abort gives up"; rec.Held.Reason != want {
			t.Errorf("held: %q, want %q", rec.Held.Reason, want)
		}
		w.approves("bob", proof)
		time.Sleep(20 * time.Minute)
		w.state("2.0.0", deployment.Approving) // held is held
		w.withdraws("bob")
		began := time.Now()
		w.obeyed(kv.Resume, "")
		time.Sleep(8 * time.Minute)
		w.until(20*time.Minute, "held again", held)
		if waited := time.Since(began); waited < 9*time.Minute || waited > 11*time.Minute {
			t.Errorf("it waited %s more, want ten minutes", waited)
		}
		w.approves("bob", proof)
		w.obeyed(kv.Resume, "") // what was given meanwhile counts
		w.state("2.0.0", deployment.Watching)
	})
}

// Without names a deadline may hold, too.
func TestApprovalHolds(t *testing.T) {
	inWorld(t, func(w *world) {
		w.adopted()
		w.policy("2.0.0", quick+"\n approval {\n required = true\n deadline = \"10m\"\n then = \"hold\"\n }")
		time.Sleep(9 * time.Minute)
		rec := w.until(20*time.Minute, "held", func(r deployment.Service) bool { return r.Held != nil })
		if !strings.HasPrefix(rec.Held.Reason, "nobody approved within 10m0s; teal resume") {
			t.Errorf("%q", rec.Held.Reason)
		}
		w.obeyed(kv.Resume, "")
		w.obeyed(kv.Approve, "")
		w.state("2.0.0", deployment.Watching)
	})
}

// While paused nothing is approved; a cutover by force asks no approver.
func TestApproversAndTheRest(t *testing.T) {
	inWorld(t, func(w *world) {
		w.adopted()
		proof := w.waiting("2.0.0", twoOfThree(""))
		w.obeyed(kv.Pause, "")
		w.approves("alice", proof)
		w.approves("bob", proof)
		time.Sleep(10 * time.Minute)
		w.state("2.0.0", deployment.Approving)
		w.serves(deployment.Blue)
		w.obeyed(kv.Resume, "")
		w.state("2.0.0", deployment.Watching)
		w.obeyed(kv.Rollback, "")
		w.until(time.Minute, "back", func(r deployment.Service) bool { return !r.InFlight() })

		// Released again, the very same has to be approved again.
		w.obeyed(kv.Deploy, "")
		rec := w.state("2.0.0", deployment.Approving)
		if rec.Deployment.Candidate.Proof() != proof {
			t.Fatalf("%s, want %s again", rec.Deployment.Candidate.Proof(), proof)
		}
		time.Sleep(time.Minute)
		w.state("2.0.0", deployment.Approving)
		w.obeyed(kv.Cutover, `{"arg":"green","force":true,"why":"nobody is there"}`)
		rec = w.state("2.0.0", deployment.Watching)
		if rec.Deployment.Approval != nil || rec.Deployment.Forced == nil {
			t.Errorf("approval %+v, forced %+v", rec.Deployment.Approval, rec.Deployment.Forced)
		}
	})
}

// The leader dies between two consents; the next one counts both.
func TestApprovalsOutliveTheLeader(t *testing.T) {
	inWorld(t, func(w *world) {
		first := w.adopted()
		proof := w.waiting("2.0.0", twoOfThree(""))
		w.approves("alice", proof)
		w.hears("1 of 2 approvals: alice; waits for bob or carol")
		first.stop()
		w.approves("bob", proof)
		w.agent("agent-2")
		if a := w.state("2.0.0", deployment.Watching).Deployment.Approval; a == nil || a.By != "alice, bob" {
			t.Errorf("%+v", a)
		}
	})
}

// Approvers' keys are followed by one query, and only while somebody waits.
func TestApproversAreAskedOnlyWhileNeeded(t *testing.T) {
	inWorld(t, func(w *world) {
		w.adopted()
		asked := 0
		w.consul.Intercept(func(call consultest.Call) consultest.Fault {
			if call.Agent == "agent-1" && call.Key == w.keys.Approvals() {
				asked++
			}
			return consultest.Fault{}
		})
		proof := w.waiting("2.0.0", twoOfThree(""))
		w.approves("alice", proof)
		w.hears("1 of 2 approvals: alice; waits for bob or carol")
		if asked == 0 {
			t.Fatal("the queries are not seen: the test proves nothing")
		}
		w.approves("bob", proof)
		w.state("2.0.0", deployment.Watching)
		was := asked
		w.approves("carol", proof)
		time.Sleep(10 * time.Minute)
		synctest.Wait()
		if asked != was {
			t.Errorf("the keys were read %d times while nobody waited", asked-was)
		}
	})
}

// What the approvers' keys come to.
func TestHeed(t *testing.T) {
	d := deployment.Deployment{Candidate: deployment.Candidate{Hash: "h", Policy: "p"},
		Ask: &deployment.Ask{Quorum: 2, Approvers: []string{"alice", "bob"}, After: 10}}
	key := func(value string, index uint64) *consulapi.KVPair {
		return &consulapi.KVPair{Value: []byte(value), ModifyIndex: index}
	}
	for _, test := range []struct {
		name  string
		found map[string]*consulapi.KVPair
		met   bool
		words string
	}{
		{"nothing", nil, false, "0 of 2 approvals; waits for alice and bob"},
		{"one", map[string]*consulapi.KVPair{"alice": key("h+p", 11)}, false, "1 of 2 approvals: alice; waits for bob"},
		{"two", map[string]*consulapi.KVPair{"alice": key("h+p", 11), "bob": key("h+p", 12)}, true, "2 of 2 approvals: alice, bob"},
		{"at the very index", map[string]*consulapi.KVPair{"alice": key("h+p", 10), "bob": key("h+p", 12)}, false,
			"1 of 2 approvals: bob; waits for alice; what alice gave does not count: it was given before this began to wait: take it back and give it again"},
		{"the jobspec alone", map[string]*consulapi.KVPair{"alice": key("h", 11)}, false,
			"0 of 2 approvals; waits for alice and bob; what alice gave does not count: it is for h, and what waits is h+p"},
		{"a stranger's", map[string]*consulapi.KVPair{"alice": key("h+p", 11), "dave": key("h+p", 12)}, false, "1 of 2 approvals: alice; waits for bob"},
	} {
		if _, ask := heed(d, test.found, time.Now()); ask.Met() != test.met || ask.Words() != test.words {
			t.Errorf("%s: %t %q, want %t %q", test.name, ask.Met(), ask.Words(), test.met, test.words)
		}
	}
}
