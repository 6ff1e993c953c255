package agent

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/hashicorp/go-hclog"

	"github.com/tealdeploy/teal/agent/api"
	"github.com/tealdeploy/teal/agent/consul/consultest"
	"github.com/tealdeploy/teal/agent/settings"
)

// running is a whole agent, as the command runs it.
type running struct {
	*testing.T
	name string
	at   string // host:port of its surface
	log  *lockedBuffer
	stop func() time.Duration // and how long that took
}

// run starts an agent on a node and waits until its surface answers.
func run(t *testing.T, consul, nomad, name, policies string) *running {
	t.Helper()
	free, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	r := &running{T: t, name: name, at: free.Addr().String(), log: &lockedBuffer{}}
	free.Close()
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() {
		done <- Run(ctx, Options{Name: name, Policies: policies, HTTPAddr: r.at, LogLevel: "trace", Version: "1.2.3",
			ConsulAddr: consul, ConsulToken: "s3cr3t-" + name, NomadAddr: nomad, Stderr: r.log})
	}()
	ended := false
	r.stop = func() time.Duration {
		if ended {
			return 0
		}
		ended = true
		began := time.Now()
		cancel()
		if err := <-done; err != nil {
			t.Errorf("%s: %v", name, err)
		}
		return time.Since(began)
	}
	t.Cleanup(func() { r.stop() })
	r.until("its surface", func() bool { _, code := r.health(); return code != 0 })
	return r
}

func (r *running) get(path string) (string, int) {
	answer, err := http.Get("http://" + r.at + path)
	if err != nil {
		return err.Error(), 0
	}
	defer answer.Body.Close()
	body, _ := io.ReadAll(answer.Body)
	return string(body), answer.StatusCode
}

func (r *running) health() (h api.Health, code int) {
	body, code := r.get("/v1/health")
	_ = json.Unmarshal([]byte(body), &h)
	return h, code
}

// until waits for something to hold, and says how long that took.
func (r *running) until(what string, ok func() bool) time.Duration {
	r.Helper()
	began := time.Now()
	for !ok() {
		if time.Since(began) > 15*time.Second {
			h, code := r.health()
			r.Fatalf("%s: not seen: %s; health %d %+v\n%s", r.name, what, code, h, r.log)
		}
		time.Sleep(5 * time.Millisecond)
	}
	return time.Since(began)
}

func (r *running) leads() time.Duration {
	r.Helper()
	return r.until("that it leads", func() bool { h, code := r.health(); return code == 200 && h.Leading && h.Leader == r.name })
}

func TestTwoAgents(t *testing.T) {
	noEnvironment(t)
	fake := consultest.New()
	n1, n2 := newFacade(t, fake, "n1"), newFacade(t, fake, "n2")
	nomad := nomadStub(t)
	dir := t.TempDir()
	write(t, filepath.Join(dir, "same", "readme.txt"), "")
	policyFile(t, filepath.Join(dir, "other"), "api")

	for key, value := range map[string]string{
		testKeys.State("api"):           `{"format":1,"name":"api","active":"green","managed":true}`,
		testKeys.State("shop"):          `{"format":999}`,
		testKeys.Deployment("api", "x"): `{}`,
	} {
		if err := fake.Client("before").Put(t.Context(), key, []byte(value)); err != nil {
			t.Fatal(err)
		}
	}
	one := run(t, n1.URL, nomad, "one", filepath.Join(dir, "same"))
	one.leads()
	two := run(t, n2.URL, nomad, "two", filepath.Join(dir, "other"))
	two.until("that its policies differ", func() bool { h, _ := two.health(); return h.Differs && h.Leader == "one" })
	if _, _ = two.health(); two.log.count("the leader has other policies") != 1 {
		t.Errorf("that its policies differ is to be logged once\n%s", two.log)
	}
	same := run(t, n2.URL, nomad, "same", filepath.Join(dir, "same"))
	same.until("who leads", func() bool { h, _ := same.health(); return h.Leader == "one" && h.Policies != "" })
	if h, _ := same.health(); h.Differs {
		t.Error("it has the leader's policies, and differs")
	}
	same.stop()
	if h, code := one.health(); h.Differs || code != 200 || h.Nomad != api.OK || h.Version != "1.2.3" {
		t.Errorf("one: %d %+v", code, h)
	}

	var status api.Status
	two.until("the status", func() bool {
		body, code := two.get("/v1/status")
		return code == 200 && json.Unmarshal([]byte(body), &status) == nil && len(status.Agents) == 2
	})
	if status.Leader != "one" || status.Agents[0].Name != "one" || !status.Agents[0].Leader || status.Agents[0].Address != one.at ||
		status.Agents[1].Name != "two" || !status.Agents[1].Differs || status.Agents[1].Count != 1 ||
		len(status.Services) != 2 || status.Services[0].Name != "api" || status.Services[0].Active != "green" ||
		status.Services[1].Name != "shop" || status.Services[1].State != api.Unreadable {
		t.Errorf("%+v", status)
	}
	for r, want := range map[*running][]string{
		one: {"teal_leader 1", "teal_policies 0"}, two: {"teal_leader 0", "teal_policies 1", `teal_build_info{version="1.2.3"} 1`},
	} {
		body, _ := r.get("/v1/metrics")
		for _, line := range want {
			if !strings.Contains(body, "\n"+line+"\n") {
				t.Errorf("%s: no %q in metrics", r.name, line)
			}
		}
	}

	// A clean stop hands over at once and leaves nothing behind.
	if took := one.stop(); took > time.Second {
		t.Errorf("stopped after %s\n%s", took, one.log)
	}
	if took := two.leads(); took > 300*time.Millisecond {
		t.Errorf("handed over after %s", took)
	}
	if got := agents(t, fake); fmt.Sprint(got) != "[two]" {
		t.Errorf("agents %q", got)
	}
	if h, _ := two.health(); h.Differs {
		t.Error("it differs from itself")
	}

	// Consul goes away and comes back.
	fake.SetAway(true)
	two.until("that Consul is away", func() bool { h, code := two.health(); return code == 503 && h.Consul != api.OK })
	fake.SetAway(false)
	two.leads()
	if took := two.stop(); took > time.Second {
		t.Errorf("stopped after %s\n%s", took, two.log)
	}

	for r, f := range map[*running]*facade{one: n1, two: n2} {
		if !f.seen("s3cr3t-" + r.name) {
			t.Errorf("%s does not send its token", r.name)
		}
		if r.log.count("s3cr3t") > 0 {
			t.Errorf("%s logs its token\n%s", r.name, r.log)
		}
	}
}

