package api

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/tealdeploy/teal/agent/deployment"
	"github.com/tealdeploy/teal/agent/kv"
)

type source struct {
	health Health
	status Status
	err    error
}

func (s source) Health(context.Context) Health          { return s.health }
func (s source) Status(context.Context) (Status, error) { return s.status, s.err }

func get(t *testing.T, h http.Handler, method, path string) (int, string) {
	t.Helper()
	w := httptest.NewRecorder()
	h.ServeHTTP(w, httptest.NewRequest(method, path, nil))
	return w.Code, w.Body.String()
}

func TestHealthIsGoodOnlyWithConsulAndCleanConfig(t *testing.T) {
	good := Health{Name: "teal-1", Version: "1.0.0", Leader: "teal-1", Leading: true, Consul: OK, Nomad: OK}
	for name, c := range map[string]struct {
		edit func(*Health)
		code int
		has  string
	}{
		"good":              {func(*Health) {}, 200, `"leader": "teal-1"`},
		"consul away":       {func(h *Health) { h.Consul = "connection refused" }, 503, "connection refused"},
		"never asked":       {func(h *Health) { h.Consul = "" }, 503, `"good": false`},
		"a broken policy":   {func(h *Health) { h.PolicyErrors = []string{"api.hcl:3: unknown gate"} }, 503, "api.hcl:3"},
		"a refused config":  {func(h *Health) { h.ConfigErrors = []string{"config.hcl:9"} }, 503, "config.hcl:9"},
		"no audit file":     {func(h *Health) { h.Audit = "no space left" }, 503, `"audit": "no space left"`},
		"nomad away":        {func(h *Health) { h.Nomad = "connection refused" }, 200, `"nomad": "connection refused"`},
		"differs, stand-by": {func(h *Health) { h.Differs, h.Leading = true, false }, 200, `"differs_from_leader": true`},
	} {
		t.Run(name, func(t *testing.T) {
			h := good
			c.edit(&h)
			code, body := get(t, New(Config{Source: source{health: h}}).Handler(), "GET", "/v1/health")
			if code != c.code || !strings.Contains(body, c.has) {
				t.Errorf("got %d %s, want %d with %s", code, body, c.code, c.has)
			}
			if !json.Valid([]byte(body)) {
				t.Errorf("not JSON: %s", body)
			}
		})
	}
}

func TestSurfaceOnlyReads(t *testing.T) {
	h := New(Config{Source: source{health: Health{Consul: OK}}, Metrics: NewMetrics("1")}).Handler()
	for _, path := range []string{"/v1/health", "/v1/metrics", "/v1/status"} {
		for _, method := range []string{"POST", "PUT", "DELETE", "PATCH", "OPTIONS"} {
			if code, _ := get(t, h, method, path); code != http.StatusMethodNotAllowed {
				t.Errorf("%s %s: %d", method, path, code)
			}
		}
		if code, body := get(t, h, "HEAD", path); code != 200 || (path != "/v1/metrics" && body != "") {
			t.Errorf("HEAD %s: %d %q", path, code, body)
		}
	}
	if code, body := get(t, h, "GET", "/v1/nothing"); code != 404 || !strings.Contains(body, "/v1/health") {
		t.Errorf("unknown path: %d %s", code, body)
	}
}

func TestStatusSaysWhyItCannot(t *testing.T) {
	code, body := get(t, New(Config{Source: source{err: errors.New("Consul does not answer")}}).Handler(), "GET", "/v1/status")
	if code != 503 || !strings.Contains(body, "Consul does not answer") {
		t.Errorf("%d %s", code, body)
	}
}

func TestStatusFlagsAgentsThatDiffer(t *testing.T) {
	st := NewStatus("b", []kv.AgentInfo{{Name: "c", Policies: "x"}, {Name: "b", Policies: "y"}, {Name: "a", Policies: "y"}}, nil)
	var differs []string
	for _, a := range st.Agents {
		if a.Differs {
			differs = append(differs, a.Name)
		}
		if a.Leader != (a.Name == "b") {
			t.Errorf("%s: leader %v", a.Name, a.Leader)
		}
	}
	if strings.Join(differs, " ") != "c" {
		t.Errorf("differ: %v", differs)
	}
}

