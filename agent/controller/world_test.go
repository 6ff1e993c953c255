package controller

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	consulapi "github.com/hashicorp/consul/api"
	"github.com/hashicorp/go-hclog"

	"github.com/tealdeploy/teal/agent/api"
	"github.com/tealdeploy/teal/agent/consul"
	"github.com/tealdeploy/teal/agent/consul/consultest"
	"github.com/tealdeploy/teal/agent/deployment"
	"github.com/tealdeploy/teal/agent/kv"
	"github.com/tealdeploy/teal/agent/leader"
	"github.com/tealdeploy/teal/agent/measure"
	"github.com/tealdeploy/teal/agent/nomad/nomadtest"
	"github.com/tealdeploy/teal/agent/notify"
	"github.com/tealdeploy/teal/agent/policy"
	"github.com/tealdeploy/teal/agent/traffic"
	"github.com/tealdeploy/teal/rollback"
)

// world is a Consul, a Nomad and the agents on them, in virtual time. The
// controller, the leader, the routers and the job lock are those that ship.
type world struct {
	testing.TB
	consul *consultest.Server
	nomad  *nomadtest.Server
	people *consultest.Client // operators
	keys   kv.Keys
	dir    string // the policies, the same for every agent

	mu sync.Mutex
	// sick are versions whose instances start unhealthy.
	sick map[string]bool
	// errors is the share of bad answers by version; without an entry nothing
	// is known of it.
	errors map[string]float64
	asked  map[string]float64 // instance → requests so far
	idle   bool               // nobody asks anything any more
	looks  int                // at callers
	agents []*agent
	began  time.Time

	witness *witness // of everything that happens
	// figures are what a metrics service says to a query, filled in; without an
	// entry it is away.
	figures map[string]float64
	jitters int             // how often a figure moved
	ranges  []time.Duration // how far back it was asked
	// scalesDown says that a test makes a colour smaller on purpose.
	scalesDown bool
	// scaled puts an autoscaler's block into every jobspec.
	scaled bool
	// restless makes a jobspec another job each time it is parsed.
	restless bool
	// chronicle is told what agents save, where a test wants it.
	chronicle *book
	// receivers are told of releases, where a test wants it.
	receivers []notify.Receiver
	// set are the policies of every agent, in place of files in dir.
	set *policy.Set
	// quiet agents keep no log, and count nothing.
	quiet bool
}

// clock is the time since the world began.
func (w *world) clock() string { return time.Since(w.began).Round(time.Millisecond).String() }

// apiJobspec is what nomadtest's parser takes.
const apiJobspec = `{"ID":"api","Name":"api","Type":"service","Datacenters":["*"],"TaskGroups":[{"Name":"web","Count":${var.count:2},
 "Services":[{"Name":"api","PortLabel":"http","Provider":"consul","Connect":{"Native":true}}],
 "Tasks":[{"Name":"web","Driver":"raw_exec","Config":{"command":"app"},"Env":{"APP_VERSION":"${var.version}"}}]}]}`

// inWorld runs a test in a bubble of virtual time.
func inWorld(t *testing.T, f func(w *world)) {
	t.Helper()
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) { newWorld(t, dir).live(f) })
}

// newWorld is a world in which nothing happens yet. It is made in a bubble.
func newWorld(t testing.TB, dir string) *world {
	w := &world{
		TB: t, consul: consultest.New(), nomad: nomadtest.New(), keys: kv.NewKeys(""), dir: dir,
		sick: map[string]bool{}, figures: map[string]float64{}, errors: map[string]float64{}, asked: map[string]float64{},
		began: time.Now(),
	}
	w.witness = newWitness(w)
	w.consul.Observe(w.witness.sees)
	w.people = w.consul.Client("people")
	w.nomad.Listen(w.appear)
	w.nomad.Observe(w.witness.writes)
	return w
}

// live lets f happen, and ends all agents.
func (w *world) live(f func(w *world)) {
	w.Helper()
	defer func() { // also when the test gives up: the bubble must empty
		for _, a := range w.agents {
			a.stop()
		}
		if w.witness.broken > 0 {
			w.Log("what happened:\n" + w.witness.told())
		}
	}()
	f(w)
	synctest.Wait()
	w.witness.settled()
}

