package e2e

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/tealdeploy/teal/agent/deployment"
	"github.com/tealdeploy/teal/testbed/cluster"
	"github.com/tealdeploy/teal/testbed/world"
)

// Two of three approve, each with a token that may write that name's key and no
// other's. What was given to another jobspec or policy does not count, nor what
// was taken back.
func TestApprovers(t *testing.T) {
	s := openAlone(t, "appr", cluster.Options{ACL: true})
	rules := s.documented("Named approver", "appr")
	tokens := map[string]string{}
	for _, who := range []string{"alice", "bob", "carol"} {
		tokens[who] = s.token(who, strings.ReplaceAll(rules, "/alice/", "/"+who+"/"))
	}
	as := func(token string, code int, args ...string) world.Ran {
		t.Helper()
		ran, err := s.CLIWith(s.soon(), []string{"CONSUL_HTTP_TOKEN=" + tokens[token]}, args...)
		s.must(err)
		if ran.Code != code {
			t.Fatalf("%s: want exit code %d:\n%s", token, code, ran)
		}
		return ran
	}
	s.agentWith("a", world.AgentOptions{Env: []string{"CONSUL_HTTP_TOKEN=" + s.token("agent", s.documented("Agent, in Consul", "appr"))}})
	v := world.Service{Name: "appr", Version: "1.0.0"}
	s.begin(v)
	c := s.calls("appr", world.TrafficOptions{})

	v.Version, v.Approval = "2.0.0", "required = true\n approvers = [\"alice\", \"bob\", \"carol\"]\n quorum = 2"
	s.write(v)
	proof := s.comes("appr", "2.0.0", deployment.Approving).Candidate.Proof()

	// Nobody is somebody else: not by the command, not by Consul's own.
	bobs := fmt.Sprintf("key %q { policy = \"write\" }", s.Keys.Approval("bob", "appr"))
	s.says(as("alice", 2, "approve", "-as", "bob", "appr").Err, bobs)
	ran, err := s.ConsulCLI(s.soon(), "kv", "put", "-token", tokens["alice"], s.Keys.Approval("bob", "appr"), proof)
	s.must(err)
	if ran.Code == 0 || !strings.Contains(ran.String(), "Permission denied") {
		t.Errorf("alice wrote bob's key: %s", ran)
	}
	s.says(s.teal(2, "approve", "appr").Err, "2 of alice, bob and carol", "teal approve -as <name> appr")
	s.says(s.order("appr", "approve", proof, false).Reason, "2 of alice, bob and carol")

	s.says(as("alice", 0, "approve", "-as", "alice", "-why", "looks good", "appr").Out, "1 of 2 approvals: alice; waits for bob or carol")
	s.says(s.teal(0, "status", "appr").Out, "1 of 2 approvals: alice; waits for bob or carol", "teal approve -as <name> appr")
	s.says(as("alice", 0, "approve", "-as", "alice", "-withdraw", "appr").Out, "0 of 2 approvals")
	s.says(as("bob", 0, "approve", "-as", "bob", "appr").Out, "1 of 2 approvals: bob; waits for alice or carol")

	// An edit of the policy voids what bob gave, and going back on the edit does
	// not bring it back.
	edited := v
	edited.Cutover = "timeout = \"29s\""
	for _, w := range []world.Service{edited, v} {
		was := s.comes("appr", "2.0.0", deployment.Approving).Candidate.Proof()
		s.write(w)
		s.record("appr", "that what bob gave does not count", func(r deployment.Service) bool {
			d := r.Deployment
			if !r.InFlight() || d.State != deployment.Approving || d.Candidate.Proof() == was {
				return false
			}
			given, ok := d.Ask.Of("bob")
			return ok && given.Void != "" && len(d.Ask.Counted()) == 0
		})
	}
	if now := s.comes("appr", "2.0.0", deployment.Approving).Candidate.Proof(); now != proof {
		t.Fatalf("%s waits, want %s again", now, proof)
	}
	if n := c.Load.Tally(); n.Versions["2.0.0"] != 0 {
		t.Errorf("2.0.0 served before it was approved: %s", n)
	}
	s.says(as("alice", 0, "approve", "-as", "alice", "-why", "looks good", "appr").Out, "1 of 2 approvals: alice")
	s.says(as("bob", 0, "approve", "-as", "bob", "appr").Out, "appr 2.0.0 is approved by alice, bob.")
	d := s.ends("appr", "2.0.0", deployment.Succeeded)
	if a := d.Approval; a == nil || a.By != "alice, bob" || a.Proof != proof || len(a.Consents) != 2 || a.Consents[0].Why != "looks good" {
		t.Fatalf("on record: %+v", d.Approval)
	}
	for _, given := range d.Approval.Consents {
		pair, _, err := s.ConsulClient().KV().Get(s.Keys.Approval(given.By, "appr"), nil)
		s.must(err)
		if pair == nil || pair.ModifyIndex != given.Index || given.Proof != proof || given.At.IsZero() {
			t.Errorf("on record %+v, and the key is %+v", given, pair)
		}
	}
	s.says(s.teal(0, "report", "appr", d.ID).Out, "alice, bob", "looks good", proof, fmt.Sprint(d.Approval.Consents[1].Index))
	c.serves(d.To)
	c.unharmed()
}

