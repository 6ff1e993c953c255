package scale

import (
	"context"
	"fmt"
	"slices"
	"time"

	consulapi "github.com/hashicorp/consul/api"

	"github.com/tealdeploy/teal/testbed/cluster"
	"github.com/tealdeploy/teal/testbed/world"
)

// measure brings the number of services to n and measures one agent that
// starts, idles, is taken over from, and reacts.
func (b *Bench) measure(ctx context.Context, n int) (Size, error) {
	size := Size{Policies: n}
	b.say("%d policies: laying them out", n)
	if err := b.pop.grow(ctx, n); err != nil {
		return size, err
	}
	b.say("%d policies: starting an agent", n)
	first, err := b.start(ctx, &size)
	if err != nil {
		return size, err
	}
	if err := b.idle(ctx, first, &size); err != nil {
		return size, err
	}
	b.say("%d policies: taking over", n)
	last, err := b.takeover(ctx, first, &size)
	if err != nil {
		return size, err
	}
	b.say("%d policies: reacting", n)
	if err := b.reactions(ctx, last, &size); err != nil {
		return size, err
	}
	return size, b.end(ctx, last)
}

func (b *Bench) say(format string, args ...any) {
	fmt.Fprintf(b.o.Log, "%s "+format+"\n", append([]any{time.Now().Format(time.TimeOnly)}, args...)...)
}

// start starts an agent where none is, until it obeys the first command.
func (b *Bench) start(ctx context.Context, size *Size) (*world.Agent, error) {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	a, err := b.newAgent(true)
	if err != nil {
		return nil, err
	}
	began := time.Now()
	obeyed := make(chan error, 1)
	go func() {
		_, err := b.order(ctx)
		obeyed <- err
	}()
	err = a.Start(ctx)
	if first := <-obeyed; err == nil {
		err = first
	}
	size.StartUp = ms(time.Since(began))
	if err != nil {
		return a, err
	}
	if err := b.undo(ctx); err != nil {
		return a, err
	}
	if err := b.calm(ctx, a); err != nil {
		return a, err
	}
	size.Calm = ms(time.Since(began))
	return a, b.untouched(ctx)
}

// calm waits until an agent has nothing to do any more.
func (b *Bench) calm(ctx context.Context, a *world.Agent) error {
	p := process(a.PID())
	last, err := p.cpu()
	if err != nil {
		return err
	}
	began := time.Now()
	return cluster.Await(ctx, func(context.Context) error {
		if time.Since(began) < 2*time.Second {
			return fmt.Errorf("%s is not idle yet", a.Name)
		}
		now, err := p.cpu()
		if err != nil {
			return err
		}
		used := float64(now-last) / float64(time.Since(began))
		last, began = now, time.Now()
		if used > .05 {
			return fmt.Errorf("%s uses %.0f %% of a core", a.Name, 100*used)
		}
		return nil
	})
}

// untouched makes sure that the copies are idle services to the agent: it
// manages all, and holds and releases none.
func (b *Bench) untouched(ctx context.Context) error {
	keys, _, err := b.world.ConsulClient().KV().Keys(b.site.Keys.Services(), "/", (&consulapi.QueryOptions{}).WithContext(ctx))
	if err != nil {
		return err
	}
	if len(keys) != b.pop.n {
		return fmt.Errorf("there are records of %d services, want %d", len(keys), b.pop.n)
	}
	for i := range b.pop.n {
		rec, err := b.site.Record(ctx, serviceName(i))
		if err != nil {
			return err
		}
		if !rec.Managed || !rec.Active.Valid() || rec.InFlight() || rec.Jobs.Moving() || rec.Held != nil || rec.Paused != nil || rec.Problem != nil {
			return fmt.Errorf("%s should be idle and is not: %+v", rec.Name, rec)
		}
	}
	return nil
}

