// Package e2e holds the end-to-end tests: Teal as it is shipped, on real
// Consul and Nomad, under load through a data plane that follows Consul's xDS
// stream. Each test is one promise; those named after a point are the
// behaviours that other deployment tools got wrong.
//
// A test sees what an operator sees: files, keys, entries, commands and
// answers. Tests run side by side on one cluster, each with its own keys,
// agents and services; those that hurt the servers have a cluster of their own.
package e2e

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	nomadapi "github.com/hashicorp/nomad/api"

	"github.com/tealdeploy/teal/agent/deployment"
	"github.com/tealdeploy/teal/agent/kv"
	"github.com/tealdeploy/teal/testbed/cluster"
	"github.com/tealdeploy/teal/testbed/load"
	"github.com/tealdeploy/teal/testbed/world"
)

// patience bounds one wait. What is waited for takes seconds; on a loaded
// machine some more.
const patience = 60 * time.Second

// sideBySide is how many tests run at once: they wait more than they work.
const sideBySide = "6"

var shared struct {
	sync.Once
	world *world.World
	err   error
}

func TestMain(m *testing.M) {
	flag.Parse()
	given := false
	flag.Visit(func(f *flag.Flag) { given = given || f.Name == "test.parallel" })
	if !given {
		if err := flag.Set("test.parallel", sideBySide); err != nil {
			panic(err)
		}
	}
	code := m.Run()
	if shared.world != nil {
		if err := shared.world.Stop(); err != nil {
			fmt.Fprintln(os.Stderr, "stop the cluster:", err)
			code = max(code, 1)
		}
	}
	world.RemoveBinaries()
	os.Exit(code)
}

// stage is a site on a cluster, for one test.
type stage struct {
	*world.Site
	t *testing.T
}

// open runs the test beside others on the cluster that they share.
func open(t *testing.T, name string) *stage {
	t.Helper()
	t.Parallel()
	shared.Do(func() {
		shared.world, shared.err = world.Start(context.Background(), world.Options{Options: cluster.Options{Log: os.Stderr}})
	})
	if shared.err != nil {
		t.Fatal(shared.err)
	}
	return openOn(t, shared.world, name)
}

// openAlone runs the test on a cluster of its own, whose servers it may hurt.
func openAlone(t *testing.T, name string, o cluster.Options) *stage {
	t.Helper()
	t.Parallel()
	w, err := world.Start(t.Context(), world.Options{Options: o})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if t.Failed() {
			w.Tails(t.Output(), 40)
		}
		if err := w.Stop(); err != nil {
			t.Error(err)
		}
	})
	return openOn(t, w, name)
}

func openOn(t *testing.T, w *world.World, name string) *stage {
	t.Helper()
	site, err := w.NewSite(name)
	if err != nil {
		t.Fatal(err)
	}
	stages.Store(name, nil)
	s := &stage{site, t}
	t.Cleanup(s.close)
	return s
}

// close ends the agents and removes the test's jobs, so that the tests to come
// have the machine. After a failure it says what the agents had to say.
func (s *stage) close() {
	if s.t.Failed() {
		s.Logs(s.t.Output(), 80)
		if ran, err := s.CLI(context.Background(), "status"); err == nil {
			fmt.Fprintln(s.t.Output(), ran)
		}
		s.allocations(s.t.Output())
	}
	if err := s.Close(); err != nil {
		s.t.Error(err)
	}
	if s.Nomad == nil || !s.Nomad.Running() {
		return
	}
	jobs := s.NomadClient().Jobs()
	for _, job := range s.own() {
		if _, _, err := jobs.DeregisterOpts(job.ID, &nomadapi.DeregisterOptions{NoShutdownDelay: true}, nil); err != nil {
			s.t.Error(err)
		}
	}
}

