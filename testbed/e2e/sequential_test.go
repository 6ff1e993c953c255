package e2e

import (
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/tealdeploy/teal/agent/deployment"
	"github.com/tealdeploy/teal/testbed/world"
)

// An errors trigger that says nothing judges against the previous colour: a
// version that is as good is kept, and one that fails a share that no usual limit
// would see is taken back, with the evidence on record.
func TestSequentialErrors(t *testing.T) {
	s := open(t, "seq")
	s.agent("a")
	v := world.Service{Name: "seq", Version: "1.0.0"}
	s.begin(v)
	c := s.calls("seq", world.TrafficOptions{Rate: 200})
	c.answers("1.0.0", 1000) // what the test has to compare with

	v.Version, v.Gates, v.Watch, v.KeepFailed = "2.0.0", smoke, 5*time.Second, time.Hour
	v.Triggers = `trigger "errors" "http-5xx" {}`
	s.write(v)
	d := s.ends("seq", "2.0.0", deployment.Succeeded)
	s.judged(d, "http-5xx", "the previous colour's share was 0 %")
	c.answers("2.0.0", 1000)

	v.Version, v.Fault, v.After, v.Watch = "3.0.0", "errors:0.04", 100, time.Minute
	s.write(v)
	d = s.ends("seq", "3.0.0", deployment.RolledBack)
	s.says(d.Reason, "trigger http-5xx", "evidence", "(250 is proof)")
	figure := func(name string) float64 {
		for _, e := range d.Log {
			if n, err := strconv.ParseFloat(e.Figures[name], 64); err == nil {
				return n
			}
		}
		t.Errorf("no figure %s on record:\n%s", name, evidence(d))
		return 0
	}
	if rate := figure("rate"); rate <= 0 || rate >= 0.05 {
		t.Errorf("taken back at a share of %v errors: this was to be less than the usual limit, and more than none", rate)
	}
	if got, proof := figure("evidence"), figure("proof"); got < proof {
		t.Errorf("taken back with evidence of %v, and %v is proof", got, proof)
	}
	c.serves(d.From)
	c.answers("2.0.0", 50)
	c.unharmed()
}

// judged wants a trigger's word in what a release ended with.
func (s *stage) judged(d deployment.Deployment, trigger, words string) {
	s.t.Helper()
	for _, e := range d.Log {
		if strings.Contains(e.What, trigger+": ") && strings.Contains(e.What, words) {
			return
		}
	}
	s.t.Errorf("trigger %s does not say %q in:\n%s", trigger, words, evidence(d))
}
