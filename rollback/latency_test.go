package rollback_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"strings"
	"testing"
	"time"

	"github.com/tealdeploy/teal/agent/deployment"
	"github.com/tealdeploy/teal/rollback"
)

// timed is a watch of one latency trigger. Both colours' histograms hold how many
// requests took up to 0.1 s, up to 0.25 s, up to 1 s, and longer.
type timed struct {
	*testing.T
	watch       *rollback.Watch
	metric      string
	scale       float64 // of the bounds
	at          time.Time
	blue, green [4]float64
	noBlue      bool // there is no previous colour
	silent      bool // green's metrics are away
	got         rollback.Decision
}

func newTimed(t *testing.T, body string) *timed {
	return &timed{T: t, watch: rollback.NewWatch(triggers(t, "trigger \"latency\" \"slow\" {\n"+body+"\n}")), metric: "http_request_duration_seconds", scale: 1, at: began}
}

func (r *timed) scrape(id string, counts [4]float64, err error) ([]deployment.Instance, map[string][]rollback.Scrape) {
	var family rollback.Family
	sum := 0.0
	for i, le := range []float64{0.1, 0.25, 1, math.Inf(1)} {
		sum += counts[i]
		text := fmt.Sprint(le * r.scale)
		if math.IsInf(le, 1) {
			text = "+Inf"
		}
		family = append(family, series(sum, "le", text, "path", "/"))
	}
	s := rollback.Scrape{Instance: id, At: r.at, Err: err, Families: map[string]rollback.Family{r.metric + "_bucket": family}}
	return []deployment.Instance{{ID: id, Health: deployment.Passing}}, map[string][]rollback.Scrape{"/metrics": {s}}
}

func (r *timed) served(seconds int, more [4]float64) *timed {
	for range seconds {
		r.at = r.at.Add(time.Second)
		for i := range more {
			r.blue[i] += more[i]
		}
		o := rollback.Observation{At: r.at}
		o.Previous, o.PreviousScrapes = r.scrape("blue", r.blue, nil)
		r.watch.Prepare(o)
	}
	// As the controller does: what was learned goes to the watch through Past.
	past := r.watch.Past()
	text, err := json.Marshal(past)
	if err != nil {
		r.Fatal(err)
	}
	clear(past)
	if err := json.Unmarshal(text, &past); err != nil {
		r.Fatal(err)
	}
	r.watch.Recall(past)
	return r
}

func (r *timed) look() rollback.Decision {
	r.at = r.at.Add(time.Second)
	var err error
	if r.silent {
		err = errors.New("away")
	}
	o := rollback.Observation{At: r.at, Expected: 1}
	o.Active, o.Scrapes = r.scrape("green", r.green, err)
	if !r.noBlue {
		o.Previous, o.PreviousScrapes = r.scrape("blue", r.blue, nil)
	}
	r.got = r.watch.Observe(o)
	return r.got
}

// serves lets green serve and tells how many seconds it took to take it back.
func (r *timed) serves(seconds int, more [4]float64) int {
	r.look()
	for second := range seconds {
		for i := range more {
			r.green[i] += more[i]
		}
		if r.look().Verdict == bad {
			return second + 1
		}
	}
	return seconds + 1
}

func (r *timed) want(verdict rollback.Verdict, reason string) {
	r.Helper()
	if r.got.Verdict != verdict || !strings.Contains(r.got.Reason, reason) {
		r.Errorf("%s (%s), want %s (%s)", r.got.Verdict, r.got.Reason, verdict, reason)
	}
}

// A quantile that doubles is seen in seconds, long before a limit that a person
// would set; one that stays is left alone for the whole watch.
func TestLatencyInSequence(t *testing.T) {
	usual := [4]float64{180, 18, 2, 0} // p99 is about 0.25 s
	r := newTimed(t, "").served(60, usual)
	if took := r.serves(900, usual); took <= 900 {
		t.Errorf("the same took %d s: %s", took, r.got.Reason)
	}
	r.want(fine, "1 % of requests took longer than 250ms (60 of 6000 within 30s, 1 of 1 instances read); the previous colour's share was 1 % (of 12000 requests)")
	r = newTimed(t, "").served(60, usual)
	if took := r.serves(60, [4]float64{150, 40, 10, 0}); took > 15 {
		t.Errorf("5 %% beyond the quantile took %d s: %s", took, r.got.Reason)
	}
	r.want(bad, "5 % of requests took longer than 250ms")
	if f := r.got.Figures; f["limit_s"] != 0.25 || f["quantile"] != 0.99 || f["slow"] == 0 || f["evidence"] < f["proof"] {
		t.Errorf("figures %v", f)
	}
	// The median, by another bound of the same histogram.
	r = newTimed(t, "quantile = 0.5").served(60, [4]float64{110, 80, 10, 0})
	if took := r.serves(60, [4]float64{40, 150, 10, 0}); took > 15 {
		t.Errorf("a median beyond its bound took %d s: %s", took, r.got.Reason)
	}
	r.want(bad, "80 % of requests took longer than 100ms")
}

