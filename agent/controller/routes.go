package controller

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/tealdeploy/teal/agent/deployment"
	"github.com/tealdeploy/teal/agent/traffic"
)

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
