package controller

import (
	"context"
	"math"
	"slices"
	"time"

	consulapi "github.com/hashicorp/consul/api"

	"github.com/tealdeploy/teal/agent/consul"
	"github.com/tealdeploy/teal/agent/traffic"
)

// routeBook is what the watch last saw of the config entries, by kind and
// service: enough to tell which services' entries need a look.
type routeBook map[string]map[string]routeSeen

type routeSeen struct {
	index  uint64
	edited bool
}

// watchRoutes sends services whose entry looks edited to have a look.
//
// It asks for one index, once a second, and looks at all entries of the kinds
// when that has changed. A blocking query for them would tell of an edit some
// tenths of a second earlier, and cost each cutover more than that among
// thousands of services: docs/adr/0021-entries-are-looked-at-afterwards.md.
func (t *tenure) watchRoutes(ctx context.Context) error {
	var took time.Duration
	return consul.Watch(ctx, func(ctx context.Context, seen uint64) (uint64, error) {
		err := t.entriesMoved(ctx, seen, took)
		began := time.Now()
		var index uint64
		if err == nil {
			index, err = t.lookAtRoutes(ctx)
		}
		took = time.Since(began)
		if err != nil && ctx.Err() == nil {
			t.c.cfg.Log.Warn("config entries cannot be followed, trying again", "error", err)
		}
		return index, err
	})
}

const (
	// lookEvery is how often it is asked whether any entry has changed.
	lookEvery = time.Second
	// quickLook is what a look may take that is worth no wait: some hundred
	// entries.
	quickLook = 50 * time.Millisecond
	// mostRest bounds how long a longer look waits for entries to change no
	// more: so late at most somebody's edit is found among many releases.
	mostRest = 5 * time.Second
)

// entriesMoved waits until there is something to look at since the index seen.
// Where a look takes long, because there are thousands, it also waits for a
// second without a change: most are moves of this agent's own, and a look in
// the middle of one would take the processors from the proxies that follow it.
func (t *tenure) entriesMoved(ctx context.Context, seen uint64, took time.Duration) error {
	if seen == 0 {
		return nil
	}
	var moved time.Time
	for last := seen; ; {
		index, err := t.c.cfg.Catalog.EntriesIndex(ctx)
		if err != nil {
			return err
		}
		if index != seen {
			if moved.IsZero() {
				moved = time.Now()
			}
			if took < quickLook || index == last || time.Since(moved) >= mostRest {
				return nil
			}
		}
		last = index
		if !pause(ctx, lookEvery) {
			return ctx.Err()
		}
	}
}

// lookAtRoutes looks at all entries, and returns the oldest index that it has
// seen them at.
func (t *tenure) lookAtRoutes(ctx context.Context) (uint64, error) {
	oldest := uint64(math.MaxUint64)
	for _, kind := range []string{consulapi.ServiceRouter, consulapi.ServiceResolver} {
		look := t.routes.look(kind, t.c.cfg.Routers[kind])
		look.held = func(svc string) bool { return t.kept(svc).gist.edited }
		index, err := t.c.cfg.Catalog.EachEntry(ctx, kind, look.known, look.see)
		if err != nil {
			return 0, err
		}
		oldest = min(oldest, index)
		for _, svc := range append(look.done(), t.without(look.now)...) {
			t.routeSuspect(kind, svc)
		}
	}
	return oldest, nil
}

// routeLook is one look at all entries of a kind, one after the other.
type routeLook struct {
	book     routeBook
	kind     string
	router   traffic.Router
	held     func(svc string) bool // for an edit, whoever saw it
	last     map[string]routeSeen
	now      map[string]routeSeen
	suspects []string
}

func (b routeBook) look(kind string, router traffic.Router) *routeLook {
	last := b[kind]
	return &routeLook{book: b, kind: kind, router: router, last: last, now: make(map[string]routeSeen, len(last))}
}

// known takes an entry in that is as it was the last time.
func (l *routeLook) known(svc string, index uint64) bool {
	was, known := l.last[svc]
	if known = known && was.index == index; known {
		l.now[svc] = was
	}
	return known
}

// see takes an entry in that is not, and suspects it if it is edited or was. The
// edit may have come and gone between two looks, and only its service seen it.
func (l *routeLook) see(e consulapi.ConfigEntry) {
	svc := e.GetName()
	o := l.router.Note(e)
	l.now[svc] = routeSeen{o.Index, o.Edited}
	if o.Edited || l.last[svc].edited || l.held(svc) {
		l.suspects = append(l.suspects, svc)
	}
}

// done names the services whose entry is edited, was edited, or has gone since
// the last time.
func (l *routeLook) done() (suspects []string) {
	for svc := range l.last {
		if _, ok := l.now[svc]; !ok {
			l.suspects = append(l.suspects, svc)
		}
	}
	l.book[l.kind] = l.now
	slices.Sort(l.suspects)
	return l.suspects
}

// without names the managed services that have none of the entries: somebody
// may have deleted it before it was ever seen.
func (t *tenure) without(entries map[string]routeSeen) []string {
	t.mu.Lock()
	defer t.mu.Unlock()
	var missing []string
	for svc, st := range t.records {
		if _, there := entries[svc]; st.gist.router != "" && !there {
			missing = append(missing, svc)
		}
	}
	return missing
}

// routeSuspect sends a managed service to look at its route.
func (t *tenure) routeSuspect(kind, svc string) {
	router := t.kept(svc).gist.router
	if router == kind || router == consulapi.ServiceRouter {
		t.post(svc, routeChanged{})
	}
}