// appear makes an allocation an instance in Consul, or takes it away.
func (w *world) appear(c nomadtest.Change) {
	if value(c.Job.Type) == "batch" {
		return // a gate's test: no instance of anything
	}
	if !c.Running {
		w.consul.RemoveInstance("api", "node", c.Alloc)
		return
	}
	i := deployment.Instance{ID: c.Alloc, Node: "node", Address: "127.0.0.1", Port: 1, Health: deployment.Passing, Colour: deployment.None}
	for _, g := range c.Job.TaskGroups {
		i.Meta = g.Services[0].Meta
		if colour, err := deployment.ParseColour(i.Meta["teal_colour"]); err == nil {
			i.Colour = colour
		}
		w.mu.Lock()
		if w.sick[g.Tasks[0].Env["APP_VERSION"]] {
			i.Health = deployment.Critical
		}
		w.mu.Unlock()
	}
	w.consul.SetInstance("api", i)
}

// policy writes the policy of api at a version; body is the rest of its block.
func (w *world) policy(version, body string) {
	w.Helper()
	w.policyWithCutover(version, "  cutover { protocol = \"http\" }\n"+body)
}

// policyWithCutover is policy with a cutover block of its own.
func (w *world) policyWithCutover(version, body string) {
	w.Helper()
	text := fmt.Sprintf("service \"api\" {\n  job = \"api.nomad.hcl\"\n  variables = { version = %q }\n%s\n}\n", version, body)
	for name, content := range map[string]string{"api.hcl": text, "api.nomad.hcl": apiJobspec} {
		if err := os.WriteFile(filepath.Join(w.dir, name), []byte(content), 0o644); err != nil {
			w.Fatal(err)
		}
	}
	for _, a := range w.agents {
		a.reload()
	}
}

// quick are the times most tests want.
const quick = `
  launch { healthy_for = "1s" }
  watch  { for = "10s" }
  soak   { for = "1m" }`

// agent is one agent's controller and elector.
type agent struct {
	w    *world
	name string
	ctl  *Controller
	log  *lockedBuffer
	stop func()
}

func (w *world) agent(name string) *agent {
	w.Helper()
	client := w.consul.Client(name)
	a := &agent{w: w, name: name, log: &lockedBuffer{}}
	log := hclog.New(&hclog.LoggerOptions{Name: name, Output: a.log, Level: hclog.Debug, TimeFormat: "04:05.000"})
	if w.quiet {
		log = hclog.NewNullLogger()
	}
	routers := map[string]traffic.Router{}
	for kind, make := range traffic.Kinds {
		routers[kind] = make(func(string, string) traffic.Consul { return client })
	}
	var meter Meter = uncounted{}
	if !w.quiet {
		meter = api.NewMetrics("test")
	}
	var told Chronicle
	if w.chronicle != nil {
		told = w.chronicle
	}
	var teller Teller
	if len(w.receivers) > 0 {
		teller = notify.New(notify.Config{Receivers: w.receivers, Keys: w.keys, Store: client, Meter: api.NewMetrics("test"), Log: log})
	}
	a.ctl = New(Config{
		Chronicle: told, Teller: teller, Name: name, Keys: w.keys, Store: bounded{client}, Catalog: client,
		Nomad:   func(string) Nomad { return watched{w.nomad.Client(name), w.witness} },
		Routers: routers, Scraper: w, Ask: w.answer, Meter: meter, Log: log, HistoryKeep: 3,
	})
	a.reload()
	w.consul.SetCheck(name, "alive", consulapi.HealthPassing)
	elector := leader.New(leader.Config{Consul: client, Key: w.keys.Leader(), Name: name, TTL: 15 * time.Second, Check: "alive", Log: log})
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = elector.Run(ctx, w.witness.term(name, a.ctl.Run))
	}()
	a.stop = func() { cancel(); <-done } // by two at once, too: time goes on while they wait
	w.agents = append(w.agents, a)
	return a
}

func (a *agent) reload() {
	if a.w.set != nil {
		a.ctl.SetPolicies(a.w.set)
		return
	}
	set, diags := policy.Load(a.w.dir)
	if diags.HasErrors() {
		a.w.Fatal(diags)
	}
	a.ctl.SetPolicies(set)
}

