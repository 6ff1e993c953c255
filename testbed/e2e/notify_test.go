package e2e

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/tealdeploy/teal/agent/deployment"
	"github.com/tealdeploy/teal/testbed/cluster"
	"github.com/tealdeploy/teal/testbed/world"
)

// notice is what a program reads of one.
type notice struct {
	ID, Event, Version string
}

// mailbox is an HTTP server that keeps what it is sent, by path.
type mailbox struct {
	*httptest.Server
	mu   sync.Mutex
	got  map[string][]string
	head map[string]http.Header // the last, by path
}

func newMailbox(t *testing.T) *mailbox {
	m := &mailbox{got: map[string][]string{}, head: map[string]http.Header{}}
	m.Server = httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		m.mu.Lock()
		defer m.mu.Unlock()
		m.got[r.URL.Path] = append(m.got[r.URL.Path], string(body))
		m.head[r.URL.Path] = r.Header
	}))
	t.Cleanup(m.Close)
	return m
}

func (m *mailbox) at(path string) []string {
	m.mu.Lock()
	defer m.mu.Unlock()
	return slices.Clone(m.got[path])
}

// notices are those posted to a webhook.
func (m *mailbox) notices(path string) (all []notice, err error) {
	for _, body := range m.at(path) {
		var n notice
		if err := json.Unmarshal([]byte(body), &n); err != nil {
			return nil, err
		}
		all = append(all, n)
	}
	return all, nil
}

// told lists the events of one version, in order.
func (m *mailbox) told(path, version string) string {
	all, err := m.notices(path)
	if err != nil {
		return err.Error()
	}
	var events []string
	for _, n := range all {
		if n.Version == version {
			events = append(events, n.Event)
		}
	}
	return strings.Join(events, " ")
}

// deafEar takes connections and never says a word.
func deafEar(t *testing.T) string {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	go func() {
		var all []net.Conn
		defer func() {
			for _, c := range all {
				c.Close()
			}
		}()
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			all = append(all, c)
		}
	}()
	return l.Addr().String()
}

// planted are the secrets in the config of TestNotices.
var planted = []string{"us3rPLANTED", "pa55PLANTED", "t0kenPLANTED", "rout1ngPLANTED", "r00mPLANTED"}