// An agent that begins anew has what the previous colour's histogram holds.
func TestLatencyBegunAnew(t *testing.T) {
	r := newTimed(t, "")
	r.blue = [4]float64{180e3, 18e3, 2e3, 0}
	if took := r.serves(120, [4]float64{150, 40, 10, 0}); took > 60 {
		t.Errorf("took %d s: %s", took, r.got.Reason)
	}
	r.want(bad, "the previous colour's share was 1 % (of 200000 requests)")
}

func TestLatencyAbove(t *testing.T) {
	r := newTimed(t, "above = \"500ms\"\nquantile = 0.95")
	if took := r.serves(60, [4]float64{100, 95, 5, 0}); took <= 60 {
		t.Errorf("2.5 %% above took %d s: %s", took, r.got.Reason)
	}
	// Between 250 ms and 1 s a third lies below 500 ms, as far as anybody knows.
	r.want(fine, "1.67 % of requests took longer than 500ms (100 of 6000 within 30s, 1 of 1 instances read); up to 5 % is allowed")
	r = newTimed(t, "above = \"500ms\"\nquantile = 0.95")
	if took := r.serves(60, [4]float64{100, 80, 0, 20}); took != 1 {
		t.Errorf("10 %% above took %d s: %s", took, r.got.Reason)
	}
	r = newTimed(t, "above = \"2s\"")
	r.serves(5, [4]float64{0, 0, 0, 200})
	r.want(unknown, "http_request_duration_seconds_bucket has no bound as great as 2, and so does not tell what took longer")
	if strings.Join(cannotTell(r.watch), " ") != "slow, never" {
		t.Error("a limit beyond all bounds was met")
	}
}

func TestLatencyRatio(t *testing.T) {
	usual := [4]float64{180, 18, 2, 0}
	r := newTimed(t, "ratio = 2").served(60, usual)
	if took := r.serves(60, usual); took <= 60 {
		t.Errorf("the same took %d s: %s", took, r.got.Reason)
	}
	r.want(fine, "took longer than 500ms")
	if took := r.serves(60, [4]float64{150, 20, 0, 30}); took > 5 {
		t.Errorf("15 %% beyond took %d s: %s", took, r.got.Reason)
	}
	r.want(bad, "took longer than 500ms")
}

// Milliseconds are not lost in conversion.
func TestLatencyUnit(t *testing.T) {
	for _, body := range []string{"unit = \"ms\"\nmetric = \"took_ms\"", "unit = \"ms\"\nmetric = \"took_ms\"\nabove = \"250ms\""} {
		r := newTimed(t, body)
		r.metric, r.scale = "took_ms", 1000
		r.served(60, [4]float64{180, 18, 2, 0})
		if took := r.serves(60, [4]float64{100, 40, 60, 0}); took > 15 {
			t.Errorf("%s: took %d s: %s", body, took, r.got.Reason)
		}
		r.want(bad, "took longer than 250ms")
	}
}

// What is not known is told, and never fine.
func TestLatencyUnknown(t *testing.T) {
	usual := [4]float64{180, 18, 2, 0}
	r := newTimed(t, "")
	r.noBlue = true
	r.serves(3, usual)
	r.want(fine, "") // the first release has nobody to be slower than
	if waits := cannotTell(r.watch); len(waits) != 0 {
		t.Errorf("a first release waits for %v", waits)
	}

	r = newTimed(t, "")
	r.blue = [4]float64{50, 0, 0, 0}
	r.serves(3, usual)
	r.want(unknown, "only 50 of 200 requests of the previous colour were seen in http_request_duration_seconds_bucket at /metrics")

	r = newTimed(t, "")
	r.blue = [4]float64{0, 0, 0, 500}
	r.serves(3, usual)
	r.want(unknown, "the bounds of the previous colour's http_request_duration_seconds_bucket do not tell where its quantile of 0.99 lies")

	r = newTimed(t, "").served(60, usual)
	r.silent = true
	for range 40 {
		r.look()
	}
	r.want(unknown, "metrics of 0 of 1 instances could be read")

	// The new version's histogram has other bounds.
	r = newTimed(t, "").served(60, usual)
	r.look()
	r.scale = 3
	for range 3 {
		r.green[0] += 200
		r.look()
	}
	r.want(unknown, `has no bound le="0.25", by which the previous colour is measured`)

	// No histogram at all, and one without an end.
	for _, c := range []struct {
		family rollback.Family
		want   string
	}{
		{rollback.Family{series(100, "path", "/")}, "x_bucket has no label le, and so does not tell which requests took longer than 1s; it has path"},
		{rollback.Family{series(100, "le", "0.1")}, `x_bucket has no bound le="+Inf"`},
		{rollback.Family{series(100, "le", "NaN"), series(100, "le", "+Inf")}, `x_bucket has the bound le="NaN", which is no number`},
		{rollback.Family{series(math.NaN(), "le", "1"), series(100, "le", "+Inf")}, `x_bucket{le="1"} is NaN, which is no count`},
		{rollback.Family{series(-1, "le", "1"), series(100, "le", "+Inf")}, `x_bucket{le="1"} is -1, which is no count`},
		{nil, "no instance has a metric x_bucket at /metrics"},
	} {
		w := rollback.NewWatch(triggers(t, "trigger \"latency\" \"slow\" {\nmetric = \"x\"\nabove = \"1s\"\n}"))
		var got rollback.Decision
		for i := range 3 {
			at := began.Add(time.Duration(i) * time.Second)
			got = w.Observe(rollback.Observation{At: at, Expected: 1, Active: []deployment.Instance{{ID: "a", Health: deployment.Passing}},
				Scrapes: map[string][]rollback.Scrape{"/metrics": {{Instance: "a", At: at, Families: map[string]rollback.Family{"x_bucket": c.family}}}}})
		}
		if got.Verdict != unknown || !strings.Contains(got.Reason, c.want) {
			t.Errorf("%s (%s), want %s", got.Verdict, got.Reason, c.want)
		}
	}
}

