package scale

import (
	"context"
	"fmt"
	"slices"
	"time"

	consulapi "github.com/hashicorp/consul/api"
	nomadapi "github.com/hashicorp/nomad/api"

	"github.com/tealdeploy/teal/agent/deployment"
	"github.com/tealdeploy/teal/agent/kv"
	"github.com/tealdeploy/teal/testbed/world"
)

// reactions takes samples of each kind of thing that an agent notices, and of
// cutovers, each of those beside a sample of its floor.
func (b *Bench) reactions(ctx context.Context, a *world.Agent, size *Size) error {
	if err := b.calm(ctx, a); err != nil {
		return err
	}
	few := max(3, b.o.Samples/10)
	for _, kind := range []struct {
		into, floor *Figure
		n           int
		sample      func(context.Context) (time.Duration, error)
		bare        func(context.Context) (time.Duration, error)
		after       func(context.Context) error
	}{
		{&size.Command, &size.CommandFloor, b.o.Samples, b.order, b.echo.sample, b.undo},
		{&size.Cutover, &size.CutoverFloor, b.o.Samples / 2, b.cutover, b.floor.Sample, b.settled},
		{&size.RouterEdit, nil, few, b.editRouter, nil, b.restoreRouter},
		{&size.JobDrift, nil, few, b.driftJob, nil, b.restoreJob},
		{&size.PolicyEdit, nil, few, b.editPolicy, nil, b.serves},
	} {
		var took, bare []float64
		for range kind.n {
			ctx, cancel := context.WithTimeout(ctx, patience)
			if kind.bare != nil {
				d, err := kind.bare(ctx)
				if err != nil {
					cancel()
					return err
				}
				bare = append(bare, ms(d))
			}
			d, err := kind.sample(ctx)
			if err == nil {
				err = kind.after(ctx)
			}
			cancel()
			if err != nil {
				return err
			}
			took = append(took, ms(d))
		}
		*kind.into = figure(took)
		if kind.floor != nil {
			*kind.floor = figure(bare)
		}
	}
	return nil
}

// cutover sends the model's traffic to its other colour by consul kv put:
// until the route is at the data plane.
func (b *Bench) cutover(ctx context.Context) (time.Duration, error) {
	to := deployment.Colour(b.traffic.Follower.Table().Subset()).Other()
	began := time.Now()
	if err := b.site.Put(ctx, b.site.Keys.Command(b.pop.model.Name, kv.Cutover), string(to)); err != nil {
		return 0, err
	}
	at, err := b.traffic.Arrival(ctx, string(to), began)
	return at.Sub(began), err
}

func (b *Bench) settled(ctx context.Context) error {
	to := deployment.Colour(b.traffic.Follower.Table().Subset())
	_, err := b.site.AwaitRecord(ctx, b.pop.model.Name, func(r deployment.Service) bool { return r.Active == to && !r.InFlight() })
	return err
}

// held waits until the model is held for a cause; an empty one: until it is
// not.
func (b *Bench) held(ctx context.Context, cause deployment.Cause) error {
	_, err := b.site.AwaitRecord(ctx, b.pop.model.Name, func(r deployment.Service) bool {
		if cause == "" {
			return r.Held == nil
		}
		return r.Held != nil && r.Held.Cause == cause
	})
	return err
}

// editRouter puts a route of a person's own behind Teal's catch-all.
func (b *Bench) editRouter(ctx context.Context) (time.Duration, error) {
	return b.changeRouter(ctx, deployment.RouteEdited, func(routes []consulapi.ServiceRoute) []consulapi.ServiceRoute {
		return append(routes, consulapi.ServiceRoute{
			Match: &consulapi.ServiceRouteMatch{HTTP: &consulapi.ServiceRouteHTTPMatch{PathPrefix: "/by-hand"}},
		})
	})
}

func (b *Bench) restoreRouter(ctx context.Context) error {
	_, err := b.changeRouter(ctx, "", func(routes []consulapi.ServiceRoute) []consulapi.ServiceRoute {
		return routes[:len(routes)-1]
	})
	return err
}

func (b *Bench) changeRouter(ctx context.Context, want deployment.Cause, change func([]consulapi.ServiceRoute) []consulapi.ServiceRoute) (time.Duration, error) {
	client := b.world.ConsulClient().ConfigEntries()
	e, _, err := client.Get(consulapi.ServiceRouter, b.pop.model.Name, (&consulapi.QueryOptions{RequireConsistent: true}).WithContext(ctx))
	if err != nil {
		return 0, err
	}
	router := e.(*consulapi.ServiceRouterConfigEntry)
	router.Routes = change(slices.Clone(router.Routes))
	began := time.Now()
	if _, _, err := client.Set(router, (&consulapi.WriteOptions{}).WithContext(ctx)); err != nil {
		return 0, err
	}
	err = b.held(ctx, want)
	return time.Since(began), err
}

// driftJob stops the idle colour's job, which is kept for a switch back.
func (b *Bench) driftJob(ctx context.Context) (time.Duration, error) {
	job, err := b.idleJob(ctx)
	if err != nil {
		return 0, err
	}
	began := time.Now()
	if _, _, err := b.world.NomadClient().Jobs().Deregister(*job.ID, false, (&nomadapi.WriteOptions{}).WithContext(ctx)); err != nil {
		return 0, err
	}
	err = b.held(ctx, deployment.JobEdited)
	return time.Since(began), err
}

func (b *Bench) restoreJob(ctx context.Context) error {
	job, err := b.idleJob(ctx)
	if err != nil {
		return err
	}
	no := false
	job.Stop = &no
	if _, _, err := b.world.NomadClient().Jobs().Register(job, (&nomadapi.WriteOptions{}).WithContext(ctx)); err != nil {
		return err
	}
	if err := b.held(ctx, ""); err != nil {
		return err
	}
	return b.world.AwaitInstances(ctx, b.pop.model.Name, func(all []world.Instance) bool {
		return world.Passing(all, "blue") == 1 && world.Passing(all, "green") == 1
	})
}

func (b *Bench) idleJob(ctx context.Context) (*nomadapi.Job, error) {
	rec, err := b.site.Record(ctx, b.pop.model.Name)
	if err != nil {
		return nil, err
	}
	slot, ok := rec.Slots[rec.Active.Other()]
	if !ok {
		return nil, fmt.Errorf("%s has no idle colour", b.pop.model.Name)
	}
	job, _, err := b.world.NomadClient().Jobs().Info(slot.Job, (&nomadapi.QueryOptions{}).WithContext(ctx))
	return job, err
}

// editPolicy gives the model its next version: until the release has begun.
func (b *Bench) editPolicy(ctx context.Context) (time.Duration, error) {
	b.version++
	b.pop.model.Version = fmt.Sprintf("1.0.%d", b.version)
	began := time.Now()
	if err := b.site.Write(b.pop.model); err != nil {
		return 0, err
	}
	_, err := b.site.AwaitRelease(ctx, b.pop.model.Name, b.pop.model.Version, func(deployment.Deployment) bool { return true })
	return time.Since(began), err
}
