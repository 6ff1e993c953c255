package main

import (
	"context"
	"fmt"
	"time"

	"github.com/tealdeploy/teal/agent/deployment"
	"github.com/tealdeploy/teal/testbed/world"
)

// fault is what a bad version is told to do, once it serves.
const fault = "errors:0.3"

// badReleases pass their gates, serve well, and fail from a moment on that is known.
func (s *story) badReleases(ctx context.Context) error {
	s.recovery = world.Recovery{Fault: fault, Rate: s.rate, Interval: 1000}
	// It has to turn bad in time, on any machine.
	if err := s.edit(`for = "8s"`, `for = "1m"`); err != nil {
		return err
	}
	last := "2.0.0"
	for i := range s.faults {
		version := fmt.Sprintf("3.0.%d", i)
		if err := s.badRelease(ctx, last, version); err != nil {
			return err
		}
		last = version
	}
	s.last = last
	return s.edit(`for = "1m"`, `for = "8s"`)
}

func (s *story) badRelease(ctx context.Context, last, version string) error {
	s.screen.title("Release %s: passes its gates, then answers 30 %% of requests with errors", version)
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	before := s.traffic.Load.Tally()
	d, err := s.releaseTo(ctx, version, func(d deployment.Deployment) bool {
		return d.State == deployment.Watching || d.Outcome != ""
	}, func() error { return s.edit(fmt.Sprintf(`version = %q`, last), fmt.Sprintf(`version = %q`, version)) })
	if err != nil {
		return err
	}
	if err := s.answers(ctx, version, 3*s.rate); err != nil {
		return err
	}
	injected := time.Now()
	if err := s.site.Fault(ctx, service, string(d.To), fault); err != nil {
		return err
	}
	s.screen.note("%s  from now on 30 %% of its answers are errors", injected.Local().Format("15:04:05"))
	if d, err = s.site.AwaitEnd(ctx, service, version); err != nil {
		return err
	}
	if d.Outcome != deployment.RolledBack || d.Rollback == nil || d.Rollback.Detected.IsZero() {
		return fmt.Errorf("%s ended %s (%s), not rolled back by a trigger", version, d.Outcome, d.Reason)
	}
	s.screen.ok("%s was taken back by itself: %s", version, d.Reason)
	if err := s.measure(ctx, d); err != nil { // by then whatever was under way is over
		return err
	}
	n := s.traffic.Load.Tally()
	if n.Injected == before.Injected || n.LastInjected.Before(injected) {
		return fmt.Errorf("%s was taken back, and no caller had a bad answer of it", version)
	}
	s.recovery.Add(n.LastInjected.Sub(injected), d.Rollback.Decided.Sub(injected))
	c := &s.chapters[len(s.chapters)-1]
	c.detect, c.bad = d.Rollback.Decided.Sub(injected), n.Injected-before.Injected
	return nil
}