// Counters that begin anew make no time up: neither negative counts nor more
// slow requests than there were.
func TestLatencyAfterARestart(t *testing.T) {
	usual := [4]float64{180, 18, 2, 0}
	r := newTimed(t, "").served(60, usual)
	r.serves(30, usual)
	for range 30 {
		r.green = [4]float64{} // once a second
		if r.serves(1, usual); r.got.Verdict == bad {
			t.Fatalf("a restart was held against it: %s", r.got.Reason)
		}
	}
	if slow, all := r.got.Figures["slow.slow"], r.got.Figures["slow.requests"]; slow < 0 || slow > all {
		t.Errorf("%v slow of %v", slow, all)
	}
}

// histogram is a watch of one series or several, as its lines have them.
func histogram(t *testing.T, body string, looks ...rollback.Family) (got rollback.Decision) {
	t.Helper()
	w := rollback.NewWatch(triggers(t, "trigger \"latency\" \"slow\" {\nmetric = \"x\"\nmin_requests = 1\n"+body+"\n}"))
	for i, family := range looks {
		at := began.Add(time.Duration(i) * time.Second)
		got = w.Observe(rollback.Observation{At: at, Expected: 1, Active: []deployment.Instance{{ID: "a", Health: deployment.Passing}},
			Scrapes: map[string][]rollback.Scrape{"/metrics": {{Instance: "a", At: at, Families: map[string]rollback.Family{"x_bucket": family}}}}})
	}
	return got
}

// A bound that only some series have tells of some requests only.
func TestLatencyWithBoundsOfSomeSeries(t *testing.T) {
	family := func(n float64) rollback.Family {
		return rollback.Family{
			series(n, "le", "0.1", "path", "/a"), series(n, "le", "0.25", "path", "/a"), series(n, "le", "+Inf", "path", "/a"),
			series(n, "le", "0.1", "path", "/b"), series(n, "le", "+Inf", "path", "/b"),
		}
	}
	if got := histogram(t, `above = "100ms"`, family(0), family(1000)); got.Verdict != fine || got.Figures["slow.requests"] != 2000 {
		t.Errorf("by a bound that all have: %s (%s)", got.Verdict, got.Reason)
	}
	if got := histogram(t, `above = "250ms"`, family(0), family(1000)); got.Verdict != unknown || !strings.Contains(got.Reason, "no bound as great as 0.25") {
		t.Errorf("by a bound of some: %s (%s)", got.Verdict, got.Reason)
	}
}

// After a restart the buckets need not add up: there are never fewer than no slow
// requests, nor more than all.
func TestLatencyWithBucketsThatDoNotAddUp(t *testing.T) {
	family := func(fast, all float64) rollback.Family {
		return rollback.Family{series(fast, "le", "0.1"), series(all, "le", "+Inf")}
	}
	for _, c := range []struct{ fast, all float64 }{{90, 1050}, {500, 400}} {
		got := histogram(t, `above = "100ms"`, family(100, 1000), family(c.fast, c.all))
		if slow, all := got.Figures["slow"], got.Figures["requests"]; got.Trigger == "" {
			slow, all = got.Figures["slow.slow"], got.Figures["slow.requests"]
			if slow < 0 || slow > all {
				t.Errorf("%v: %v slow of %v", c, slow, all)
			}
		} else if slow < 0 || slow > all {
			t.Errorf("%v: %v slow of %v", c, slow, all)
		}
	}
}

// What was learned before is not counted again when the same instance is read anew.
func TestLatencyRecalled(t *testing.T) {
	usual := [4]float64{180, 18, 2, 0}
	first := newTimed(t, "").served(60, usual)
	again := newTimed(t, "")
	again.at, again.blue = first.at, first.blue
	again.watch.Recall(first.watch.Past())
	again.serves(30, usual)
	again.want(fine, "the previous colour's share was 1 % (of 12000 requests)")
}
