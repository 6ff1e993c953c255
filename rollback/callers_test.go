package rollback_test

import (
	"errors"
	"fmt"
	"math"
	"testing"
	"time"

	"github.com/tealdeploy/teal/agent/deployment"
	"github.com/tealdeploy/teal/rollback"
)

const envoyErrors = `metric  = "envoy_cluster_upstream_rq"
label   = "envoy_response_code"
callers = ["web", "edge"]
port    = 9102
path    = "/metrics"
where   = { consul_destination_service = "{service}", consul_destination_service_subset = "{colour}" }
`

// mesh is a caller's proxy, which counts by service and subset whom it asked, and
// what came of it.
type mesh struct {
	*testing.T
	judge  rollback.Judge
	at     time.Time
	counts map[string]float64 // by subset and code
	err    error
	got    rollback.Judgement
}

func newMesh(t *testing.T, kind, body string) *mesh {
	return &mesh{T: t, judge: triggers(t, fmt.Sprintf("trigger %q \"e\" {\n%s}", kind, body))[0].Trigger.Begin(), at: began, counts: map[string]float64{}}
}

func (m *mesh) observation() rollback.Observation {
	m.at = m.at.Add(time.Second)
	rq := func(service, subset, code string, n float64) rollback.Series {
		return series(n, "envoy_response_code", code, "consul_destination_service", service, "consul_destination_service_subset", subset)
	}
	s := rollback.Scrape{Instance: "web-proxy", At: m.at, Err: m.err, Families: map[string]rollback.Family{"envoy_cluster_upstream_rq": {
		rq("api", "blue", "200", m.counts["blue 200"]), rq("api", "blue", "503", m.counts["blue 503"]),
		rq("api", "green", "200", m.counts["green 200"]), rq("api", "green", "503", m.counts["green 503"]),
		rq("db", "green", "503", 1e6*m.at.Sub(began).Seconds()), // somebody else's troubles
	}, "envoy_cluster_upstream_rq_time_bucket": {
		series(m.counts["blue 200"], "le", "50", "consul_destination_service", "api", "consul_destination_service_subset", "blue"),
		series(m.counts["blue 200"], "le", "+Inf", "consul_destination_service", "api", "consul_destination_service_subset", "blue"),
		series(m.counts["green 200"]-m.counts["green slow"], "le", "50", "consul_destination_service", "api", "consul_destination_service_subset", "green"),
		series(m.counts["green 200"], "le", "+Inf", "consul_destination_service", "api", "consul_destination_service_subset", "green"),
	}}}
	all := map[string][]rollback.Scrape{"9102/metrics of web,edge": {s}}
	return rollback.Observation{
		At: m.at, Whom: rollback.Subject{Service: "api", Colour: "green"}, Before: rollback.Subject{Service: "api", Colour: "blue"},
		// The colours' own instances have no metrics at all.
		Active: []deployment.Instance{{ID: "g", Health: deployment.Passing}}, Previous: []deployment.Instance{{ID: "b", Health: deployment.Passing}},
		Scrapes: all, PreviousScrapes: all,
	}
}

func (m *mesh) before(seconds int, more map[string]float64) *mesh {
	for range seconds {
		m.add(more)
		m.judge.(rollback.Comparing).Prepare(m.observation())
	}
	return m
}

func (m *mesh) add(more map[string]float64) {
	for key, n := range more {
		m.counts[key] += n
	}
}

func (m *mesh) after(seconds int, more map[string]float64) int {
	for second := range seconds {
		m.add(more)
		if m.got = m.judge.Observe(m.observation()); m.got.Verdict == bad {
			return second + 1
		}
	}
	return seconds + 1
}

// What fails between the callers and the new version shows on the callers' side
// only, and is told apart there from what they ask of others.
func TestErrorsByTheCallersProxies(t *testing.T) {
	usual := map[string]float64{"blue 200": 199, "blue 503": 1}
	m := newMesh(t, "errors", envoyErrors).before(60, usual)
	if took := m.after(300, map[string]float64{"green 200": 199, "green 503": 1}); took <= 300 {
		t.Fatalf("the same took %d s: %s", took, m.got.Reason)
	}
	if want := "0.5 % of requests failed (30 of 6000 within 30s, 1 of 1 instances read); the previous colour's share was 0.5 % (of 12000 requests)"; m.got.Reason[:min(len(want), len(m.got.Reason))] != want {
		t.Errorf("reason %s", m.got.Reason)
	}
	if took := m.after(60, map[string]float64{"green 200": 190, "green 503": 10}); took > 20 {
		t.Errorf("5 %% took %d s: %s", took, m.got.Reason)
	}
	// The previous colour's troubles after the cutover are not the new one's.
	m = newMesh(t, "errors", envoyErrors).before(60, usual)
	if took := m.after(60, map[string]float64{"green 200": 200, "blue 503": 200}); took <= 60 {
		t.Errorf("somebody else's errors took %d s: %s", took, m.got.Reason)
	}
	m.err = errors.New("away")
	m.after(40, nil)
	if m.got.Verdict != unknown {
		t.Errorf("with callers away: %s (%s)", m.got.Verdict, m.got.Reason)
	}
	m = newMesh(t, "errors", envoyErrors+"above = 0.05\n")
	m.after(3, nil)
	if m.got.Verdict != unknown {
		t.Errorf("nobody asked: %s (%s)", m.got.Verdict, m.got.Reason)
	}
}

func TestLatencyAndVolumeByTheCallersProxies(t *testing.T) {
	where := "callers = [\"web\", \"edge\"]\nport = 9102\nwhere = { consul_destination_service = \"{service}\", consul_destination_service_subset = \"{colour}\" }\n"
	m := newMesh(t, "latency", "metric = \"envoy_cluster_upstream_rq_time\"\nunit = \"ms\"\n"+where).before(60, map[string]float64{"blue 200": 200})
	if took := m.after(60, map[string]float64{"green 200": 200, "green slow": 20}); took > 20 {
		t.Errorf("a tenth that is slow took %d s: %s", took, m.got.Reason)
	}
	m = newMesh(t, "volume", "window = \"10s\"\nmetric = \"envoy_cluster_upstream_rq\"\n"+where).before(60, map[string]float64{"blue 200": 200})
	if took := m.after(30, map[string]float64{"green 200": 200}); took <= 30 || math.Round(m.got.Figures["rate_s"]) != 200 {
		t.Errorf("the same took %d s: %s", took, m.got.Reason)
	}
	if took := m.after(30, nil); took > 12 {
		t.Errorf("nobody any more took %d s: %s", took, m.got.Reason)
	}
}
