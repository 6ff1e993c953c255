package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/tealdeploy/teal/agent/deployment"
	"github.com/tealdeploy/teal/testbed/world"
)

// patience bounds one step.
const patience = 90 * time.Second

// bench is the services that are measured, one a kind, so that no kind's
// policy has to be changed between samples.
type bench struct {
	world *world.World
	site  *world.Site
	log   io.Writer

	floor *world.Floor
	swap  *subject // watch and soak of no length: a cutover is over at once
	back  *subject // watched for hours: a rollback is always possible
	ill   *subject // the same, taken back by Consul's health
	gated *subject // released again and again, through a gate
	// turned is watched by the default errors trigger, and turns bad.
	turned *subject

	figures map[string][]float64 // milliseconds, by kind
}

// subject is a service under Teal with the routes that its callers have.
type subject struct {
	*world.Traffic
	site    *world.Site
	service world.Service
	n       int // of the present version
}

// lay starts an agent and brings every service to two healthy colours.
func (b *bench) lay(ctx context.Context) (err error) {
	ctx, cancel := context.WithTimeout(ctx, 3*patience)
	defer cancel()
	fmt.Fprintln(b.log, "preparing the services")
	if b.site, err = b.world.NewSite("bench"); err != nil {
		return err
	}
	if _, err = b.site.StartAgent(ctx, "a", world.AgentOptions{LogLevel: "info"}); err != nil {
		return err
	}
	if b.floor, err = b.world.NewFloor(ctx); err != nil {
		return err
	}
	long := world.Service{Watch: 5 * time.Hour, KeepFailed: 5 * time.Hour}
	instant := world.Service{Watch: -1, Soak: -1}
	for _, s := range []struct {
		to   **subject
		name string
		like world.Service
	}{
		{&b.swap, "swap", instant}, {&b.back, "back", long}, {&b.ill, "ill", long}, {&b.gated, "gated", instant},
		{&b.turned, "turned", world.Service{Watch: 5 * time.Hour, KeepFailed: 5 * time.Hour, HealthyFor: faultLaunch, Interval: faultLook, Triggers: `trigger "errors" "http-5xx" {}`}},
	} {
		v := s.like
		v.Name, v.HealthyFor, v.Count = "bench-"+s.name, cmp.Or(v.HealthyFor, time.Millisecond), 1
		if s.name == "swap" {
			v.Count = 2 // it is also the one under load
		}
		if *s.to, err = b.subject(ctx, v); err != nil {
			return err
		}
	}
	return nil
}

// subject releases a first and a second version.
func (b *bench) subject(ctx context.Context, v world.Service) (*subject, error) {
	jobspec, err := b.world.APIJobspec(v.Name)
	if err != nil {
		return nil, err
	}
	// An idle colour has no requests to finish; its stop need not be waited for.
	v.Jobspec = strings.Replace(jobspec, `shutdown_delay = "2s"`, `shutdown_delay = "0s"`, 1)
	if v.Jobspec == jobspec {
		return nil, errors.New("the example's jobspec has another shutdown_delay than expected")
	}
	v.Vars = map[string]string{"count": fmt.Sprint(v.Count)}
	s := &subject{site: b.site, service: v}
	if s.Traffic, err = b.world.NewTraffic(v.Name, world.TrafficOptions{}); err != nil {
		return nil, err
	}
	quick := *s
	quick.service.Watch, quick.service.Soak, quick.service.Triggers = -1, -1, ""
	if _, err := quick.release(ctx); err != nil {
		return nil, err
	}
	s.n = quick.n
	d, err := s.release(ctx)
	if err != nil {
		return nil, err
	}
	if s.service.Watch > 0 { // it is watched: both colours are there, go back to the first
		if _, err := s.site.Order(ctx, v.Name, "rollback", ""); err != nil {
			return nil, err
		}
		if err := s.ended(ctx, d.ID); err != nil {
			return nil, err
		}
	}
	return s, nil
}

// release gives the service its next version and waits until it serves.
func (s *subject) release(ctx context.Context) (deployment.Deployment, error) {
	s.next()
	if err := s.site.Write(s.service); err != nil {
		return deployment.Deployment{}, err
	}
	return s.site.AwaitRelease(ctx, s.service.Name, s.service.Version, func(d deployment.Deployment) bool {
		return d.State == deployment.Watching && s.service.Watch > 0 || d.Outcome != ""
	})
}

func (s *subject) next() {
	s.n++
	s.service.Version = fmt.Sprintf("1.0.%d", s.n)
}

// ended waits until a deployment is over.
func (s *subject) ended(ctx context.Context, id string) error {
	_, err := s.site.AwaitRecord(ctx, s.service.Name, func(r deployment.Service) bool {
		return !r.InFlight() && len(r.Finished) > 0 && r.Finished[0] == id
	})
	return err
}

// latest is the deployment in flight or else the newest that has ended.
func (s *subject) latest(ctx context.Context) (deployment.Deployment, error) {
	rec, err := s.site.Record(ctx, s.service.Name)
	switch {
	case err != nil:
		return deployment.Deployment{}, err
	case rec.Deployment != nil:
		return *rec.Deployment, nil
	case len(rec.Finished) > 0:
		return s.site.Finished(ctx, s.service.Name, rec.Finished[0])
	}
	return deployment.Deployment{}, fmt.Errorf("%s was never released", s.service.Name)
}

// serving is the colour that has the traffic now, as the data plane knows it.
func (s *subject) serving() deployment.Colour { return deployment.Colour(s.Follower.Table().Subset()) }

// arrival waits until the data plane has the route to a colour, and tells
// since when.
func (s *subject) arrival(ctx context.Context, to deployment.Colour, after time.Time) (time.Time, error) {
	return s.Arrival(ctx, string(to), after)
}

func (b *bench) close() error {
	var errs []error
	for _, s := range []*subject{b.swap, b.back, b.ill, b.gated, b.turned} {
		if s != nil && s.Traffic != nil {
			errs = append(errs, s.Close())
		}
	}
	if b.floor != nil {
		errs = append(errs, b.floor.Close())
	}
	if b.site != nil {
		errs = append(errs, b.site.Close())
	}
	return errors.Join(errs...)
}
