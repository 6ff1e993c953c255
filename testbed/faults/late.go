package faults

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	consulapi "github.com/hashicorp/consul/api"
	nomadapi "github.com/hashicorp/nomad/api"

	"github.com/tealdeploy/teal/agent/deployment"
	"github.com/tealdeploy/teal/testbed/world"
)

// Late is a leader that was frozen with a write in its hands, past its lease,
// and woke up when another one had finished its release.
type Late struct {
	Walk   string   `json:"walk"`
	Write  string   `json:"write"` // was delivered when the leader woke up
	Hit    bool     `json:"hit"`
	Stale  []string `json:"stale,omitempty"` // what changed then
	Harmed int      `json:"failed_requests"`
	Broken string   `json:"broken,omitempty"`
}

// settled is how long an agent that woke up is given to do what it must not.
const settled = 3 * time.Second

// FreezeAnywhere freezes the leader at so many of its writes, evenly spread, to
// servers whose names begin with server.
func FreezeAnywhere(ctx context.Context, w *world.World, name, server string, most int, log io.Writer) (all []Late, err error) {
	l, err := newLane(ctx, w, name, world.Service{}, log)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, l.close()) }()
	type frozen struct {
		walk  walk
		point Point
	}
	var points []frozen
	for _, walk := range walks {
		found, err := l.led(ctx, walk)
		if err != nil {
			return nil, fmt.Errorf("%s, undisturbed: %w", walk.name, err)
		}
		for _, p := range found {
			if !strings.HasPrefix(p.Name, server) {
				continue
			}
			points = append(points, frozen{walk, p})
		}
	}
	most = min(most, len(points))
	for i := range most {
		p := points[(2*i+1)*len(points)/(2*most)]
		late := l.freeze(ctx, p.walk, p.point)
		all = append(all, late)
		if late.Broken != "" || len(late.Stale) > 0 {
			fmt.Fprintf(log, "BROKEN: %s, frozen at %s: %s %v\n", late.Walk, late.Write, late.Broken, late.Stale)
			l.Site.Logs(log, 30)
			return all, nil
		}
	}
	return all, nil
}

// led gives the writes of a walk by an agent that leads already, as freeze
// will meet them.
func (l *lane) led(ctx context.Context, w walk) ([]Point, error) {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	if err := l.first.Start(ctx); err != nil {
		return nil, err
	}
	if err := leads(ctx, l.first); err != nil {
		return nil, err
	}
	var all counter
	l.hook(func(w *Write, m Moment) bool {
		all.count(w, m)
		return true
	})
	defer l.hook(nil)
	if err := l.through(ctx, w); err != nil {
		return nil, err
	}
	// What it says of itself is said at all times, and proves nothing here.
	points := slices.DeleteFunc(all.points(), func(p Point) bool {
		return strings.Contains(p.Name, "/session/renew") || strings.Contains(p.Name, "/agents/")
	})
	l.hook(nil)
	return points, l.down(ctx, l.first)
}

func (l *lane) freeze(ctx context.Context, w walk, at Point) (late Late) {
	late = Late{Walk: w.name, Write: at.String()}
	before, _ := l.harmed()
	err := l.frozen(ctx, w, at, &late)
	after, count := l.harmed()
	if late.Harmed = after - before; late.Harmed > 0 {
		err = errors.Join(err, fmt.Errorf("requests: %s", count))
	}
	if err != nil {
		late.Broken = err.Error()
	}
	return late
}

func (l *lane) frozen(ctx context.Context, w walk, at Point, late *Late) error {
	ctx, cancel := context.WithTimeout(ctx, 2*patience)
	defer cancel()
	if err := l.first.Start(ctx); err != nil {
		return err
	}
	if err := leads(ctx, l.first); err != nil {
		return err
	}
	if err := l.follows(ctx, l.second, l.first); err != nil {
		return err
	}
	var (
		all       counter
		once      sync.Once
		caught    = make(chan error, 1)
		woken     = make(chan struct{})
		delivered = make(chan struct{})
	)
	l.hook(func(w *Write, m Moment) bool {
		all.count(w, m)
		if w.Point != at {
			return true
		}
		if m == Before {
			once.Do(func() { caught <- l.first.Pause() })
			<-woken
		} else {
			late.Write = fmt.Sprintf("%s: answered %d", at, w.Status)
			close(delivered)
		}
		return true
	})
	defer l.hook(nil)
	wake := sync.OnceFunc(func() { close(woken) })
	defer wake()
	if err := l.through(ctx, w); err != nil {
		return errors.Join(err, l.first.Resume())
	}
	select {
	case err := <-caught:
		if err != nil {
			return err
		}
		late.Hit = true
	default:
		return errors.Join(l.down(ctx, l.second), l.down(ctx, l.first))
	}
	if err := leads(ctx, l.second); err != nil {
		return err
	}
	before, err := l.indexes(ctx)
	if err != nil {
		return err
	}
	wake()
	<-delivered
	if err := l.first.Resume(); err != nil {
		return err
	}
	if err := l.follows(ctx, l.first, l.second); err != nil {
		return err
	}
	// What must not happen cannot be waited for. Indexes only grow: one look in
	// the end shows it all.
	select {
	case <-time.After(settled):
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	after, err := l.indexes(ctx)
	if err != nil {
		return err
	}
	late.Stale = differ(before, after)
	err = l.comesTo(ctx, l.service.Version, w.want)
	return errors.Join(err, l.down(ctx, l.first), l.down(ctx, l.second))
}

// indexes are when each thing that Teal may write was written last: its keys,
// the service's config entries, its jobs. What an agent says of itself in its
// own key is left out.
func (l *lane) indexes(ctx context.Context) (map[string]uint64, error) {
	all := map[string]uint64{}
	q := (&consulapi.QueryOptions{RequireConsistent: true}).WithContext(ctx)
	pairs, _, err := l.ConsulClient().KV().List(l.Keys.Prefix(), q)
	if err != nil {
		return nil, err
	}
	for _, p := range pairs {
		if !strings.HasPrefix(p.Key, l.Keys.Agents()) {
			all[p.Key] = p.ModifyIndex
		}
	}
	for _, kind := range []string{consulapi.ServiceRouter, consulapi.ServiceResolver, consulapi.ServiceDefaults} {
		entry, _, err := l.ConsulClient().ConfigEntries().Get(kind, l.service.Name, q)
		if err != nil {
			return nil, err
		}
		all[kind] = entry.GetModifyIndex()
	}
	for _, colour := range deployment.Colours {
		id := l.service.Name + "-" + string(colour)
		job, _, err := l.NomadClient().Jobs().Info(id, (&nomadapi.QueryOptions{}).WithContext(ctx))
		if err != nil {
			return nil, err
		}
		all["job "+id] = *job.JobModifyIndex
	}
	return all, nil
}

// differ names what was written, made or deleted between two looks.
func differ(before, after map[string]uint64) []string {
	var names []string
	for _, name := range slices.Sorted(maps.Keys(before)) {
		if now, there := after[name]; now != before[name] || !there {
			names = append(names, fmt.Sprintf("%s: index %d became %d", name, before[name], now))
		}
	}
	for _, name := range slices.Sorted(maps.Keys(after)) {
		if _, there := before[name]; !there {
			names = append(names, fmt.Sprintf("%s: is new at index %d", name, after[name]))
		}
	}
	return names
}
