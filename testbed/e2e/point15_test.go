package e2e

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/tealdeploy/teal/agent/api"
	"github.com/tealdeploy/teal/agent/deployment"
	"github.com/tealdeploy/teal/testbed/cluster"
	"github.com/tealdeploy/teal/testbed/world"
)

// An agent that is killed in a state goes on from there when it is started
// again: the same release comes to the same end, with no request lost. States
// that last an instant are hit by killing the agent the moment that Consul
// tells of them; if it was too fast, another release tries again.
func TestPoint15KilledInEveryState(t *testing.T) {
	s := open(t, "p15")
	a := s.agent("a")
	v := world.Service{Name: "p15", Version: "1.0.0", HealthyFor: time.Second}
	s.begin(v)
	c := s.calls("p15", world.TrafficOptions{Rate: 100})
	n := 1
	for _, state := range []deployment.State{
		deployment.Preparing, deployment.Launching, deployment.Gating, deployment.Approving,
		deployment.CuttingOver, deployment.Watching, deployment.Soaking, deployment.Retiring,
	} {
		for try := 1; ; try++ {
			n++
			v.Version = fmt.Sprintf("1.0.%d", n)
			v.Gates, v.Approval, v.Then = smoke, "", "stop"
			if state == deployment.Approving {
				v.Approval = "required = true"
			}
			s.write(v)
			hit := s.killIn(a, v, state)
			s.must(a.Start(s.soon()))
			if state == deployment.Approving {
				s.comes("p15", v.Version, deployment.Approving)
				s.teal(0, "approve", "p15")
			}
			d := s.ends("p15", v.Version, deployment.Succeeded)
			c.serves(d.To)
			c.answers(v.Version, 20)
			if hit {
				break
			}
			if try == 5 {
				t.Fatalf("in %d releases the agent was never killed while %s", try, state)
			}
		}
	}
	c.unharmed()
}

// killIn kills the agent when a version's release is in a state, and says
// whether it still was when the agent was gone.
func (s *stage) killIn(a *world.Agent, v world.Service, state deployment.State) bool {
	s.t.Helper()
	reached := false
	_, err := s.AwaitRelease(s.soon(), v.Name, v.Version, func(d deployment.Deployment) bool {
		reached = d.State == state
		return reached || d.Outcome != ""
	})
	s.must(err)
	s.must(a.Kill())
	if !reached {
		return false
	}
	rec, err := s.Record(s.soon(), v.Name)
	s.must(err)
	s.t.Logf("killed while %s, found %s", state, rec.Deployment.State)
	return rec.Deployment.State == state
}

// The same for a rollback: killed between the decision and its end, the next
// agent finishes it.
func TestPoint15KilledWhileRollingBack(t *testing.T) {
	s := open(t, "p15r")
	a := s.agent("a")
	v := world.Service{Name: "p15r", Version: "1.0.0"}
	first := s.begin(v)
	c := s.calls("p15r", world.TrafficOptions{Rate: 100})
	for n := 2; ; n++ {
		v.Version, v.Watch = fmt.Sprintf("1.0.%d", n), time.Minute
		s.write(v)
		d := s.comes("p15r", v.Version, deployment.Watching)
		c.serves(d.To)
		s.must(s.Put(s.soon(), s.Keys.Command("p15r", "rollback"), ""))
		hit := s.killIn(a, v, deployment.RollingBack)
		s.must(a.Start(s.soon()))
		s.ends("p15r", v.Version, deployment.RolledBack)
		c.serves(first.To)
		c.answers("1.0.0", 20)
		if hit {
			break
		}
		if n == 6 {
			t.Fatal("the agent was never killed while rolling back")
		}
	}
	c.unharmed()
}

