package rollback_test

import (
	"fmt"
	"math"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/tealdeploy/teal/agent/deployment"
	"github.com/tealdeploy/teal/agent/measure"
	"github.com/tealdeploy/teal/rollback"
)

// exposed reads the series that one instance tells, as in m{code=500,path=/} 3.
func exposed(t *testing.T, text string) rollback.Scrape {
	t.Helper()
	s := rollback.Scrape{Instance: "a", At: time.Unix(1, 0), Families: map[string]rollback.Family{}}
	for line := range strings.Lines(text) {
		name, rest, _ := strings.Cut(strings.TrimSpace(line), "{")
		labels, number, _ := strings.Cut(rest, "} ")
		value, err := strconv.ParseFloat(number, 64)
		if err != nil {
			t.Fatal(err)
		}
		series := rollback.Series{Labels: map[string]string{}, Value: value}
		for label := range strings.SplitSeq(labels, ",") {
			key, value, _ := strings.Cut(label, "=")
			series.Labels[key] = value
		}
		s.Families[name] = append(s.Families[name], series)
	}
	return s
}

// What an instance tells either suffices for a trigger or lacks something, which
// is named together with what is there.
func TestWhatATriggerLacks(t *testing.T) {
	const requests = "http_requests_total{code=200,route=/} 90\nhttp_requests_total{code=500,route=/checkout} 10"
	const quick = "t_bucket{le=0.1} 999\nt_bucket{le=2.5} 1000\nt_bucket{le=+Inf} 1000"
	const slow = "t_bucket{le=0.1} 10\nt_bucket{le=2.5} 20\nt_bucket{le=+Inf} 1000"
	for _, c := range []struct{ kind, body, told, lacks string }{
		{"errors", ``, requests, ""},
		{"errors", `where = { route = "/checkout" }`, requests, ""},
		{"errors", `where = { code = "{version}" }`, "http_requests_total{code=1.0.0} 1", ""},
		{"errors", `metric = "other"`, requests, "a metric other"},
		{"errors", `bad = "5xx"`, requests, `a code in http_requests_total that bad could match: "5xx" is none of HTTP's; there are "200", "500"`},
		{"errors", `bad = "503"`, requests, ""}, // none so far
		{"errors", `bad = "5xx"`, "http_requests_total{code=2xx} 1", ""},
		{"errors", `bad = "failed"`, "http_requests_total{code=ok} 1", ""},
		{"errors", `label = "outcome"`, requests, "a label outcome in http_requests_total; it has code, route"},
		{"errors", ``, "http_requests_total{route=/} 1", "a label code or status or status_code in http_requests_total; it has route"},
		{"errors", `where = { route = "/chekout" }`, requests, `a series of http_requests_total with route="/chekout"; there are "/", "/checkout"`},
		{"errors", `where = { subset = "{colour}" }`, requests, `a label subset in http_requests_total; it has code, route`},
		{"errors", "where = {\n code = \"200\"\n route = \"/checkout\"\n}", requests, "a series of http_requests_total with all the labels that where asks for"},
		{"errors", ``, "http_requests_total{code=200} NaN", "counts of http_requests_total that can be believed (http_requests_total{code=\"200\"} is NaN, which is no count)"},
		{"errors", ``, "http_requests_total{code=200} -1", "counts of http_requests_total that can be believed (http_requests_total{code=\"200\"} is -1, which is no count)"},
		{"volume", ``, "http_requests_total{route=/} 1", ""},
		{"volume", `where = { route = "/a" }`, "http_requests_total{route=/} 1", `a series of http_requests_total with route="/a"; there are "/"`},
		{"volume", ``, "http_requests_total{route=/} NaN", "counts of http_requests_total that can be believed (http_requests_total{route=\"/\"} is NaN, which is no count)"},
		{"volume", `where = { route = "/a" }`, "http_requests_total{route=/} NaN\nhttp_requests_total{route=/a} 1", ""},
		{"latency", ``, quick, "a metric http_request_duration_seconds_bucket"},
		{"latency", "metric = \"t\"\nabove = \"2500ms\"", quick, ""},
		{"latency", "metric = \"t\"\nabove = \"3s\"", quick, "a bound of t_bucket as great as the limit of 3; the greatest is 2.5"},
		{"latency", "metric = \"t\"\nabove = \"3s\"\nunit = \"ms\"", quick, "a bound of t_bucket as great as the limit of 3e+03; the greatest is 2.5"},
		{"latency", "metric = \"t\"\nabove = \"3s\"", strings.ReplaceAll(quick, "1000", "0"), "a bound of t_bucket as great as the limit of 3; the greatest is 2.5"},
		{"latency", "metric = \"t\"\nratio = 2", quick, ""},
		{"latency", "metric = \"t\"\nratio = 100", quick, "a bound of t_bucket as great as the limit of 9.91; the greatest is 2.5"},
		{"latency", "metric = \"t\"\nratio = 2", slow, "a bound of t_bucket that tells where the quantile of 0.99 lies; the greatest is 2.5"},
		{"latency", `metric = "t"`, quick, ""},
		{"latency", `metric = "t"`, slow, ""}, // the greatest bound is a bad one, but one
		{"latency", `metric = "t"`, "t_bucket{le=2.5} 0\nt_bucket{le=+Inf} 1000", "a bound of t_bucket that tells where the quantile of 0.99 lies; the greatest is 2.5"},
		{"latency", `metric = "t"`, "t_bucket{le=2.5} 0\nt_bucket{le=+Inf} 0", ""},
		{"latency", `metric = "t"`, "t_bucket{le=+Inf} 1000", "a bound of t_bucket but the infinite one"},
		{"latency", `metric = "t"`, "t_bucket{le=2.5} 7", "counts of t_bucket that can be believed (t_bucket has no bound le=\"+Inf\", and so does not tell of all requests)"},
		{"latency", `metric = "t"`, "t_bucket{quantile=0.5} 7", "a label le in t_bucket; it has quantile"},
		{"latency", "metric = \"t\"\nwhere = { route = \"/\" }", quick, "a label route in t_bucket; it has le"},
	} {
		trigger := triggers(t, fmt.Sprintf("trigger %q \"it\" {\n%s\n}", c.kind, c.body))[0].Trigger.(rollback.Scraping)
		whom := rollback.Subject{Service: "api", Colour: deployment.Blue, Version: "1.0.0"}
		if got := trigger.Lacks(exposed(t, c.told), whom); got != c.lacks {
			t.Errorf("%s {%s} of %q lacks %q, want %q", c.kind, c.body, c.told, got, c.lacks)
		}
	}
}

