package rollback_test

import (
	"errors"
	"math"
	"strings"
	"testing"
	"time"

	"github.com/tealdeploy/teal/agent/deployment"
	"github.com/tealdeploy/teal/rollback"
)

// service is a colour whose metrics are made up, second by second.
type service struct {
	t     *testing.T
	judge rollback.Judge
	at    time.Time
}

func newService(t *testing.T, body string) *service {
	t.Helper()
	named := triggers(t, "trigger \"errors\" \"e\" {\n"+body+"\n}")
	return &service{t: t, judge: named[0].Trigger.Begin(), at: began}
}

// look lets a second pass and takes one scrape of one instance.
func (s *service) look(key string, families map[string]rollback.Family) rollback.Judgement {
	s.at = s.at.Add(time.Second)
	return s.judge.Observe(rollback.Observation{
		At: s.at, Expected: 1, Active: []deployment.Instance{{ID: "a", Health: deployment.Passing}},
		Scrapes: map[string][]rollback.Scrape{key: {{Instance: "a", At: s.at, Families: families}}},
	})
}

// Which requests failed, as the usual instrumentations have it.
func TestErrorsFindsOutcome(t *testing.T) {
	for _, c := range []struct {
		name, body, metric string
		good, bad          []string // labels
	}{
		{"promhttp", "", "http_requests_total", []string{"code", "200", "method", "get"}, []string{"code", "503", "method", "get"}},
		{"status", "", "http_requests_total", []string{"status", "200"}, []string{"status", "500"}},
		{"status_code", "", "http_requests_total", []string{"status_code", "404"}, []string{"status_code", "500"}},
		{"code goes before status", "", "http_requests_total", []string{"code", "200", "status", "599"}, []string{"code", "500", "status", "ok"}},
		{"classes", `bad = "5xx"`, "http_requests_total", []string{"code", "2xx"}, []string{"code", "5xx"}},
		{"a histogram's count", `metric = "http_server_request_duration_seconds_count"` + "\n" + `label = "http_response_status_code"`,
			"http_server_request_duration_seconds_count", []string{"http_response_status_code", "200"}, []string{"http_response_status_code", "500"}},
		{"grpc", "metric = \"grpc_server_handled_total\"\nlabel = \"grpc_code\"\nbad = \"Internal|Unavailable\"", "grpc_server_handled_total",
			[]string{"grpc_code", "OK"}, []string{"grpc_code", "Unavailable"}},
		{"the whole value has to match one of several", `bad = "49.|5.."`, "http_requests_total", []string{"code", "4999"}, []string{"code", "500"}},
		{"the whole value has to match", `bad = "5"`, "http_requests_total", []string{"code", "500"}, []string{"code", "5"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := newService(t, c.body)
			family := func(good, failed float64) map[string]rollback.Family {
				return map[string]rollback.Family{c.metric: {series(good, c.good...), series(failed, c.bad...)}}
			}
			s.look("/metrics", family(0, 0))
			if got := s.look("/metrics", family(1000, 0)); got.Verdict != fine || got.Figures["requests"] != 1000 {
				t.Errorf("good requests: %s (%s)", got.Verdict, got.Reason)
			}
			if got := s.look("/metrics", family(1000, 100)); got.Verdict != bad || got.Figures["errors"] != 100 {
				t.Errorf("failed requests: %s (%s)", got.Verdict, got.Reason)
			}
		})
	}
}

// A label that is not there, perhaps a slip of the pen, does not make every
// request a good one.
func TestErrorsWithoutTheLabel(t *testing.T) {
	s := newService(t, `label = "cod"`)
	s.look("/metrics", requests(series(0, "code", "500", "method", "get")))
	got := s.look("/metrics", requests(series(1000, "code", "500", "method", "get")))
	if want := "http_requests_total has no label cod, and so does not tell which requests failed; it has code, method"; got.Verdict != unknown || got.Reason != want {
		t.Errorf("%s %q, want %q", got.Verdict, got.Reason, want)
	}
	s = newService(t, "")
	s.look("/metrics", requests(series(0)))
	got = s.look("/metrics", requests(series(1000)))
	if want := "http_requests_total has no label code or status or status_code, and so does not tell which requests failed; it has none"; got.Verdict != unknown || got.Reason != want {
		t.Errorf("%s %q, want %q", got.Verdict, got.Reason, want)
	}
	// Some series do not tell: they count neither way.
	s = newService(t, "")
	s.look("/metrics", requests(series(0, "x", "y"), series(0, "code", "500"), series(0, "code", "200")))
	got = s.look("/metrics", requests(series(1e6, "x", "y"), series(10, "code", "500"), series(90, "code", "200")))
	if got.Verdict != bad || got.Figures["requests"] != 100 {
		t.Errorf("%s (%s)", got.Verdict, got.Reason)
	}
}

