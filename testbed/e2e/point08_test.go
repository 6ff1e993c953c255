package e2e

import (
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/tealdeploy/teal/agent/deployment"
	"github.com/tealdeploy/teal/testbed/world"
)

// A version that does not become healthy within its deadline is given up, in
// words that say what was missing.
func TestPoint08SlowStart(t *testing.T) {
	s := open(t, "p08")
	s.agent("a")
	v := world.Service{Name: "p08", Version: "1.0.0"}
	s.begin(v)
	c := s.calls("p08", world.TrafficOptions{})
	v.Version, v.Fault, v.Deadline = "2.0.0", "unhealthy", 5*time.Second
	s.write(v)
	d := s.ends("p08", "2.0.0", deployment.Failed)
	s.says(d.Reason, "5s", "0 passing")
	if took := d.Ended.Sub(d.Started); took < 4*time.Second {
		t.Errorf("given up after %s, before its deadline", took)
	}
	c.answers("1.0.0", 20)
	if n := c.unharmed(); n.Versions["2.0.0"] != 0 {
		t.Errorf("it served: %s", n)
	}
}

// A long wait for approval is no failure: the launch's deadline does not count
// once the candidate is up.
func TestPoint08LongWaitForApproval(t *testing.T) {
	s := open(t, "p08b")
	s.agent("a")
	v := world.Service{Name: "p08b", Version: "1.0.0"}
	s.begin(v)
	v.Version, v.Deadline, v.Approval = "2.0.0", 15*time.Second, "required = true"
	s.write(v)
	d := s.comes("p08b", "2.0.0", deployment.Approving)
	s.remains("waiting for approval", time.Until(d.Started.Add(17*time.Second)), func() error {
		now, err := s.Record(t.Context(), "p08b")
		if err != nil {
			return err
		}
		if now.Deployment.State != deployment.Approving {
			return fmt.Errorf("it is %s: %s", now.Deployment.State, now.Deployment.Reason)
		}
		return nil
	})
	s.teal(0, "approve", "p08b")
	s.ends("p08b", "2.0.0", deployment.Succeeded)
}

// An approval that nobody gives has a deadline of its own, and an outcome.
func TestPoint08ApprovalExpires(t *testing.T) {
	s := open(t, "p08c")
	s.agent("a")
	v := world.Service{Name: "p08c", Version: "1.0.0"}
	s.begin(v)
	v.Version, v.Approval = "2.0.0", "required = true\ndeadline = \"2s\""
	s.write(v)
	d := s.ends("p08c", "2.0.0", deployment.Aborted)
	s.says(d.Reason, "approved", "2s")
	if rec, err := s.Record(s.soon(), "p08c"); err != nil || rec.Slots[rec.Active].Version != "1.0.0" {
		t.Error(errors.Join(err, fmt.Errorf("%s serves", rec.Slots[rec.Active].Version)))
	}
}
