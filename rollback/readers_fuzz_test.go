package rollback_test

import (
	"encoding/json"
	"errors"
	"maps"
	"math"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/tealdeploy/teal/agent/deployment"
	"github.com/tealdeploy/teal/agent/measure"
	"github.com/tealdeploy/teal/rollback"
)

// sane holds a decision against what may be on record of one. Signed are figures that
// are somebody's own, and may be less than nothing.
func sane(t *testing.T, d rollback.Decision, signed ...string) {
	t.Helper()
	if d.Reason == "" || strings.ContainsFunc(d.Reason, func(r rune) bool { return r == utf8.RuneError || !unicode.IsPrint(r) }) {
		t.Fatalf("%q is no reason: %+v", d.Reason, d)
	}
	for key, n := range d.Figures {
		own := slices.ContainsFunc(signed, func(name string) bool { return key == name || strings.HasSuffix(key, "."+name) })
		if math.IsNaN(n) || math.IsInf(n, 0) || n < 0 && !own {
			t.Fatalf("%s is %v: %+v", key, n, d)
		}
		if strings.HasSuffix(key, "rate") && n > 1 {
			t.Fatalf("%s is %v: %+v", key, n, d)
		}
	}
}

// uncountable is more than anybody has counted. What adds up to more than that may be
// too much to be believed by the next release, which learns its own then.
const uncountable = 1 << 52

// greatest is the greatest of what a baseline counts.
func greatest(p rollback.Past) float64 {
	most := 0.0
	for _, b := range p.Bounds {
		most = max(most, greatest(b.Past))
	}
	fine, coarse := p.Spread.Fine, p.Spread.Coarse
	return max(most, p.Requests, p.Seconds, fine.N, fine.Requests, fine.Rates, fine.Squares, coarse.N, coarse.Requests, coarse.Rates, coarse.Squares)
}

// relearned is a watch that begins anew with what another has learned, as the record
// keeps it.
func relearned(t *testing.T, named []rollback.Named, w *rollback.Watch) *rollback.Watch {
	t.Helper()
	past := w.Past()
	text, err := json.Marshal(past)
	if err != nil {
		t.Fatalf("what was learned cannot be kept: %v", err)
	}
	clear(past)
	if err := json.Unmarshal(text, &past); err != nil {
		t.Fatal(err)
	}
	for name, p := range past {
		if !p.Sound() {
			if greatest(p) < uncountable {
				t.Fatalf("what was learned for %s is not believed: %s", name, text)
			}
			return rollback.NewWatch(named)
		}
	}
	again := rollback.NewWatch(named)
	again.Recall(past)
	if kept, err := json.Marshal(again.Past()); err != nil || string(kept) != string(text) {
		t.Fatalf("learned %s\n kept %s %v", text, kept, err)
	}
	return again
}

// FuzzWord: whatever somebody writes into the key of a trigger "kv", it is a verdict
// only if it begins with one of the words, and what is told of it is a short line.
func FuzzWord(f *testing.F) {
	for _, seed := range []string{"yes", " NO: orders have halved\n", "rollback", "bad\tx", "nothing", "no.", "", "{", `{"verdict":"no","reason":"a\u001b[2J\u202eb"}`,
		`{"verdict":"fine"} `, `{"verdict":"no"}{}`, `{"VERDICT":"no","verdict":"yes"}`, `{"verdict":null}`, `{"verdict":["no"]}`, "no: \x1b]0;x\x07", "no:\u202eabc\u2028d\xff",
		"no " + strings.Repeat("é", 400), "\ufeffno", strings.Repeat(`"`, 900)} {
		f.Add(seed)
	}
	words := map[string]rollback.Verdict{"yes": fine, "ok": fine, "good": fine, "fine": fine, "pass": fine, "no": bad, "bad": bad, "fail": bad, "rollback": bad}
	f.Fuzz(func(t *testing.T, text string) {
		a := newAsked(t, "kv", `key = "verdicts/{version}"`).hears(&rollback.Answer{Key: "verdicts/1", Text: &text})
		sane(t, a.got)
		if n := utf8.RuneCountInString(a.got.Reason); n > 700 {
			t.Fatalf("%d characters", n)
		}
		said := strings.TrimSpace(text)
		var in struct{ Verdict, Reason string }
		if !strings.HasPrefix(said, "{") || json.Unmarshal([]byte(said), &in) != nil {
			in.Verdict = said[:strings.IndexAny(said+":", ": \t\r\n")]
		}
		want := unknown
		for word, verdict := range words {
			if strings.EqualFold(strings.TrimSpace(in.Verdict), word) {
				want = verdict
			}
		}
		if a.got.Verdict != want {
			t.Fatalf("%q is %s, want %s", text, a.got.Verdict, want)
		}
	})
}