// A metric that is not there is told by its name.
func TestErrorsWithoutTheMetric(t *testing.T) {
	s := newService(t, "metric = \"reqs_total\"\npath = \"/m\"\nport = \"metrics\"")
	var got rollback.Judgement
	for range 5 {
		got = s.look("metrics/m", requests(series(1e6, "code", "200")))
	}
	if want := "too few requests (0 of 50 within 30s); no instance has a metric reqs_total at /m"; got.Verdict != unknown || got.Reason != want {
		t.Errorf("%s %q, want %q", got.Verdict, got.Reason, want)
	}
}

// Another source's scrapes are none of this trigger's, and without one the
// last sight stands until it is too old.
func TestErrorsBetweenScrapes(t *testing.T) {
	s := newService(t, "")
	s.look("/metrics", requests(series(0, "code", "200")))
	s.look("/metrics", requests(series(100, "code", "200")))
	if got := s.look("9100/metrics", requests(series(0, "code", "200"), series(1e6, "code", "500"))); got.Verdict != fine {
		t.Errorf("with somebody else's scrape: %s (%s)", got.Verdict, got.Reason)
	}
	o := rollback.Observation{At: s.at.Add(20 * time.Second)}
	if got := s.judge.Observe(o); got.Verdict != fine {
		t.Errorf("without a scrape: %s (%s)", got.Verdict, got.Reason)
	}
	o.At = s.at.Add(30 * time.Second)
	if got := s.judge.Observe(o); got.Verdict != unknown {
		t.Errorf("without a scrape for a whole window: %s (%s)", got.Verdict, got.Reason)
	}
}

func TestErrorsBeforeAnything(t *testing.T) {
	got := newService(t, "").judge.Observe(rollback.Observation{At: began})
	if got.Verdict != unknown || got.Reason != "no metrics were read yet" {
		t.Errorf("%s (%s)", got.Verdict, got.Reason)
	}
	if want := "above baseline_requests errors instances min_requests read requests window_s"; keys(got.Figures) != want {
		t.Errorf("figures %s, want %s", keys(got.Figures), want)
	}
}

func TestErrorsFigures(t *testing.T) {
	s := newService(t, "above = 0.1\nwindow = \"1m\"\nmin_requests = 10")
	s.look("/metrics", requests(series(0, "code", "200"), series(0, "code", "500")))
	got := s.look("/metrics", requests(series(15, "code", "200"), series(5, "code", "500")))
	for key, want := range map[string]float64{"rate": 0.25, "errors": 5, "requests": 20, "window_s": 60, "instances": 1, "read": 1, "min_requests": 10, "above": 0.1} {
		if value, ok := got.Figures[key]; !ok || value != want {
			t.Errorf("%s is %v, want %v", key, value, want)
		}
	}
	if want := "25 % of requests failed (5 of 20 within 1m0s, 1 of 1 instances read); up to 10 % is allowed"; got.Reason != want {
		t.Errorf("reason %q, want %q", got.Reason, want)
	}
}

// Whom to believe when several are asked.
func TestErrorsOfManyInstances(t *testing.T) {
	const away = -1
	for _, c := range []struct {
		name   string
		health string    // as colour has it
		grown  []float64 // good requests of the second scrape
		want   rollback.Verdict
		read   float64
	}{
		{"half of them can be read", "pppp", []float64{100, 100, away, away}, fine, 2},
		{"less than half can be read", "ppppp", []float64{100, 100, away, away, away}, unknown, 2},
		{"those that do not serve need not be read", "pccc", []float64{100, away, away, away}, fine, 1},
		{"those with a warning serve", "pwww", []float64{100, away, away, away}, unknown, 1},
		{"those that do not serve are not enough", "cp", []float64{100, away}, unknown, 0},
		{"nobody serves", "cc", []float64{100, 100}, unknown, 0},
		{"the scrape is of those that were there before", "ppp", []float64{100}, unknown, 1},
	} {
		s := newService(t, "")
		var got rollback.Judgement
		for second := range 2 {
			o := rollback.Observation{At: began.Add(time.Duration(second) * time.Second), Active: colour(c.health)}
			var list []rollback.Scrape
			for i, grown := range c.grown {
				one := rollback.Scrape{Instance: o.Active[i].ID, At: o.At, Families: requests(series(10, "code", "200"))}
				if second == 1 {
					one.Families = requests(series(10+grown, "code", "200"))
				}
				if grown == away {
					one.Families, one.Err = nil, errors.New("away")
				}
				list = append(list, one)
			}
			o.Scrapes = map[string][]rollback.Scrape{"/metrics": list}
			got = s.judge.Observe(o)
		}
		if got.Verdict != c.want || got.Figures["read"] != c.read {
			t.Errorf("%s: %s, %v read (%s), want %s, %v", c.name, got.Verdict, got.Figures["read"], got.Reason, c.want, c.read)
		}
	}
}

