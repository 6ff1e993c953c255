package controller

import (
	"strings"
	"testing"
	"time"

	"github.com/tealdeploy/teal/agent/deployment"
)

// A version that fails three requests of a hundred, well within any absolute
// limit, is taken back because the one before it failed one of two hundred: it
// was looked at while the candidate came up, and the watch remembers.
func TestWatchComparesWithThePreviousColour(t *testing.T) {
	inWorld(t, func(w *world) {
		w.errors["none"], w.errors["green"] = 0.005, 0.03 // the adopted job has no colour
		w.adopted()
		body := strings.Replace(quick, `watch  { for = "10s" }`, "watch {\n for = \"10m\"\n trigger \"errors\" \"http-5xx\" {}\n }", 1)
		body = strings.Replace(body, `healthy_for = "1s"`, `healthy_for = "40s"`, 1)
		w.policy("2.0.0", body)
		rec := w.until(5*time.Minute, "rolled back", func(r deployment.Service) bool {
			return r.Deployment != nil && r.Deployment.State == deployment.Done
		})
		d := rec.Deployment
		if d.Outcome != deployment.RolledBack || !strings.Contains(d.Reason, "the previous colour's share was 0.5 %") {
			t.Fatalf("%s %q", d.Outcome, d.Reason)
		}
		if took := d.Rollback.Decided.Sub(d.Cutover.Written); took > 10*time.Second {
			t.Errorf("noticed after %s: %s", took, d.Reason)
		}
	})
}
