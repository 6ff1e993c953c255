package controller

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/hashicorp/go-hclog"

	"github.com/tealdeploy/teal/agent/consul"
	"github.com/tealdeploy/teal/agent/deployment"
)

// feed keeps one service's instances as Consul knows them, by one blocking
// query, for as long as a release is in flight. The moment of cutover reads
// from it and so costs no request.
type feed struct {
	cancel context.CancelFunc
	done   chan struct{}

	mu      sync.Mutex
	seen    view
	changed chan struct{} // closed and replaced at every change
}

// view is what is known of a service's instances.
type view struct {
	instances []deployment.Instance
	at        time.Time // of the last answer
	known     bool      // Consul has answered at least once
	err       error     // the last query failed; instances are the last known
}

// of are the instances of a colour. Instances without colour count as blue
// while loose.
func (v view) of(c deployment.Colour, loose bool) []deployment.Instance {
	var out []deployment.Instance
	for _, i := range v.instances {
		if i.Colour == c || (loose && c == deployment.Blue && !i.Colour.Valid()) {
			out = append(out, i)
		}
	}
	return out
}

// passing counts the instances whose checks all pass.
func passing(list []deployment.Instance) int {
	n := 0
	for _, i := range list {
		if i.Health == deployment.Passing {
			n++
		}
	}
	return n
}

// ensureFeed runs the feed while a release is in flight.
func (l *loop) ensureFeed(ctx context.Context) {
	switch {
	case l.rec.InFlight() && l.feed == nil:
		l.feed = l.startFeed(ctx)
	case !l.rec.InFlight() && l.feed != nil && l.work == nil:
		l.feed.stop()
		l.feed = nil
	}
}

// freshEvery is how old the picture may get before it is read anew: a blocking
// query whose end was lost must not leave a release waiting for what has long
// come about.
const freshEvery = 20 * time.Second

func (l *loop) startFeed(ctx context.Context) *feed {
	ctx, cancel := context.WithCancel(ctx)
	f := &feed{cancel: cancel, done: make(chan struct{}), changed: make(chan struct{})}
	catalog := l.t.c.cfg.Catalog
	go func() {
		defer close(f.done)
		said := blindness{log: l.log}
		_ = consul.Watch(ctx, func(ctx context.Context, index uint64) (uint64, error) {
			asking, cancel := context.WithTimeout(ctx, freshEvery)
			list, next, err := catalog.Instances(asking, l.svc, index)
			cancel()
			if ctx.Err() != nil {
				return next, err
			}
			if index > 0 && errors.Is(err, context.DeadlineExceeded) {
				return 0, nil // nothing new was told for long: look
			}
			said.about(err)
			f.set(list, err)
			return next, err
		})
	}()
	return f
}

// blindness tells why instances cannot be seen, once for each reason.
type blindness struct {
	log  hclog.Logger
	said string
}

func (b *blindness) about(err error) {
	switch {
	case err == nil:
		b.said = ""
	case b.said != err.Error():
		b.said = err.Error()
		b.log.Warn("Consul cannot be asked for the instances, trying again", "error", err)
	}
}

func (f *feed) set(list []deployment.Instance, err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.seen.err = err
	if err == nil {
		f.seen.instances, f.seen.at, f.seen.known = list, time.Now(), true
	}
	close(f.changed)
	f.changed = make(chan struct{})
}

// now is the present view, and a channel that closes when it changes.
func (f *feed) now() (view, <-chan struct{}) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.seen, f.changed
}

// await blocks until the view satisfies ok or ctx ends.
func (f *feed) await(ctx context.Context, ok func(view) bool) (view, error) {
	for {
		v, changed := f.now()
		if v.known && ok(v) {
			return v, nil
		}
		select {
		case <-ctx.Done():
			return v, ctx.Err()
		case <-changed:
		}
	}
}

func (f *feed) stop() {
	if f == nil {
		return
	}
	f.cancel()
	<-f.done
}
