package e2e

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/tealdeploy/teal/agent/deployment"
	"github.com/tealdeploy/teal/testbed/world"
)

func windowGate(lines ...string) string {
	return "gate \"window\" \"hours\" {\n  timeout = \"1s\"\n  deadline = \"2s\"\n  interval = \"200ms\"\n  " + strings.Join(lines, "\n  ") + "\n}"
}

// Nothing goes live in a freeze or out of hours; the release waits, is held once it
// has waited long enough, and goes on when its window is open. Going back is never
// delayed, whoever wants it.
func TestGateWindow(t *testing.T) {
	s := open(t, "gwin")
	a := s.agent("a")
	v := world.Service{Name: "gwin", Version: "1.0.0"}
	s.begin(v)
	held := func(version, words string) {
		t.Helper()
		rec := s.record("gwin", "that it is held: "+words, func(r deployment.Service) bool {
			return r.Held != nil && r.InFlight() && r.Deployment.Candidate.Version == version && strings.Contains(r.Held.Reason, words)
		})
		s.says(rec.Held.Reason, "hours", "it opens")
		if rec.Deployment.State != deployment.Gating || rec.Slots[rec.Active].Version != "1.0.0" {
			t.Errorf("it is %s, and %s serves", rec.Deployment.State, rec.Slots[rec.Active].Version)
		}
	}

	v.Version, v.Soak, v.Gates = "2.0.0", time.Hour, windowGate(`allow = ["* * * * *"]`)
	s.write(v)
	d := s.comes("gwin", "2.0.0", deployment.Soaking)

	now := time.Now().UTC()
	frozen := windowGate(fmt.Sprintf("freeze = { \"the fair\" = \"%s/%s\" }", now.AddDate(0, 0, -1).Format(time.DateOnly), now.AddDate(0, 0, 2).Format(time.DateOnly)))
	v.Gates = frozen
	s.writeTo(a, v) // 2.0.0 is released already; from here on there is a freeze
	s.teal(0, "rollback", "gwin")
	s.ends("gwin", "2.0.0", deployment.RolledBack)
	rec, err := s.Record(s.soon(), "gwin")
	s.must(err)
	if rec.Active != d.From {
		t.Errorf("%s serves after the rollback", rec.Active)
	}

	v.Version, v.Soak = "3.0.0", -1
	s.write(v)
	held("3.0.0", "nothing goes live during the fair")

	// The fair is called off, and it is the wrong time of the day: Tokyo's hours are
	// not those of UTC. Where they are meant, the release goes on.
	tokyo, err := time.LoadLocation("Asia/Tokyo")
	s.must(err)
	hour := time.Now().In(tokyo).Hour()
	hours := fmt.Sprintf("allow = [\"* %d,%d * * *\"]", hour, (hour+1)%24)
	v.Gates = windowGate(hours)
	s.writeTo(a, v)
	s.teal(0, "resume", "gwin")
	held("3.0.0", "nothing goes live at this hour")
	v.Gates = windowGate(hours, `timezone = "Asia/Tokyo"`)
	s.writeTo(a, v)
	s.teal(0, "resume", "gwin")
	if g := gateOf(s.ends("gwin", "3.0.0", deployment.Succeeded), "hours"); g.Verdict != "pass" || g.Figures["timezone"] != "Asia/Tokyo" {
		t.Errorf("the evidence is %+v", g)
	}

	// A trigger goes back in a freeze that began after the cutover.
	v.Version, v.Watch, v.Triggers = "4.0.0", time.Minute, "trigger \"kv\" \"sales\" {\n  key = \"verdicts/gwin/{version}\"\n}"
	s.write(v)
	d = s.comes("gwin", "4.0.0", deployment.Watching)
	v.Gates = frozen
	s.writeTo(a, v)
	s.must(s.Put(s.soon(), "verdicts/gwin/4.0.0", "no: the fair has begun"))
	s.says(s.ends("gwin", "4.0.0", deployment.RolledBack).Reason, "trigger sales", "the fair has begun")
	if rec, err = s.Record(s.soon(), "gwin"); err != nil || rec.Active != d.From {
		t.Errorf("%s serves after the rollback: %v", rec.Active, err)
	}
}
