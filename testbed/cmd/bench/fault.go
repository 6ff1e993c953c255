package main

import (
	"context"
	"fmt"
	"time"

	"github.com/tealdeploy/teal/agent/deployment"
	"github.com/tealdeploy/teal/testbed/load"
	"github.com/tealdeploy/teal/testbed/world"
)

// A fifth of all requests fail, at this rate. All else is as it is where a policy
// says nothing but that there is an errors trigger: the watch looks once a second,
// and the launch, in which the previous version is looked at, takes ten seconds and
// a little more.
const (
	fault       = "errors:0.2"
	faultRate   = 200 // requests a second
	faultLook   = time.Second
	faultLaunch = 10 * time.Second
)

// faults lets a version that serves turn bad, again and again, under load.
func (b *bench) faults(ctx context.Context, n int) (world.Recovery, error) {
	out := world.Recovery{Fault: fault, Rate: faultRate, Interval: float64(faultLook.Milliseconds())}
	if n == 0 {
		return out, nil
	}
	fmt.Fprintf(b.log, "%d faults of %s under %d requests a second\n", n, fault, faultRate)
	s := b.turned
	t, err := b.world.NewTraffic(s.service.Name, world.TrafficOptions{Rate: faultRate})
	if err != nil {
		return out, err
	}
	defer t.Close()
	if err := t.Serves(ctx, string(s.serving()), s.service.Count); err != nil {
		return out, err
	}
	if err := t.Begin(ctx); err != nil {
		return out, err
	}
	for i := range n {
		took, until, err := s.turnsBad(ctx, t)
		if err != nil {
			return out, fmt.Errorf("fault %d: %w", i+1, err)
		}
		out.Add(took, until)
		if (i+1)%10 == 0 {
			fmt.Fprintf(b.log, "%d of %d faults\n", i+1, n)
		}
	}
	return out, t.EndLoad()
}

// turnsBad releases a version, lets it serve well for a while and then fail, and
// waits until it is taken back.
func (s *subject) turnsBad(ctx context.Context, t *world.Traffic) (suffered, decided time.Duration, err error) {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	if _, err := s.release(ctx); err != nil {
		return 0, 0, err
	}
	more := func(colour deployment.Colour, n int) error {
		before := t.Load.Tally().Colours[string(colour)]
		return t.AwaitCount(ctx, fmt.Sprintf("%d more answers of %s", n, colour), func(c load.Count) bool {
			return c.Colours[string(colour)] >= before+n
		})
	}
	if err := more(deployment.Green, 3*faultRate); err != nil {
		return 0, 0, err
	}
	injected := time.Now()
	if err := s.site.Fault(ctx, s.service.Name, "green", fault); err != nil {
		return 0, 0, err
	}
	if err := s.settled(ctx, deployment.Blue); err != nil {
		return 0, 0, err
	}
	if err := t.Serves(ctx, string(deployment.Blue), 1); err != nil {
		return 0, 0, err
	}
	if err := more(deployment.Blue, faultRate); err != nil { // whatever was under way is over
		return 0, 0, err
	}
	last := t.Load.Tally().LastInjected
	d, err := s.latest(ctx)
	switch {
	case err != nil:
		return 0, 0, err
	case d.Rollback == nil || last.Before(injected):
		return 0, 0, fmt.Errorf("no fault was seen, or nothing was taken back: %s %s", d.Outcome, d.Reason)
	}
	return last.Sub(injected), d.Rollback.Decided.Sub(injected), nil
}