// An answer without a figure is told, and one with figures is not.
func TestWhatAnAnswerLacks(t *testing.T) {
	nan, inf := math.NaN(), math.Inf(1)
	for _, c := range []struct {
		body   string
		values []float64
		lacks  string
	}{
		{"above = 1", []float64{1, 2}, ""},
		{"above = 1", nil, "holds no series"},
		{"above = 1\nempty = \"bad\"", nil, "holds no series, which the policy takes for bad"},
		{"above = 1", []float64{nan}, "holds 1 series, and 1 of them are NaN or infinite, which is no figure to go by (0/0 makes one such)"},
		{"above = 1", []float64{1, inf, 3}, "holds 3 series, and 1 of them are NaN or infinite, which is no figure to go by (0/0 makes one such)"},
		{"worse = \"higher\"", []float64{1}, ""},
		{"worse = \"higher\"", []float64{1, 2}, "holds 2 series, and one figure is compared in sequence; aggregate them in the query"},
	} {
		trigger := triggers(t, fmt.Sprintf("trigger \"prometheus\" \"it\" {\nurl = \"http://p\"\nquery = \"q\"\n%s\n}", c.body))[0].Trigger.(rollback.Figures)
		var values []measure.Value
		for _, n := range c.values {
			values = append(values, measure.Value{Number: n})
		}
		if got := trigger.Lacks(values); got != c.lacks {
			t.Errorf("%v under %q lacks %q, want %q", c.values, c.body, got, c.lacks)
		}
	}
}
