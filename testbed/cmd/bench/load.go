package main

import (
	"context"
	"fmt"
	"time"

	"github.com/tealdeploy/teal/testbed/load"
	"github.com/tealdeploy/teal/testbed/world"
)

// underLoad cuts over so many times while a service is asked, and counts.
func (b *bench) underLoad(ctx context.Context, cutovers, requests, rate int) (load.Count, error) {
	fmt.Fprintf(b.log, "%d cutovers under %d requests a second\n", cutovers, rate)
	swap := b.swap
	t, err := b.world.NewTraffic(swap.service.Name, world.TrafficOptions{Rate: rate})
	if err != nil {
		return load.Count{}, err
	}
	defer t.Close()
	if err := t.Serves(ctx, string(swap.serving()), swap.service.Count); err != nil {
		return load.Count{}, err
	}
	if err := t.Begin(ctx); err != nil {
		return load.Count{}, err
	}
	began := time.Now()
	for i := range cutovers {
		if _, err := swap.byKey(ctx); err != nil {
			return load.Count{}, fmt.Errorf("cutover %d under load: %w", i+1, err)
		}
		share := requests * (i + 1) / cutovers
		if err := t.AwaitCount(ctx, fmt.Sprintf("%d requests", share), func(n load.Count) bool { return n.Requests >= share }); err != nil {
			return load.Count{}, err
		}
		if (i+1)%10 == 0 {
			fmt.Fprintf(b.log, "%d of %d cutovers, %s\n", i+1, cutovers, time.Since(began).Round(time.Second))
		}
	}
	if err := t.EndLoad(); err != nil {
		return load.Count{}, err
	}
	return t.Load.Count(), nil
}