// A command that was put while no agent ran is obeyed by the next.
func TestPoint15CommandsWaitForAnAgent(t *testing.T) {
	s := open(t, "p15c")
	a := s.agent("a")
	v := world.Service{Name: "p15c", Version: "1.0.0"}
	s.begin(v)
	c := s.calls("p15c", world.TrafficOptions{})
	v.Version, v.Soak = "2.0.0", time.Hour
	s.write(v)
	d := s.comes("p15c", "2.0.0", deployment.Soaking)
	c.serves(d.To)
	s.must(a.Kill())
	s.must(s.Put(s.soon(), s.Keys.Command("p15c", "rollback"), ""))
	s.must(a.Start(s.soon()))
	s.ends("p15c", "2.0.0", deployment.RolledBack)
	c.serves(d.From)
	c.unharmed()
}

// leads waits until an agent leads.
func (s *stage) leads(a *world.Agent) {
	s.t.Helper()
	s.must(cluster.Await(s.soon(), func(ctx context.Context) error {
		_, h, err := a.Health(ctx)
		if err == nil && !h.Leading {
			err = fmt.Errorf("%s does not lead; %q does", a.Name, h.Leader)
		}
		return err
	}))
}

// Of two agents one leads. When it is killed the other finishes its releases;
// when it stops in order the other leads at once; an agent that was frozen
// past its lease writes nothing when it wakes up.
func TestPoint15TwoAgents(t *testing.T) {
	s := open(t, "p15t")
	one := s.agent("one")
	s.leads(one)
	two := s.agent("two")
	v := world.Service{Name: "p15t", Version: "1.0.0"}
	s.begin(v)
	c := s.calls("p15t", world.TrafficOptions{Rate: 100})

	v.Version, v.HealthyFor = "2.0.0", 2*time.Second
	s.write(v)
	s.comes("p15t", "2.0.0", deployment.Launching)
	began := time.Now()
	s.must(one.Kill())
	s.leads(two)
	if took := time.Since(began); took > 10*time.Second { // sooner than the lease ends
		t.Errorf("after a kill the other led only after %s", took)
	}
	d := s.ends("p15t", "2.0.0", deployment.Succeeded)
	c.serves(d.To)

	s.must(one.Start(s.soon()))
	began = time.Now()
	code, err := two.Terminate(s.soon())
	s.must(err)
	if code != 0 {
		t.Errorf("SIGTERM: exit code %d", code)
	}
	s.leads(one)
	if took := time.Since(began); took > 3*time.Second {
		t.Errorf("after an orderly stop the other led only after %s", took)
	}

	// Frozen while it leads a release, and awake again after another has led.
	s.must(two.Start(s.soon()))
	v.Version = "3.0.0"
	s.write(v)
	s.comes("p15t", "3.0.0", deployment.Launching)
	s.must(one.Pause())
	s.leads(two)
	d = s.ends("p15t", "3.0.0", deployment.Succeeded)
	c.serves(d.To)
	index := s.router("p15t").ModifyIndex
	s.must(one.Resume())
	s.must(cluster.Await(s.soon(), func(ctx context.Context) error {
		_, h, err := one.Health(ctx)
		if err == nil && h.Leading {
			err = fmt.Errorf("it still believes that it leads")
		}
		return err
	}))
	s.remains("after the frozen agent woke up", 2*time.Second, func() error {
		if now := s.router("p15t").ModifyIndex; now != index {
			return fmt.Errorf("the router was written: index %d became %d", index, now)
		}
		return nil
	})
	s.leads(two)
	c.answers("3.0.0", 50)
	c.unharmed()
}

// Agents whose policies differ from the leader's say so.
func TestPoint15AgentsWithOtherPolicies(t *testing.T) {
	s := open(t, "p15d")
	one := s.agent("one")
	s.leads(one)
	s.write(world.Service{Name: "p15d", Version: "1.0.0", Manual: true})
	empty := t.TempDir()
	two := s.agentWith("two", world.AgentOptions{Policies: empty})
	s.must(cluster.Await(s.soon(), func(ctx context.Context) error {
		_, h, err := two.Health(ctx)
		if err == nil && !h.Differs {
			err = fmt.Errorf("health does not say that its policies differ: %+v", h)
		}
		return err
	}))
	s.says(s.teal(0, "status").Out, two.Name)
	var st api.Status
	_, err := one.Get(s.soon(), "/v1/status", &st)
	s.must(err)
	for _, a := range st.Agents {
		if a.Differs != (a.Name == two.Name) {
			t.Errorf("status says of %s that it differs: %t", a.Name, a.Differs)
		}
	}
}

