package scale

import (
	"context"
	"fmt"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/tealdeploy/teal/agent/deployment"
	"github.com/tealdeploy/teal/testbed/world"
)

// releases has n real services, beside all that idle, released at once: each
// from its decision to the route at its caller, against the floor meanwhile.
func (b *Bench) releases(ctx context.Context, n int) (_ *Releases, err error) {
	ctx, cancel := context.WithTimeout(ctx, 4*patience)
	defer cancel()
	b.say("%d services are released for the first time", n)
	a, err := b.agent(ctx, true)
	if err != nil {
		return nil, err
	}
	services := make([]world.Service, n)
	for i := range services {
		services[i] = b.pop.model
		services[i].Name, services[i].Version = fmt.Sprintf("busy-%05d", i), "1.0.0"
	}
	if err := b.releaseAll(ctx, services); err != nil {
		return nil, err
	}
	callers := make([]*world.Traffic, n)
	defer func() {
		for _, t := range callers {
			if t != nil {
				_ = t.Close() // nothing of it is measured any more
			}
		}
	}()
	for i, v := range services {
		if callers[i], err = b.world.NewTraffic(v.Name, world.TrafficOptions{}); err != nil {
			return nil, err
		}
		if err := callers[i].Serves(ctx, string(deployment.Blue), 1); err != nil {
			return nil, err
		}
	}
	if err := b.calm(ctx, a); err != nil {
		return nil, err
	}

	b.say("%d services are released at once", n)
	r := &Releases{Services: n, Policies: b.pop.n + n}
	consul, began := b.consul.count(), time.Now()
	p := process(a.PID())
	before, err := p.cpu()
	if err != nil {
		return nil, err
	}
	var floor []float64
	over := make(chan struct{})
	var measuring sync.WaitGroup
	var bare error
	measuring.Go(func() {
		for bare == nil {
			select {
			case <-over:
				return
			default:
			}
			var d time.Duration
			if d, bare = b.floor.Sample(ctx); bare == nil {
				floor = append(floor, ms(d))
			}
		}
	})
	for i := range services {
		services[i].Version = "2.0.0"
	}
	err = b.releaseAll(ctx, services)
	close(over)
	measuring.Wait()
	took := time.Since(began)
	switch {
	case err != nil:
		return nil, err
	case bare != nil:
		return nil, bare
	}
	var cutover []float64
	for i, v := range services {
		d, err := b.site.AwaitEnd(ctx, v.Name, v.Version)
		if err != nil {
			return nil, err
		}
		at, err := callers[i].Arrival(ctx, string(deployment.Green), d.Cutover.Decided)
		if err != nil {
			return nil, err
		}
		cutover = append(cutover, ms(at.Sub(d.Cutover.Decided)))
	}
	after, err := p.cpu()
	if err != nil {
		return nil, err
	}
	r.Cutover, r.Floor = figure(cutover), figure(floor)
	r.All = ms(took)
	r.CPU = round(100 * float64(after-before) / float64(took))
	r.ConsulRequests = round(float64(b.consul.count()-consul) / took.Seconds())
	_, r.MemoryPeak, err = p.memory()
	r.MemoryPeak = round(r.MemoryPeak)
	return r, err
}

// releaseAll writes all policies, and waits until all releases have ended well.
func (b *Bench) releaseAll(ctx context.Context, services []world.Service) error {
	for _, v := range services {
		if err := b.site.Write(v); err != nil {
			return err
		}
	}
	g, ctx := errgroup.WithContext(ctx)
	for _, v := range services {
		g.Go(func() error {
			d, err := b.site.AwaitEnd(ctx, v.Name, v.Version)
			if err == nil && d.Outcome != deployment.Succeeded {
				err = fmt.Errorf("the release of %s %s ended %s: %s", v.Name, v.Version, d.Outcome, d.Reason)
			}
			return err
		})
	}
	return g.Wait()
}