func TestRecordOfANewerAgentIsNotRead(t *testing.T) {
	if _, err := deployment.Decode("api", []byte(`{"format": 99, "name": "api"}`)); err == nil || !strings.Contains(err.Error(), "newer teal") {
		t.Errorf("got %v", err)
	}
	if _, err := deployment.Decode("api", []byte(`{`)); err == nil {
		t.Error("garbage was read")
	}
}

func TestMetrics(t *testing.T) {
	m := NewMetrics("1.2.3")
	at := time.Unix(1000, 0)
	m.Leader(true)
	m.Services(7, 2, 1)
	m.Deployments(map[deployment.State]int{deployment.Gating: 3})
	m.Deployments(map[deployment.State]int{deployment.Watching: 1})
	m.Ended(deployment.RolledBack)
	m.Cutover(deployment.Move{Decided: at, Written: at.Add(4 * time.Millisecond)})
	m.Cutover(deployment.Move{Decided: at}) // never acknowledged: no figure
	m.Rollback(deployment.Move{Detected: at, Decided: at.Add(2 * time.Second), Written: at.Add(2003 * time.Millisecond)})
	m.Rollback(deployment.Move{Decided: at, Written: at.Add(3 * time.Millisecond)})
	m.Command(kv.Cutover, false)
	m.Command("nonsense/../x", true)
	m.Policies(9, 4)
	m.Reload(false)
	m.ConsulError("renew")
	m.NomadError("register")

	_, body := get(t, New(Config{Source: source{}, Metrics: m}).Handler(), "GET", "/v1/metrics")
	for _, want := range []string{
		`teal_build_info{version="1.2.3"} 1`, "teal_leader 1", "teal_services 7", "teal_services_held 2", "teal_services_paused 1",
		`teal_deployments{state="gating"} 0`, `teal_deployments{state="watching"} 1`,
		`teal_deployments_ended_total{outcome="rolled-back"} 1`, `teal_deployments_ended_total{outcome="succeeded"} 0`,
		`teal_cutover_seconds_bucket{le="0.005"} 1`, "teal_cutover_seconds_count 1",
		`teal_rollback_seconds_count{cause="trigger"} 1`, `teal_rollback_seconds_count{cause="command"} 1`,
		`teal_detection_seconds_sum 2`,
		`teal_commands_total{result="refused",verb="cutover"} 1`, `teal_commands_total{result="accepted",verb="unknown"} 1`,
		"teal_policies 9", "teal_policy_errors 4", `teal_reloads_total{result="refused"} 1`,
		`teal_consul_request_errors_total{operation="renew"} 1`, `teal_nomad_request_errors_total{operation="register"} 1`,
	} {
		if !strings.Contains(body, want+"\n") {
			t.Errorf("missing %s", want)
		}
	}

	var none *Metrics // counts nothing, breaks nothing
	none.Leader(true)
	none.Services(1, 1, 1)
	none.Deployments(nil)
	none.Ended(deployment.Failed)
	none.Cutover(deployment.Move{})
	none.Rollback(deployment.Move{})
	none.Command(kv.Plan, true)
	none.Policies(1, 1)
	none.Reload(true)
	none.ConsulError("x")
	none.NomadError("x")
}

func TestRunServesUntilTheContextEnds(t *testing.T) {
	s := New(Config{Address: "127.0.0.1:0", Source: source{health: Health{Consul: OK}}})
	l, err := s.Listen()
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- s.Run(ctx, l) }()

	resp, err := http.Get("http://" + l.Addr().String() + "/v1/health")
	if err != nil {
		t.Fatal(err)
	}
	body, _ := io.ReadAll(resp.Body)
	resp.Body.Close()
	if resp.StatusCode != 200 {
		t.Errorf("%d %s", resp.StatusCode, body)
	}
	cancel()
	if err := <-ended; err != nil {
		t.Errorf("clean stop: %v", err)
	}
	if c, err := net.Dial("tcp", l.Addr().String()); err == nil {
		c.Close()
		t.Error("still listens")
	}
}