// Consul's leader is killed in the middle of a release: it goes on when there
// is another, and no request is lost meanwhile. Everybody talks to a Consul that is
// no server, as on any machine that runs jobs.
func TestPoint15ConsulLeaderGone(t *testing.T) {
	s := openAlone(t, "p15l", cluster.Options{ConsulServers: 3, ConsulClient: true})
	s.agent("a")
	v := world.Service{Name: "p15l", Version: "1.0.0"}
	s.begin(v)
	c := s.calls("p15l", world.TrafficOptions{Rate: 100})
	v.Version, v.Gates, v.HealthyFor = "2.0.0", smoke, 2*time.Second
	s.write(v)
	s.comes("p15l", "2.0.0", deployment.Launching)
	leader, err := s.ConsulLeader(s.soon())
	s.must(err)
	s.must(leader.Kill())
	d := s.ends("p15l", "2.0.0", deployment.Succeeded)
	c.serves(d.To)
	c.answers("2.0.0", 50)
	c.unharmed()
}

// The agent's own connection to the events of Consul and Nomad ends when the
// servers restart; it finds them again and the release goes on.
func TestPoint15ServersRestart(t *testing.T) {
	s := openAlone(t, "p15s", cluster.Options{})
	s.agent("a")
	v := world.Service{Name: "p15s", Version: "1.0.0"}
	s.begin(v)
	c := s.calls("p15s", world.TrafficOptions{Rate: 100})
	v.Version, v.HealthyFor, v.Watch, v.Soak = "2.0.0", 3*time.Second, 4*time.Second, 2*time.Second
	s.write(v)
	s.comes("p15s", "2.0.0", deployment.Launching)
	s.must(s.Nomad.Restart(s.soon()))
	d := s.comes("p15s", "2.0.0", deployment.Watching)
	c.serves(d.To)
	s.must(s.Consul[0].Restart(s.soon()))
	s.ends("p15s", "2.0.0", deployment.Succeeded)
	c.serves(d.To)
	c.answers("2.0.0", 50)

	// With Nomad away a launch waits, and goes on when it is back.
	v.Version = "3.0.0"
	s.must(s.Nomad.Kill())
	s.write(v)
	s.remains("Nomad is away", 3*time.Second, func() error {
		rec, err := s.Record(t.Context(), "p15s")
		if err == nil && rec.Deployment != nil && rec.Deployment.Candidate.Version == "3.0.0" && rec.Deployment.Outcome != "" {
			err = fmt.Errorf("the release was given up: %s", rec.Deployment.Reason)
		}
		return err
	})
	s.must(s.Nomad.Start(s.soon()))
	d = s.ends("p15s", "3.0.0", deployment.Succeeded)
	c.serves(d.To)
	c.answers("3.0.0", 50)
	c.unharmed()
}

// Without Consul and Nomad an agent starts, says what it waits for, and works
// as soon as they are there.
func TestPoint15ServersAwayAtStart(t *testing.T) {
	s := openAlone(t, "p15a", cluster.Options{})
	s.must(s.Nomad.Kill())
	s.must(s.Consul[0].Kill())
	v := world.Service{Name: "p15a", Version: "1.0.0", Watch: -1, Soak: -1}
	s.write(v)
	a := s.agent("a")
	s.must(cluster.Await(s.soon(), func(ctx context.Context) error {
		status, h, err := a.Health(ctx)
		if err == nil && (status != 503 || h.Consul == "ok") {
			err = fmt.Errorf("with Consul away health says %d, Consul %q", status, h.Consul)
		}
		return err
	}))
	s.remains("the agent runs", 2*time.Second, func() error {
		if !a.Running() {
			return fmt.Errorf("it has ended:\n%s", a.Tail(10))
		}
		return nil
	})
	s.must(s.Consul[0].Start(s.soon()))
	s.leads(a)
	s.must(s.Nomad.Start(s.soon()))
	s.ends("p15a", "1.0.0", deployment.Succeeded)
}
