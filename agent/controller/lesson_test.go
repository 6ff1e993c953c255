package controller

import (
	"encoding/json"
	"fmt"
	"math"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/tealdeploy/teal/agent/deployment"
	"github.com/tealdeploy/teal/rollback"
)

// looked is watchedBy with a launch that leaves time to look at what serves.
func looked(trigger string) string {
	return strings.Replace(watchedBy(trigger), `healthy_for = "1s"`, `healthy_for = "40s"`, 1)
}

// What was seen of the previous colour before the cutover is on record: a leader
// that takes over in the watch compares with it, also where it cannot be read anew,
// such as how many requests came.
func TestABaselineOutlivesTheLeader(t *testing.T) {
	inWorld(t, func(w *world) {
		w.errors["none"], w.errors["green"] = 0.01, 0.01
		w.adopted()
		w.policy("2.0.0", looked("\"volume\" \"traffic\" {\n window = \"10s\"\n }\n trigger \"errors\" \"http-5xx\" {}"))
		w.state("2.0.0", deployment.Watching)
		w.agents[0].stop()
		w.agent("b")
		rec := w.state("2.0.0", deployment.Soaking)
		verdict := rec.Deployment.Verdicts[0]
		if n, _ := strconv.ParseFloat(verdict.Figures["traffic.baseline_rate_s"], 64); n < 100 {
			t.Errorf("the rate before the cutover was lost: %v", verdict.Figures)
		}
		if n, _ := strconv.ParseFloat(verdict.Figures["http-5xx.spread"], 64); n < 1 || n > 2 {
			t.Errorf("the spread is %v, as if nobody had looked: %v", n, verdict.Figures)
		}
		rec = w.until(3*time.Minute, "done", func(r deployment.Service) bool { return !r.InFlight() })
		if rec.Deployment.Baseline != nil {
			t.Errorf("an ended release keeps %s", rec.Deployment.Baseline)
		}
	})
}

// How errors vary is learned in a version's own watch, for the one after it.
func TestAWatchTeachesTheNextOne(t *testing.T) {
	inWorld(t, func(w *world) {
		w.errors["none"], w.errors["green"], w.errors["blue"] = 0.01, 0.01, 0.01
		w.adopted()
		spread := func(version string) float64 {
			rec := w.state(version, deployment.Soaking)
			n, _ := strconv.ParseFloat(rec.Deployment.Verdicts[0].Figures["http-5xx.spread"], 64)
			w.until(3*time.Minute, "done", func(r deployment.Service) bool { return !r.InFlight() })
			return n
		}
		body := looked("\"errors\" \"http-5xx\" {}")
		w.policy("2.0.0", body)
		first := spread("2.0.0")
		w.policy("3.0.0", body)
		second := spread("3.0.0")
		if first <= 0 || second <= 0 || second > 0.9*first {
			t.Errorf("the spread was %v with a look before the cutover, and is %v with a watch before that", first, second)
		}
		// Another trigger of the same name has another past.
		w.policy("4.0.0", looked("\"errors\" \"http-5xx\" {\n bad = \"5..|429\"\n }"))
		if third := spread("4.0.0"); third < 0.95*first {
			t.Errorf("what was learned for another trigger is believed: a spread of %v, and of %v without", third, first)
		}
	})
}

// What a record keeps is bounded, and what is not as it was written is not believed.
func TestWhatIsKeptOfALesson(t *testing.T) {
	triggers := []rollback.Named{{Kind: "errors", Name: "a", Trigger: rollback.Errors{}}, {Kind: "errors", Name: "b", Trigger: rollback.Errors{}}}
	small := rollback.Past{Requests: 10, Errors: 1, Each: map[string]rollback.Counted{"i": {Requests: 10, Errors: 1}}}
	large := rollback.Past{Each: map[string]rollback.Counted{}}
	for i := range 1000 {
		large.Each[fmt.Sprint("instance-", i)] = rollback.Counted{}
	}
	many := func(n int) (p rollback.Past) {
		p.Each = map[string]rollback.Counted{}
		for i := range n {
			p.Each[fmt.Sprintf("_nomad-task-1c3e5a7b-0000-4000-8000-%012d-group-web-api-http", i)] = rollback.Counted{Requests: 1234567 + float64(i), Errors: 123}
		}
		return p
	}
	slow := rollback.Past{}
	for i := range 11 {
		p := many(6)
		p.Spread.Fine.Squares, p.Spread.Fine.Rates = math.Pi, math.E
		slow.Bounds = append(slow.Bounds, rollback.Bound{Le: float64(i), Past: p})
	}
	if got := remembered(newLesson("id", triggers, map[string]rollback.Past{"a": many(100), "b": slow}).text, triggers); len(got) != 2 {
		t.Errorf("of the errors of a hundred instances and the latency of six is kept %v", got)
	}
	l := newLesson("id", triggers, map[string]rollback.Past{"a": large, "b": small})
	got := remembered(l.text, triggers)
	if _, ok := got["a"]; ok || got["b"].Requests != 10 || len(l.text) > maxLesson {
		t.Errorf("%d bytes: %v", len(l.text), got)
	}
	for _, text := range []string{"", "null", "[]", "{", `{"b": 1}`, strings.Repeat(" ", 3*maxLesson) + string(l.text),
		strings.ReplaceAll(string(l.text), `"errors":1`, `"errors":-1`), strings.ReplaceAll(string(l.text), `"errors":1`, `"errors":11`),
		strings.Replace(string(l.text), `"of":"`, `"of":"x`, 1)} {
		if got := remembered(json.RawMessage(text), triggers); len(got) != 0 {
			t.Errorf("%.80s was believed: %v", text, got)
		}
	}
	if !small.Sound() || (rollback.Past{Requests: math.Inf(1)}).Sound() {
		t.Error("sound is what can have been counted")
	}
}

