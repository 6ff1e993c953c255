// Package scale measures what an agent costs, and how soon it acts, by how many
// services it manages: idle ones by the thousand, and many releases at once, on
// real Consul and Nomad.
//
// Ten thousand services are not ten thousand running jobs: see population. All
// else is as an operator has it: the binary as shipped, its own process, its
// files, Consul's KV and config entries, Nomad's events. What an agent asks is
// counted between it and the servers, what it uses is read from the kernel.
package scale

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/tealdeploy/teal/agent/deployment"
	"github.com/tealdeploy/teal/agent/kv"
	"github.com/tealdeploy/teal/testbed/cluster"
	"github.com/tealdeploy/teal/testbed/world"
)

// patience bounds one step of a run.
const patience = 5 * time.Minute

// Options say how much is measured.
type Options struct {
	Sizes    []int         // how many services, growing
	Idle     time.Duration // how long an idle agent is looked at, with the last of the sizes
	Shorter  time.Duration // the same with the others; 0: as long
	Samples  int           // of each kind of reaction
	Releases int           // at once, with the last of the sizes; 0: none
	Log      io.Writer
}

// Bench is a site on a cluster of its own.
type Bench struct {
	o     Options
	world *world.World
	site  *world.Site
	pop   *population
	floor *world.Floor
	echo  *echo

	// Between the agents that are looked at while idle and the servers.
	consul, nomad *gateway
	traffic       *world.Traffic // the model's
	agents        int
	version       int // of the model
}

// Run measures all of it.
func Run(ctx context.Context, o Options) (report Report, err error) {
	w, err := world.Start(ctx, world.Options{Options: cluster.Options{Log: o.Log}})
	if err != nil {
		return Report{}, err
	}
	defer func() { err = errors.Join(err, w.Stop()) }()
	b := &Bench{o: o, world: w}
	defer func() {
		if err != nil && b.site != nil {
			b.site.Logs(o.Log, 20)
		}
	}()
	defer func() { err = errors.Join(err, b.close()) }()
	if err := b.lay(ctx); err != nil {
		return Report{}, err
	}
	r := newReport(w)
	defer func() { r.weigh(); report = r }() // what was measured until an error
	for _, n := range o.Sizes {
		size, err := b.measure(ctx, n)
		if err != nil {
			return r, fmt.Errorf("with %d services: %w", n, err)
		}
		r.Sizes = append(r.Sizes, size)
	}
	if o.Releases > 0 {
		if r.Releases, err = b.releases(ctx, o.Releases); err != nil {
			return r, fmt.Errorf("%d releases at once: %w", o.Releases, err)
		}
	}
	return r, nil
}

// lay releases two versions of the model, and takes them for a model.
func (b *Bench) lay(ctx context.Context) (err error) {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	if b.site, err = b.world.NewSite("scale"); err != nil {
		return err
	}
	if b.consul, err = newGateway(b.world.Consul[0].HTTP); err != nil {
		return err
	}
	if b.nomad, err = newGateway(b.world.Nomad.HTTP); err != nil {
		return err
	}
	b.pop = &population{site: b.site, model: modelService()}
	first, err := b.agent(ctx, false)
	if err != nil {
		return err
	}
	for range 2 {
		if err := b.next(ctx); err != nil {
			return err
		}
	}
	// The jobs follow the traffic; copies of a handover would not be idle.
	if _, err := b.site.AwaitRecord(ctx, b.pop.model.Name, func(r deployment.Service) bool { return !r.Jobs.Moving() }); err != nil {
		return err
	}
	if err := b.end(ctx, first); err != nil {
		return err
	}
	if err := b.pop.found(ctx); err != nil {
		return err
	}
	if b.floor, err = b.world.NewFloor(ctx); err != nil {
		return err
	}
	b.echo = newEcho(b.world)
	b.traffic, err = b.world.NewTraffic(b.pop.model.Name, world.TrafficOptions{})
	return err
}

// next gives the model its next version, and waits until it serves.
func (b *Bench) next(ctx context.Context) error {
	b.version++
	b.pop.model.Version = fmt.Sprintf("1.0.%d", b.version)
	if err := b.site.Write(b.pop.model); err != nil {
		return err
	}
	return b.serves(ctx)
}

// serves waits until the model's present version serves.
func (b *Bench) serves(ctx context.Context) error {
	d, err := b.site.AwaitEnd(ctx, b.pop.model.Name, b.pop.model.Version)
	if err == nil && d.Outcome != deployment.Succeeded {
		err = fmt.Errorf("the release of %s %s ended %s: %s", d.Service, d.Candidate.Version, d.Outcome, d.Reason)
	}
	return err
}

// agent starts another agent and waits until it answers. A counted one speaks
// to the servers through the gateways.
func (b *Bench) agent(ctx context.Context, counted bool) (*world.Agent, error) {
	a, err := b.newAgent(counted)
	if err != nil {
		return nil, err
	}
	return a, a.Start(ctx)
}

func (b *Bench) newAgent(counted bool) (*world.Agent, error) {
	o := world.AgentOptions{LogLevel: "info"}
	if counted {
		o.Env = []string{"CONSUL_HTTP_ADDR=" + b.consul.Address, "NOMAD_ADDR=http://" + b.nomad.Address}
	}
	b.agents++
	return b.site.NewAgent(fmt.Sprintf("agent-%d", b.agents), o)
}

// standby starts an agent beside the leader and waits until it has read all
// policies.
func (b *Bench) standby(ctx context.Context) (*world.Agent, error) {
	a, err := b.agent(ctx, false)
	if err != nil {
		return nil, err
	}
	return a, cluster.Await(ctx, func(ctx context.Context) error {
		_, h, err := a.Health(ctx)
		if err == nil && (h.PolicyCount != b.pop.n || h.Leader == "") {
			err = fmt.Errorf("it has read %d of %d policies, and %q leads", h.PolicyCount, b.pop.n, h.Leader)
		}
		return err
	})
}

func (b *Bench) end(ctx context.Context, a *world.Agent) error {
	code, err := a.Terminate(ctx)
	if err == nil && code != 0 {
		err = fmt.Errorf("%s ended with code %d", a.Name, code)
	}
	return err
}

// order gives the model a command that does nothing but show that commands
// are obeyed, and tells how long that took.
func (b *Bench) order(ctx context.Context) (time.Duration, error) {
	began := time.Now()
	result, err := b.site.Order(ctx, b.pop.model.Name, kv.Pause, "")
	took := time.Since(began)
	if err == nil && !result.Accepted {
		err = errors.New("pause refused: " + result.Reason)
	}
	return took, err
}

// undo lifts the pause again.
func (b *Bench) undo(ctx context.Context) error {
	result, err := b.site.Order(ctx, b.pop.model.Name, kv.Resume, "")
	if err == nil && !result.Accepted {
		err = errors.New("resume refused: " + result.Reason)
	}
	return err
}

func (b *Bench) close() error {
	var errs []error
	if b.traffic != nil {
		errs = append(errs, b.traffic.Close())
	}
	if b.floor != nil {
		errs = append(errs, b.floor.Close())
	}
	if b.echo != nil {
		b.echo.close()
	}
	if b.site != nil {
		errs = append(errs, b.site.Close())
	}
	for _, g := range []*gateway{b.consul, b.nomad} {
		if g != nil {
			errs = append(errs, g.close())
		}
	}
	return errors.Join(errs...)
}
