package traffic

import (
	"context"
	"fmt"
	"maps"
	"strings"

	"github.com/hashicorp/consul/api"

	"github.com/tealdeploy/teal/agent/deployment"
)

// Prepare makes both colours reachable: what the service speaks, then the
// subsets, then the routes. Consul refuses a route to a subset that is not
// defined, so no other order works.
func (r *entries) Prepare(ctx context.Context, s Setup) (deployment.Route, error) {
	if !s.Serve.Valid() {
		return s.Route, fmt.Errorf("prepare %s: no colour to serve", s.Service)
	}
	t, serve, busy := s.Target, s.Serve, s.Busy
	t.Route.Loose = s.Loose
	if err := r.unobstructed(ctx, t); err != nil {
		return s.Route, err
	}
	originals := maps.Clone(t.Route.Original)
	if originals == nil {
		originals = map[string]string{}
	}
	// Refused before anything is written: half prepared helps nobody.
	for _, f := range r.forms() {
		e, err := r.read(ctx, t, f)
		if err != nil {
			return s.Route, err
		}
		if e != nil {
			if err := ourOwner(e, t.Owner); err != nil {
				return s.Route, err
			}
		}
		if _, err := prepared(f, t, e, serve); err != nil {
			return s.Route, err
		}
		// What serves already goes on serving, whatever the record says.
		if f == r.main && e != nil {
			if c := inspect(f, e).Colour; c.Valid() {
				serve = c
			}
		}
	}
	if r.companion != nil {
		if err := r.protocol(ctx, t, s.Protocol, originals); err != nil {
			return s.Route, err
		}
	}
	for _, f := range r.forms() {
		var found api.ConfigEntry
		e, err := r.update(ctx, t, f, func(e api.ConfigEntry) (api.ConfigEntry, error) {
			found = e
			return prepared(f, t, e, r.first(f, serve, busy))
		})
		if err != nil {
			return s.Route, err
		}
		if found == nil || readMark(found.GetMeta()).owner != "" {
			found = e
		}
		delete(originals, f.kind())
		if text, ok := original(f, t, found); ok {
			originals[f.kind()] = text
		}
		if f == r.main {
			_, t.Route.Digest, _ = f.parts(e)
		}
	}
	t.Route.Router, t.Route.Original, t.Route.Prepared = r.main.kind(), originals, true
	return t.Route, r.rewarm(ctx, t)
}

// first is the colour an entry is first written for. The companion of a service
// that serves is left without one until Settle.
func (r *entries) first(f form, serve deployment.Colour, busy bool) deployment.Colour {
	if busy && f == r.companion {
		return deployment.None
	}
	return serve
}

// Settle points the companion's default at the colour that serves.
func (r *entries) Settle(ctx context.Context, t Target, serve deployment.Colour) error {
	if r.companion == nil {
		return nil
	}
	return r.follow(ctx, t, Move{To: serve})
}

// prepared is the entry Prepare wants in the place of e, nil if that is e.
func prepared(f form, t Target, e api.ConfigEntry, serve deployment.Colour) (api.ConfigEntry, error) {
	if e == nil {
		if t.Route.Prepared {
			return nil, &EditedError{f.kind(), t.Service, []string{"it was deleted"}}
		}
		return stamped(f, t, f.blank(t), serve, t.Route.Loose, ""), nil
	}
	o := inspect(f, e)
	switch theirs := o.Owner == "" || o.Edited; {
	case theirs && t.Route.Prepared:
		return nil, &EditedError{f.kind(), t.Service, o.Changes}
	case theirs:
		// It may have our marks: those of a preparation that its leader did not
		// survive. No release rests on it, so it is found like any other.
		if resolver, ok := e.(*api.ServiceResolverConfigEntry); ok {
			if err := (resolverForm{}).adoptable(resolver); err != nil {
				return nil, err
			}
		}
		if err := unpinned(f, t, e); err != nil {
			return nil, err
		}
		return stamped(f, t, e, serve, t.Route.Loose, ""), nil
	}
	next := stamped(f, t, e, o.Colour, t.Route.Loose, o.Move)
	if _, digest, _ := f.parts(next); digest == o.Digest && o.Epoch == t.Epoch {
		return nil, nil
	}
	return next, nil
}

// unpinned refuses an entry with something in it that Teal cannot carry: it
// would let an unproven version serve, or would not follow a cutover.
func unpinned(f form, t Target, e api.ConfigEntry) error {
	if pinned := f.pinned(e); len(pinned) > 0 {
		return refuse(f.kind(), t.Service, "%s; take it out, then try again", strings.Join(pinned, "; "))
	}
	return nil
}

// unobstructed refuses what would stand between the requests and our entry.
func (r *entries) unobstructed(ctx context.Context, t Target) error {
	c := r.consul(t)
	if e, err := c.Entry(ctx, api.ServiceSplitter, t.Service); err != nil {
		return err
	} else if e != nil {
		return refuse(api.ServiceSplitter, t.Service, "splits the service's requests, which routes to a colour would go around: "+
			"delete it (`consul config delete -kind service-splitter -name %s`); Teal moves all requests at once", t.Service)
	}
	if r.main.kind() == api.ServiceRouter {
		return nil
	}
	if e, err := c.Entry(ctx, api.ServiceRouter, t.Service); err != nil {
		return err
	} else if e != nil {
		return refuse(api.ServiceRouter, t.Service, "decides before the service-resolver does: "+
			`set router = "service-router" in the policy's cutover block, or delete the entry`)
	}
	return nil
}

// rewarm reads the main entry back after a write of our own, so that the next
// shift needs no read.
func (r *entries) rewarm(ctx context.Context, t Target) error {
	if r.warmed(t) != nil {
		return nil
	}
	_, err := r.read(ctx, t, r.main)
	return err
}
