package faults

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"time"

	consulapi "github.com/hashicorp/consul/api"
	nomadapi "github.com/hashicorp/nomad/api"

	"github.com/tealdeploy/teal/agent/deployment"
	"github.com/tealdeploy/teal/agent/kv"
	"github.com/tealdeploy/teal/testbed/cluster"
	"github.com/tealdeploy/teal/testbed/load"
	"github.com/tealdeploy/teal/testbed/world"
)

// patience bounds one wait. An agent that was frozen is only missed when its
// session's TTL has passed, twice over.
const patience = 90 * time.Second

// lane is one service under load, on a site of its own, with two agents: the
// first talks to the servers over wires, the second as agents do.
type lane struct {
	*world.Site
	*world.Traffic
	service       world.Service
	first, second *world.Agent
	consul, nomad *Wire
	n             int // of the present version
	log           io.Writer
}

// newLane brings a service to its first version. The agents are down again
// then.
func newLane(ctx context.Context, w *world.World, name string, v world.Service, log io.Writer) (*lane, error) {
	return newLaneOver(ctx, loopback, w, name, v, log)
}

// newLaneOver is newLane with another way between the first agent and Consul.
func newLaneOver(ctx context.Context, listen func() (net.Listener, error), w *world.World, name string, v world.Service, log io.Writer) (_ *lane, err error) {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	l := &lane{service: v, log: log}
	defer func() {
		if err != nil {
			if l.Site != nil {
				l.Site.Logs(log, 60)
			}
			err = errors.Join(fmt.Errorf("%s: %w", name, err), l.close())
		}
	}()
	if l.Site, err = w.NewSite(name); err != nil {
		return nil, err
	}
	l.service.Name, l.service.Count = name, 1
	listener, err := listen()
	if err != nil {
		return nil, err
	}
	l.consul = newWireAt(listener, "consul", w.Local.HTTP)
	if l.nomad, err = NewWire("nomad", w.Nomad.HTTP); err != nil {
		return nil, err
	}
	wired := world.AgentOptions{Env: []string{"CONSUL_HTTP_ADDR=" + l.consul.Address, "NOMAD_ADDR=http://" + l.nomad.Address}}
	if l.first, err = l.NewAgent("first", wired); err != nil {
		return nil, err
	}
	if l.second, err = l.NewAgent("second", world.AgentOptions{}); err != nil {
		return nil, err
	}
	if err := l.second.Start(ctx); err != nil {
		return nil, err
	}
	v = l.service
	l.service.Watch, l.service.Soak, l.service.Gates, l.service.Approval, l.service.Triggers = -1, -1, "", "", ""
	if err := l.next(); err != nil {
		return nil, err
	}
	d, err := l.AwaitEnd(ctx, name, l.service.Version)
	if err == nil && d.Outcome != deployment.Succeeded {
		err = fmt.Errorf("the first release ended %s: %s", d.Outcome, d.Reason)
	}
	if err != nil {
		return nil, err
	}
	l.service = v
	l.service.Version = d.Candidate.Version
	if err := l.down(ctx, l.second); err != nil {
		return nil, err
	}
	t, err := w.NewTraffic(name, world.TrafficOptions{Rate: 40})
	if err != nil {
		return nil, err
	}
	l.Traffic = t
	if err := t.Reachable(ctx); err != nil {
		return nil, err
	}
	return l, t.Begin(ctx)
}

// next writes the service's next version.
func (l *lane) next() error {
	l.n++
	l.service.Version = fmt.Sprintf("1.0.%d", l.n)
	return l.Write(l.service)
}

// hook sets the hook of both wires.
func (l *lane) hook(h Hook) {
	l.consul.Watch(h)
	l.nomad.Watch(h)
}

// down stops an agent in order, if it runs.
func (l *lane) down(ctx context.Context, a *world.Agent) error {
	if !a.Running() {
		return nil
	}
	code, err := a.Terminate(ctx)
	if err == nil && code != 0 {
		err = fmt.Errorf("%s ended with code %d after SIGTERM", a.Name, code)
	}
	return err
}

// leads waits until an agent leads.
func leads(ctx context.Context, a *world.Agent) error {
	return cluster.Await(ctx, func(ctx context.Context) error {
		_, h, err := a.Health(ctx)
		if err == nil && !h.Leading {
			err = fmt.Errorf("%s does not lead; %q does", a.Name, h.Leader)
		}
		return err
	})
}

// put gives a command without waiting for its answer: the agent that would
// give it may be about to die.
func (l *lane) put(ctx context.Context, verb kv.Verb, value string) error {
	return l.Put(ctx, l.Keys.Command(l.service.Name, verb), value)
}

