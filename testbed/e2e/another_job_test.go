package e2e

import (
	"testing"

	consulapi "github.com/hashicorp/consul/api"

	"github.com/tealdeploy/teal/agent/deployment"
	"github.com/tealdeploy/teal/testbed/world"
)

// A service that already serves from a job which is not the policy's own, for
// it has another name, another namespace or no Nomad at all, is no first
// release: its traffic would go to a colour that nobody runs yet. Teal says
// what it found and touches nothing.
func TestServiceOfAnotherJobIsNotTakenFromIt(t *testing.T) {
	s := open(t, "foreign")
	s.http("foreign")
	text, err := s.APIJobspec("foreign")
	s.must(err)
	other := replaced(text, `job "foreign"`, `job "foreign-of-old"`)
	v := world.Service{Name: "foreign", Version: "1.0.0", Vars: map[string]string{"count": "2"}}
	old := v
	old.Jobspec = other
	s.must(s.RunPlain(s.soon(), old))
	c := s.calls("foreign", world.TrafficOptions{})
	s.write(v)
	s.agent("a")
	rec := s.record("foreign", "what stands in the way", func(r deployment.Service) bool { return r.Problem != nil || r.InFlight() || r.Managed })
	if rec.Problem == nil {
		t.Errorf("it is taken for a first release: managed %t, in flight %t", rec.Managed, rec.InFlight())
	} else {
		s.says(rec.Problem.Reason, "foreign", "2")
	}
	if entry, _, err := s.ConsulClient().ConfigEntries().Get(consulapi.ServiceRouter, "foreign", nil); err == nil {
		t.Errorf("a router was written: %+v", entry)
	}
	c.answers("1.0.0", 20)
	c.unharmed()
}