// A release, a rollback and the release that mends it are told to a webhook, to a
// chat by shoutrrr, to PagerDuty and to Alertmanager. A receiver that hangs and
// one that refuses delay nothing, and are owed it under the next leader, who tells
// nobody twice. No secret is anywhere but in the config.
func TestNotices(t *testing.T) {
	s := open(t, "notif")
	m := newMailbox(t)
	host := strings.TrimPrefix(m.URL, "http://")
	s.must(s.WriteFile("routing-key", "rout1ngPLANTED\n"))
	config, err := os.ReadFile(s.Config())
	s.must(err)
	s.must(s.WriteFile("config.hcl", string(config)+fmt.Sprintf(`
notify "webhook" "hook" {
  url          = "http://us3rPLANTED:pa55PLANTED@%[1]s/hook"
  headers      = { "X-Token" = env("HOOK_TOKEN", "") }
}
notify "webhook" "worst-only" {
  url      = "http://%[1]s/worst"
  severity = "critical"
  services = ["not*"]
}
notify "webhook" "others" {
  url      = "http://%[1]s/others"
  services = ["other-*"]
}
notify "shoutrrr" "room" {
  url    = "generic+http://%[1]s/r00mPLANTED"
  events = ["rolled-back", "succeeded"]
}
notify "pagerduty" "pager" {
  url              = "http://%[1]s/pager"
  routing_key_file = "routing-key"
}
notify "alertmanager" "alerts" {
  url    = "http://us3rPLANTED:pa55PLANTED@%[1]s"
  labels = { team = "shop" }
}
notify "webhook" "deaf" {
  url = "http://us3rPLANTED:pa55PLANTED@%[2]s/t0kenPLANTED"
}
notify "webhook" "nobody" {
  url = "http://us3rPLANTED:pa55PLANTED@127.0.0.1:1/t0kenPLANTED"
}
`, host, deafEar(t))))
	s.says(s.teal(0, "validate", "-config", s.Config()).Out, "is valid")
	env := world.AgentOptions{Env: []string{"HOOK_TOKEN=t0kenPLANTED"}}
	a := s.agentWith("a", env)
	v := world.Service{Name: "notif", Version: "1.0.0"}
	s.begin(v)
	c := s.calls("notif", world.TrafficOptions{Rate: 100})

	v.Version, v.Fault, v.After = "2.0.0", "errors:0.5", 50
	v.Gates, v.Watch, v.Triggers = smoke, 30*time.Second, errorTrigger
	s.write(v)
	d := s.ends("notif", "2.0.0", deployment.RolledBack)
	c.serves(d.From)
	for what, m := range map[string]*deployment.Move{"cutover": d.Cutover, "rollback": d.Rollback} {
		if took := m.Written.Sub(m.Decided); took > time.Second {
			t.Errorf("with receivers that hang and refuse the %s took %s", what, took)
		}
	}
	await := func(what string, ask func() error) {
		t.Helper()
		if err := cluster.Await(s.soon(), func(context.Context) error { return ask() }); err != nil {
			t.Fatalf("%s: %v", what, err)
		}
	}
	hears := func(path, version, want string) {
		t.Helper()
		await(path+" of "+version, func() error {
			if got := m.told(path, version); got != want {
				return fmt.Errorf("told %q, want %q", got, want)
			}
			return nil
		})
	}
	hears("/hook", "1.0.0", "started cutover succeeded")
	hears("/hook", "2.0.0", "started cutover rolling-back rolled-back")
	hears("/worst", "2.0.0", "rolling-back rolled-back")

	// The leader dies. What it told is not told again; what is owed still is.
	owed := func() int {
		keys, _, err := s.ConsulClient().KV().Keys(s.Keys.Notices(), "", nil)
		s.must(err)
		return len(keys)
	}
	await("what is left is owed to the deaf alone", func() error {
		pairs, _, err := s.ConsulClient().KV().List(s.Keys.Notices(), nil)
		s.must(err)
		for _, p := range pairs {
			if !strings.Contains(string(p.Value), `"owed_to":["deaf","nobody"]`) {
				return fmt.Errorf("%s", p.Value)
			}
		}
		return nil
	})
	before := owed()
	s.must(a.Kill())
	b := s.agentWith("b", env)
	v.Version, v.Fault, v.Triggers, v.Watch = "3.0.0", "", "", 2*time.Second
	s.write(v)
	s.ends("notif", "3.0.0", deployment.Succeeded)
	hears("/hook", "3.0.0", "started cutover succeeded")
	if n := owed(); before == 0 || n < before {
		t.Errorf("%d notices were owed to those who do not answer, and %d are", before, n)
	}
	all, err := m.notices("/hook")
	s.must(err)
	seen := map[string]bool{}
	for _, n := range all {
		if seen[n.ID] {
			t.Errorf("told twice: %s", n.ID)
		}
		seen[n.ID] = true
	}

	// Incidents begin and end under one key.
	await("PagerDuty", func() error {
		text := strings.Join(m.at("/pager"), "\n")
		for _, want := range []string{`"event_action":"trigger"`, `"event_action":"resolve"`, `"dedup_key":"teal/notif/rollback"`, `"routing_key":"rout1ngPLANTED"`} {
			if !strings.Contains(text, want) {
				return fmt.Errorf("lacks %s:\n%s", want, text)
			}
		}
		return nil
	})
	await("Alertmanager", func() error {
		var last []struct {
			Labels           map[string]string
			StartsAt, EndsAt time.Time
		}
		got := m.at("/api/v2/alerts")
		if len(got) < 3 {
			return fmt.Errorf("%d alerts", len(got))
		}
		if err := json.Unmarshal([]byte(got[len(got)-1]), &last); err != nil {
			return err
		}
		if l := last[0].Labels; l["alertname"] != "TealRollback" || l["team"] != "shop" || !last[0].EndsAt.Equal(last[0].StartsAt) {
			return fmt.Errorf("%+v", last)
		}
		return nil
	})
	await("the chat", func() error {
		if text := strings.Join(m.at("/r00mPLANTED"), "\n"); !strings.Contains(text, "notif: 2.0.0 was rolled back\n") || !strings.Contains(text, "notif: 3.0.0 is live") || strings.Contains(text, "begins") {
			return fmt.Errorf("%s", text)
		}
		return nil
	})
	m.mu.Lock()
	if h := m.head["/hook"]; h.Get("X-Token") != "t0kenPLANTED" || h.Get("Authorization") == "" {
		t.Errorf("secrets from config and environment do not arrive: %v", h)
	}
	m.mu.Unlock()
	if n := len(m.at("/others")); n > 0 {
		t.Errorf("a receiver for other services was told %d times", n)
	}

	// No secret is anywhere but where it was put.
	var texts []string
	pairs, _, err := s.ConsulClient().KV().List(s.Keys.Prefix(), nil)
	s.must(err)
	for _, p := range pairs {
		texts = append(texts, p.Key+"="+string(p.Value))
	}
	for _, agent := range []*world.Agent{a, b} {
		log, err := os.ReadFile(filepath.Join(s.Dir, filepath.Base(agent.LogFile)))
		s.must(err)
		if !strings.Contains(string(log), "could not be told") {
			t.Errorf("the log of %s says nothing of receivers that do not answer", agent.Name)
		}
		texts = append(texts, string(log))
	}
	for _, args := range [][]string{{"status"}, {"status", "notif"}, {"history", "notif"}, {"report", "notif", d.ID}, {"status", "-json"}} {
		texts = append(texts, s.teal(0, args...).Out)
	}
	response, err := http.Get("http://" + b.HTTP + "/v1/metrics")
	s.must(err)
	defer response.Body.Close()
	metrics, err := io.ReadAll(response.Body)
	s.must(err)
	s.says(string(metrics), `teal_notices_total{receiver="hook",result="told"}`, `teal_notices_total{receiver="nobody",result="failed"}`)
	for _, text := range append(texts, string(metrics)) {
		for _, secret := range planted {
			if strings.Contains(text, secret) {
				t.Errorf("%s is in:\n%.2000s", secret, text)
			}
		}
	}
	c.s.must(c.EndLoad())
}
