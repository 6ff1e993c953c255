package faults

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sync"
	"time"

	"github.com/tealdeploy/teal/agent/deployment"
	"github.com/tealdeploy/teal/agent/kv"
	"github.com/tealdeploy/teal/testbed/load"
	"github.com/tealdeploy/teal/testbed/world"
)

// Away is a server that could not be reached for a part of a release.
type Away struct {
	What   string  `json:"what"`
	TookMS float64 `json:"took_ms"` // all of the release
	Harmed int     `json:"failed_requests"`
	Stale  int     `json:"stale_writes"`
	Broken string  `json:"broken,omitempty"`
}

// NomadAway kills Nomad while a release is launched, watched and taken back.
// The launch waits for it; the watch and the rollback do not need it.
func NomadAway(ctx context.Context, w *world.World, name string, log io.Writer) (all []Away, err error) {
	l, err := newLane(ctx, w, name, world.Service{}, log)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, l.close()) }()
	if err := l.second.Start(ctx); err != nil {
		return nil, err
	}
	for _, x := range []struct {
		what string
		walk walk
		with func(*lane, context.Context, walk, string) error
	}{
		{"Nomad away during launch", walks[0], (*lane).launchWithoutNomad},
		{"Nomad away during watch", walks[0], (*lane).watchWithoutNomad},
		{"Nomad away during rollback", walks[1], (*lane).rollbackWithoutNomad},
	} {
		a := l.without(ctx, x.what, func(ctx context.Context) error {
			if err := l.begin(x.walk); err != nil {
				return err
			}
			version := l.service.Version
			if err := x.with(l, ctx, x.walk, version); err != nil {
				return err
			}
			return l.comesTo(ctx, version, x.walk.want)
		})
		all = append(all, a)
		if a.Broken != "" {
			fmt.Fprintf(log, "BROKEN: %s: %s\n", a.What, a.Broken)
			l.Site.Logs(log, 40)
			if !w.Nomad.Running() {
				return all, w.Nomad.Start(ctx)
			}
			return all, nil
		}
	}
	return all, nil
}

// without measures what happens while a server is away.
func (l *lane) without(ctx context.Context, what string, happens func(context.Context) error) Away {
	ctx, cancel := context.WithTimeout(ctx, 2*patience)
	defer cancel()
	a, began := Away{What: what}, time.Now()
	before, _ := l.harmed()
	err := happens(ctx)
	a.TookMS = ms(time.Since(began))
	after, count := l.harmed()
	if a.Harmed = after - before; a.Harmed > 0 {
		err = errors.Join(err, fmt.Errorf("requests: %s", count))
	}
	if err != nil {
		a.Broken = err.Error()
	}
	return a
}

// killNomad kills it, and returns when requests have been answered without it.
func (l *lane) killNomad(ctx context.Context) error {
	if err := l.Nomad.Kill(); err != nil {
		return err
	}
	now := l.Load.Tally().Requests
	return l.AwaitCount(ctx, "requests without Nomad", func(n load.Count) bool { return n.Requests >= now+40 })
}

func (l *lane) launchWithoutNomad(ctx context.Context, w walk, version string) error {
	if err := l.passes(ctx, version, deployment.Launching); err != nil {
		return err
	}
	if err := l.killNomad(ctx); err != nil {
		return err
	}
	rec, err := l.Record(ctx, l.service.Name)
	if err != nil {
		return err
	}
	if d := rec.Deployment; d == nil || d.Candidate.Version != version || d.State != deployment.Launching {
		return fmt.Errorf("the launch was over before Nomad was away: %+v", d)
	}
	if err := l.Nomad.Start(ctx); err != nil {
		return err
	}
	return w.orders(ctx, l, version)
}

// The watch comes to its end without Nomad; what is done after the soak waits.
func (l *lane) watchWithoutNomad(ctx context.Context, w walk, version string) error {
	if err := w.orders(ctx, l, version); err != nil {
		return err
	}
	if err := l.passes(ctx, version, deployment.Watching); err != nil {
		return err
	}
	if err := l.killNomad(ctx); err != nil {
		return err
	}
	if err := l.passes(ctx, version, deployment.Retiring); err != nil {
		return err
	}
	return l.Nomad.Start(ctx)
}

