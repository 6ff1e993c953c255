package rollback

import (
	"fmt"
	"strings"
	"time"

	"github.com/hashicorp/hcl/v2"

	"github.com/tealdeploy/teal/agent/hclbody"
)

// Latency is the trigger of kind "latency": how long requests take, by the
// histograms of the active colour's instances themselves.
//
// It comes down to a limit in seconds and the share of requests that take longer,
// which is judged as errors are. By above the limit is given, and by ratio it is a
// multiple of the previous colour's quantile: it is bad when more than 1-Quantile
// of the requests within Window took longer. In sequence it is that bound of the
// previous colour's histogram that says most of its quantile, and it is bad when
// there is proof that more take longer than with the previous colour.
type Latency struct {
	Metric      string // a histogram, without _bucket
	Unit        string // of its bounds: s or ms
	Quantile    float64
	By          Method
	Above       time.Duration // by above
	Ratio       float64       // by ratio
	Tolerance   float64       // in sequence: share of all requests by which more may take longer
	MinRequests int
	Window      time.Duration
	Endpoint
}

// units are how many seconds one of them has.
var units = map[string]float64{"s": 1, "ms": 0.001}

func decodeLatency(body hcl.Body, eval *hcl.EvalContext) (Trigger, hcl.Diagnostics) {
	l := Latency{Metric: "http_request_duration_seconds", Unit: "s", Quantile: 0.99, By: InSequence, MinRequests: 200, Window: 30 * time.Second}
	d := decoder("latency", eval)
	d.String("metric", &l.Metric, hclbody.NotEmpty)
	d.String("unit", &l.Unit, hclbody.OneOf("s", "ms"))
	d.Number("quantile", &l.Quantile, hclbody.Within(0, 1))
	d.Duration("above", &l.Above)
	d.Number("ratio", &l.Ratio, hclbody.Within(1, 1000))
	d.Number("tolerance", &l.Tolerance, hclbody.Within(0, 1))
	d.Int("min_requests", &l.MinRequests, hclbody.AtLeast(1))
	d.Duration("window", &l.Window)
	l.declare(d)
	d.Decode(body)

	if !d.Has("tolerance") {
		l.Tolerance = min(0.05, (1-l.Quantile)/2)
	}
	switch {
	case d.Has("above"):
		l.By = ByAbove
	case d.Has("ratio"):
		l.By = ByRatio
	}
	l.validate(d, eval)
	return l, d.Diagnostics()
}

// validate reports values that are of the right type and cannot work.
func (l *Latency) validate(d *hclbody.Decoder, eval *hcl.EvalContext) {
	for _, suffix := range []string{"_bucket", "_sum", "_count"} {
		if base, ok := strings.CutSuffix(l.Metric, suffix); ok {
			d.Errorf("metric", "Not a histogram's name", "%s is one of a histogram's series; name the histogram itself: %s.", l.Metric, base)
		}
	}
	if strings.ContainsAny(l.Metric, notInNames) {
		d.Errorf("metric", "Not a metric's name", "%q is not the name of a histogram. Selectors and functions are not understood here; name it as \"http_request_duration_seconds\".", l.Metric)
	}
	if l.Quantile <= 0 || l.Quantile >= 1 {
		d.Errorf("quantile", "Wrong value for quantile", "A quantile is between 0 and 1, such as 0.5, 0.95 or 0.99.")
	}
	for _, other := range []string{"ratio", "tolerance"} {
		if l.By == ByAbove && d.Has(other) || l.By == ByRatio && other == "tolerance" && d.Has(other) {
			d.Errorf(other, "Two ways to judge", "%s is no part of judging by %s: give one of above and ratio, or tolerance and neither. For two ways declare two triggers.", other, l.By)
		}
	}
	if d.Has("tolerance") && l.Tolerance >= l.Quantile {
		d.Errorf("tolerance", "Trigger can never fire", "No more than all requests can take longer; tolerance must be less than the quantile, %v.", l.Quantile)
	}
	validateWindow(d, l.Window)
	l.Endpoint.validate(d, eval)
}

// Begin implements Trigger.
func (l Latency) Begin() Judge {
	slow := &slowness{buckets: buckets{newStandings(l.bucket())}, exact: l.By == InSequence}
	j := &latencyJudge{Latency: l, slow: slow, profile: profile{reader: buckets{newStandings(l.bucket())}}}
	j.errorsJudge = &errorsJudge{
		Errors: Errors{Metric: l.bucket(), By: l.By, Tolerance: l.Tolerance, MinRequests: l.MinRequests, Window: l.Window, Endpoint: l.Endpoint},
		key:    l.source().Key(), counters: slow, tells: []string{"le"}, window: window{length: l.Window},
	}
	if l.By == ByAbove {
		j.limitTo(l.Above.Seconds() / units[l.Unit])
	}
	return j
}