// A quorum that is not met in time ends the release or holds it, as the policy
// says; resume waits anew, and counts what was given meanwhile.
func TestApproversInTime(t *testing.T) {
	s := open(t, "intime")
	s.agent("a")
	v := world.Service{Name: "intime", Version: "1.0.0"}
	s.begin(v)
	named := "required = true\n approvers = [\"alice\", \"bob\"]\n quorum = 2\n deadline = \"3s\"\n"

	v.Version, v.Approval = "2.0.0", named
	s.write(v)
	d := s.ends("intime", "2.0.0", deployment.Aborted)
	s.says(d.Reason, "not approved within 3s: 0 of 2 approvals; waits for alice and bob")

	v.Version, v.Approval = "3.0.0", named+"then = \"hold\""
	s.write(v)
	rec := s.record("intime", "that it is held", func(r deployment.Service) bool { return r.Held != nil })
	s.says(rec.Held.Reason, "not approved within 3s: 0 of 2 approvals; waits for alice and bob", "teal resume")
	if rec.Deployment.State != deployment.Approving || rec.Slots[rec.Active].Version != "1.0.0" {
		t.Errorf("it is %s, and %s serves", rec.Deployment.State, rec.Slots[rec.Active].Version)
	}
	s.says(s.teal(2, "approve", "-as", "alice", "intime").Err, "teal resume intime")
	for _, who := range []string{"alice", "bob"} {
		s.must(s.Put(s.soon(), s.Keys.Approval(who, "intime"), rec.Deployment.Candidate.Proof()))
	}
	s.must(cluster.Await(s.soon(), func(ctx context.Context) error {
		rec, err := s.Record(ctx, "intime")
		if err == nil && rec.Held != nil { // on a busy machine three seconds may not be enough
			return s.bids(ctx, "resume", "intime")
		}
		if err == nil && rec.Deployment.Approval == nil {
			err = fmt.Errorf("it is %s", rec.Deployment.State)
		}
		return err
	}))
	d = s.ends("intime", "3.0.0", deployment.Succeeded)
	if d.Approval.By != "alice, bob" {
		t.Errorf("on record: %+v", d.Approval)
	}
}

// The release is held for as long as it takes; a person may still force it, and
// is named for it.
func TestApproversAreNoBarToForce(t *testing.T) {
	s := open(t, "aforce")
	s.agent("a")
	v := world.Service{Name: "aforce", Version: "1.0.0"}
	s.begin(v)
	v.Version, v.Approval = "2.0.0", "required = true\n approvers = [\"alice\"]"
	v.Watch, v.Soak = time.Second, -1
	s.write(v)
	waits := s.comes("aforce", "2.0.0", deployment.Approving)
	s.teal(0, "cutover", "aforce", string(waits.To), "-force", "-why", "alice is away")
	if d := s.ends("aforce", "2.0.0", deployment.Succeeded); d.Approval != nil || d.Forced == nil || d.Forced.Reason != "alice is away" {
		t.Errorf("approval %+v, forced %+v", d.Approval, d.Forced)
	}
}