// Two instances of one ID would be each other's restarts.
func TestErrorsOfTwins(t *testing.T) {
	s := newService(t, "")
	var got rollback.Judgement
	for second := range 3 {
		o := rollback.Observation{At: began.Add(time.Duration(second) * time.Second), Active: colour("p")}
		o.Scrapes = map[string][]rollback.Scrape{"/metrics": {
			{Instance: "a", At: o.At, Families: requests(series(9000, "code", "500"))},
			{Instance: "a", At: o.At, Families: requests(series(100, "code", "500"))},
		}}
		got = s.judge.Observe(o)
	}
	if got.Verdict != unknown || got.Figures["requests"] != 0 || !strings.Contains(got.Reason, "several instances have this ID") {
		t.Errorf("%s (%s)", got.Verdict, got.Reason)
	}
}

// What cannot be counted, one by one. A sample that holds it changes nothing.
func TestErrorsOfNonsense(t *testing.T) {
	for name, family := range map[string]rollback.Family{
		"NaN":           {series(math.NaN(), "code", "500")},
		"infinite":      {series(math.Inf(1), "code", "500")},
		"negative":      {series(-1, "code", "500")},
		"beyond counts": {series(1e300, "code", "500")},
		"twice":         {series(1, "code", "500"), series(5000, "code", "500")},
	} {
		s := newService(t, "")
		s.look("/metrics", requests(series(0, "code", "500"), series(0, "code", "200")))
		if got := s.look("/metrics", map[string]rollback.Family{"http_requests_total": append(family, series(500, "code", "200"))}); got.Verdict != unknown || got.Figures["requests"] != 0 {
			t.Errorf("%s: %s (%s)", name, got.Verdict, got.Reason)
		}
		if got := s.look("/metrics", requests(series(0, "code", "500"), series(600, "code", "200"))); got.Verdict != fine || got.Figures["requests"] != 600 {
			t.Errorf("after %s: %s (%s)", name, got.Verdict, got.Reason)
		}
	}
}

// An answer that was overtaken by a later one is no restart.
func TestErrorsOfAnOldAnswer(t *testing.T) {
	s := newService(t, "")
	s.look("/metrics", requests(series(9000, "code", "500")))
	old := s.at.Add(-time.Second)
	got := s.judge.Observe(rollback.Observation{At: s.at.Add(time.Second), Active: colour("p"), Scrapes: map[string][]rollback.Scrape{
		"/metrics": {{Instance: "a", At: old, Families: requests(series(8000, "code", "500"))}},
	}})
	if got.Verdict != unknown || got.Figures["requests"] != 0 {
		t.Errorf("%s (%s)", got.Verdict, got.Reason)
	}
}

// An instance that was gone for longer than the window is a stranger; one that
// merely could not be read is not.
func TestErrorsOfOneThatWasGone(t *testing.T) {
	for _, c := range []struct {
		name   string
		listed bool
		want   float64
	}{{"gone", false, 0}, {"unreadable", true, 70}} {
		s := newService(t, "")
		s.look("/metrics", requests(series(0, "code", "200")))
		for range 40 {
			s.at = s.at.Add(time.Second)
			o := rollback.Observation{At: s.at, Active: colour("p"), Scrapes: map[string][]rollback.Scrape{"/metrics": nil}}
			if c.listed {
				o.Scrapes["/metrics"] = []rollback.Scrape{{Instance: "a", At: s.at, Err: errors.New("away")}}
			}
			s.judge.Observe(o)
		}
		if got := s.look("/metrics", requests(series(70, "code", "200"))); got.Figures["requests"] != c.want {
			t.Errorf("%s: %v requests, want %v", c.name, got.Figures["requests"], c.want)
		}
	}
}

// A window is as long as it says, however often one looks.
func TestErrorsOfALongWindow(t *testing.T) {
	s := newService(t, `window = "10m"`)
	var got rollback.Judgement
	for i := range 6000 {
		got = s.look("/metrics", requests(series(float64(i), "code", "200")))
	}
	if n := got.Figures["requests"]; n < 590 || n > 600 {
		t.Errorf("%v requests within ten minutes of one a second", n)
	}
}
