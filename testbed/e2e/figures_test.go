package e2e

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	neturl "net/url"
	"path/filepath"
	"sync/atomic"
	"testing"
	"time"

	"github.com/tealdeploy/teal/agent/deployment"
	"github.com/tealdeploy/teal/testbed/world"
)

// gateTrial is a kind of gate put to three candidates: one that passes, one that
// fails, and one of which the gate cannot tell.
type gateTrial struct {
	kind             string
	begin            func(s *stage) (more string) // before anything; more of each block's body
	pass, passSays   string                       // block's body, and words of the record
	fail, failSays   string
	blind, blindSays string
	away             func(s *stage) // makes what passed before impossible to ask
	awaySays         string
}

func (tr gateTrial) put(t *testing.T) {
	name := "g-" + tr.kind
	s := open(t, name)
	more := ""
	if tr.begin != nil {
		more = tr.begin(s)
	}
	s.agent("a")
	v := world.Service{Name: name, Version: "1.0.0"}
	s.begin(v)
	c := s.calls(name, world.TrafficOptions{})
	c.answers("1.0.0", 20)
	declared := func(body string) string {
		return fmt.Sprintf("gate %q \"judged\" {\ninterval = \"200ms\"\n%s\n%s\n}", tr.kind, more, body)
	}
	verdict := func(d deployment.Deployment, want, words string) {
		t.Helper()
		for _, g := range d.Gates {
			if g.Name == "judged" {
				if g.Verdict != want || g.Proof != d.Candidate.Proof() {
					t.Errorf("%s of %s is on record as %s of %s, want %s", g.Name, d.Candidate.Version, g.Verdict, g.Proof, want)
				}
				s.says(g.Reason, words)
				return
			}
		}
		t.Errorf("no gate on record: %+v", d.Gates)
	}

	v.Version, v.Gates = "2.0.0", declared(tr.pass)
	s.write(v)
	verdict(s.ends(name, v.Version, deployment.Succeeded), "pass", tr.passSays)
	c.answers(v.Version, 20)

	v.Version, v.Gates = "3.0.0", declared(tr.fail)
	s.write(v)
	d := s.ends(name, v.Version, deployment.Failed)
	verdict(d, "fail", tr.failSays)
	s.says(d.Reason, tr.failSays)

	holds := func(version, body, words string) {
		t.Helper()
		v.Version, v.Gates = version, declared(body+"\ntimeout = \"1s\"\ndeadline = \"2s\"")
		s.write(v)
		held := s.record(name, "that the gate holds it", func(r deployment.Service) bool {
			return r.Held != nil && r.Deployment != nil && r.Deployment.Candidate.Version == version
		})
		s.says(held.Held.Reason, words, "teal abort gives up")
		s.teal(0, "abort", name)
		s.ends(name, version, deployment.Aborted)
	}
	holds("4.0.0", tr.blind, tr.blindSays)
	if tr.away != nil {
		tr.away(s)
		holds("5.0.0", tr.pass, tr.awaySays)
	}
	n := c.unharmed()
	if n.Versions["3.0.0"]+n.Versions["4.0.0"]+n.Versions["5.0.0"] != 0 {
		t.Errorf("a version served that did not pass: %s", n)
	}
}

func TestMetricsGate(t *testing.T) {
	gateTrial{
		kind: "metrics",
		pass: "metric = \"http_requests_total\"\nlabels = { code = \"500\" }\nabove = 0", passSays: "is 0, and at most 0 is expected, of 2 series",
		fail: "metric = \"http_requests_in_flight\"\nbelow = 1", failSays: "is 0, and at least 1 is expected",
		blind: "metric = \"cache_entries\"\nbelow = 1", blindSays: "2 of 2 instances have no series of cache_entries",
	}.put(t)
}