// All of the rollback is over before Nomad is back.
func (l *lane) rollbackWithoutNomad(ctx context.Context, w walk, version string) error {
	if err := l.passes(ctx, version, deployment.Watching); err != nil {
		return err
	}
	if err := l.killNomad(ctx); err != nil {
		return err
	}
	if err := w.orders(ctx, l, version); err != nil {
		return err
	}
	d, err := l.AwaitEnd(ctx, l.service.Name, version)
	if err != nil {
		return fmt.Errorf("the rollback waits for Nomad: %w; it is %s", err, d.State)
	}
	if err := l.Serves(ctx, string(d.From), 1); err != nil {
		return err
	}
	return l.Nomad.Start(ctx)
}

// CutOff parts the leading agent from Consul in the middle of a release, by a
// network that drops packets: nobody is told. Its check in Consul still
// passes, so that only the lease ends its term. The other agent obeys a
// rollback then; the one that was cut off is let back in and must have nothing
// to say.
//
// It is the kernel that drops them, in a network namespace that the agent
// reaches Consul through. Who may not have one gets a proxy that swallows all.
func CutOff(ctx context.Context, w *world.World, name string, times int, log io.Writer) (all []Away, err error) {
	number, err := w.Port()
	if err != nil {
		return nil, err
	}
	listen, by := loopback, "by a proxy"
	c, err := newCable(number)
	switch {
	case err == nil:
		listen, by = c.listen, "by the kernel"
		defer func() { err = errors.Join(err, c.close()) }()
	case errors.Is(err, errNoCable):
		fmt.Fprintf(log, "packets are dropped by a proxy and not by the kernel: %v\n", err)
		c = nil
	default:
		return nil, err
	}
	l, err := newLaneOver(ctx, listen, w, name, world.Service{}, log)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, l.close()) }()
	for i := range times {
		at := []deployment.State{deployment.Watching, deployment.Launching}[i%2]
		stale := 0
		a := l.without(ctx, fmt.Sprintf("leader cut off from Consul while %s, %s", at, by), func(ctx context.Context) (err error) {
			stale, err = l.cutOff(ctx, at, c)
			return err
		})
		a.Stale = stale
		all = append(all, a)
		if a.Broken != "" {
			fmt.Fprintf(log, "BROKEN: %s: %s\n", a.What, a.Broken)
			l.Site.Logs(log, 40)
			return all, nil
		}
	}
	return all, nil
}

// part drops what goes between the first agent and Consul, until the function
// it gives is called, which may be done twice.
func (l *lane) part(c *cable) (mend func() error, err error) {
	if c == nil {
		l.consul.Cut()
		return func() error { l.consul.Restore(); return nil }, nil
	}
	return sync.OnceValue(func() error {
		packets, err := c.mend()
		fmt.Fprintf(l.log, "the kernel dropped %d packets\n", packets)
		if err == nil && packets == 0 {
			err = errors.New("the kernel dropped no packet: the agent did not use the cable")
		}
		return err
	}), c.cut()
}

func (l *lane) cutOff(ctx context.Context, at deployment.State, c *cable) (stale int, err error) {
	if err := l.regain(ctx); err != nil {
		return 0, err
	}
	w := walks[1]
	if err := l.begin(w); err != nil {
		return 0, err
	}
	version := l.service.Version
	if err := l.passes(ctx, version, at); err != nil {
		return 0, err
	}
	mend, err := l.part(c)
	if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, mend()) }()
	if err := leads(ctx, l.second); err != nil {
		return 0, err
	}
	if err := l.passes(ctx, version, deployment.Watching); err != nil { // when it was cut off before that
		return 0, err
	}
	if err := l.put(ctx, kv.Rollback, ""); err != nil {
		return 0, err
	}
	if err := l.comesTo(ctx, version, w.want); err != nil {
		return 0, err
	}
	before, err := l.indexes(ctx)
	if err != nil {
		return 0, err
	}
	if err := mend(); err != nil {
		return 0, err
	}
	if err := l.follows(ctx, l.first, l.second); err != nil {
		return 0, err
	}
	select {
	case <-time.After(settled):
	case <-ctx.Done():
		return 0, context.Cause(ctx)
	}
	after, err := l.indexes(ctx)
	if err != nil {
		return 0, err
	}
	if written := differ(before, after); len(written) > 0 {
		return len(written), fmt.Errorf("after it was let back in: %v", written)
	}
	return 0, nil
}
