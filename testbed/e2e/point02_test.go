package e2e

import (
	"slices"
	"testing"

	consulapi "github.com/hashicorp/consul/api"

	"github.com/tealdeploy/teal/agent/deployment"
	"github.com/tealdeploy/teal/testbed/world"
)

// http says what a service speaks, as its operator does before Teal comes.
func (s *stage) http(service string) {
	s.t.Helper()
	_, _, err := s.ConsulClient().ConfigEntries().Set(&consulapi.ServiceConfigEntry{
		Kind: consulapi.ServiceDefaults, Name: service, Protocol: "http",
	}, nil)
	s.must(err)
}

// A running job is taken over as it is: no restart, the same answers, no
// request lost; its next version is released as any other, and the adopted job
// serves until then.
func TestPoint02Adopt(t *testing.T) {
	s := open(t, "p02")
	s.http("p02")
	v := world.Service{Name: "p02", Version: "1.0.0"}
	s.must(s.RunPlain(s.soon(), v))
	before, err := s.Running(s.soon(), "p02")
	s.must(err)
	index := s.modifyIndex("p02")
	c := s.calls("p02", world.TrafficOptions{Rate: 100, Uncoloured: "blue"})

	s.write(v)
	s.agent("a")
	rec := s.record("p02", "that it is adopted", func(r deployment.Service) bool { return r.Managed && r.Route.Prepared })
	slot := rec.Slots[deployment.Blue]
	if rec.Active != deployment.Blue || !slot.Adopted || slot.Job != "p02" || rec.InFlight() {
		t.Errorf("adopted as %+v, active %s, in flight %t", slot, rec.Active, rec.InFlight())
	}
	c.serves(deployment.Blue)
	c.answers("1.0.0", 100)
	if after, err := s.Running(s.soon(), "p02"); err != nil || !slices.Equal(before, after) {
		t.Errorf("allocations before %v, after %v, %v: adopting may not restart anything", before, after, err)
	}
	if now := s.modifyIndex("p02"); now != index {
		t.Errorf("the job was written to: modify index %d became %d", index, now)
	}
	if n := c.Load.Tally(); len(n.Versions) != 1 || n.Versions["1.0.0"] == 0 {
		t.Errorf("answers changed: %s", n)
	}

	v.Version = "2.0.0"
	v.Then = "stop"
	s.write(v)
	d := s.ends("p02", "2.0.0", deployment.Succeeded)
	if d.From != deployment.Blue || d.To != deployment.Green || d.FromVersion != "1.0.0" {
		t.Errorf("released from %s %s to %s", d.From, d.FromVersion, d.To)
	}
	c.serves(deployment.Green)
	c.answers("2.0.0", 50)
	if job, err := s.Job(s.soon(), "p02"); err != nil || job == nil || !*job.Stop {
		t.Errorf("the adopted job is not stopped after the soak: %v", err)
	}

	// From now on an ordinary run of the same service serves nothing.
	s.must(s.RunPlain(s.soon(), world.Service{Name: "p02", Version: "9.9.9"}))
	c.answers("2.0.0", 100)
	if n := c.unharmed(); n.Versions["9.9.9"] > 0 {
		t.Errorf("a job that was run past Teal served: %s", n)
	}
}

// modifyIndex tells whether somebody wrote to a job.
func (s *stage) modifyIndex(job string) uint64 {
	s.t.Helper()
	j, err := s.Job(s.soon(), job)
	s.must(err)
	if j == nil {
		s.t.Fatalf("there is no job %s", job)
	}
	return *j.JobModifyIndex
}
