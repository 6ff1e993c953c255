package rollback_test

import (
	"errors"
	"maps"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/tealdeploy/teal/agent/deployment"
	"github.com/tealdeploy/teal/rollback"
)

// saying is a trigger whose judge says what it is told to.
type saying struct{ judgements *[]rollback.Judgement }

func (s saying) Begin() rollback.Judge            { return s }
func (s saying) Sources() []rollback.ScrapeSource { return nil }
func (s saying) Families() []string               { return nil }
func (s saying) Observe(rollback.Observation) rollback.Judgement {
	j := (*s.judgements)[0]
	*s.judgements = (*s.judgements)[1:]
	return j
}

func says(kind, name string, verdicts ...rollback.Verdict) rollback.Named {
	var list []rollback.Judgement
	for _, v := range verdicts {
		list = append(list, rollback.Judgement{Verdict: v, Reason: "is " + v.String(), Figures: map[string]float64{"n": float64(v)}})
	}
	return rollback.Named{Kind: kind, Name: name, Trigger: saying{&list}}
}

const (
	unknown = rollback.Unknown
	fine    = rollback.Fine
	bad     = rollback.Bad
)

func TestWatchCombines(t *testing.T) {
	for _, c := range []struct {
		a, b   rollback.Verdict
		want   rollback.Decision
		comeup string
	}{
		{fine, fine, rollback.Decision{Verdict: fine, Reason: "a: is fine; b: is fine", Figures: map[string]float64{"a.n": 1, "b.n": 1}}, ""},
		{fine, unknown, rollback.Decision{Verdict: unknown, Reason: "b: is unknown", Figures: map[string]float64{"a.n": 1, "b.n": 0}}, "b, never"},
		{unknown, unknown, rollback.Decision{Verdict: unknown, Reason: "a: is unknown; b: is unknown", Figures: map[string]float64{"a.n": 0, "b.n": 0}}, "a, never b, never"},
		{unknown, bad, rollback.Decision{Verdict: bad, Trigger: "b", Reason: "is bad", Figures: map[string]float64{"n": 2}}, "a, never"},
		{bad, fine, rollback.Decision{Verdict: bad, Trigger: "a", Reason: "is bad", Figures: map[string]float64{"n": 2}}, ""},
		{bad, bad, rollback.Decision{Verdict: bad, Trigger: "a", Reason: "is bad", Figures: map[string]float64{"n": 2}}, ""},
	} {
		w := rollback.NewWatch([]rollback.Named{says(rollback.HealthKind, "a", c.a), says("x", "b", c.b)})
		if got := w.Observe(rollback.Observation{}); !reflect.DeepEqual(got, c.want) {
			t.Errorf("%s and %s: got %+v, want %+v", c.a, c.b, got, c.want)
		}
		if got := strings.Join(cannotTell(w), " "); got != c.comeup {
			t.Errorf("%s and %s: %q cannot tell, want %q", c.a, c.b, got, c.comeup)
		}
	}
}

// cannotTell are the triggers of a watch that do not know at present.
func cannotTell(w *rollback.Watch) (names []string) {
	for _, u := range w.Unable() {
		names = append(names, unable(u))
	}
	return names
}

// unable is a trigger's name, and whether it never knew.
func unable(u rollback.Unable) string {
	if u.Never {
		return u.Trigger + ", never"
	}
	return u.Trigger
}

// What was seen to be fine proves nothing of what came after it: who cannot tell at
// present is named, whatever was said before.
func TestUnableIsWhoCannotTellNow(t *testing.T) {
	w := rollback.NewWatch([]rollback.Named{says(rollback.HealthKind, "a", unknown, fine, unknown, bad), says("x", "b", fine, fine, unknown, unknown)})
	for i, want := range []string{"a, never", "", "a b", "b"} {
		w.Observe(rollback.Observation{})
		if got := strings.Join(cannotTell(w), " "); got != want {
			t.Errorf("look %d: %q cannot tell, want %q", i, got, want)
		}
	}
	if got := w.Unable()[0].Reason; got != "is unknown" {
		t.Errorf("b cannot tell because it %s", got)
	}
}

// A bad trigger does not keep those behind it from seeing what happens.
func TestEveryTriggerSeesEverything(t *testing.T) {
	late := says("x", "b", fine, bad)
	w := rollback.NewWatch([]rollback.Named{says(rollback.HealthKind, "a", bad, fine), late})
	w.Observe(rollback.Observation{})
	if d := w.Observe(rollback.Observation{}); d.Trigger != "b" {
		t.Errorf("second look: %+v", d)
	}
}

