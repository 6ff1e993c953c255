package gates_test

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/tealdeploy/teal/agent/deployment"
	"github.com/tealdeploy/teal/gates"
)

// looked is one look of a gate at a candidate.
func looked(t *testing.T, kind, body string, target gates.Target) (gates.Finding, error) {
	t.Helper()
	named, diags := decode(t, fmt.Sprintf("gate %q \"g\" {\n%s\n}", kind, body))
	if diags.HasErrors() {
		t.Fatal(diags)
	}
	return named.Gate.Check(t.Context(), target)
}

// figure is a service that answers a Prometheus query, and as JSON, with a number;
// an empty one is no series at all.
func figure(t *testing.T, asked *string, n string) string {
	t.Helper()
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		*asked = r.FormValue("query") + r.URL.RawQuery
		result := ""
		if n != "" {
			result = fmt.Sprintf(`{"metric":{},"value":[1700000000,%q]}`, n)
		}
		fmt.Fprintf(w, `{"status":"success","data":{"resultType":"vector","result":[%s]}}`, result)
	}))
	t.Cleanup(s.Close)
	return s.URL
}

var measured = gates.Target{Service: "api", Colour: deployment.Green, Version: "2.0.0"}

func TestFigures(t *testing.T) {
	for _, c := range []struct {
		n, limits string
		want      gates.Verdict
		words     string
	}{
		{"3", "above = 5", gates.Pass, "is 3, and at most 5 is expected"},
		{"6", "above = 5", gates.Fail, "is 6, and at most 5 is expected"},
		{"6", "below = 7", gates.Fail, "is 6, and at least 7 is expected"},
		{"NaN", "above = 5", gates.Hold, "no figure to go by"},
		{"+Inf", "above = 5", gates.Hold, "no figure to go by"},
		{"", "above = 5", gates.Hold, "the answer holds no series"},
		{"", "above = 5\nempty = \"pass\"", gates.Pass, "the answer holds no series"},
		{"", "above = 5\nempty = \"fail\"", gates.Fail, "the answer holds no series"},
	} {
		var asked string
		url := figure(t, &asked, c.n)
		for kind, body := range map[string]string{
			"prometheus": "url = \"" + url + "\"\nquery = \"x_{colour}_{version}\"\n",
			"http-json":  "url = \"" + url + "/q?of={colour}_{version}\"\npath = \"data.result.*.value.1\"\n",
		} {
			got, err := looked(t, kind, body+c.limits, measured)
			if err != nil || got.Verdict != c.want || !strings.Contains(got.Reason, c.words) || !strings.Contains(got.Reason, url) {
				t.Errorf("%s %s %s: %s (%s), %v, want %s (%s)", kind, c.n, c.limits, got.Verdict, got.Reason, err, c.want, c.words)
			}
			if !strings.Contains(asked, "green_2.0.0") {
				t.Errorf("%s: asked %q, want the candidate's", kind, asked)
			}
		}
	}
}

// A service that is away could not be asked: that is no fault of the candidate.
func TestFiguresAway(t *testing.T) {
	for kind, body := range map[string]string{
		"prometheus": "url = \"http://127.0.0.1:1\"\nquery = \"x\"\nabove = 5",
		"http-json":  "url = \"http://127.0.0.1:1\"\npath = \"x\"\nabove = 5",
	} {
		got, err := looked(t, kind, body, measured)
		if err == nil || got.Verdict != gates.Hold || !strings.Contains(err.Error(), "connection refused") {
			t.Errorf("%s: %s, %v", kind, got.Verdict, err)
		}
	}
	unnamed := measured
	unnamed.Version = ""
	if _, err := looked(t, "prometheus", "url = \"http://127.0.0.1:1\"\nquery = \"x_{version}\"\nabove = 5", unnamed); err == nil || !strings.Contains(err.Error(), "the release's version is not known") {
		t.Errorf("without a version: %v", err)
	}
}

