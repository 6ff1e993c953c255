package e2e

import (
	"fmt"
	"testing"
	"time"

	"github.com/tealdeploy/teal/agent/deployment"
	"github.com/tealdeploy/teal/testbed/load"
	"github.com/tealdeploy/teal/testbed/world"
)

// errorTrigger finds a version that answers with errors.
const errorTrigger = `trigger "errors" "http-5xx" {
  above        = 0.05
  min_requests = 20
}`

// A version that fails after cutover is taken back by itself: 1, 2, 1, also where the
// policy wants a person to approve each cutover. The record says failed and why, and the
// next good version ships.
func TestPoint05BadAfterCutover(t *testing.T) {
	s := open(t, "p05")
	s.agent("a")
	v := world.Service{Name: "p05", Version: "1.0.0"}
	s.begin(v)
	c := s.calls("p05", world.TrafficOptions{Rate: 100})

	v.Version, v.Fault, v.After = "2.0.0", "errors:0.5", 50
	v.Gates, v.Watch, v.Triggers, v.KeepFailed, v.Approval = smoke, 30*time.Second, errorTrigger, time.Hour, "required = true"
	s.write(v)
	s.comes("p05", "2.0.0", deployment.Approving)
	s.teal(0, "approve", "p05")
	d := s.ends("p05", "2.0.0", deployment.RolledBack)
	s.says(d.Reason, "http-5xx")
	if d.Approval == nil || d.Rollback.By != "teal" {
		t.Errorf("approval %+v, taken back by %q", d.Approval, d.Rollback.By)
	}
	if d.Rollback == nil || d.Rollback.Detected.IsZero() || d.Rollback.Decided.Before(d.Rollback.Detected) || d.Rollback.Written.Before(d.Rollback.Decided) {
		t.Errorf("rollback on record: %+v", d.Rollback)
	}
	c.serves(d.From)
	c.answers("1.0.0", 50)
	if got, want := c.route(), fmt.Sprintf("%s %s %s", d.From, d.To, d.From); got != want {
		t.Errorf("routes went %s, want %s", got, want)
	}
	n := c.Load.Tally()
	if n.Versions["2.0.0"] == 0 || n.Injected == 0 {
		t.Errorf("2.0.0 did not serve before it failed: %s", n)
	}
	s.says(s.teal(0, "history", "p05").Out, "rolled-back", "http-5xx")

	v.Version, v.Fault, v.Watch, v.Triggers, v.Approval = "3.0.0", "", 2*time.Second, "", ""
	s.write(v)
	s.ends("p05", "3.0.0", deployment.Succeeded)
	c.serves(d.To)
	c.answers("3.0.0", 50)
	if after := c.unharmed(); after.Injected != n.Injected {
		t.Errorf("injected errors went on after the rollback: %d became %d", n.Injected, after.Injected)
	}
}

// A version whose checks turn critical after cutover is taken back by
// Consul's health alone, with its metrics out of the question.
func TestPoint05UnhealthyAfterCutover(t *testing.T) {
	s := open(t, "p05b")
	s.agent("a")
	v := world.Service{Name: "p05b", Version: "1.0.0"}
	s.begin(v)
	c := s.calls("p05b", world.TrafficOptions{Rate: 100})
	v.Version, v.Fault, v.After, v.Watch = "2.0.0", "unhealthy", 50, 30*time.Second
	s.write(v)
	d := s.ends("p05b", "2.0.0", deployment.RolledBack)
	s.says(d.Reason, "no instance serves") // at once; too few are put up with for a while
	c.serves(d.From)
	c.answers("1.0.0", 50)
	c.s.must(c.EndLoad())
	n := c.Load.Count()
	t.Log(n)
	if n.WrongColour != 0 || n.LostOn[string(d.From)] != 0 {
		t.Errorf("requests were lost on the healthy colour, or answered by the wrong one: %s", n)
	}
	lostOn(t, n, d.To)
}

// lostOn wants losses, if any, to be of one colour only.
func lostOn(t *testing.T, n load.Count, colour deployment.Colour) {
	t.Helper()
	if n.Lost != n.LostOn[string(colour)] {
		t.Errorf("requests were lost that were not %s's: %s", colour, n)
	}
}