// end is how a release left things, in terms of the release.
type end struct {
	Outcome deployment.Outcome
	// Who serves by the record, the key for scripts, the router, the resolver
	// and the data plane; and who owns the jobs.
	Record, Active, Router, Resolver, DataPlane, Jobs string
	// Instances that pass, and whether Nomad was told to stop the job.
	Candidate, Previous               int
	CandidateStopped, PreviousStopped bool
	Commands                          int // that nobody has obeyed
	Held, Paused                      bool
}

// look says how things are now.
func (l *lane) look(ctx context.Context, d deployment.Deployment) (end, error) {
	name, e := l.service.Name, end{Outcome: d.Outcome}
	role := func(colour string) string {
		switch colour {
		case string(d.To):
			return "candidate"
		case string(d.From):
			return "previous"
		}
		return colour
	}
	rec, err := l.Record(ctx, name)
	if err != nil {
		return e, err
	}
	e.Record, e.Held, e.Paused = role(string(rec.Active)), rec.Held != nil, rec.Paused != nil
	for _, k := range []struct {
		into *string
		key  string
	}{{&e.Active, l.Keys.Active(name)}, {&e.Jobs, l.Keys.JobProcessor(name)}} {
		value, err := l.Value(ctx, k.key)
		if err != nil {
			return e, err
		}
		*k.into = role(value)
	}
	q := (&consulapi.QueryOptions{RequireConsistent: true}).WithContext(ctx)
	router, _, err := l.ConsulClient().ConfigEntries().Get(consulapi.ServiceRouter, name, q)
	if err != nil {
		return e, err
	}
	routes := router.(*consulapi.ServiceRouterConfigEntry).Routes
	e.Router = role(routes[len(routes)-1].Destination.ServiceSubset)
	resolver, _, err := l.ConsulClient().ConfigEntries().Get(consulapi.ServiceResolver, name, q)
	if err != nil {
		return e, err
	}
	e.Resolver = role(resolver.(*consulapi.ServiceResolverConfigEntry).DefaultSubset)
	e.DataPlane = role(l.Follower.Table().Subset())
	commands, _, err := l.ConsulClient().KV().Keys(l.Keys.Commands(), "", q)
	if err != nil {
		return e, err
	}
	e.Commands = len(commands)
	instances, err := l.Instances(ctx, name)
	if err != nil {
		return e, err
	}
	e.Candidate, e.Previous = world.Passing(instances, string(d.To)), world.Passing(instances, string(d.From))
	for colour, into := range map[deployment.Colour]*bool{d.To: &e.CandidateStopped, d.From: &e.PreviousStopped} {
		job, _, err := l.NomadClient().Jobs().Info(name+"-"+string(colour), (&nomadapi.QueryOptions{}).WithContext(ctx))
		if err != nil {
			return e, err
		}
		*into = job.Stop != nil && *job.Stop
	}
	return e, nil
}

// comesTo waits until a release has left things as wanted.
func (l *lane) comesTo(ctx context.Context, version string, want end) error {
	d, err := l.AwaitEnd(ctx, l.service.Name, version)
	if err != nil {
		return fmt.Errorf("the release of %s does not end: %w; it is %s", version, err, d.State)
	}
	return cluster.Await(ctx, func(ctx context.Context) error {
		got, err := l.look(ctx, d)
		if err == nil && got != want {
			err = fmt.Errorf("the release of %s ended as %+v (%s), want %+v", version, got, d.Reason, want)
		}
		return err
	})
}

// harmed counts the requests so far that were lost or answered by the wrong
// colour.
func (l *lane) harmed() (int, load.Count) {
	n := l.Load.Count()
	return n.Lost + n.WrongColour, n
}

// close ends the load and the agents and takes the jobs away.
func (l *lane) close() error {
	var errs []error
	if l.Traffic != nil {
		errs = append(errs, l.Traffic.Close())
	}
	if l.consul != nil {
		l.consul.Watch(nil)
		l.consul.Restore()
	}
	if l.Site != nil {
		errs = append(errs, l.Site.Close())
		for _, colour := range deployment.Colours {
			_, _, err := l.NomadClient().Jobs().DeregisterOpts(l.service.Name+"-"+string(colour), &nomadapi.DeregisterOptions{NoShutdownDelay: true}, nil)
			if err != nil && !strings.Contains(err.Error(), "not found") {
				errs = append(errs, err)
			}
		}
	}
	for _, w := range []*Wire{l.consul, l.nomad} {
		if w != nil {
			errs = append(errs, w.Close())
		}
	}
	return errors.Join(errs...)
}
