package e2e

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	consulapi "github.com/hashicorp/consul/api"

	"github.com/tealdeploy/teal/agent/deployment"
	"github.com/tealdeploy/teal/testbed/cluster"
	"github.com/tealdeploy/teal/testbed/world"
)

// trial is a kind of trigger put to three releases: one that is as good, one of
// which the trigger cannot tell, and one that is bad.
type trial struct {
	kind      string
	way       string // of judging, where a kind has several trials
	good      string // trigger block's body
	goodSays  string
	blind     string
	blindSays string
	bad       string
	badSays   string
	fault     string
	harm      func(s *stage, c *traffic)   // done to the bad version once it is watched
	begin     func(s *stage) (more string) // before anything; more of each block's body
	ready     func(s *stage, version string)
	mayLose   bool // the fault itself costs requests
}

// put runs the trial. What cannot be judged holds at the end of the watch, keeps
// its traffic, and goes on when a person says so, or when it can be judged.
func (tr trial) put(t *testing.T) {
	name := "t-" + tr.kind + tr.way
	s := open(t, name)
	more := ""
	if tr.begin != nil {
		more = tr.begin(s)
	}
	s.agent("a")
	v := world.Service{Name: name, Version: "1.0.0"}
	s.begin(v)
	c := s.calls(name, world.TrafficOptions{Rate: 100})
	c.answers("1.0.0", 500)
	declared := func(body string) string {
		return "trigger \"" + tr.kind + "\" \"judged\" {\n" + more + "\n" + body + "\n}"
	}
	ready := func() {
		if tr.ready != nil {
			tr.ready(s, v.Version)
		}
	}

	v.Version, v.Gates, v.Watch, v.KeepFailed = "2.0.0", smoke, 6*time.Second, time.Hour
	v.Triggers = declared(tr.good)
	ready()
	s.write(v)
	s.judged(s.ends(name, v.Version, deployment.Succeeded), "judged", tr.goodSays)
	c.answers(v.Version, 100)

	if tr.blind != "" {
		v.Version, v.Watch, v.Triggers = "3.0.0", time.Second, declared(tr.blind)
		s.write(v)
		held := s.record(name, "that the watch is held", func(r deployment.Service) bool {
			return r.Held != nil && r.Deployment != nil && r.Deployment.Candidate.Version == v.Version
		})
		s.says(held.Held.Reason, "trigger judged has not seen enough", tr.blindSays)
		c.serves(held.Deployment.To)
		s.teal(0, "resume", name)
		s.ends(name, v.Version, deployment.Succeeded)
		c.answers(v.Version, 500)
	}

	v.Version, v.Watch, v.Triggers, v.Fault, v.After = "4.0.0", time.Minute, declared(tr.bad), tr.fault, 100
	if tr.fault == "" {
		v.After = 0
	}
	ready()
	s.write(v)
	if tr.harm != nil {
		c.serves(s.comes(name, v.Version, deployment.Watching).To)
		tr.harm(s, c)
	}
	d := s.ends(name, v.Version, deployment.RolledBack)
	s.says(d.Reason, "trigger judged", tr.badSays)
	if d.Rollback == nil || d.Rollback.Detected.IsZero() {
		t.Errorf("rollback on record: %+v", d.Rollback)
	}
	c.serves(d.From)
	s.must(c.EndLoad())
	n := c.Load.Count()
	t.Log(n)
	if n.WrongColour != 0 || n.Lost != 0 && !tr.mayLose {
		t.Errorf("requests were lost or answered by the wrong colour: %s", n)
	}
}

func TestLatencyTrigger(t *testing.T) {
	trial{
		kind: "latency",
		// Machines that run tests have their own quirks of some milliseconds.
		good: "tolerance = 0.2", goodSays: "of requests took longer than",
		blind: `metric = "took_seconds"`, blindSays: "requests of the previous colour were seen in took_seconds_bucket at /metrics",
		fault: "slow:0.4", badSays: "of requests took longer than",
	}.put(t)
}

