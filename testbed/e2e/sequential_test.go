package e2e

import (
	"fmt"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/tealdeploy/teal/agent/deployment"
	"github.com/tealdeploy/teal/testbed/world"
)

// An errors trigger that says nothing judges against the previous colour: a
// version that is as good is kept, and one that fails a share that no usual limit
// would see is taken back, with the evidence on record.
func TestSequentialErrors(t *testing.T) {
	s := open(t, "seq")
	s.agent("a")
	v := world.Service{Name: "seq", Version: "1.0.0"}
	s.begin(v)
	c := s.calls("seq", world.TrafficOptions{Rate: 200})
	c.answers("1.0.0", 1000) // what the test has to compare with

	v.Version, v.Gates, v.Watch, v.KeepFailed = "2.0.0", smoke, 5*time.Second, time.Hour
	v.Triggers = `trigger "errors" "http-5xx" {}`
	s.write(v)
	d := s.ends("seq", "2.0.0", deployment.Succeeded)
	s.judged(d, "http-5xx", "the previous colour's share was 0 %")
	c.answers("2.0.0", 1000)

	v.Version, v.Fault, v.After, v.Watch = "3.0.0", "errors:0.04", 100, time.Minute
	s.write(v)
	d = s.ends("seq", "3.0.0", deployment.RolledBack)
	s.says(d.Reason, "trigger http-5xx", "evidence", "(250 is proof)")
	figure := func(name string) float64 {
		for _, e := range d.Log {
			if n, err := strconv.ParseFloat(e.Figures[name], 64); err == nil {
				return n
			}
		}
		t.Errorf("no figure %s on record:\n%s", name, evidence(d))
		return 0
	}
	if rate := figure("rate"); rate <= 0 || rate >= 0.05 {
		t.Errorf("taken back at a share of %v errors: this was to be less than the usual limit, and more than none", rate)
	}
	if got, proof := figure("evidence"), figure("proof"); got < proof {
		t.Errorf("taken back with evidence of %v, and %v is proof", got, proof)
	}
	c.serves(d.From)
	c.answers("2.0.0", 50)
	c.unharmed()
}

// judged wants a trigger's word in what a release ended with.
func (s *stage) judged(d deployment.Deployment, trigger, words string) {
	s.t.Helper()
	for _, e := range d.Log {
		if strings.Contains(e.What, trigger+": ") && strings.Contains(e.What, words) {
			return
		}
	}
	s.t.Errorf("trigger %s does not say %q in:\n%s", trigger, words, evidence(d))
}

// A figure of a Prometheus is compared with how it moved before the cutover: while
// it moves as it did nothing is taken back, and what is slower is, though nobody has
// said which figure is too much.
func TestPrometheusInSequence(t *testing.T) {
	s := open(t, "prom-seq")
	url := s.asks("prom-seq")
	s.agent("a")
	v := world.Service{Name: "prom-seq", Version: "1.0.0"}
	s.begin(v)
	c := s.calls(v.Name, world.TrafficOptions{Rate: 100})
	for range 4 { // two minutes of habits
		c.answers(v.Version, 3000)
	}

	const took = `sum(rate(http_request_duration_seconds_%s{service=\"{service}\",colour=\"{colour}\"}[1500ms]))`
	query := strings.ReplaceAll(took, "%s", "sum") + " / " + strings.ReplaceAll(took, "%s", "count")
	v.Version, v.Fault, v.After, v.Watch, v.KeepFailed = "2.0.0", "slow:0.4", 1000, 5*time.Minute, time.Hour
	v.Triggers = "trigger \"prometheus\" \"took\" {\n" + url + "\nquery = \"" + query + "\"\nworse = \"higher\"\ninterval = \"1s\"\n}"
	s.write(v)
	d := s.ends(v.Name, v.Version, deployment.RolledBack)
	s.says(d.Reason, "trigger took: it is", "figures were higher than", "(250 is proof)")
	if served := d.Rollback.Detected.Sub(d.Cutover.Written); served < 10*time.Second {
		t.Errorf("taken back %s after the cutover, and for ten seconds all was well: %s", served, d.Reason)
	}
	c.serves(d.From)
	c.unharmed()
}

// A service that knows only the present is asked before the cutover.
func TestHTTPJSONInSequence(t *testing.T) {
	var times atomic.Value
	times.Store(1.0)
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		fmt.Fprintf(w, `{"orders": %v}`, times.Load().(float64)*(50+5*rand.NormFloat64()))
	}))
	t.Cleanup(server.Close)
	s := open(t, "json-seq")
	s.agent("a")
	v := world.Service{Name: "json-seq", Version: "1.0.0"}
	s.begin(v)
	c := s.calls(v.Name, world.TrafficOptions{Rate: 50})
	declared := fmt.Sprintf("trigger \"http-json\" \"orders\" {\nurl = \"%s/of/{version}\"\npath = \"orders\"\nworse = \"lower\"\ninterval = \"200ms\"\n}", server.URL)

	// Too little was heard before the cutover to know what is usual.
	v.Version, v.Watch, v.KeepFailed = "1.5.0", time.Second, time.Hour
	v.Triggers = strings.Replace(declared, "200ms", "1s", 1)
	s.write(v)
	held := s.watchHeld(v, "trigger orders has not seen enough", "figures are known from before the cutover, and 50 are needed")
	c.serves(held.Deployment.To)
	s.teal(0, "resume", v.Name)
	s.ends(v.Name, v.Version, deployment.Succeeded)

	v.Version, v.HealthyFor, v.Watch, v.Triggers = "2.0.0", 20*time.Second, 6*time.Second, declared
	s.write(v)
	s.judged(s.ends(v.Name, v.Version, deployment.Succeeded), "orders", "figures were lower than")
	c.answers(v.Version, 50)

	v.Version, v.Watch = "3.0.0", 5*time.Minute
	s.write(v)
	c.serves(s.comes(v.Name, v.Version, deployment.Watching).To)
	times.Store(0.4)
	d := s.ends(v.Name, v.Version, deployment.RolledBack)
	s.says(d.Reason, "trigger orders: it is", "figures were lower than", "(250 is proof)")
	c.serves(d.From)
	c.unharmed()
}