// instances are candidates with metrics of their own.
func instances(t *testing.T, texts ...string) gates.Target {
	t.Helper()
	target := measured
	target.Expected = len(texts)
	for n, text := range texts {
		s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if text == "" || r.URL.Path != "/metrics" {
				w.WriteHeader(http.StatusServiceUnavailable)
			}
			fmt.Fprint(w, text)
		}))
		t.Cleanup(s.Close)
		host, port, _ := strings.Cut(strings.TrimPrefix(s.URL, "http://"), ":")
		i := deployment.Instance{ID: fmt.Sprintf("green-%d", n+1), Address: host, Health: deployment.Passing}
		if _, err := fmt.Sscan(port, &i.Port); err != nil {
			t.Fatal(err)
		}
		target.Instances = append(target.Instances, i)
	}
	return target
}

func TestMetrics(t *testing.T) {
	const failed = "metric = \"hits\"\nlabels = { code = \"500\" }\nabove = 3"
	hits := func(good, bad int) string {
		return fmt.Sprintf("hits{code=\"200\"} %d\nhits{code=\"500\",path=\"/a\"} %d\nhits{code=\"500\",path=\"/b\"} 1\n", good, bad)
	}
	for name, c := range map[string]struct {
		body   string
		target gates.Target
		want   gates.Verdict
		words  string
		err    string
	}{
		"good":                {failed, instances(t, hits(100, 2), hits(7, 0)), gates.Pass, `metrics at /metrics: hits{code="500"} of green-1 is 3, and at most 3 is expected, of 2 series`, ""},
		"one is bad":          {failed, instances(t, hits(100, 0), hits(0, 3)), gates.Fail, `hits{code="500"} of green-2 is 4`, ""},
		"bad and one silent":  {failed, instances(t, "", hits(0, 3)), gates.Fail, `of green-2 is 4`, ""},
		"good and one silent": {failed, instances(t, "", hits(0, 0)), gates.Hold, "", "green-1: answered 503, expected 200"},
		"one without it":      {failed, instances(t, hits(0, 0), "x 1\n"), gates.Hold, `1 of 2 instances have no series of hits{code="500"}`, ""},
		"none has it":         {failed, instances(t, "x 1\n"), gates.Hold, "1 of 1 instances have no series", ""},
		"none has to":         {failed + "\nempty = \"pass\"", instances(t, hits(0, 0), "x 1\n"), gates.Pass, "is 1, and at most 3", ""},
		"none at all":         {failed + "\nempty = \"pass\"", instances(t, "x 1\n"), gates.Pass, "have no series", ""},
		"all have to":         {failed + "\nempty = \"fail\"", instances(t, hits(0, 0), "x 1\n"), gates.Fail, "1 of 2 instances have no series", ""},
		"NaN":                 {"metric = \"x\"\nabove = 3", instances(t, "x NaN\n"), gates.Hold, "no figure to go by", ""},
		"an error page":       {failed, instances(t, "<html>\n"), gates.Hold, "", "not the Prometheus text format"},
		"warm":                {"metric = \"warm\"\nbelow = 1", instances(t, "warm 0\n"), gates.Fail, "warm of green-1 is 0, and at least 1 is expected", ""},
	} {
		got, err := looked(t, "metrics", c.body, c.target)
		if got.Verdict != c.want || !strings.Contains(got.Reason, c.words) {
			t.Errorf("%s: %s (%s), want %s (%s)", name, got.Verdict, got.Reason, c.want, c.words)
		}
		if c.err == "" && err != nil || c.err != "" && (err == nil || !strings.Contains(err.Error(), c.err)) {
			t.Errorf("%s: %v, want %q", name, err, c.err)
		}
	}
	// Not all are there yet: nobody is asked.
	target := instances(t, hits(0, 0))
	target.Expected = 2
	if got, err := looked(t, "metrics", failed, target); err != nil || got.Verdict != gates.Hold || got.Reason != "1 of 2 instances of api green are ready to be asked" {
		t.Errorf("%s (%s), %v", got.Verdict, got.Reason, err)
	}
}