// allocations writes what Nomad has of the test's jobs: their evaluations, and what
// it wants of each allocation, has of it, and did last with its tasks.
func (s *stage) allocations(out io.Writer) {
	if s.Nomad == nil || !s.Nomad.Running() {
		return
	}
	jobs := s.NomadClient().Jobs()
	for _, job := range s.own() {
		fmt.Fprintf(out, "--- job %s, %s, stop %t\n", job.ID, job.Status, job.Stop)
		evaluations, _, err := jobs.Evaluations(job.ID, nil)
		if err != nil {
			fmt.Fprintln(out, err)
		}
		for _, e := range evaluations {
			fmt.Fprintf(out, "evaluation %s by %s: %s %s, from %s to %s\n", e.ID, e.TriggeredBy, e.Status, e.StatusDescription, clock(e.CreateTime), clock(e.ModifyTime))
		}
		allocations, _, err := jobs.Allocations(job.ID, true, nil)
		if err != nil {
			fmt.Fprintln(out, err)
		}
		for _, a := range allocations {
			fmt.Fprintf(out, "allocation %s of %s: to %s %s, is %s %s\n", a.ID, clock(a.CreateTime), a.DesiredStatus, a.DesiredDescription, a.ClientStatus, a.ClientDescription)
			for task, state := range a.TaskStates {
				for _, e := range state.Events {
					fmt.Fprintf(out, "  %s %s %s: %s\n", clock(e.Time), task, e.Type, e.DisplayMessage)
				}
			}
		}
	}
}

// own are the test's jobs.
func (s *stage) own() []*nomadapi.JobListStub {
	all, _, err := s.NomadClient().Jobs().PrefixList(s.Name)
	if err != nil {
		s.t.Error(err)
	}
	return slices.DeleteFunc(all, func(job *nomadapi.JobListStub) bool { return !s.owns(job.ID) })
}

// clock is a time of Nomad's as the agents' logs have it.
func clock(nanoseconds int64) string {
	return time.Unix(0, nanoseconds).UTC().Format("15:04:05.000")
}

// stages has the name of every test's stage so far.
var stages sync.Map

// owns says whether a job is this test's, and not that of one whose name is longer:
// of the stages "t-latency" and "t-latency-ratio", the second has the job
// "t-latency-ratio-green".
func (s *stage) owns(job string) bool {
	owner := ""
	stages.Range(func(name, _ any) bool {
		if n := name.(string); len(n) > len(owner) && strings.HasPrefix(job+"-", n+"-") {
			owner = n
		}
		return true
	})
	return owner == s.Name
}

// soon is a context for one wait.
func (s *stage) soon() context.Context {
	ctx, cancel := context.WithTimeoutCause(s.t.Context(), patience, fmt.Errorf("not within %s", patience))
	s.t.Cleanup(cancel)
	return ctx
}

// must ends the test at an error.
func (s *stage) must(err error) {
	s.t.Helper()
	if err != nil {
		s.t.Fatal(err)
	}
}

func (s *stage) agent(name string) *world.Agent {
	s.t.Helper()
	return s.agentWith(name, world.AgentOptions{})
}

func (s *stage) agentWith(name string, o world.AgentOptions) *world.Agent {
	s.t.Helper()
	a, err := s.StartAgent(s.soon(), name, o)
	s.must(err)
	return a
}

func (s *stage) write(v world.Service) {
	s.t.Helper()
	s.must(s.Write(v))
}

// writeTo writes, and waits until the agent goes by what is written.
func (s *stage) writeTo(a *world.Agent, v world.Service) {
	s.t.Helper()
	_, before, err := a.Health(s.soon())
	s.must(err)
	s.write(v)
	s.must(cluster.Await(s.soon(), func(ctx context.Context) error {
		_, now, err := a.Health(ctx)
		if err == nil && now.Policies == before.Policies {
			err = fmt.Errorf("agent %s still goes by the policies of before", a.Name)
		}
		return err
	}))
}

// begin writes a service's first policy and waits until it is live, without
// watch and soak.
func (s *stage) begin(v world.Service) deployment.Deployment {
	s.t.Helper()
	v.Watch, v.Soak, v.Triggers, v.Gates, v.Approval, v.Manual = -1, -1, "", "", "", false
	s.write(v)
	return s.ends(v.Name, v.Version, deployment.Succeeded)
}

// ends waits for the end of a version's release, which must be the one that is
// wanted.
func (s *stage) ends(service, version string, want deployment.Outcome) deployment.Deployment {
	s.t.Helper()
	d, err := s.AwaitEnd(s.soon(), service, version)
	if err != nil {
		s.t.Fatalf("the release of %s %s does not end: %v; it is %s, log:\n%s", service, version, err, d.State, evidence(d))
	}
	if d.Outcome != want {
		s.t.Fatalf("the release of %s %s ended %s (%s), want %s; log:\n%s", service, version, d.Outcome, d.Reason, want, evidence(d))
	}
	return d
}

// comes waits until a version's release is in one of the states.
func (s *stage) comes(service, version string, states ...deployment.State) deployment.Deployment {
	s.t.Helper()
	d, err := s.AwaitState(s.soon(), service, version, states...)
	if err != nil {
		s.t.Fatalf("the release of %s %s does not come to %v: %v; it is %s, log:\n%s", service, version, states, err, d.State, evidence(d))
	}
	return d
}