// every is a trigger of each way to judge.
const every = `
trigger "errors" "sequence" {
  min_requests = 3
}
trigger "errors" "ratio" {
  ratio = 2
  min_requests = 3
}
trigger "latency" "quantile" {
  min_requests = 3
}
trigger "latency" "slower" {
  ratio = 2
  min_requests = 3
}
trigger "latency" "slow" {
  above = "100ms"
  min_requests = 3
}
trigger "volume" "limits" {
  below = 1
  above = 100
  window = "2s"
}
trigger "volume" "traffic" {
  min_requests = 1
  window = "2s"
}
trigger "prometheus" "habit" {
  url = "http://p"
  query = "x"
  worse = "higher"
}
trigger "prometheus" "times" {
  url = "http://p"
  query = "x"
  ratio = 2
  below_ratio = 0.5
}
trigger "http-json" "business" {
  url = "http://p"
  path = "a"
  worse = "lower"
  interval = "1s"
}
trigger "http-json" "halves" {
  url = "http://p"
  path = "a"
  below_ratio = 0.5
}
trigger "nomad" "allocations" {}
`

// own are the figures of those who are asked, in their units.
var own = []string{"value", "limit", "above", "below"}

// histogram is a scrape of counters and of a histogram with these bounds.
func (r *reader) histogram(id string, at time.Time, bounds []string) rollback.Scrape {
	s := rollback.Scrape{Instance: id, At: at, Families: map[string]rollback.Family{}}
	if r.next()&31 == 31 {
		s.Err = errors.New("away")
		return s
	}
	counts := rollback.Family{series(r.value(), "code", "200"), series(r.value(), "code", "500")}
	s.Families["http_requests_total"] = counts
	for _, le := range bounds {
		s.Families["http_request_duration_seconds_bucket"] = append(s.Families["http_request_duration_seconds_bucket"], series(r.value(), "le", le))
	}
	return s
}

// answers are one to each trigger that asks.
func (r *reader) answers(at time.Time) map[string]rollback.Answer {
	out := map[string]rollback.Answer{}
	for _, name := range []string{"habit", "times", "business", "halves"} {
		a := rollback.Answer{At: at}
		how := r.next()
		for range how & 3 {
			a.Values = append(a.Values, measure.Value{Name: string(rune('a' + r.next()%2)), Number: r.value()})
		}
		for range how >> 2 & 63 {
			a.Before = append(a.Before, measure.Value{Number: r.value()})
		}
		if how&128 != 0 {
			a.BeforeErr = errors.New("away")
		}
		out[name] = a
	}
	a := rollback.Answer{At: at}
	for range r.next() & 3 {
		restarts := uint64(r.next())
		if restarts == 255 {
			restarts = math.MaxUint64
		}
		b := r.next()
		a.Allocations = append(a.Allocations, rollback.Allocation{ID: string(rune('a' + b&3)), Node: "n", Failed: b&4 != 0, Restarts: restarts, OOM: time.Unix(0, int64(b>>3)), Words: "w"})
	}
	out["allocations"] = a
	return out
}

// both is an observation of both colours.
func (r *reader) both(at time.Time, bounds []string) rollback.Observation {
	blue, green := deployment.Instance{ID: "blue", Health: deployment.Passing}, deployment.Instance{ID: "green", Health: deployment.Passing}
	o := rollback.Observation{At: at, Expected: 1, Previous: []deployment.Instance{blue}, Active: []deployment.Instance{green}}
	o.PreviousScrapes = map[string][]rollback.Scrape{"/metrics": {r.histogram("blue", at, bounds)}}
	o.Scrapes = map[string][]rollback.Scrape{"/metrics": {r.histogram("green", at, bounds)}}
	o.Answers = r.answers(at)
	return o
}

