package e2e

import (
	"encoding/json"
	"testing"
	"time"

	"github.com/tealdeploy/teal/agent/deployment"
	"github.com/tealdeploy/teal/testbed/world"
)

// told is what a program reads of `teal report -format json`.
type told struct {
	Deployment string
	Version    string
	By         string
	State      string
	Outcome    string
	Gates      []deployment.GateRecord
	Cutover    *struct {
		Written, Verified time.Time
		WriteMS           float64 `json:"write_ms"`
	}
	Rollback *struct {
		Detected, Decided, Written, Verified time.Time
		DetectMS                             float64 `json:"detect_ms"`
	}
	Verdicts []deployment.Verdict
	Lost     *struct {
		AtLeast float64 `json:"at_least"`
		By      string  `json:"counted_by"`
	}
	Notes []deployment.Entry
}

// A release that was taken back, one in flight and one that went well: each is
// reported with the gates' figures, the times of the moves and the verdicts.
func TestReport(t *testing.T) {
	s := open(t, "rep")
	s.agent("a")
	v := world.Service{Name: "rep", Version: "1.0.0"}
	first := s.begin(v)
	c := s.calls("rep", world.TrafficOptions{Rate: 100})

	v.Version, v.Fault, v.After = "2.0.0", "errors:0.5", 50
	v.Gates, v.Watch, v.Triggers = smoke, 30*time.Second, errorTrigger
	s.write(v)
	bad := s.ends("rep", "2.0.0", deployment.RolledBack)
	c.serves(bad.From)

	read := func(args ...string) told {
		t.Helper()
		var r told
		s.must(json.Unmarshal([]byte(s.teal(0, append([]string{"report", "-format", "json", "rep"}, args...)...).Out), &r))
		return r
	}
	r := read()
	if r.Deployment != bad.ID || r.Outcome != "rolled-back" || r.By == "" {
		t.Errorf("%+v", r)
	}
	if len(r.Gates) != 2 || r.Gates[1].Name != "smoke" || r.Gates[1].Verdict != "pass" || len(r.Gates[1].Figures) == 0 {
		t.Errorf("gates: %+v", r.Gates)
	}
	if r.Cutover == nil || r.Cutover.WriteMS <= 0 || r.Cutover.Verified.Before(r.Cutover.Written) {
		t.Errorf("cutover: %+v", r.Cutover)
	}
	if r.Rollback == nil || r.Rollback.Detected.IsZero() || r.Rollback.Verified.Before(r.Rollback.Written) {
		t.Errorf("rollback: %+v", r.Rollback)
	}
	if len(r.Verdicts) != 1 || r.Verdicts[0].Verdict != "bad" || r.Verdicts[0].Figures["errors"] == "" {
		t.Errorf("verdicts: %+v", r.Verdicts)
	}
	if r.Lost == nil || r.Lost.AtLeast <= 0 || r.Lost.By != "http-5xx" {
		t.Errorf("lost: %+v", r.Lost)
	}
	s.says(s.teal(0, "report", "rep").Out, "2.0.0: rolled-back", "http smoke", "at least", "http-5xx")
	s.says(s.teal(0, "report", "rep", "-format", "markdown").Out, "# rep 2.0.0: rolled-back", "|---|", "## Rollback")

	// In flight: as far as it has come. The older ones stay to be had by ID.
	v.Version, v.Fault, v.Triggers = "3.0.0", "", ""
	s.write(v)
	s.comes("rep", "3.0.0", deployment.Watching)
	if r := read(); r.Version != "3.0.0" || r.State != "watching" || r.Outcome != "" || r.Rollback != nil || r.Lost != nil {
		t.Errorf("in flight: %+v", r)
	}
	if r := read(first.ID); r.Version != "1.0.0" || r.Outcome != "succeeded" {
		t.Errorf("by its ID: %+v", r)
	}
	s.says(s.teal(1, "report", "rep", "1999").Err, "no deployment 1999 of rep", bad.ID, first.ID)
	s.says(s.teal(1, "report", "nosuch").Err, "no service nosuch")
}