func (l Latency) bucket() string { return l.Metric + "_bucket" }

// Families implements Trigger.
func (l Latency) Families() []string { return []string{l.bucket()} }

// latencyJudge follows one watch for a latency trigger.
type latencyJudge struct {
	Latency
	comparingJudge // once there is a limit
	slow           *slowness
	profile        profile
	learned        bool // of the baseline, since the limit was drawn
	limited        bool // the limit is known
}

// limitTo sets the limit, in the metric's unit.
func (j *latencyJudge) limitTo(limit float64) {
	j.limited, j.slow.limit = true, limit
	j.words = words{"took longer than " + brief(time.Duration(j.seconds()*float64(time.Second))), "slow"}
}

func (j *latencyJudge) seconds() float64 { return j.slow.limit * units[j.Unit] }

// Prepare implements Comparing.
func (j *latencyJudge) Prepare(o Observation) { j.learn(o, true) }

// Past implements Comparing.
func (j *latencyJudge) Past() Past {
	out := Past{}
	for _, b := range j.profile.bounds {
		out.Bounds = append(out.Bounds, Bound{b.Le, b.Past.clone()})
	}
	return out
}

// Recall implements Comparing.
func (j *latencyJudge) Recall(p Past) {
	j.profile.bounds, j.profile.seen = nil, map[string]bool{}
	for _, b := range p.Bounds {
		j.profile.bounds = append(j.profile.bounds, Bound{b.Le, b.Past.counted()})
		for id := range b.Past.Each {
			j.profile.seen[id] = true
		}
	}
	j.draw()
}

// learn takes what is seen of the previous colour.
func (j *latencyJudge) learn(o Observation, serves bool) {
	j.profile.reader.about(j.Latency.filled(o.Before))
	if j.By == ByAbove {
		return
	}
	if scrapes, ok := o.PreviousScrapes[j.key]; ok && j.profile.read(scrapes, o.At, serves) {
		j.learned = true
	}
	if j.learned && !serves {
		j.learned = false
		j.draw()
	}
}

// draw takes the limit from the baseline, once there is enough of it. From then
// on it stays: what was counted against one limit says nothing of another.
func (j *latencyJudge) draw() {
	if j.profile.requests() < float64(j.MinRequests) {
		return
	}
	switch b := j.profile.telling(j.Quantile); {
	case j.By == ByRatio && !j.limited:
		if q, ok := j.profile.quantile(j.Quantile); ok {
			j.limitTo(q * j.Ratio)
		}
	case j.By == InSequence && !j.limited && b != nil:
		j.limitTo(b.Le)
	}
	if j.By == InSequence && j.limited {
		j.past.Past = j.profile.bound(j.slow.limit).Past.clone()
		j.bar = j.past.bar(j.Tolerance)
	}
}

// Observe implements Judge.
func (j *latencyJudge) Observe(o Observation) Judgement {
	j.learn(o, false)
	if !j.limited {
		return j.withoutLimit(o)
	}
	j.observe(o)
	var out Judgement
	if j.By == InSequence {
		j.sequence.add(j.readings, j.bar, &j.past.Past)
		out = j.inSequence()
	} else {
		out = j.judge(1 - j.Quantile)
	}
	out.Figures["quantile"], out.Figures["limit_s"] = j.Quantile, j.seconds()
	return out
}

// withoutLimit says what is missing. A first release has nobody to be slower
// than; anything else that is not known is not known.
func (j *latencyJudge) withoutLimit(o Observation) Judgement {
	out := Judgement{Figures: map[string]float64{"quantile": j.Quantile, "baseline_requests": j.profile.requests(), "min_requests": float64(j.MinRequests)}}
	if len(o.Previous) == 0 && len(j.profile.bounds) == 0 {
		out.Verdict = Fine
		out.Reason = "there is no previous colour to be slower than; set above for a limit of its own"
		return out
	}
	if n := j.profile.requests(); n < float64(j.MinRequests) {
		out.Reason = fmt.Sprintf("only %s of %d requests of the previous colour were seen in %s at %s, and there is nothing else to compare with", amount(n), j.MinRequests, j.bucket(), j.Latency.Path)
	} else {
		out.Reason = fmt.Sprintf("the bounds of the previous colour's %s do not tell where its quantile of %v lies", j.bucket(), j.Quantile)
	}
	return out
}