// released plays a release: what is learned before the cutover goes through the
// record, and then it is watched.
func released(t *testing.T, in []byte, bounds []string, past map[string]rollback.Past) []rollback.Decision {
	t.Helper()
	named := triggers(t, every)
	w := rollback.NewWatch(named)
	w.Recall(past)
	w = relearned(t, named, w)
	r := reader{in: in}
	at := began
	for range min(len(in)/100, 20) {
		at = at.Add(time.Second)
		w.Prepare(r.both(at, bounds))
	}
	w = relearned(t, named, w)
	var out []rollback.Decision
	for len(r.in) > 0 && len(out) < 50 {
		at = at.Add(time.Second)
		d := w.Observe(r.both(at, bounds))
		sane(t, d, own...)
		out = append(out, d)
	}
	for name, p := range w.Learned() {
		if text, err := json.Marshal(p); err != nil || !p.Sound() && greatest(p) < uncountable {
			t.Fatalf("%s has learned %s %v", name, text, err)
		}
	}
	return out
}

// FuzzRelease: whatever histograms, counters, answers and allocations say, what is
// learned of them can be kept, decisions are of finite figures, and the same again
// decides the same again.
func FuzzRelease(f *testing.F) {
	steady := []byte(strings.Repeat("\x01\x10\x01\x05\x08\x09\x0a", 200))
	for _, bounds := range []string{"0.1,0.25,1,+Inf", "+Inf", "-5,-1,+Inf", "NaN,+Inf", "x", "1,1.0,+Inf", "0x1p-2,1e999,-Inf", "0,1e-320,1e308,+Inf", "1,inf,+Inf", ""} {
		f.Add(bounds, steady)
		f.Add(bounds, []byte(strings.Repeat("\x01\x60\xff\xfe\xfc\x20\x05", 60)))
	}
	f.Add("0.1,+Inf", []byte(strings.Repeat("\x00\xfb\xfd\xfe\x81\x02", 90)))
	f.Fuzz(func(t *testing.T, bounds string, in []byte) {
		if len(in) > 4000 || len(bounds) > 600 {
			return
		}
		les := strings.Split(bounds, ",")
		if first, again := released(t, in, les, nil), released(t, in, les, nil); !reflect.DeepEqual(first, again) {
			t.Fatalf("first %+v\nthen %+v", first, again)
		}
	})
}

// FuzzPast: whatever a record keeps for a baseline is not believed, or does no harm.
func FuzzPast(f *testing.F) {
	looks := []byte(strings.Repeat("\x01\x10\x01\x05\x08\x09\x0a", 60))
	spread := `"spread":{"fine":{"n":9,"requests":9,"errors":1,"rates":0.1,"squares":0.1},"coarse":{}}`
	bound := func(le string) string {
		return `{"le":` + le + `,"past":{"requests":1000,"errors":10,"each":{"i":{"requests":1000,"errors":10}},` + spread + `}}`
	}
	for _, seed := range []string{
		`{}`, `null`, `{"requests":1000,"errors":10,"seconds":60,` + spread + `,"each":{"i":{"requests":1000,"errors":10}}}`,
		`{"requests":1000,"errors":-1}`, `{"requests":1,"errors":1,"spread":{"fine":{"n":1e15,"rates":9e15}}}`,
		`{"figures":[1,2]}`, `{"figures":[1e308,-1e308]}`, `{"figures":[` + strings.Repeat("1e308,", 60) + `0]}`, `{"figures":[` + strings.Repeat("1,2,3,", 30) + `0]}`,
		`{"bounds":[` + bound("0.1") + "," + bound("0.25") + `]}`, `{"bounds":[` + bound("1") + "," + bound("-1") + `]}`,
		`{"bounds":[` + strings.Repeat(bound("5")+",", 80) + bound("0.1") + `]}`, `{"bounds":[` + bound("1e308") + `]}`,
		`{"bounds":[{"le":1,"past":{"bounds":[{"le":2,"past":{"requests":-1}}]}}]}`,
		`{"requests":9007199254740992,"errors":0,"seconds":1e-320}`, `{"requests":5e-324,"errors":5e-324,"seconds":5}`,
	} {
		f.Add([]byte(seed), looks)
	}
	names := []string{"sequence", "ratio", "quantile", "slower", "slow", "limits", "traffic", "habit", "times", "business", "halves"}
	f.Fuzz(func(t *testing.T, raw, in []byte) {
		var p rollback.Past
		if len(in) > 2000 || len(raw) > 64<<10 || json.Unmarshal(raw, &p) != nil || !p.Sound() {
			return
		}
		before, _ := json.Marshal(p)
		all := map[string]rollback.Past{}
		for _, name := range names {
			all[name] = p
		}
		released(t, in, []string{"0.1", "0.25", "1", "+Inf"}, maps.Clone(all))
		if after, _ := json.Marshal(p); string(after) != string(before) {
			t.Fatalf("changed in place: %s, was %s", after, before)
		}
	})
}

