package e2e

import (
	"fmt"
	"strings"
	"testing"

	"github.com/tealdeploy/teal/agent/deployment"
	"github.com/tealdeploy/teal/testbed/world"
)

// Another system says yes or no to one exact candidate. Until it does the gate
// holds, and a word about another version is none.
func TestGateKV(t *testing.T) {
	s := open(t, "gkv")
	s.agent("a")
	v := world.Service{Name: "gkv", Version: "1.0.0"}
	s.begin(v)

	v.Version, v.Gates = "2.0.0", "gate \"kv\" \"audit\" {\n  key = \"verdicts/{service}\"\n  interval = \"200ms\"\n  deadline = \"30s\"\n}"
	s.write(v)
	says := func(words string) func(deployment.Service) bool {
		return func(r deployment.Service) bool {
			return r.InFlight() && strings.Contains(gateOf(*r.Deployment, "audit").Reason, words)
		}
	}
	rec := s.record("gkv", "that there is no word yet", says("there is no key verdicts/gkv yet"))
	proof := rec.Deployment.Candidate.Proof()
	s.must(s.Put(s.soon(), "verdicts/gkv", `{"verdict": "yes", "hash": "another"}`))
	s.record("gkv", "that the word is about another", says("is about another, and the candidate is "+proof))
	s.must(s.Put(s.soon(), "verdicts/gkv", fmt.Sprintf(`{"verdict": "yes", "reason": "audited", "hash": %q}`, proof)))
	s.says(gateOf(s.ends("gkv", "2.0.0", deployment.Succeeded), "audit").Reason, "says pass: audited")

	// The word that stands there still is about 2.0.0.
	v.Version = "3.0.0"
	s.write(v)
	rec = s.record("gkv", "that the word is about another", says("is about "+proof))
	s.must(s.Put(s.soon(), "verdicts/gkv", fmt.Sprintf(`{"verdict": "no", "reason": "two holes", "hash": %q}`, rec.Deployment.Candidate.Proof())))
	s.says(s.ends("gkv", "3.0.0", deployment.Failed).Reason, "audit", "says fail: two holes")

	// Nobody says anything: on hold, and 2.0.0 serves.
	v.Version, v.Gates = "4.0.0", "gate \"kv\" \"audit\" {\n  key = \"verdicts/{service}/{hash}\"\n  timeout = \"1s\"\n  deadline = \"2s\"\n}"
	s.write(v)
	rec = s.record("gkv", "that it is held", func(r deployment.Service) bool { return r.Held != nil })
	s.says(rec.Held.Reason, "audit", "could not be judged within 2s", "there is no key verdicts/gkv/"+rec.Deployment.Candidate.Proof())
	if rec.Slots[rec.Active].Version != "2.0.0" {
		t.Errorf("%s serves", rec.Slots[rec.Active].Version)
	}
}
