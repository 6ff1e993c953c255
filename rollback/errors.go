package rollback

import (
	"fmt"
	"regexp"
	"regexp/syntax"
	"strings"
	"time"

	"github.com/hashicorp/hcl/v2"

	"github.com/tealdeploy/teal/agent/hclbody"
)

// usualLabels are those by which instrumentation commonly tells a request's
// outcome. The first that a series has is taken.
var usualLabels = []string{"code", "status", "status_code"}

// Errors is the trigger of kind "errors": the share of requests that failed, by
// the counters of the active colour's instances themselves.
//
// It judges in one of three ways. By above it is bad when more than that share of
// the requests within Window failed; by ratio, when more than that many times the
// previous colour's share did; and in sequence when there is proof, however often
// one looks, that more fail than with the previous colour. None waits for the
// window to pass: as soon as MinRequests were seen, it judges. With fewer, or with
// fewer than half of the serving instances readable, it does not know.
type Errors struct {
	Metric      string         // a counter of requests
	Label       string         // tells a request's outcome; empty: one of usualLabels
	Bad         *regexp.Regexp // the label's values that are errors, anchored
	By          Method
	Above       float64 // by above: share of requests that may fail
	Ratio       float64 // by ratio: multiple of the previous colour's share that may fail
	Tolerance   float64 // in sequence: share by which more may fail than with the previous colour
	MinRequests int
	Window      time.Duration
	Endpoint
}

// Method is a way to judge.
type Method string

const (
	ByAbove    Method = "above"
	ByRatio    Method = "ratio"
	InSequence Method = "sequential"
)

func decodeErrors(body hcl.Body, eval *hcl.EvalContext) (Trigger, hcl.Diagnostics) {
	e := Errors{Metric: "http_requests_total", By: InSequence, Tolerance: 0.001, MinRequests: 50, Window: 30 * time.Second}
	pattern := "5.."
	d := decoder("errors", eval)
	d.String("metric", &e.Metric, hclbody.NotEmpty)
	d.String("label", &e.Label, hclbody.NotEmpty)
	d.String("bad", &pattern, hclbody.NotEmpty)
	d.Number("above", &e.Above, hclbody.Within(0, 1))
	d.Number("ratio", &e.Ratio, hclbody.Within(1, 1000))
	d.Number("tolerance", &e.Tolerance, hclbody.Within(0, 1))
	d.Int("min_requests", &e.MinRequests, hclbody.AtLeast(1))
	d.Duration("window", &e.Window)
	e.declare(d)
	d.Decode(body)

	if _, err := regexp.Compile(pattern); err != nil {
		d.Errorf("bad", "Invalid regular expression", "bad: %s.", plain(err))
	} else {
		e.Bad = regexp.MustCompile("^(?:" + pattern + ")$")
	}
	switch {
	case d.Has("above"):
		e.By = ByAbove
	case d.Has("ratio"):
		e.By = ByRatio
	}
	e.validate(d, eval)
	return e, d.Diagnostics()
}

// plain drops the package's name from an error of regexp.
func plain(err error) string {
	if e, ok := err.(*syntax.Error); ok {
		return fmt.Sprintf("%s: %q", e.Code, e.Expr)
	}
	return err.Error()
}

// validate reports values that are of the right type and cannot work.
func (e *Errors) validate(d *hclbody.Decoder, eval *hcl.EvalContext) {
	switch {
	case strings.ContainsAny(e.Metric, notInNames):
		d.Errorf("metric", "Not a metric's name", "%q is not the name of a metric. Selectors and functions are not understood here; name the counter, such as \"http_requests_total\".", e.Metric)
	case strings.HasSuffix(e.Metric, "_bucket"), strings.HasSuffix(e.Metric, "_sum"):
		base, count := strings.TrimSuffix(strings.TrimSuffix(e.Metric, "_bucket"), "_sum"), "_count"
		d.Errorf("metric", "Metric does not count requests", "%s does not count each request once. Of a histogram or summary take %s.", e.Metric, base+count)
	}
	if strings.ContainsAny(e.Label, notInNames) {
		d.Errorf("label", "Not a label's name", "%q is not the name of a label.", e.Label)
	}
	if e.Above >= 1 {
		d.Errorf("above", "Trigger can never fire", "No more than all requests can fail; above must be less than 1.")
	}
	for _, other := range []string{"ratio", "tolerance"} {
		if e.By == ByAbove && d.Has(other) || e.By == ByRatio && other == "tolerance" && d.Has(other) {
			d.Errorf(other, "Two ways to judge", "%s is no part of judging by %s: give one of above and ratio, or tolerance and neither. For two ways declare two triggers.", other, e.By)
		}
	}
	if e.Tolerance >= 1 {
		d.Errorf("tolerance", "Trigger can never fire", "No more than all requests can fail; tolerance must be less than 1.")
	}
	validateWindow(d, e.Window)
	e.Endpoint.validate(d, eval)
}

// Begin implements Trigger.
func (e Errors) Begin() Judge {
	j := &errorsJudge{
		Errors:   e,
		key:      e.source().Key(),
		counters: e.count(),
		tells:    e.tells(),
		words:    words{"failed", "errors"},
		window:   window{length: e.Window},
	}
	if e.By == ByAbove {
		return j
	}
	return &comparingJudge{errorsJudge: j, past: pastReader{counters: e.count()}}
}

// tells are the labels, one of which tells a request's outcome.
func (e Errors) tells() []string {
	if e.Label != "" {
		return []string{e.Label}
	}
	return usualLabels
}

// count begins to count.
func (e Errors) count() *counters {
	return &counters{newStandings(e.Metric), e.tells(), e.Bad}
}

// Families implements Trigger.
func (e Errors) Families() []string { return []string{e.Metric} }
