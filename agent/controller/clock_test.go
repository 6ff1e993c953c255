package controller

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/tealdeploy/teal/agent/deployment"
	"github.com/tealdeploy/teal/agent/kv"
)

// setBack is what the record looks like to an agent whose machine's clock was
// set back by a day since it was written.
func (w *world) setBack() {
	w.Helper()
	for _, a := range w.agents {
		a.stop()
	}
	pair, _, err := w.people.Get(w.Context(), w.keys.State("api"), 0)
	if err != nil {
		w.Fatal(err)
	}
	var record any
	if err := json.Unmarshal(pair.Value, &record); err != nil {
		w.Fatal(err)
	}
	text, err := json.Marshal(later(record, 24*time.Hour))
	if err != nil {
		w.Fatal(err)
	}
	w.plant(string(text))
	w.agent("agent-2")
}

// later adds to all times in what was JSON.
func later(in any, by time.Duration) any {
	switch in := in.(type) {
	case map[string]any:
		for k, v := range in {
			in[k] = later(v, by)
		}
	case []any:
		for i, v := range in {
			in[i] = later(v, by)
		}
	case string:
		if at, err := time.Parse(time.RFC3339Nano, in); err == nil {
			return at.Add(by)
		}
	}
	return in
}

// What has not begun yet, by a clock that was set back, takes no longer than
// the policy says from then on, and no less.
func TestAClockThatWasSetBackMakesNothingLonger(t *testing.T) {
	for _, x := range []struct {
		state deployment.State
		body  string
		took  time.Duration // from the restart to the end of the state
		ends  func(deployment.Service) bool
	}{
		{deployment.Preparing, body("", "", "", ""), 0, func(r deployment.Service) bool {
			return r.Deployment.State != deployment.Preparing
		}},
		{deployment.Launching, body("deadline = \"40s\"", "", "", ""), 40 * time.Second, func(r deployment.Service) bool {
			return r.Deployment.Outcome == deployment.Failed
		}},
		{deployment.Approving, body("", "", "", "approval {\n required = true\n deadline = \"30s\"\n }"), 30 * time.Second, func(r deployment.Service) bool {
			return r.Deployment.Outcome != ""
		}},
		{deployment.Watching, body("", "", "", ""), 10 * time.Second, func(r deployment.Service) bool {
			return r.Deployment.State == deployment.Soaking
		}},
		{deployment.Soaking, body("", "", "", ""), time.Minute, func(r deployment.Service) bool {
			return r.Deployment.Outcome == deployment.Succeeded
		}},
	} {
		t.Run(string(x.state), func(t *testing.T) {
			inWorld(t, func(w *world) {
				w.adopted()
				w.sick["2.0.0"] = x.state == deployment.Launching
				w.policy("2.0.0", x.body)
				w.state("2.0.0", x.state)
				w.setBack()
				began := time.Now()
				w.until(x.took+30*time.Second, "over", x.ends)
				if took := time.Since(began); took < x.took {
					t.Errorf("%s ended %s after the restart, want %s", x.state, took, x.took)
				}
			})
		})
	}
}

// A candidate that is kept for debugging is kept no longer, either, and the jobs
// are handed over.
func TestAClockThatWasSetBackKeepsNoCandidateLonger(t *testing.T) {
	inWorld(t, func(w *world) {
		w.adopted()
		w.sick["2.0.0"] = true
		w.policy("2.0.0", body("deadline = \"20s\"\n keep_failed = \"1m\"", "", "", ""))
		w.until(time.Minute, "failed", func(r deployment.Service) bool { return r.Deployment != nil && !r.InFlight() })
		w.setBack()
		w.until(90*time.Second, "stopped", func(r deployment.Service) bool { return len(r.Slots) == 1 })

		w.policy("3.0.0", strings.Replace(quick, "10s", "10m", 1))
		w.state("3.0.0", deployment.Watching)
		w.obeyed(kv.Rollback, "")
		w.setBack()
		w.until(5*time.Minute, "jobs back", func(r deployment.Service) bool { return !r.Jobs.Moving() && !r.InFlight() })
	})
}