// record waits until a service's record is as wanted.
func (s *stage) record(service, what string, wanted func(deployment.Service) bool) deployment.Service {
	s.t.Helper()
	rec, err := s.AwaitRecord(s.soon(), service, wanted)
	if err != nil {
		s.t.Fatalf("the record of %s never says %s: %v", service, what, err)
	}
	return rec
}

func evidence(d deployment.Deployment) string {
	var lines []string
	for _, e := range d.Log {
		lines = append(lines, fmt.Sprintf("  %s %s: %s %v", e.At.Format("15:04:05.000"), e.By, e.What, e.Figures))
	}
	return strings.Join(lines, "\n")
}

// teal runs the command line and wants an exit code.
func (s *stage) teal(code int, args ...string) world.Ran {
	s.t.Helper()
	ran, err := s.CLI(s.soon(), args...)
	s.must(err)
	if ran.Code != code {
		s.t.Fatalf("want exit code %d:\n%s", code, ran)
	}
	return ran
}

// order puts a command as `consul kv put` does, and wants an answer of this kind.
func (s *stage) order(service string, verb kv.Verb, value string, accepted bool) kv.Result {
	s.t.Helper()
	result, err := s.Order(s.soon(), service, verb, value)
	s.must(err)
	if result.Accepted != accepted {
		s.t.Fatalf("%s %q of %s: accepted %t (%s), want %t", verb, value, service, result.Accepted, result.Reason, accepted)
	}
	return result
}

// says wants words in a text.
func (s *stage) says(text string, words ...string) {
	s.t.Helper()
	for _, w := range words {
		if !strings.Contains(text, w) {
			s.t.Errorf("%q is not said in:\n%s", w, text)
		}
	}
}

// traffic is a caller of a service.
type traffic struct {
	*world.Traffic
	s *stage
}

// calls begins to ask a service that serves already.
func (s *stage) calls(service string, o world.TrafficOptions) *traffic {
	s.t.Helper()
	c := s.listens(service, o)
	s.must(c.Reachable(s.soon()))
	s.must(c.Begin(s.soon()))
	return c
}

// listens follows a service's routes without asking it yet.
func (s *stage) listens(service string, o world.TrafficOptions) *traffic {
	s.t.Helper()
	t, err := s.NewTraffic(service, o)
	s.must(err)
	c := &traffic{t, s}
	s.t.Cleanup(func() {
		if err := t.Close(); err != nil {
			s.t.Error(err)
		}
	})
	return c
}

// serves waits until the data plane sends requests to a colour.
func (c *traffic) serves(colour deployment.Colour) {
	c.s.t.Helper()
	c.s.must(c.Serves(c.s.soon(), string(colour), 1))
}

// answers waits for more answers of a version.
func (c *traffic) answers(version string, more int) {
	c.s.t.Helper()
	before := c.Load.Tally().Versions[version]
	c.s.must(c.AwaitCount(c.s.soon(), fmt.Sprintf("%d more answers of %s", more, version), func(n load.Count) bool {
		return n.Versions[version] >= before+more
	}))
}

// unharmed ends the load; none of its requests may have been lost or answered
// by the wrong colour.
func (c *traffic) unharmed() load.Count {
	c.s.t.Helper()
	c.s.must(c.EndLoad())
	n := c.Load.Count()
	c.s.t.Log(n)
	if n.Lost != 0 || n.WrongColour != 0 {
		c.s.t.Errorf("%d requests were lost and %d answered by the wrong colour, want none: %s", n.Lost, n.WrongColour, n)
	}
	return n
}

// route is the order of colours that the data plane was told.
func (c *traffic) route() string {
	var names []string
	for _, r := range c.Routes() {
		names = append(names, r.Subset)
	}
	return strings.Join(names, " ")
}

// remains asks again and again for a while; a wrong answer ends the test. It
// is for what must not happen, which cannot be waited for.
func (s *stage) remains(what string, d time.Duration, ask func() error) {
	s.t.Helper()
	ctx, cancel := context.WithTimeout(s.t.Context(), d)
	defer cancel()
	var broken error
	err := cluster.Await(ctx, func(context.Context) error {
		if broken = ask(); broken != nil {
			return nil
		}
		return errors.New("so far so good")
	})
	if err == nil {
		s.t.Fatalf("%s: %v", what, broken)
	}
}