// idle looks at an agent that has nothing to do.
func (b *Bench) idle(ctx context.Context, a *world.Agent, size *Size) error {
	idle := b.o.Idle
	if b.o.Shorter > 0 && size.Policies < b.o.Sizes[len(b.o.Sizes)-1] {
		idle = b.o.Shorter
	}
	b.say("%d policies: looking at the idle agent for %s", size.Policies, idle)
	p := process(a.PID())
	before, err := p.cpu()
	if err != nil {
		return err
	}
	consul, nomad, began := b.consul.count(), b.nomad.count(), time.Now()
	// A connection is kept for a while after a request, and one that is held ends now
	// and then and is asked anew: the number of them is what it mostly is.
	var toConsul, toNomad, atConsul, atNomad []int
	ticker := time.NewTicker(time.Second)
	defer ticker.Stop()
	for time.Since(began) < idle {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-ticker.C:
		}
		now, _, err := p.memory()
		if err != nil {
			return err
		}
		size.MemoryIdle = max(size.MemoryIdle, round(now))
		for server, open := range map[string]*[]int{b.consul.Address: &toConsul, b.nomad.Address: &toNomad} {
			n, err := p.connections(server)
			if err != nil {
				return err
			}
			*open = append(*open, n)
		}
		atConsul, atNomad = append(atConsul, b.consul.holds()), append(atNomad, b.nomad.holds())
	}
	took := time.Since(began)
	after, err := p.cpu()
	if err != nil {
		return err
	}
	size.Idle = took.Round(time.Second).String()
	size.CPU = round(100 * float64(after-before) / float64(took))
	size.ConsulRequests = round(float64(b.consul.count()-consul) / took.Seconds())
	size.NomadRequests = round(float64(b.nomad.count()-nomad) / took.Seconds())
	size.ConsulHeld, size.NomadHeld = median(atConsul), median(atNomad)
	size.ConsulConnections, size.NomadConnections = median(toConsul), median(toNomad)
	size.Memory, size.MemoryPeak, err = p.memory()
	size.Memory, size.MemoryPeak = round(size.Memory), round(size.MemoryPeak)
	return err
}

// takeovers is how often each way of losing a leader is measured.
const takeovers = 5

// takeover has one agent hand over to the next, then kills that one, in turn: each
// time until the next obeys a command. It returns the last.
func (b *Bench) takeover(ctx context.Context, leader *world.Agent, size *Size) (*world.Agent, error) {
	var handed, killed []float64
	for range takeovers {
		second, took, err := b.succeeds(ctx, func(ctx context.Context) error { return b.end(ctx, leader) })
		if err != nil {
			return nil, err
		}
		handed = append(handed, took)
		third, took, err := b.succeeds(ctx, func(context.Context) error { return second.Kill() })
		if err != nil {
			return nil, err
		}
		killed, leader = append(killed, took), third
	}
	size.Handover, size.Failover = figure(handed), figure(killed)
	return leader, nil
}

// succeeds starts an agent, ends the leader, and tells how many milliseconds it was
// until the new one obeyed.
func (b *Bench) succeeds(ctx context.Context, end func(context.Context) error) (next *world.Agent, took float64, err error) {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	if next, err = b.standby(ctx); err != nil {
		return nil, 0, err
	}
	if err := b.calm(ctx, next); err != nil {
		return nil, 0, err
	}
	pair, _, err := b.world.ConsulClient().KV().Get(b.site.Keys.Leader(), nil)
	if err != nil || pair == nil {
		return nil, 0, fmt.Errorf("nobody leads, %w", err)
	}
	began := time.Now()
	ended := make(chan error, 1)
	go func() { ended <- end(ctx) }()
	err = b.world.AwaitKey(ctx, b.site.Keys.Leader(), func(now *consulapi.KVPair) bool {
		return now == nil || now.Session != pair.Session
	})
	if err == nil {
		_, err = b.order(ctx) // the old one obeys nobody any more
	}
	took = ms(time.Since(began))
	if end := <-ended; err == nil {
		err = end
	}
	if err == nil {
		err = b.undo(ctx)
	}
	return next, took, err
}

// median is what half of some numbers are at most.
func median(n []int) int {
	slices.Sort(n)
	return n[len(n)/2]
}
