package faults

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"

	"github.com/tealdeploy/teal/testbed/world"
)

// Kill is one death of an agent, and what came of it.
type Kill struct {
	Walk   string `json:"walk"`
	Write  string `json:"write"`
	Moment Moment `json:"moment"`
	Hit    bool   `json:"hit"` // false: the run had no such write
	Harmed int    `json:"failed_requests"`
	Broken string `json:"broken,omitempty"` // what did not converge
}

// undisturbed walks once with the first agent alone, from its start to its
// orderly stop, and gives every write it made.
func (l *lane) undisturbed(ctx context.Context, w walk) ([]Point, error) {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	var all counter
	l.hook(func(w *Write, m Moment) bool {
		all.count(w, m)
		return true
	})
	defer l.hook(nil)
	if err := l.first.Start(ctx); err != nil {
		return nil, err
	}
	if err := l.through(ctx, w); err != nil {
		return nil, err
	}
	if err := l.down(ctx, l.first); err != nil {
		return nil, err
	}
	return all.points(), nil
}

// crash walks, kills the first agent at a point and starts the second one.
func (l *lane) crash(ctx context.Context, w walk, at Point, m Moment) (k Kill) {
	k = Kill{Walk: w.name, Write: at.String(), Moment: m}
	before, _ := l.harmed()
	err := l.killed(ctx, w, at, m, &k.Hit)
	after, count := l.harmed()
	if k.Harmed = after - before; k.Harmed > 0 {
		err = errors.Join(err, fmt.Errorf("requests: %s", count))
	}
	if err != nil {
		k.Broken = err.Error()
	}
	return k
}

func (l *lane) killed(ctx context.Context, w walk, at Point, m Moment, hit *bool) error {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	var (
		all    counter
		struck atomic.Bool
		dead   = make(chan error, 1)
	)
	l.hook(func(w *Write, now Moment) bool {
		all.count(w, now)
		if w.Point == at && now == m && struck.CompareAndSwap(false, true) {
			dead <- l.first.Kill()
		}
		return l.first.Running()
	})
	defer l.hook(nil)

	// The heir starts as soon as the first is dead, whenever that is.
	over, inherited := make(chan struct{}), make(chan error, 1)
	go func() {
		select {
		case err := <-dead:
			inherited <- errors.Join(err, l.second.Start(ctx))
		case <-over:
			inherited <- nil
		}
	}()
	var errs []error
	if err := l.first.Start(ctx); err != nil && l.first.Running() {
		errs = append(errs, err)
	}
	errs = append(errs, l.through(ctx, w))
	errs = append(errs, l.stopped(ctx, l.first))
	if !struck.Load() {
		close(over)
	}
	errs = append(errs, <-inherited)
	if *hit = struck.Load(); *hit { // it may have been while it stopped: then the heir has something to spoil
		errs = append(errs, leads(ctx, l.second), l.comesTo(ctx, l.service.Version, w.want), l.down(ctx, l.second))
	}
	return errors.Join(errs...)
}

// stopped stops an agent that may be dead, or be killed as it stops.
func (l *lane) stopped(ctx context.Context, a *world.Agent) error {
	if !a.Running() {
		return nil
	}
	code, err := a.Terminate(ctx)
	if err == nil && code > 0 {
		err = fmt.Errorf("%s ended with code %d after SIGTERM", a.Name, code)
	}
	return err
}