// A metrics service is asked how a figure moved before the cutover, for no longer
// than the previous colour has the traffic.
func TestFigureThatLeavesItsHabits(t *testing.T) {
	inWorld(t, func(w *world) {
		w.adopted()
		body := watchedBy("\"prometheus\" \"refunds\" {\n url = \"http://p\"\n query = \"refunds_{colour}\"\n worse = \"higher\"\n interval = \"1s\"\n }")
		w.says("refunds_blue over time at the cutover", 100)
		w.says("refunds_green", 100)
		w.policy("2.0.0", body)
		w.state("2.0.0", deployment.Soaking)
		if len(w.ranges) != 1 || w.ranges[0] != 15*time.Minute {
			t.Errorf("asked about %v, want 900 figures, once", w.ranges)
		}
		rec := w.until(3*time.Minute, "done", func(r deployment.Service) bool { return !r.InFlight() })
		time.Sleep(2 * time.Minute)
		w.says("refunds_green over time at the cutover", 100)
		w.says("refunds_blue", 150)
		w.policy("3.0.0", body)
		at := w.state("3.0.0", deployment.Watching).Deployment
		w.until(time.Minute, "rolled back", func(r deployment.Service) bool {
			return r.Deployment.Outcome == deployment.RolledBack && strings.Contains(r.Deployment.Reason, "trigger refunds: it is 150; before the cutover")
		})
		served := at.Cutover.Decided.Sub(rec.Slots[deployment.Green].Serves)
		if n := len(w.ranges); n != 2 || w.ranges[1] != served {
			t.Errorf("asked about %v, and 2.0.0 had the traffic for %s", w.ranges, served)
		}
	})
}

// Who knows only the present is asked while the candidate is made ready.
func TestFigureIsAskedBeforeTheCutover(t *testing.T) {
	inWorld(t, func(w *world) {
		w.adopted()
		w.says("orders_blue", 100)
		w.says("orders_green", 50)
		w.policy("2.0.0", looked("\"http-json\" \"orders\" {\n url = \"http://p\"\n path = \"orders_{colour}\"\n worse = \"lower\"\n interval = \"500ms\"\n }"))
		rec := w.until(3*time.Minute, "rolled back", func(r deployment.Service) bool {
			return r.Deployment != nil && r.Deployment.State == deployment.Done
		})
		if d := rec.Deployment; d.Outcome != deployment.RolledBack || !strings.Contains(d.Reason, "figures were lower than") {
			t.Errorf("%s %q", d.Outcome, d.Reason)
		}
	})
}

// The same for a multiple of what it was: the last answer before the cutover counts,
// also for an agent that takes over during the watch.
func TestFigureThatHalves(t *testing.T) {
	for _, takesOver := range []bool{false, true} {
		inWorld(t, func(w *world) {
			w.adopted()
			w.says("orders_blue", 100)
			w.says("orders_green", 100)
			w.policy("2.0.0", watchedBy("\"http-json\" \"orders\" {\n url = \"http://p\"\n path = \"orders_{colour}\"\n below_ratio = 0.7\n interval = \"500ms\"\n }"))
			w.state("2.0.0", deployment.Watching)
			w.says("orders_blue", 1) // the previous colour has no traffic any more, and no say
			if takesOver {
				w.agents[0].stop()
				w.agent("agent-2")
			}
			time.Sleep(5 * time.Second)
			if rec := w.record(); rec.Deployment.State != deployment.Watching || rec.Held != nil {
				t.Fatalf("%s, held %+v", rec.Deployment.State, rec.Held)
			}
			w.says("orders_green", 50)
			rec := w.until(time.Minute, "rolled back", func(r deployment.Service) bool { return r.Deployment.State == deployment.Done })
			if d := rec.Deployment; d.Outcome != deployment.RolledBack || !strings.Contains(d.Reason, "trigger orders: ") || !strings.Contains(d.Reason, "before the cutover it was ") {
				t.Errorf("%s %q", d.Outcome, d.Reason)
			}
		})
	}
}