// Scrape makes up the metrics of instances: a hundred requests a second, of callers to
// each colour, and at /away nobody.
func (w *world) Scrape(_ context.Context, from rollback.ScrapeSource, _ []string, instances []deployment.Instance) []rollback.Scrape {
	w.mu.Lock()
	defer w.mu.Unlock()
	var out []rollback.Scrape
	for _, i := range instances {
		if from.Path == "/away" {
			out = append(out, rollback.Scrape{Instance: i.ID, At: time.Now(), Err: errors.New("connection refused")})
			continue
		}
		if from.Callers != "" {
			w.asked[i.ID] += 100
			w.looks++
			family := rollback.Family{}
			for colour, share := range w.errors {
				family = append(family,
					rollback.Series{Labels: map[string]string{"code": "200", "subset": colour}, Value: w.asked[i.ID] * (1 - share)},
					rollback.Series{Labels: map[string]string{"code": "500", "subset": colour}, Value: w.asked[i.ID] * share})
			}
			out = append(out, rollback.Scrape{Instance: i.ID, At: time.Now(), Families: map[string]rollback.Family{"http_requests_total": family}})
			continue
		}
		share, known := w.errors[string(i.Colour)]
		if !known {
			out = append(out, rollback.Scrape{Instance: i.ID, At: time.Now(), Err: fmt.Errorf("no metrics")})
			continue
		}
		if !w.idle {
			w.asked[i.ID] += 100
		}
		n := w.asked[i.ID]
		out = append(out, rollback.Scrape{Instance: i.ID, At: time.Now(), Families: map[string]rollback.Family{
			"http_requests_total": {
				{Labels: map[string]string{"code": "200"}, Value: n * (1 - share)},
				{Labels: map[string]string{"code": "500"}, Value: n * share},
			}}})
	}
	return out
}

// answer is a metrics service's.
func (w *world) answer(_ context.Context, q measure.Query, at time.Time) ([]measure.Value, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if d, ok := q.(measure.Document); ok {
		if n, ok := w.figures[d.Path]; ok {
			return []measure.Value{{Number: w.jitter(n)}}, nil
		}
		return nil, nil
	}
	p := q.(measure.Prometheus)
	query := p.Query
	if p.Range > 0 {
		query += " over time"
		w.ranges = append(w.ranges, p.Range)
	}
	if !at.IsZero() {
		query += " at the cutover"
	}
	n, ok := w.figures[query]
	if !ok {
		return nil, fmt.Errorf("Prometheus at nowhere: connection refused")
	}
	if p.Range == 0 {
		return []measure.Value{{Number: n}}, nil
	}
	var out []measure.Value
	for range p.Range/p.Step + 1 {
		out = append(out, measure.Value{Number: w.jitter(n)})
	}
	return out, nil
}

// jitter makes a figure move by a tenth.
func (w *world) jitter(n float64) float64 {
	w.jitters++
	return n * (1 + 0.1*math.Sin(float64(w.jitters*w.jitters)))
}

// says makes a metrics service answer.
func (w *world) says(query string, n float64) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.figures[query] = n
}

// record is what Consul has of the service now.
func (w *world) record() deployment.Service {
	w.Helper()
	pair, _, err := w.people.Get(w.Context(), w.keys.State("api"), 0)
	if err != nil {
		w.Fatal(err)
	}
	rec := deployment.Service{Active: deployment.None}
	if pair != nil {
		if err := json.Unmarshal(pair.Value, &rec); err != nil {
			w.Fatal(err)
		}
	}
	return rec
}

// until lets time pass until the record is as wanted.
func (w *world) until(within time.Duration, what string, want func(deployment.Service) bool) deployment.Service {
	w.Helper()
	began := time.Now()
	for time.Since(began) <= within {
		synctest.Wait()
		if rec := w.record(); want(rec) {
			return rec
		}
		time.Sleep(20 * time.Millisecond)
	}
	text, _ := json.MarshalIndent(w.record(), "", " ")
	w.Fatalf("not within %s: %s\n%s\n%s", within, what, text, w.logs())
	return deployment.Service{}
}

// state waits for a release of a version to come to a state.
func (w *world) state(version string, state deployment.State) deployment.Service {
	w.Helper()
	return w.until(5*time.Minute, fmt.Sprintf("%s is %s", version, state), func(r deployment.Service) bool {
		return r.Deployment != nil && r.Deployment.Candidate.Version == version && r.Deployment.State == state
	})
}

// serves checks where requests go, by the routes that Consul has.
func (w *world) serves(c deployment.Colour) {
	w.Helper()
	if got := w.routed(); got != c {
		w.Errorf("requests go to %s, want %s\n%s", got, c, w.logs())
	}
	pair, _, err := w.people.Get(w.Context(), w.keys.Active("api"), 0)
	if err != nil || pair == nil || string(pair.Value) != string(c) {
		w.Errorf("key active: %v %v, want %s", pair, err, c)
	}
}

func (w *world) routed() deployment.Colour {
	w.Helper()
	e, err := w.people.Entry(w.Context(), consulapi.ServiceRouter, "api")
	if err != nil || e == nil {
		return deployment.None
	}
	return leads(e, "/")
}

// jobs checks who may process background jobs.
func (w *world) jobs(c deployment.Colour) {
	w.Helper()
	pair, _, err := w.people.Get(w.Context(), w.keys.JobProcessor("api"), 0)
	if err != nil || pair == nil || string(pair.Value) != string(c) {
		w.Errorf("jobs belong to %v %v, want %s", pair, err, c)
	}
}

