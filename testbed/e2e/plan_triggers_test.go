package e2e

import (
	"testing"
	"time"

	"github.com/tealdeploy/teal/testbed/world"
)

// A trigger that can never fire is told before there is anything to watch: its
// metric is mistyped, nothing has the labels that it asks for, no status code is what it
// takes for an error, or its query finds no series. So is a gate that asks of nobody in
// particular, and would be told of what serves.
func TestPlanTellsOfTriggersThatCannotFire(t *testing.T) {
	s := open(t, "blind")
	prometheus := s.asks("blind")
	a := s.agent("a")
	v := world.Service{Name: "blind", Version: "1.0.0"}
	d := s.begin(v)
	s.must(s.listens(v.Name, world.TrafficOptions{}).Reachable(s.soon())) // one request, so that there are counters
	v.Manual, v.Version, v.Watch = true, "2.0.0", 10*time.Second
	v.Gates = `
gate "prometheus" "anybody" {
  ` + prometheus + `
  query = "sum(rate(http_requests_total{code=\"500\"}[1m]))"
  above = 0.1
}`
	v.Triggers = `
trigger "errors" "there" { metric = "http_requests_total" }
trigger "errors" "mistyped" { metric = "http_request_total" }
trigger "errors" "elsewhere" { where = { code = "2OO" } }
trigger "errors" "classes" { bad = "5xx" }
trigger "prometheus" "nothing" {
  ` + prometheus + `
  query = "rate(orders_total{colour=\"{colour}\"}[1m])"
  below = 1
}`
	s.writeTo(a, v)
	serves := string(d.To)
	s.says(s.teal(0, "plan", v.Name).Out,
		`trigger "there": 2 of 2 instances of `+serves+` tell http_requests_total`,
		`warning: trigger "mistyped" can tell nothing of `+serves+`: at /metrics no instance has a metric http_request_total`,
		`warning: trigger "elsewhere" can tell nothing of `+serves+`: at /metrics no instance has a series of http_requests_total with code="2OO"; there are "200"`,
		`warning: trigger "classes" can tell nothing of `+serves+`: at /metrics no instance has a code in http_requests_total that bad could match: "5xx" is none of HTTP's`,
		`warning: gate "anybody" names neither {colour} nor {version}: what it is told may be about `+serves+`, which serves`,
		`warning: trigger "nothing" can tell nothing of `+serves+`: the answer of Prometheus at http://127.0.0.1`, `holds no series`,
	)
}