// A figure that is 0/0 for once, as a rate of nothing is, must not cost the whole
// baseline its place in the record.
func TestAFigureThatIsNoneIsNoPartOfTheBaseline(t *testing.T) {
	named := triggers(t, "trigger \"prometheus\" \"x\" {\nurl = \"http://p\"\nquery = \"x\"\nworse = \"higher\"\n}")
	w := rollback.NewWatch(named)
	for i, n := range []float64{1, math.NaN(), 2, math.Inf(1), 3} {
		at := began.Add(time.Duration(i) * time.Second)
		w.Prepare(rollback.Observation{At: at, Answers: map[string]rollback.Answer{"x": *figures(n)}})
	}
	if got := relearned(t, named, w).Past()["x"].Figures; !slices.Equal(got, []float64{1, 2, 3}) {
		t.Errorf("kept are %v", got)
	}
}

// A multiple of the greatest number there is is no limit, and still a number.
func TestAMultipleOfTheGreatestNumber(t *testing.T) {
	a := newAsked(t, "prometheus", "url = \"http://p\"\nquery = \"x\"\nratio = 2")
	a.hears(heard(1, []float64{math.MaxFloat64})).want(fine, "it is 1")
	sane(t, a.got)
}

// Bounds that are no durations say nothing of how long requests take, in a histogram
// and in a record.
func TestBoundsThatAreNoDurations(t *testing.T) {
	family := func(n float64) rollback.Family {
		return rollback.Family{series(n, "le", "-5"), series(n, "le", "0.1"), series(2*n, "le", "1e300"), series(2*n, "le", "+Inf")}
	}
	if got := histogram(t, `above = "100ms"`, family(0), family(1000)); got.Verdict != bad || got.Figures["slow"] != 1000 {
		t.Errorf("by a bound that is one: %s (%s) %v", got.Verdict, got.Reason, got.Figures)
	}
	if got := histogram(t, `above = "200ms"`, family(0), family(1000)); got.Verdict != unknown || !strings.Contains(got.Reason, "no bound as great as 0.2") {
		t.Errorf("by one that is none: %s (%s)", got.Verdict, got.Reason)
	}
	bounds := func(list ...float64) (p rollback.Past) {
		for _, le := range list {
			p.Bounds = append(p.Bounds, rollback.Bound{Le: le})
		}
		return p
	}
	many := make([]float64, 65)
	for i := range many {
		many[i] = float64(i)
	}
	nested := bounds(1)
	nested.Bounds[0].Past = bounds(1)
	if !bounds(0, 0.1, 5).Sound() || !bounds(many[:64]...).Sound() {
		t.Error("what was learned is not believed")
	}
	for name, p := range map[string]rollback.Past{"negative": bounds(-1), "endless": bounds(1e300), "twice": bounds(1, 1), "in disorder": bounds(2, 1),
		"too many": bounds(many...), "nested": nested, "too many figures": {Figures: make([]float64, 1001)}} {
		if p.Sound() {
			t.Errorf("%s: believed", name)
		}
	}
}