// business is a metrics service with one figure, of which tests say what it is.
func business(t *testing.T) (url string, set func(float64)) {
	t.Helper()
	var figure atomic.Value
	figure.Store(50.0)
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		fmt.Fprintf(w, `{"orders": {"per_minute": %v}}`, figure.Load())
	}))
	t.Cleanup(server.Close)
	return server.URL, func(n float64) { figure.Store(n) }
}

func TestHTTPJSONGate(t *testing.T) {
	url, _ := business(t)
	entry, err := neturl.Parse(url)
	if err != nil {
		t.Fatal(err)
	}
	forward := httputil.NewSingleHostReverseProxy(entry)
	guarded := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Authorization") != "Bearer opensesame" {
			http.Error(w, "who are you?", http.StatusUnauthorized)
			return
		}
		forward.ServeHTTP(w, r)
	}))
	t.Cleanup(guarded.Close)
	query := fmt.Sprintf("url = \"%s/of/{version}\"\n", guarded.URL)
	gateTrial{
		kind: "http-json",
		begin: func(s *stage) string {
			s.must(s.WriteFile("token", "Bearer opensesame\n"))
			return fmt.Sprintf("header_files = { Authorization = %q }", filepath.Join(s.Dir, "token"))
		},
		away:     func(s *stage) { s.must(s.WriteFile("token", "Bearer forgotten\n")) },
		awaySays: "answered 401, expected 200",
		pass:     query + "path = \"orders.per_minute\"\nbelow = 20", passSays: "orders.per_minute is 50, and at least 20 is expected",
		fail: query + "path = \"orders.per_minute\"\nabove = 20", failSays: "orders.per_minute is 50, and at most 20 is expected",
		blind: query + "path = \"orders.per_hour\"\nabove = 20", blindSays: "the answer holds no series",
	}.put(t)
}

func TestHTTPJSONTrigger(t *testing.T) {
	url, set := business(t)
	query := fmt.Sprintf("url = \"%s/of/{version}\"\ninterval = \"200ms\"\nbelow = 20\n", url)
	const path = "path = \"orders.per_minute\"\n"
	trial{
		kind: "http-json",
		good: query + path, goodSays: "orders.per_minute is 50, and at least 20 is expected",
		blind: query + "path = \"orders.per_hour\"", blindSays: "the answer holds no series",
		bad: query + path, badSays: "orders.per_minute is 10, and at least 20 is expected",
		harm: func(_ *stage, c *traffic) {
			c.answers("4.0.0", 50)
			set(10)
		},
	}.put(t)
}

// A figure of the business is held against what it was before the cutover, which nobody
// who knows only the present can be asked about afterwards: it may neither grow to three
// times that, nor halve.
func TestHTTPJSONTriggerByRatio(t *testing.T) {
	for way, bad := range map[string]float64{"-less": 24, "-more": 151} {
		t.Run(way, func(t *testing.T) {
			url, set := business(t)
			query := fmt.Sprintf("url = \"%s/of/{colour}\"\ninterval = \"200ms\"\nratio = 3\nbelow_ratio = 0.5\n", url)
			const expected = ", and at least 25 and at most 150 is expected; before the cutover it was 50"
			trial{
				kind: "http-json", way: way,
				good: query + "path = \"orders.per_minute\"", goodSays: "orders.per_minute is 50" + expected,
				blind: query + "path = \"orders.per_hour\"", blindSays: "what it was before the cutover is not known: nobody asked before it, or there was no answer",
				bad: query + "path = \"orders.per_minute\"", badSays: fmt.Sprintf("orders.per_minute is %v%s", bad, expected),
				harm: func(_ *stage, c *traffic) {
					c.answers("4.0.0", 50)
					set(bad)
				},
			}.put(t)
		})
	}
}