// command puts a command as consul kv put does, and waits for its answer.
func (w *world) command(verb kv.Verb, value string) kv.Result {
	w.Helper()
	pairs, err := w.people.Txn(w.Context(), consulapi.KVTxnOps{{Verb: consulapi.KVSet, Key: w.keys.Command("api", verb), Value: []byte(value)}})
	if err != nil {
		w.Fatal(err)
	}
	began := time.Now()
	for time.Since(began) < 2*time.Minute {
		synctest.Wait()
		pair, _, err := w.people.Get(w.Context(), w.keys.Result("api", verb), 0)
		if err != nil {
			w.Fatal(err)
		}
		var r kv.Result
		if pair != nil && json.Unmarshal(pair.Value, &r) == nil && r.Index == pairs[0].ModifyIndex {
			if left, _, _ := w.people.Get(w.Context(), w.keys.Command("api", verb), 0); left != nil {
				w.Errorf("%s is answered and still there", verb)
			}
			return r
		}
		time.Sleep(20 * time.Millisecond)
	}
	w.Fatalf("no answer to %s\n%s", verb, w.logs())
	return kv.Result{}
}

// obeyed is command for one that must be accepted, refused the opposite.
func (w *world) obeyed(verb kv.Verb, value string) kv.Result {
	w.Helper()
	r := w.command(verb, value)
	if !r.Accepted {
		w.Fatalf("%s %s: refused: %s", verb, value, r.Reason)
	}
	return r
}

func (w *world) refused(verb kv.Verb, value, why string) {
	w.Helper()
	if r := w.command(verb, value); r.Accepted || !strings.Contains(r.Reason, why) {
		w.Errorf("%s %s: accepted %v: %q, want a refusal with %q", verb, value, r.Accepted, r.Reason, why)
	}
}

// approves puts an approver's key as consul kv put does.
func (w *world) approves(who, value string) {
	w.Helper()
	if err := w.people.Put(w.Context(), w.keys.Approval(who, "api"), []byte(value)); err != nil {
		w.Fatal(err)
	}
}

// withdraws deletes it.
func (w *world) withdraws(who string) {
	w.Helper()
	if err := w.people.Delete(w.Context(), w.keys.Approval(who, "api")); err != nil {
		w.Fatal(err)
	}
}

// ordinary runs the apiJobspec as people did before Teal came.
func (w *world) ordinary(version string) {
	w.Helper()
	client := w.nomad.Client("people")
	job, err := watched{client, w.witness}.Parse(w.Context(), apiJobspec, fmt.Sprintf("version = %q", version))
	if err != nil {
		w.Fatal(err)
	}
	var index uint64
	if running, _ := client.Job(w.Context(), "", "api"); running != nil {
		index = *running.JobModifyIndex
	}
	if _, err := client.Register(w.Context(), job, index, nomadSubmission(version)); err != nil {
		w.Fatal(err)
	}
}

// adoptedWorld has 1.0.0 running as an ordinary job, adopted by an agent.
func (w *world) adopted() *agent {
	w.Helper()
	w.ordinary("1.0.0")
	w.policy("1.0.0", quick)
	a := w.agent("agent-1")
	w.until(time.Minute, "adopted", func(r deployment.Service) bool { return r.Managed })
	return a
}

// takenBack has 2.0.0 released to green and taken back by hand: 1.0.0 serves, and
// green is kept for ten minutes.
func (w *world) takenBack() {
	w.Helper()
	w.adopted()
	w.policy("2.0.0", quick)
	w.state("2.0.0", deployment.Watching)
	w.obeyed(kv.Rollback, "")
	w.until(time.Minute, "back", func(r deployment.Service) bool { return !r.InFlight() })
}

func (w *world) logs() string {
	var all strings.Builder
	for _, a := range w.agents {
		fmt.Fprintf(&all, "--- %s\n%s", a.name, a.log)
	}
	return all.String()
}

// uncounted is a meter that counts nothing: making one that does reads files.
type uncounted struct{}

func (uncounted) Ended(deployment.Outcome)             {}
func (uncounted) Cutover(deployment.Move)              {}
func (uncounted) Rollback(deployment.Move)             {}
func (uncounted) Command(kv.Verb, bool)                {}
func (uncounted) Services(int, int, int)               {}
func (uncounted) Deployments(map[deployment.State]int) {}

// lockedBuffer is a log that may be read while it is written.
type lockedBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *lockedBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lockedBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

var _ Store = (*consultest.Client)(nil)
var _ Catalog = (*consultest.Client)(nil)
var _ leader.Consul = (*consul.Client)(nil)
