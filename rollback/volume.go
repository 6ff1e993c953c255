package rollback

import (
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/hashicorp/hcl/v2"

	"github.com/tealdeploy/teal/agent/deployment"
	"github.com/tealdeploy/teal/agent/hclbody"
)

// Volume is the trigger of kind "volume": how many requests come, by the counters
// of the active colour's instances themselves. A version that nobody reaches makes
// no errors, and one that makes its callers try again and again need not either.
//
// By above it is bad when fewer than Below or more than Above requests a second
// came within Window; by ratio, when those are multiples of what the previous
// colour had before the cutover. Traffic has no distribution of its own that a
// test could go by: it rises and falls with its callers. So there is no sequential
// way, and the multiples that are put up with are great.
type Volume struct {
	Metric       string // a counter of requests
	By           Method // ByAbove or ByRatio
	Below, Above float64
	MinRequests  int // by ratio: that the previous colour has in a window, on average
	Window       time.Duration
	Endpoint
}

func decodeVolume(body hcl.Body, eval *hcl.EvalContext) (Trigger, hcl.Diagnostics) {
	v := Volume{Metric: "http_requests_total", By: ByRatio, MinRequests: 50, Window: time.Minute}
	low, high := 0.2, 20.0
	d := decoder("volume", eval)
	d.String("metric", &v.Metric, hclbody.NotEmpty)
	d.Number("below", &v.Below, hclbody.AtLeast(0))
	d.Number("above", &v.Above, hclbody.AtLeast(0))
	d.Number("below_ratio", &low, hclbody.Within(0, 1))
	d.Number("above_ratio", &high, hclbody.Within(1, 1e6))
	d.Int("min_requests", &v.MinRequests, hclbody.AtLeast(1))
	d.Duration("window", &v.Window)
	v.declare(d)
	d.Decode(body)

	if d.Has("below") || d.Has("above") {
		v.By = ByAbove
		if d.Has("below") && d.Has("above") && v.Below >= v.Above {
			d.Errorf("above", "Contradictory limits", "Fewer than %v (below) is bad, and more than %v (above) is: nothing is left that is good.", v.Below, v.Above)
		}
		switch {
		case d.Has("below") && v.Below == 0:
			d.Errorf("below", "Limit that cannot be passed", "No fewer than none can come; below must be more than 0, or be left out.")
		case d.Has("above") && v.Above == 0:
			d.Errorf("above", "Limit that cannot be kept", "A single request would be too many; above must be more than 0, or be left out.")
		}
		for _, other := range []string{"below_ratio", "above_ratio"} {
			if d.Has(other) {
				d.Errorf(other, "Two ways to judge", "%s is no part of judging by requests a second (below, above). For two ways declare two triggers.", other)
			}
		}
	} else {
		v.Below, v.Above = low, high
		if low >= high {
			d.Errorf("above_ratio", "Contradictory limits", "Both ratios are %v: nothing is left that is good.", high)
		}
	}
	if strings.ContainsAny(v.Metric, notInNames) {
		d.Errorf("metric", "Not a metric's name", "%q is not the name of a metric. Selectors and functions are not understood here; name the counter, such as \"http_requests_total\".", v.Metric)
	}
	validateWindow(d, v.Window)
	v.Endpoint.validate(d, eval)
	return v, d.Diagnostics()
}

// Begin implements Trigger.
func (v Volume) Begin() Judge {
	return &volumeJudge{
		Volume: v, key: v.source().Key(), active: newFlow(v.Metric), previous: newFlow(v.Metric),
		window: window{length: v.Window},
	}
}

// Families implements Trigger.
func (v Volume) Families() []string { return []string{v.Metric} }

// volumeJudge follows one watch for a volume trigger.
type volumeJudge struct {
	Volume
	key              string
	active, previous flow
	past             Past   // Requests in Seconds, before the cutover
	window           window // of requests, and the seconds in which they came
	total            float64
}

// Prepare implements Comparing.
func (j *volumeJudge) Prepare(o Observation) {
	if scrapes, ok := o.PreviousScrapes[j.key]; ok {
		j.previous.about(j.filled(o.Before))
		requests, seconds := j.previous.read(o.At, j.read(o.Previous, scrapes), scrapes)
		j.past.Requests += requests
		j.past.Seconds += seconds
	}
}

// Past implements Comparing.
func (j *volumeJudge) Past() Past { return j.past.clone() }

// Recall implements Comparing.
func (j *volumeJudge) Recall(p Past) { j.past = Past{Requests: p.Requests, Seconds: p.Seconds} }

// read are the instances that have to be read: of callers all that were asked.
func (j *volumeJudge) read(colour []deployment.Instance, scrapes []Scrape) []deployment.Instance {
	if len(j.Callers) == 0 {
		return colour
	}
	var all []deployment.Instance
	for _, s := range scrapes {
		all = append(all, deployment.Instance{ID: s.Instance, Health: deployment.Passing})
	}
	return all
}

// Observe implements Judge.
func (j *volumeJudge) Observe(o Observation) Judgement {
	if scrapes, ok := o.Scrapes[j.key]; ok {
		j.active.about(j.filled(o.Whom))
		if requests, seconds := j.active.read(o.At, j.read(o.Active, scrapes), scrapes); seconds > 0 {
			j.window.add(o.At, requests, seconds)
			j.total += requests
		}
	}
	requests, seconds := j.window.sum(o.At)
	out := Judgement{Figures: map[string]float64{
		"requests": requests, "seen_s": seconds, "window_s": j.Window.Seconds(),
	}}
	low, high, than := j.Below, j.Above, ""
	if j.By == ByRatio {
		before := 0.0
		if j.past.Seconds > 0 {
			before = j.past.Requests / j.past.Seconds
		}
		out.Figures["baseline_rate_s"] = before
		switch expected := before * j.Window.Seconds(); {
		case len(o.Previous) == 0 && j.past.Seconds == 0:
			out.Verdict = Fine
			out.Reason = "there is no previous colour whose requests could be compared with; set below or above for limits of their own"
			return out
		case j.past.Seconds == 0:
			out.Reason = "nobody saw how many requests came before the cutover: an agent that began anew cannot compare with it"
			return out
		case expected < float64(j.MinRequests):
			out.Reason = fmt.Sprintf("too few requests came before the cutover to miss them: %s within %s, and %d are needed", short(expected), brief(j.Window), j.MinRequests)
			return out
		}
		low, high = low*before, high*before
		than = fmt.Sprintf(" (the previous colour had %s)", short(before))
	}
	out.Figures["below"] = low
	if high > 0 {
		out.Figures["above"] = high
	}
	// Most of a window has to be seen: a second is no trend.
	if seconds < 0.8*j.Window.Seconds() {
		out.Reason = fmt.Sprintf("requests of %s within %s could be counted, which is not enough%s", brief(time.Duration(seconds*float64(time.Second))), brief(j.Window), j.active.missing(j.Endpoint))
		return out
	}
	rate := requests / seconds
	out.Figures["rate_s"] = rate
	out.Verdict = Fine
	limits := fmt.Sprintf("at least %s", short(low))
	if high > 0 {
		limits += fmt.Sprintf(" and at most %s", short(high))
	}
	if rate < low || high > 0 && rate > high {
		out.Verdict = Bad
	}
	out.Reason = fmt.Sprintf("%s requests a second came within %s; %s are expected%s", short(rate), brief(j.Window), limits, than)
	return out
}

// short writes a number with three digits.
func short(n float64) string { return strconv.FormatFloat(n, 'g', 3, 64) }
