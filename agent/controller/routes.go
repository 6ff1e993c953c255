package controller

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	consulapi "github.com/hashicorp/consul/api"

	"github.com/tealdeploy/teal/agent/consul"
	"github.com/tealdeploy/teal/agent/deployment"
	"github.com/tealdeploy/teal/agent/traffic"
)

// routeBook is what the watches last saw of the config entries: enough to tell
// which services' entries need a look.
type routeBook struct {
	mu   sync.Mutex
	seen map[string]map[string]routeSeen // kind → service
}

type routeSeen struct {
	index  uint64
	edited bool
}

func newRouteBook() *routeBook { return &routeBook{seen: map[string]map[string]routeSeen{}} }

// watchRoutes follows all entries of a kind by one blocking query. It keeps the
// entry of every service in flight at hand, so that a move needs no read, and
// sends services whose entry looks edited to have a look.
//
// Consul answers each change of one entry with all of them, and computes a hash
// over all of them twice to do so. While entries keep changing, a look is
// therefore followed by a rest that is a few times as long as the look: Consul
// and the agent stay free for what moves traffic, which needs no look.
func (t *tenure) watchRoutes(ctx context.Context, kind string) error {
	cfg := t.c.cfg
	return consul.Watch(ctx, func(ctx context.Context, index uint64) (uint64, error) {
		look := t.routes.look(kind, cfg.Routers[kind])
		look.held = func(svc string) bool { return t.kept(svc).gist.edited }
		next, err := cfg.Catalog.EachEntry(ctx, kind, index, look.known, look.see)
		if err != nil {
			if ctx.Err() == nil {
				cfg.Log.Warn("config entries cannot be followed, trying again", "kind", kind, "error", err)
			}
			return 0, err
		}
		suspects, first := look.done()
		if first {
			suspects = append(suspects, t.without(look.now)...)
		}
		for _, svc := range suspects {
			t.routeSuspect(kind, svc)
		}
		pause(ctx, look.rest())
		return next, nil
	})
}

// routeLook is one look at all entries of a kind, one after the other.
type routeLook struct {
	book     *routeBook
	kind     string
	router   traffic.Router
	held     func(svc string) bool // for an edit, whoever saw it
	last     map[string]routeSeen  // nil: there was no last time
	now      map[string]routeSeen
	suspects []string
	began    time.Time // the first entry was there
}

func (b *routeBook) look(kind string, router traffic.Router) *routeLook {
	b.mu.Lock()
	defer b.mu.Unlock()
	last := b.seen[kind]
	return &routeLook{book: b, kind: kind, router: router, last: last, now: make(map[string]routeSeen, len(last))}
}

// known takes an entry in that is as it was the last time.
func (l *routeLook) known(svc string, index uint64) bool {
	if l.began.IsZero() {
		l.began = time.Now()
	}
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
// the last time. first says that there was no last time.
func (l *routeLook) done() (suspects []string, first bool) {
	for svc := range l.last {
		if _, ok := l.now[svc]; !ok {
			l.suspects = append(l.suspects, svc)
		}
	}
	l.book.mu.Lock()
	defer l.book.mu.Unlock()
	l.book.seen[l.kind] = l.now
	slices.Sort(l.suspects)
	return l.suspects, l.last == nil
}

// restTimes is how many times longer than a look the rest after it is. A look
// at a hundred entries takes a millisecond or two.
const restTimes = 5

func (l *routeLook) rest() time.Duration {
	if l.began.IsZero() {
		return 0
	}
	return min(restTimes*time.Since(l.began), mostRest)
}

// mostRest bounds the rest: so late at most somebody's edit is found that
// follows another at once.
const mostRest = 3 * time.Second

// without names the managed services that have none of the entries: somebody
// may have deleted it while nobody led.
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

// routeChanged looks at the service's entries and holds what somebody else's
// edit is in the way of. A move under way has its own answer to edits.
func (l *loop) routeChanged(ctx context.Context) error {
	if !l.rec.Managed || !l.rec.Route.Prepared || l.rec.Moving() != nil {
		return nil
	}
	looking, cancel := context.WithTimeout(ctx, acceptWithin)
	defer cancel()
	o, err := l.router().Observe(looking, l.trafficTarget(l.rec.Route))
	if err != nil {
		if ctx.Err() == nil {
			l.log.Warn("the route cannot be looked at", "error", err)
		}
		return nil // the next change, or the move itself, looks again
	}
	held := l.rec.Held != nil && l.rec.Held.Cause == deployment.RouteEdited
	if !o.Edited {
		if held {
			return l.apply(ctx, nil, deployment.Event{Kind: deployment.Unhold, At: time.Now(), By: self, Reason: "the route is as Teal wrote it again"})
		}
		return nil
	}
	what := fmt.Sprintf("%s %s was edited by somebody else: %s", l.rec.Route.Router, l.svc, strings.Join(o.Changes, "; "))
	if p := l.policy(); p != nil && p.Cutover.Repair {
		return l.repair(ctx, what)
	}
	reason := what + "; teal resume accepts the edit, or put back what was there"
	if held && l.rec.Held.Reason == reason {
		return nil
	}
	err = l.apply(ctx, nil, deployment.Event{Kind: deployment.Hold, Cause: deployment.RouteEdited, At: time.Now(), By: self, Reason: reason})
	if err == nil {
		l.t.post(l.svc, routeChanged{}) // it may have been put back before anybody knew of the hold
	}
	return err
}

// repair writes Teal's entries over an edit, where the policy says so.
func (l *loop) repair(ctx context.Context, what string) error {
	if err := l.t.term.Check(); err != nil {
		return err
	}
	writing, cancel := context.WithTimeout(ctx, acceptWithin)
	defer cancel()
	route, err := l.router().Repair(writing, l.setup())
	switch {
	case errors.Is(err, traffic.ErrDeposed):
		return finalUnlessAway(err)
	case err != nil:
		return l.apply(ctx, nil, deployment.Event{Kind: deployment.Hold, Cause: deployment.RouteEdited, At: time.Now(), By: self,
			Reason: what + "; it could not be repaired: " + err.Error()})
	}
	return l.apply(ctx, nil,
		deployment.Event{Kind: deployment.Prepared, At: time.Now(), By: self, Route: &route},
		deployment.Event{Kind: deployment.Note, At: time.Now(), By: self, Reason: what + "; repaired, as the policy says"})
}

// serving is who gets the requests. Before the first release that is the empty
// colour, so that nothing serves unproven.
func serving(active deployment.Colour) deployment.Colour {
	if !active.Valid() {
		return deployment.Green
	}
	return active
}

// routerFor is a router by its kind.
func (l *loop) routerFor(kind string) (traffic.Router, error) {
	if r, ok := l.t.c.cfg.Routers[kind]; ok {
		return r, nil
	}
	return nil, final(fmt.Errorf("no router %q: known are %s", kind, traffic.Names()))
}
