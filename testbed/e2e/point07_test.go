package e2e

import (
	"testing"
	"time"

	"github.com/tealdeploy/teal/agent/deployment"
	"github.com/tealdeploy/teal/testbed/world"
)

// A newer version takes the place of one that has not been cut over; the older
// never serves.
func TestPoint07NewerSupersedes(t *testing.T) {
	s := open(t, "p07")
	s.agent("a")
	v := world.Service{Name: "p07", Version: "1.0.0"}
	s.begin(v)
	c := s.calls("p07", world.TrafficOptions{})
	v.Version, v.Approval = "2.0.0", "required = true"
	s.write(v)
	waits := s.comes("p07", "2.0.0", deployment.Approving)
	v.Version = "3.0.0"
	s.write(v)
	s.ends("p07", "2.0.0", deployment.Superseded)
	next := s.comes("p07", "3.0.0", deployment.Approving)
	// What was said of 2.0.0 does not count for 3.0.0.
	s.teal(2, "approve", "p07", waits.Candidate.Proof())
	s.teal(0, "approve", "p07", next.Candidate.Proof())
	d := s.ends("p07", "3.0.0", deployment.Succeeded)
	c.serves(d.To)
	c.answers("3.0.0", 20)
	if n := c.unharmed(); n.Versions["2.0.0"] != 0 {
		t.Errorf("the superseded version served: %s", n)
	}
}

// During watch and soak a newer version waits: the slot it needs is the way
// back.
func TestPoint07NewerQueuesBehindTheSoak(t *testing.T) {
	s := open(t, "p07b")
	s.agent("a")
	v := world.Service{Name: "p07b", Version: "1.0.0"}
	s.begin(v)
	c := s.calls("p07b", world.TrafficOptions{})
	v.Version, v.Soak = "2.0.0", 6*time.Second
	s.write(v)
	s.comes("p07b", "2.0.0", deployment.Watching, deployment.Soaking)
	v.Version = "3.0.0"
	s.write(v)
	rec := s.record("p07b", "that 3.0.0 is queued", func(r deployment.Service) bool { return r.Queued != nil })
	if rec.Queued.Version != "3.0.0" || rec.Deployment.Candidate.Version != "2.0.0" {
		t.Errorf("queued %s behind %s", rec.Queued.Version, rec.Deployment.Candidate.Version)
	}
	if running, err := s.Running(s.soon(), "p07b-"+string(rec.Deployment.From)); err != nil || len(running) != 2 {
		t.Errorf("the way back has %d instances while 3.0.0 waits, %v", len(running), err)
	}
	s.ends("p07b", "2.0.0", deployment.Succeeded)
	d := s.ends("p07b", "3.0.0", deployment.Succeeded)
	c.serves(d.To)
	c.answers("3.0.0", 20)
	c.unharmed()
}