// Consul's health is watched whether or not the policy says so, and under a
// name of its own.
func TestHealthIsAlwaysWatched(t *testing.T) {
	alive := rollback.Observation{At: began, Expected: 1, Active: []deployment.Instance{{ID: "a", Node: "n", Health: deployment.Passing}}}
	dead := rollback.Observation{At: began, Expected: 1}
	for _, c := range []struct {
		declared []rollback.Named
		want     string
	}{
		{nil, "consul-health"},
		{[]rollback.Named{says("errors", "e", unknown, unknown)}, "consul-health"},
		{[]rollback.Named{says("errors", "consul-health", unknown, unknown)}, "built-in consul-health"},
		{[]rollback.Named{{Kind: rollback.HealthKind, Name: "mine", Trigger: rollback.Health{}}}, "mine"},
	} {
		w := rollback.NewWatch(c.declared)
		if d := w.Observe(alive); d.Verdict == bad {
			t.Errorf("%s: %+v while alive", c.want, d)
		}
		if d := w.Observe(dead); d.Verdict != bad || d.Trigger != c.want {
			t.Errorf("got %+v, want %s to be bad", d, c.want)
		}
	}
}

// Invariant 8, by name: 40 s without metrics send a healthy version neither
// back nor on.
func TestMetricsAwayFor40sRollNothingBack(t *testing.T) {
	w := rollback.NewWatch(triggers(t, `trigger "errors" "http-5xx" {}`))
	o := rollback.Observation{Expected: 1, Active: []deployment.Instance{{ID: "a", Node: "n", Health: deployment.Passing}}}
	for second := range 120 {
		o.At = began.Add(time.Duration(second) * time.Second)
		s := rollback.Scrape{Instance: "a", At: o.At, Err: errors.New("connection refused")}
		away := second >= 40 && second < 80
		if !away {
			s.Err = nil
			s.Families = requests(series(float64(100*second), "code", "200"), series(float64(second), "code", "500"))
		}
		o.Scrapes = map[string][]rollback.Scrape{"/metrics": {s}}
		want := fine
		if away || second == 0 {
			want = unknown
		}
		if d := w.Observe(o); d.Verdict != want {
			t.Fatalf("after %d s: %s (%s), want %s", second, d.Verdict, d.Reason, want)
		}
	}
}

// The same watch decides the same, word for word.
func TestDecisionsAreDeterministic(t *testing.T) {
	run := func() []rollback.Decision {
		var out []rollback.Decision
		w := rollback.NewWatch(triggers(t, `trigger "errors" "http-5xx" {}`))
		for second := range 5 {
			o := rollback.Observation{At: began.Add(time.Duration(second) * time.Second), Expected: 6}
			var scrapes []rollback.Scrape
			for _, id := range []string{"e", "b", "a", "d", "c"} {
				o.Active = append(o.Active, deployment.Instance{ID: id, Node: "n", Health: deployment.Passing})
				n := float64(second)
				s := rollback.Scrape{Instance: id, At: o.At, Families: requests(series(n*0.1, "code", "200"), series(n*0.7, "code", "201"), series(n*0.3, "code", "500"), series(n*1e9, "x", "y", "z", "w"))}
				if id > "b" && second == 3 {
					s.Err = errors.New("away")
				}
				scrapes = append(scrapes, s)
			}
			o.Active = append(o.Active, deployment.Instance{ID: "f", Node: "n", Health: deployment.Critical}, deployment.Instance{ID: "0", Node: "n", Health: deployment.Critical})
			o.Scrapes = map[string][]rollback.Scrape{"/metrics": scrapes}
			out = append(out, w.Observe(o))
		}
		return out
	}
	first := run()
	for range 50 {
		if again := run(); !reflect.DeepEqual(again, first) {
			t.Fatalf("first %+v\nthen %+v", first, again)
		}
	}
	if reason := first[3].Reason; !strings.Contains(reason, "c: away; d: away; e: away") || !strings.Contains(reason, "0 on n is critical; f on n is critical") {
		t.Errorf("reason %q", reason)
	}
}

func requests(family ...rollback.Series) map[string]rollback.Family {
	return map[string]rollback.Family{"http_requests_total": family}
}

func series(value float64, labels ...string) rollback.Series {
	out := rollback.Series{Value: value, Labels: map[string]string{}}
	for pair := range slices.Chunk(labels, 2) {
		out.Labels[pair[0]] = pair[1]
	}
	return out
}

// keys are the figures' names.
func keys(figures map[string]float64) string {
	return strings.Join(slices.Sorted(maps.Keys(figures)), " ")
}