// Neither server is there: the agent runs, says so once each, and stops when
// asked to.
func TestNobodyThere(t *testing.T) {
	noEnvironment(t)
	r := run(t, "127.0.0.1:1", "http://127.0.0.1:1", "alone", t.TempDir())
	r.until("that Nomad is away", func() bool { h, code := r.health(); return code == 503 && strings.Contains(h.Nomad, "refused") })
	if h, _ := r.health(); !strings.Contains(h.Consul, "refused") || h.Leading {
		t.Errorf("%+v", h)
	}
	if took := r.stop(); took > time.Second {
		t.Errorf("stopped after %s", took)
	}
	if n := r.log.count("[WARN]  teal.nomad"); n != 1 {
		t.Errorf("said %d times that Nomad is away\n%s", n, r.log)
	}
}

// The address is in use: that is for a person to know at once.
func TestAddressInUse(t *testing.T) {
	noEnvironment(t)
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	err = Run(t.Context(), Options{HTTPAddr: taken.Addr().String(), Policies: t.TempDir(), Stderr: io.Discard})
	if err == nil || !strings.Contains(err.Error(), taken.Addr().String()) {
		t.Errorf("%v", err)
	}
}

// The leader key is not asked for before the policies have been read: who
// leads without them would hold every release in flight.
func TestPoliciesAreReadBeforeLeading(t *testing.T) {
	noEnvironment(t)
	var asked atomic.Int64
	consul := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		asked.Add(1)
		http.Error(w, "", http.StatusInternalServerError)
	}))
	defer consul.Close()
	a, err := New(Options{Policies: t.TempDir(), Stderr: io.Discard, ConsulAddr: consul.URL})
	if err != nil {
		t.Fatal(err)
	}
	a.registration = nil
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- a.lead(ctx) }()
	time.Sleep(50 * time.Millisecond)
	if n := asked.Load(); n > 0 {
		t.Errorf("asked Consul %d times before", n)
	}
	close(a.policies.read)
	for began := time.Now(); asked.Load() == 0 && time.Since(began) < 5*time.Second; time.Sleep(time.Millisecond) {
	}
	if asked.Load() == 0 {
		t.Error("does not stand after")
	}
	cancel()
	if err := <-done; err != nil {
		t.Error(err)
	}
}

func TestNomadComesAndGoes(t *testing.T) {
	log := &lockedBuffer{}
	r := remote{log: hclog.New(&hclog.LoggerOptions{Output: log})}
	for range 3 {
		r.says(nil)
		for range 3 {
			if says := r.says(errors.New("connection refused")); says != "connection refused" {
				t.Error(says)
			}
		}
		if says := r.says(nil); says != api.OK {
			t.Error(says)
		}
	}
	if log.count("does not answer") != 3 || log.count("answers again") != 3 {
		t.Errorf("%s", log)
	}
}

func TestWhereAnAgentIs(t *testing.T) {
	for listener, want := range map[string]place{
		"127.0.0.1": {check: "127.0.0.1:80", host: "127.0.0.1", port: 80, people: "127.0.0.1:80"},
		"10.0.0.7":  {check: "10.0.0.7:80", host: "10.0.0.7", port: 80, people: "10.0.0.7:80"},
		"::1":       {check: "[::1]:80", host: "::1", port: 80, people: "[::1]:80"},
		"0.0.0.0":   {check: "127.0.0.1:80", port: 80},
		"::":        {check: "127.0.0.1:80", port: 80},
	} {
		got := placeOf(&net.TCPAddr{IP: net.ParseIP(listener), Port: 80})
		if want.people == "" { // the machine's name, whatever that is
			if strings.Contains(got.people, listener) || !strings.HasSuffix(got.people, ":80") {
				t.Errorf("%s for people: %s", listener, got.people)
			}
			got.people = ""
		}
		if got != want {
			t.Errorf("%s: %+v", listener, got)
		}
	}
}

// The sessions hang on liveness, which nothing but the process decides.
func TestChecks(t *testing.T) {
	s := settings.Defaults()
	s.Name = "one"
	r := newRegistration(nil, &s, "1.0.0", nil)
	reg := r.describe(place{check: "127.0.0.1:4680", port: 4680})
	if reg.ID != "teal-one" || reg.Name != "teal" || reg.Address != "" || len(reg.Checks) != 2 {
		t.Errorf("%+v", reg)
	}
	alive, health := reg.Checks[0], reg.Checks[1]
	if alive.CheckID != r.liveness || alive.TCP != "127.0.0.1:4680" || alive.HTTP != "" || alive.Interval != "1s" || alive.Status != "passing" {
		t.Errorf("%+v", alive)
	}
	if health.HTTP != "http://127.0.0.1:4680/v1/health" || health.Status != "" {
		t.Errorf("%+v", health)
	}
	if other := newRegistration(nil, &s, "1.0.0", nil); other.liveness == r.liveness {
		t.Error("two processes share a check")
	}
}