// A quantile and a multiple that only a fault makes worse: it is the method that is tried,
// not the machine.
func TestLatencyTriggerByRatio(t *testing.T) {
	trial{
		kind: "latency", way: "-ratio",
		good: "quantile = 0.8\nratio = 20\nwindow = \"4s\"", goodSays: "of requests took longer than",
		blind: "metric = \"took_seconds\"\nratio = 50", blindSays: "requests of the previous colour were seen in took_seconds_bucket at /metrics",
		bad: "quantile = 0.8\nratio = 20\nwindow = \"4s\"", badSays: "up to 20 % is allowed", fault: "slow:0.4",
	}.put(t)
}

func TestLatencyTriggerByLimit(t *testing.T) {
	trial{
		kind: "latency", way: "-above",
		good: "quantile = 0.9\nabove = \"250ms\"\nwindow = \"4s\"", goodSays: "of requests took longer than 250ms",
		blind: "metric = \"took_seconds\"\nabove = \"250ms\"", blindSays: "no instance has a metric took_seconds_bucket at /metrics",
		bad: "quantile = 0.9\nabove = \"250ms\"\nwindow = \"4s\"", badSays: "of requests took longer than 250ms", fault: "slow:0.4",
	}.put(t)
}

func TestErrorsTriggerByRatio(t *testing.T) {
	trial{
		kind: "errors", way: "-ratio",
		good: "ratio = 5\nwindow = \"4s\"", goodSays: "up to 0.5 % is allowed",
		blind: "metric = \"asked_total\"\nratio = 5", blindSays: "no instance has a metric asked_total at /metrics",
		bad: "ratio = 5\nwindow = \"4s\"", badSays: "up to 0.5 % is allowed", fault: "errors:0.5",
	}.put(t)
}

func TestVolumeTrigger(t *testing.T) {
	trial{
		kind: "volume",
		good: `window = "2s"`, goodSays: "requests a second came within 2s",
		blind: "metric = \"asked_total\"\nbelow = 1", blindSays: "no instance has a metric asked_total at /metrics",
		bad: `window = "3s"`, badSays: "requests a second came within 3s; at least",
		harm: func(s *stage, c *traffic) { s.must(c.EndLoad()) },
	}.put(t)
}

// Callers that try again and again are no errors, and are seen all the same.
func TestVolumeExplodes(t *testing.T) {
	s := open(t, "t-explodes")
	s.agent("a")
	v := world.Service{Name: "t-explodes", Version: "1.0.0"}
	s.begin(v)
	c := s.calls(v.Name, world.TrafficOptions{Rate: 50})
	v.Version, v.Watch, v.KeepFailed = "2.0.0", time.Minute, time.Hour
	v.Triggers = "trigger \"volume\" \"judged\" {\nabove = 120\nwindow = \"3s\"\n}"
	s.write(v)
	s.comes(v.Name, v.Version, deployment.Watching)
	c.answers(v.Version, 50)
	more := s.calls(v.Name, world.TrafficOptions{Rate: 300})
	d := s.ends(v.Name, v.Version, deployment.RolledBack)
	s.says(d.Reason, "trigger judged", "requests a second came within 3s", "at most 120 are expected")
	c.serves(d.From)
	c.unharmed()
	more.unharmed()
}

// Of several triggers that are bad at once one takes traffic back, once: the first in
// the policy, with its figures.
func TestSeveralTriggersOneDecision(t *testing.T) {
	s := open(t, "t-several")
	s.agent("a")
	v := world.Service{Name: "t-several", Version: "1.0.0"}
	s.begin(v)
	c := s.calls(v.Name, world.TrafficOptions{Rate: 100})
	v.Version, v.Fault, v.After, v.Watch, v.KeepFailed = "2.0.0", "errors:0.5", 50, time.Minute, time.Hour
	for _, name := range []string{"zulu", "alpha"} { // which see the same at every look
		v.Triggers += strings.Replace(errorTrigger, "http-5xx", name, 1) + "\n"
	}
	s.write(v)
	d := s.ends(v.Name, v.Version, deployment.RolledBack)
	s.says(d.Reason, "trigger zulu", "of requests failed")
	if strings.Contains(d.Reason, "alpha") || len(d.Verdicts) != 1 || d.Verdicts[0].Verdict != "bad" ||
		d.Verdicts[0].Figures["above"] != "0.05" || strings.Count(evidence(d), ": trigger:") != 1 {
		t.Errorf("%s\nverdicts %+v\n%s", d.Reason, d.Verdicts, evidence(d))
	}
	c.serves(d.From)
	c.unharmed()
}