func TestPrometheusTrigger(t *testing.T) {
	const failed = `sum(rate(http_requests_total{service=\"{service}\",colour=\"{colour}\",code=\"500\"}[4s])) / sum(rate(http_requests_total{service=\"{service}\",colour=\"{colour}\"}[4s]))`
	trial{
		kind:  "prometheus",
		begin: func(s *stage) string { return s.asks("t-prometheus") + "\ninterval = \"200ms\"" },
		good:  "query = \"" + failed + "\"\nabove = 0.1", goodSays: "it is 0, and at most 0.1 is expected",
		blind: `query = "absent_total{colour=\"{colour}\"}"` + "\nabove = 0.1", blindSays: "the answer holds no series",
		bad: "query = \"" + failed + "\"\nabove = 0.1", badSays: "and at most 0.1 is expected", fault: "errors:0.5",
	}.put(t)
}

// How long requests take in the mean is held against what Prometheus answers about the
// previous colour at the moment of cutover.
func TestPrometheusTriggerByRatio(t *testing.T) {
	const took = `query = "sum(rate(http_request_duration_seconds_sum{service=\"{service}\",colour=\"{colour}\"}[4s])) / sum(rate(http_request_duration_seconds_count{service=\"{service}\",colour=\"{colour}\"}[4s]))"`
	trial{
		kind: "prometheus", way: "-ratio",
		begin: func(s *stage) string { return s.asks("t-prometheus-ratio") + "\ninterval = \"200ms\"\nratio = 20" },
		good:  took, goodSays: "before the cutover it was",
		blind: `query = "absent_total{colour=\"{colour}\"}"`, blindSays: "no figure was answered",
		bad: took, badSays: "before the cutover it was", fault: "slow:0.4",
	}.put(t)
}

func TestPrometheusGate(t *testing.T) {
	var server *world.Prometheus
	const up = `query = "sum(up{service=\"{service}\",colour=\"{colour}\"})"` + "\n"
	gateTrial{
		kind: "prometheus",
		begin: func(s *stage) string {
			server = s.prometheus("g-prometheus")
			return fmt.Sprintf("url = %q", server.URL)
		},
		// Until Prometheus knows both instances, fewer are up.
		pass: up + "below = 2\nattempts = 1000", passSays: "it is 2, and at least 2 is expected",
		// It is within every other second, and every point of a range counts.
		fail: "query = \"vector(time() % 2)\"\nrange = \"4s\"\nstep = \"1s\"\nabove = 0.999\nattempts = 1", failSays: "and at most 0.999 is expected, of 5 series",
		blind: "query = \"absent_total\"\nabove = 1", blindSays: "the answer holds no series",
		away: func(s *stage) { s.must(server.Kill()) }, awaySays: "connection refused",
	}.put(t)
}

// prometheus starts one that scrapes a service; asks gives it as an argument.
func (s *stage) prometheus(service string) *world.Prometheus {
	s.t.Helper()
	p, err := s.StartPrometheus(s.soon(), service)
	s.must(err)
	return p
}

func (s *stage) asks(service string) string {
	return fmt.Sprintf("url = %q", s.prometheus(service).URL)
}

