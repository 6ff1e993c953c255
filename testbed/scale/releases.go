package scale

import (
	"context"
	"fmt"
	"sync"
	"time"

	consulapi "github.com/hashicorp/consul/api"
	"golang.org/x/sync/errgroup"

	"github.com/tealdeploy/teal/agent/deployment"
	"github.com/tealdeploy/teal/testbed/world"
)

// releases has n real services, beside all that idle, released at once: each
// from its decision to the route at its caller, against as many bare
// compare-and-sets at once, and against one at a time meanwhile.
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
	var cutover, written []float64
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
		written = append(written, ms(d.Cutover.Written.Sub(d.Cutover.Decided)))
	}
	after, err := p.cpu()
	if err != nil {
		return nil, err
	}
	r.Cutover, r.Written, r.One = figure(cutover), figure(written), figure(floor)
	r.All = ms(took)
	r.CPU = round(100 * float64(after-before) / float64(took))
	r.ConsulRequests = round(float64(b.consul.count()-consul) / took.Seconds())
	_, r.MemoryPeak, err = p.memory()
	r.MemoryPeak = round(r.MemoryPeak)
	if err != nil {
		return nil, err
	}
	b.say("the routers of %d services are written at once, without an agent", n)
	if err := b.end(ctx, a); err != nil {
		return nil, err
	}
	r.Floor, err = b.writtenAtOnce(ctx, services, callers)
	return r, err
}

// writtenAtOnce writes all services' routers at the same moment, a few times:
// each until its caller has the route.
func (b *Bench) writtenAtOnce(ctx context.Context, services []world.Service, callers []*world.Traffic) (Figure, error) {
	const times = 4
	client := b.world.ConsulClient().ConfigEntries()
	took := make([]float64, times*len(services))
	for round := range times {
		routers := make([]*consulapi.ServiceRouterConfigEntry, len(services))
		for i, v := range services {
			e, _, err := client.Get(consulapi.ServiceRouter, v.Name, (&consulapi.QueryOptions{RequireConsistent: true}).WithContext(ctx))
			if err != nil {
				return Figure{}, err
			}
			routers[i] = e.(*consulapi.ServiceRouterConfigEntry)
		}
		g, ctx := errgroup.WithContext(ctx)
		for i, router := range routers {
			g.Go(func() error {
				all := router.Routes[len(router.Routes)-1].Destination
				all.ServiceSubset = string(deployment.Colour(all.ServiceSubset).Other())
				began := time.Now()
				ok, _, err := client.CAS(router, router.ModifyIndex, (&consulapi.WriteOptions{}).WithContext(ctx))
				if err != nil || !ok {
					return fmt.Errorf("floor: compare-and-set of the router of %s: %t, %w", router.Name, ok, err)
				}
				at, err := callers[i].Arrival(ctx, all.ServiceSubset, began)
				took[round*len(services)+i] = ms(at.Sub(began))
				return err
			})
		}
		if err := g.Wait(); err != nil {
			return Figure{}, err
		}
	}
	return figure(took), nil
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