// One of two instances ends with status 1, and Nomad starts it again, soon enough
// for Consul to have had somebody who serves all the time.
func TestNomadTrigger(t *testing.T) {
	trial{
		kind: "nomad",
		good: "", goodSays: "since the watch began no task was restarted",
		// A Nomad that is away is a test of its own.
		bad: "restarts = 0", badSays: "1 task was restarted", mayLose: true,
		harm: func(s *stage, c *traffic) { s.oneExits("t-nomad", c.Follower.Table().Subset()) },
	}.put(t)
}

// One of two instances ends with status 1 and is not started again in its place: its
// allocation has failed.
func TestNomadTriggerSeesFailedAllocations(t *testing.T) {
	s := open(t, "t-failed")
	s.agent("a")
	text, err := s.APIJobspec("t-failed")
	s.must(err)
	v := world.Service{Name: "t-failed", Version: "1.0.0", Jobspec: strings.Replace(text, "attempts = 2", "attempts = 0", 1)}
	s.begin(v)
	c := s.calls(v.Name, world.TrafficOptions{})
	v.Version, v.Watch, v.KeepFailed, v.Triggers = "2.0.0", time.Minute, time.Hour, `trigger "nomad" "allocations" {}`
	s.write(v)
	c.serves(s.comes(v.Name, v.Version, deployment.Watching).To)
	c.answers(v.Version, 50) // and meanwhile the trigger has had its first look
	s.oneExits(v.Name, c.Follower.Table().Subset())
	d := s.ends(v.Name, v.Version, deployment.RolledBack)
	s.says(d.Reason, "trigger allocations", "no task was restarted", "1 allocation failed (allocation", "put up with are 2, 0 and 0")
	c.serves(d.From)
}

// oneExits ends the process of one of a colour's instances.
func (s *stage) oneExits(service, colour string) {
	s.t.Helper()
	all, err := s.Instances(s.soon(), service)
	s.must(err)
	at := slices.IndexFunc(all, func(i world.Instance) bool { return i.Colour == colour })
	if at < 0 {
		s.t.Fatalf("no instance of %s is %s: %v", service, colour, all)
	}
	request, err := http.NewRequestWithContext(s.soon(), http.MethodPost, "http://"+all[at].Address+"/fault?kind=exit", nil)
	s.must(err)
	// It may be gone before its answer arrives.
	if response, err := http.DefaultClient.Do(request); err == nil {
		response.Body.Close()
	}
}

// A Nomad that is away from before the cutover on neither sends traffic back nor
// lets the watch end well, until it is back.
func TestNomadTriggerWithNomadAway(t *testing.T) {
	s := openAlone(t, "t-nomad-away", cluster.Options{})
	s.agent("a")
	v := world.Service{Name: "t-nomad-away", Version: "1.0.0"}
	s.begin(v)
	c := s.calls(v.Name, world.TrafficOptions{})
	v.Version, v.Watch, v.Approval = "2.0.0", 2*time.Second, "required = true"
	v.Triggers = `trigger "nomad" "allocations" {}`
	s.write(v)
	s.comes(v.Name, v.Version, deployment.Approving)
	s.must(s.Nomad.Kill())
	s.teal(0, "approve", v.Name, "-why", "while Nomad is away")
	held := s.record(v.Name, "that the watch is held", func(r deployment.Service) bool {
		return r.Held != nil && r.Deployment != nil && r.Deployment.State == deployment.Watching
	})
	s.says(held.Held.Reason, "trigger allocations has not seen enough", "Nomad could not be asked")
	c.serves(held.Deployment.To)
	s.must(s.Nomad.Restart(s.soon()))
	s.ends(v.Name, v.Version, deployment.Succeeded)
	c.answers(v.Version, 50)
	c.unharmed()
}