// PEERS: 40 s of metrics outage roll back a healthy version elsewhere, which is four
// errors in a row at an interval of 10 s. A Prometheus that goes away during the watch,
// after it was seen to be well, for many intervals of 200 ms, sends nothing back here
// and lets nothing through: the watch goes on until it is back, or until the policy's
// patience ends.
func TestPeersMetricsAwayDuringTheWatch(t *testing.T) {
	s := open(t, "prom-away")
	p := s.prometheus("prom-away")
	s.agent("a")
	v := world.Service{Name: "prom-away", Version: "1.0.0"}
	s.begin(v)
	c := s.calls(v.Name, world.TrafficOptions{})
	goesAway := func() (to deployment.Colour) {
		s.write(v)
		to = s.comes(v.Name, v.Version, deployment.Watching).To
		// Those of before may still be told of.
		s.must(p.Knows(s.soon(), fmt.Sprintf("sum(up{colour=%q}) >= 2", to)))
		c.answers(v.Version, 100) // and meanwhile the trigger has asked ten times
		s.must(p.Kill())
		return to
	}
	up := fmt.Sprintf("trigger \"prometheus\" \"up\" {\nurl = %q\nquery = \"sum(up{colour=\\\"{colour}\\\"})\"\nbelow = 1\ninterval = \"200ms\"\n}", p.URL)

	// What ran on the colour before was scraped last when it had ended: the trigger
	// must not judge that.
	v.Gates = fmt.Sprintf("gate \"prometheus\" \"known\" {\nurl = %q\nquery = \"count(up{colour=\\\"{colour}\\\"} == 1)\"\nbelow = 2\ninterval = \"200ms\"\nattempts = 100\n}", p.URL)
	v.Version, v.Watch, v.Triggers, v.KeepFailed = "2.0.0", 20*time.Second, up, time.Hour
	to := goesAway()
	held := s.record(v.Name, "that the watch goes on", func(r deployment.Service) bool { return r.Held != nil })
	s.says(held.Held.Reason, "the watch goes on: trigger up cannot tell any more", "connection refused", "teal resume accepts 2.0.0 as it is")
	s.says(s.teal(0, "status", v.Name).Out, "HELD", "the watch goes on: trigger up")
	c.serves(to)
	s.must(p.Restart(s.soon()))
	d := s.ends(v.Name, v.Version, deployment.Succeeded)
	s.judged(d, "up", "and at least 1 is expected")
	s.says(evidence(d), "every trigger can tell again")

	v.Version, v.Triggers = "3.0.0", up+"\nunknown {\nfor = \"25s\"\nthen = \"rollback\"\n}"
	goesAway()
	d = s.ends(v.Name, v.Version, deployment.RolledBack)
	s.says(d.Reason, "trigger up: nothing has been known for", "the policy allows 25s", "connection refused")
	c.serves(d.From)
	c.unharmed()
}

// A metrics service that is away for longer than the policy allows sends traffic
// back where the policy says so.
func TestUnknownForTooLong(t *testing.T) {
	s := open(t, "patience")
	s.agent("a")
	v := world.Service{Name: "patience", Version: "1.0.0"}
	s.begin(v)
	c := s.calls(v.Name, world.TrafficOptions{})
	server := httptest.NewServer(http.NotFoundHandler())
	url := server.URL
	server.Close() // nobody listens there any more
	v.Version, v.Watch, v.KeepFailed = "2.0.0", time.Minute, time.Hour
	v.Triggers = fmt.Sprintf("trigger \"http-json\" \"orders\" {\nurl = %q\npath = \"n\"\nbelow = 1\ninterval = \"200ms\"\n}\nunknown {\nfor = \"2s\"\nthen = \"rollback\"\n}", url)
	s.write(v)
	d := s.ends(v.Name, v.Version, deployment.RolledBack)
	s.says(d.Reason, "trigger orders: nothing has been known for", "the policy allows 2s", "connection refused")
	if waited := d.Rollback.Detected.Sub(d.Cutover.Written); waited < 2*time.Second {
		t.Errorf("taken back after %s, and the policy allows 2s", waited)
	}
	c.serves(d.From)
	c.unharmed()
}

// A watch ends early where the policy says what suffices.
func TestWatchEndsEarly(t *testing.T) {
	s := open(t, "early")
	s.agent("a")
	v := world.Service{Name: "early", Version: "1.0.0"}
	s.begin(v)
	c := s.calls(v.Name, world.TrafficOptions{Rate: 100})
	c.answers("1.0.0", 300)
	v.Version, v.Watch = "2.0.0", time.Hour
	v.Triggers = "trigger \"errors\" \"http-5xx\" {\nabove = 0.05\n}\nearly {\nafter = \"3s\"\nrequests = 200\n}"
	s.write(v)
	d := s.ends(v.Name, v.Version, deployment.Succeeded)
	s.judged(d, "http-5xx", "early, for all was well for 3s and over")
	c.unharmed()
}
