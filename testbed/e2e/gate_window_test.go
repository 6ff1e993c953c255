package e2e

import (
	"fmt"
	"testing"
	"time"

	"github.com/tealdeploy/teal/agent/deployment"
	"github.com/tealdeploy/teal/testbed/world"
)

// Nothing goes live in a freeze; the release waits, is held once it has waited
// long enough, and goes on in its window. Going back is never delayed.
func TestGateWindow(t *testing.T) {
	s := open(t, "gwin")
	s.agent("a")
	v := world.Service{Name: "gwin", Version: "1.0.0"}
	s.begin(v)

	v.Version, v.Soak, v.Gates = "2.0.0", time.Hour, "gate \"window\" \"hours\" {\n  allow = [\"* * * * *\"]\n}"
	s.write(v)
	d := s.comes("gwin", "2.0.0", deployment.Soaking)

	now := time.Now().UTC()
	frozen := fmt.Sprintf("freeze = { \"the fair\" = \"%s/%s\" }", now.AddDate(0, 0, -1).Format(time.DateOnly), now.AddDate(0, 0, 2).Format(time.DateOnly))
	v.Gates = "gate \"window\" \"hours\" {\n  " + frozen + "\n  timeout = \"1s\"\n  deadline = \"2s\"\n  interval = \"200ms\"\n}"
	s.write(v) // 2.0.0 is released already; from here on there is a freeze
	s.teal(0, "rollback", "gwin")
	s.ends("gwin", "2.0.0", deployment.RolledBack)
	rec, err := s.Record(s.soon(), "gwin")
	s.must(err)
	if rec.Active != d.From {
		t.Errorf("%s serves after the rollback", rec.Active)
	}

	v.Version, v.Soak = "3.0.0", -1
	s.write(v)
	rec = s.record("gwin", "that it is held", func(r deployment.Service) bool { return r.Held != nil })
	s.says(rec.Held.Reason, "hours", "nothing goes live during the fair", "it opens")
	if rec.Deployment.State != deployment.Gating || rec.Slots[rec.Active].Version != "1.0.0" {
		t.Errorf("it is %s, and %s serves", rec.Deployment.State, rec.Slots[rec.Active].Version)
	}
}