// Another system writes its word into a key.
func TestKVTrigger(t *testing.T) {
	const key = `key = "verdicts/{service}/{version}"`
	trial{
		kind: "kv",
		good: key, goodSays: "key verdicts/t-kv/2.0.0 says fine: sales are up",
		ready: func(s *stage, version string) {
			s.must(s.Put(s.soon(), "verdicts/t-kv/"+version, "ok: sales are up"))
		},
		blind: key, blindSays: "there is no key verdicts/t-kv/3.0.0 yet",
		bad: key, badSays: "key verdicts/t-kv/4.0.0 says bad: orders have halved",
		harm: func(s *stage, c *traffic) {
			c.answers("4.0.0", 50)
			s.must(s.Put(s.soon(), "verdicts/t-kv/4.0.0", "no: orders have halved"))
		},
	}.put(t)
}

// Failures between callers and the new version show at the callers' proxies alone: what
// those count of each colour takes it back, while its instances have counted no error and
// pass all their checks. The data plane stands for Envoy here, and counts as Envoy does.
func TestErrorsSeenByCallers(t *testing.T) {
	s := open(t, "t-callers")
	s.agent("a")
	v := world.Service{Name: "t-callers", Version: "1.0.0"}
	s.begin(v)
	c := s.calls(v.Name, world.TrafficOptions{Rate: 100})
	envoy := httptest.NewServer(c.Proxy.Stats(v.Name))
	t.Cleanup(envoy.Close)
	at := envoy.Listener.Addr().(*net.TCPAddr)
	s.must(s.ConsulClient().Agent().ServiceRegister(&consulapi.AgentServiceRegistration{
		ID: "t-callers-web", Name: "t-callers-web", Address: "127.0.0.1", Port: 1, Connect: &consulapi.AgentServiceConnect{Native: true},
	}))
	t.Cleanup(func() { s.must(s.ConsulClient().Agent().ServiceDeregister("t-callers-web")) })
	c.answers("1.0.0", 500)

	v.Version, v.Watch, v.KeepFailed = "2.0.0", 6*time.Second, time.Hour
	v.Triggers = fmt.Sprintf(`trigger "errors" "own" {}
trigger "errors" "judged" {
  metric  = "envoy_cluster_upstream_rq"
  label   = "envoy_response_code"
  callers = ["t-callers-web"]
  port    = %d
  path    = "/stats/prometheus"
  where = {
    consul_destination_service        = "{service}"
    consul_destination_service_subset = "{colour}"
  }
}`, at.Port)
	s.write(v)
	s.judged(s.ends(v.Name, v.Version, deployment.Succeeded), "judged", "1 of 1 instances read); the previous colour's share was 0 %")
	s.says(s.teal(0, "plan", v.Name).Out, `trigger "judged": 1 of 1 instances of t-callers-web tell envoy_cluster_upstream_rq`)

	v.Version, v.Watch = "3.0.0", time.Minute
	s.write(v)
	c.serves(s.comes(v.Name, v.Version, deployment.Watching).To)
	c.answers("3.0.0", 100)
	candidate := s.coloured(v.Name, c.Follower.Table().Subset())
	c.Proxy.Cut(candidate[0].Address)
	d := s.ends(v.Name, v.Version, deployment.RolledBack)
	s.says(d.Reason, "trigger judged", "of requests failed")
	c.serves(d.From)
	s.must(c.EndLoad())
	n := c.Load.Count()
	t.Log(n)
	if n.Lost == 0 || n.WrongColour != 0 {
		t.Errorf("connections were refused, and callers saw: %s", n)
	}
	// It was none of the instances' doing.
	for _, i := range candidate {
		text := s.get("http://" + i.Address + "/metrics")
		s.says(text, `http_requests_total{code="500",method="GET"} 0`+"\n")
		if strings.Contains(text, `code="503"`) || i.Health != consulapi.HealthPassing {
			t.Errorf("%+v has counted errors itself:\n%s", i, text)
		}
	}
}

// coloured are a service's instances of one colour.
func (s *stage) coloured(service, colour string) []world.Instance {
	s.t.Helper()
	all, err := s.Instances(s.soon(), service)
	s.must(err)
	return slices.DeleteFunc(all, func(i world.Instance) bool { return i.Colour != colour })
}

// get reads what is at a URL.
func (s *stage) get(url string) string {
	s.t.Helper()
	request, err := http.NewRequestWithContext(s.soon(), http.MethodGet, url, nil)
	s.must(err)
	response, err := http.DefaultClient.Do(request)
	s.must(err)
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	s.must(err)
	return string(text)
}
