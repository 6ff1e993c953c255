package main

import (
	"context"
	"fmt"
	"math"
	"slices"
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

// recovered is how long callers suffer from a fault: from its injection to the
// last bad answer.
type recovered struct {
	Samples  int     `json:"samples"`
	P50      float64 `json:"p50_ms"`
	P95      float64 `json:"p95_ms"`
	Decided  float64 `json:"decided_p50_ms"` // from the injection to the decision
	Fault    string  `json:"fault"`
	Rate     int     `json:"requests_s"`
	Interval float64 `json:"interval_ms"`
}

// faults lets a version that serves turn bad, again and again, under load.
func (b *bench) faults(ctx context.Context, n int) (recovered, error) {
	out := recovered{Samples: n, Fault: fault, Rate: faultRate, Interval: float64(faultLook.Milliseconds())}
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
	var suffered, decided []float64
	for i := range n {
		took, until, err := s.turnsBad(ctx, t)
		if err != nil {
			return out, fmt.Errorf("fault %d: %w", i+1, err)
		}
		suffered = append(suffered, took.Seconds()*1000)
		decided = append(decided, until.Seconds()*1000)
		if (i+1)%10 == 0 {
			fmt.Fprintf(b.log, "%d of %d faults\n", i+1, n)
		}
	}
	out.P50, out.P95, out.Decided = at(suffered, .5), at(suffered, .95), at(decided, .5)
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

// at is a quantile of milliseconds.
func at(ms []float64, q float64) float64 {
	sorted := slices.Sorted(slices.Values(ms))
	return round(sorted[max(0, int(math.Ceil(q*float64(len(sorted))))-1)])
}
