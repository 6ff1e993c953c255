package rollback_test

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/tealdeploy/teal/agent/deployment"
	"github.com/tealdeploy/teal/rollback"
)

// asked is a watch of one trigger that goes by what others say.
type asked struct {
	*testing.T
	watch *rollback.Watch
	at    time.Time
	got   rollback.Decision
}

func newAsked(t *testing.T, kind, body string) *asked {
	return &asked{T: t, watch: rollback.NewWatch(triggers(t, "trigger \""+kind+"\" \"x\" {\n"+body+"\n}")), at: began}
}

// hears is one look; nil is one without a new answer.
func (a *asked) hears(answer *rollback.Answer) *asked {
	a.at = a.at.Add(time.Second)
	o := rollback.Observation{At: a.at, Expected: 1, Active: []deployment.Instance{{ID: "i", Health: deployment.Passing}}}
	// Another trigger's answer is none of this one's.
	o.Answers = map[string]rollback.Answer{"another": {Err: errors.New("somebody else's")}}
	if answer != nil {
		answer.At = a.at
		o.Answers["x"] = *answer
	}
	a.got = a.watch.Observe(o)
	return a
}

func (a *asked) want(verdict rollback.Verdict, reason string) *asked {
	a.Helper()
	if a.got.Verdict != verdict || !strings.Contains(a.got.Reason, reason) {
		a.Errorf("%s (%s), want %s (%s)", a.got.Verdict, a.got.Reason, verdict, reason)
	}
	return a
}

func allocations(list ...rollback.Allocation) *rollback.Answer {
	return &rollback.Answer{Allocations: list}
}

func TestNomad(t *testing.T) {
	// What happened before the watch is not held against anybody.
	a := newAsked(t, "nomad", "").hears(nil).want(unknown, "Nomad was not asked yet")
	old := rollback.Allocation{ID: "0000000011", Node: "n", Failed: true, Restarts: 7, OOM: began.Add(-time.Hour)}
	x := rollback.Allocation{ID: "aaaaaaaa11", Node: "n1", Restarts: 3}
	a.hears(allocations(old, x)).want(fine, "since the watch began no task was restarted, no task was killed for want of memory and no allocation failed")
	x.Restarts = 5
	a.hears(allocations(old, x)).want(fine, "2 tasks were restarted")
	a.hears(nil).want(fine, "2 tasks were restarted")
	x.Restarts, x.Words = 6, `task "web": exit code 3`
	a.hears(allocations(old, x)).want(bad, `3 tasks were restarted`).want(bad, `(allocation aaaaaaaa on n1: task "web": exit code 3); put up with are 2, 0 and 0`)
	if f := a.got.Figures; f["restarts"] != 3 || f["restarts_allowed"] != 2 {
		t.Errorf("figures %v", f)
	}

	// One that takes the place of another has its own count.
	a = newAsked(t, "nomad", "restarts = 0\nfailed = 1").hears(allocations(x))
	y := rollback.Allocation{ID: "bbbbbbbb22", Node: "n2"}
	x.Failed = true
	a.hears(allocations(x, y)).want(fine, "1 allocation failed")
	a.hears(allocations(x, y)).want(fine, "1 allocation failed") // once
	y.Restarts = 1
	a.hears(allocations(x, y)).want(bad, "1 task was restarted")

	a = newAsked(t, "nomad", "").hears(allocations(y))
	y.OOM = began
	a.hears(allocations(y)).want(bad, "1 task was killed for want of memory")

	a = newAsked(t, "nomad", "").hears(allocations(y))
	y.Failed = true
	a.hears(allocations(y)).want(bad, "1 allocation failed")
}

// A Nomad that is away says nothing, in either direction.
func TestNomadAway(t *testing.T) {
	a := newAsked(t, "nomad", "").hears(&rollback.Answer{Err: errors.New("connection refused")})
	a.want(unknown, "Nomad could not be asked (connection refused)")
	x := rollback.Allocation{ID: "aaaaaaaa11", Node: "n1", Restarts: 9}
	a.hears(allocations(x)).want(fine, "no task was restarted")
	a.hears(&rollback.Answer{Err: errors.New("connection refused")}).want(unknown, "connection refused")
	a.hears(nil).want(unknown, "connection refused")
	// What happened meanwhile is seen when it is back.
	x.Restarts = 12
	a.hears(allocations(x)).want(bad, "3 tasks were restarted")
	newAsked(t, "nomad", "").hears(allocations()).want(unknown, "Nomad knows of no allocation of this version")
}

func TestKV(t *testing.T) {
	says := func(text string) *rollback.Answer { return &rollback.Answer{Key: "verdicts/api/2", Text: &text} }
	const body = `key = "verdicts/{service}/{version}"`
	newAsked(t, "kv", body).hears(nil).want(unknown, "Consul was not asked for the key yet")
	newAsked(t, "kv", body).hears(&rollback.Answer{Key: "verdicts/api/2"}).want(unknown, "there is no key verdicts/api/2 yet")
	newAsked(t, "kv", body+"\nabsent = \"fine\"").hears(&rollback.Answer{Key: "verdicts/api/2"}).want(fine, "nobody objects")
	newAsked(t, "kv", body+"\nabsent = \"fine\"").hears(&rollback.Answer{Err: errors.New("no leader")}).want(unknown, "the key could not be read: no leader")
	for text, want := range map[string]struct {
		verdict rollback.Verdict
		words   string
	}{
		"ok":                       {fine, ""},
		" Yes: all checkouts pass": {fine, ""},
		"no: orders have halved":   {bad, "key verdicts/api/2 says bad: orders have halved"},
		"FAIL orders have halved":  {bad, "says bad: orders have halved"},
		"rollback":                 {bad, "says bad, without a reason"},
		`{"verdict": "no", "reason": "orders have\nhalved"}`: {bad, "says bad: orders have halved"},
		`{"verdict": "ok"}`:      {fine, ""},
		`{"verdict": "perhaps"}`: {unknown, "says neither yes nor no"},
		`{"verdict": "no"`:       {unknown, "says neither yes nor no"},
		"none of this is bad":    {unknown, `"none of this is bad"; expected one of yes, ok, good, fine, pass, or one of no, bad, fail, rollback`},
		"":                       {unknown, "says neither yes nor no"},
		"no: \x1b[31m" + strings.Repeat("x", 999): {bad, "says bad: .[31mxxx"},
	} {
		a := newAsked(t, "kv", body).hears(says(text)).want(want.verdict, want.words)
		if len(a.got.Reason) > 600 || strings.ContainsAny(a.got.Reason, "\x1b\n") {
			t.Errorf("%q: reason %q", text, a.got.Reason)
		}
	}
	// The last word counts, also when the key has been deleted.
	a := newAsked(t, "kv", body).hears(says("ok")).hears(nil).want(fine, "")
	a.hears(&rollback.Answer{Key: "k"}).want(unknown, "no key")
	a.hears(says("no: x")).want(bad, "")
}

func TestSubject(t *testing.T) {
	s := rollback.Subject{Service: "api", Colour: "green", Version: "2.0.0"}
	if got, err := s.Filling().Text("a/{service}/{colour}/{version}/{other}"); err != nil || got != "a/api/green/2.0.0/{other}" {
		t.Errorf("%q, %v", got, err)
	}
	s.Version = ""
	if got, err := s.Filling().Text("a/{version}"); err == nil || !strings.Contains(err.Error(), "version is not known") {
		t.Errorf("%q, %v", got, err)
	}
}
