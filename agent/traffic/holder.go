package traffic

import (
	"context"
	"fmt"
	"maps"

	"github.com/hashicorp/consul/api"

	"github.com/tealdeploy/teal/agent/deployment"
)

// Claim writes the epoch into the entries' Meta. The proxies are sent nothing,
// but every entry gets a new ModifyIndex, so that whatever an earlier leader
// still has under way fails its compare-and-set.
func (r *entries) Claim(ctx context.Context, t Target) error {
	for _, f := range r.forms() {
		_, err := r.update(ctx, t, f, func(e api.ConfigEntry) (api.ConfigEntry, error) {
			if e == nil {
				return nil, nil
			}
			m := readMark(e.GetMeta())
			if m.epoch == t.Epoch && m.owner == t.Owner || m.owner == "" && !t.Route.Prepared {
				return nil, nil
			}
			m.owner, m.epoch = t.Owner, t.Epoch
			claimed := copied(e)
			setMeta(claimed, m.write(e.GetMeta()))
			return claimed, nil
		})
		if err != nil {
			return err
		}
	}
	return r.rewarm(ctx, t)
}

// Tighten makes blue's filter exact.
func (r *entries) Tighten(ctx context.Context, t Target) (deployment.Route, error) {
	f := r.forms()[0] // the resolver stands first
	t.Route.Loose = false
	e, err := r.update(ctx, t, f, func(e api.ConfigEntry) (api.ConfigEntry, error) {
		if e == nil {
			return nil, &EditedError{f.kind(), t.Service, []string{"it was deleted"}}
		}
		if o := inspect(f, e); o.Edited {
			return nil, &EditedError{f.kind(), t.Service, o.Changes}
		} else if isLoose(e.(*api.ServiceResolverConfigEntry)) {
			return stamped(f, t, e, o.Colour, false, o.Move), nil
		}
		return nil, nil
	})
	if err != nil {
		t.Route.Loose = true
		return t.Route, err
	}
	if f == r.main {
		_, t.Route.Digest, _ = f.parts(e)
	}
	return t.Route, r.rewarm(ctx, t)
}

// Accept takes people's edits over. What would let an unproven version serve,
// or would not follow a cutover, is refused before anything is written.
func (r *entries) Accept(ctx context.Context, s Setup) (deployment.Route, []string, error) {
	t, serve := s.Target, s.Serve
	for _, f := range r.forms() {
		e, err := r.read(ctx, t, f)
		if err == nil && e != nil {
			err = unpinned(f, t, e)
		}
		if err != nil {
			return t.Route, nil, err
		}
	}
	notes := map[form][]string{}
	route, err := r.rewrite(ctx, s, func(f form, e api.ConfigEntry) (api.ConfigEntry, error) {
		if e == nil {
			notes[f] = []string{"was deleted and is written anew, without anything of your own"}
			return stamped(f, t, f.blank(t), serve, t.Route.Loose, ""), nil
		}
		if err := unpinned(f, t, e); err != nil {
			return nil, err
		}
		o := inspect(f, e)
		if !o.Edited && o.Colour == serve && o.Epoch == t.Epoch {
			return nil, nil
		}
		notes[f] = f.notes(e)
		return stamped(f, t, e, serve, t.Route.Loose, o.Move), nil
	})
	var said []string
	for _, f := range r.forms() {
		for _, n := range notes[f] {
			said = append(said, f.kind()+": "+n)
		}
	}
	return route, said, err
}

// Repair writes back what was there before people's edits: the record's
// originals in our frame.
func (r *entries) Repair(ctx context.Context, s Setup) (deployment.Route, error) {
	t, serve := s.Target, s.Serve
	return r.rewrite(ctx, s, func(f form, e api.ConfigEntry) (api.ConfigEntry, error) {
		base, err := restored(f, t)
		if err != nil {
			return nil, err
		}
		_, existed := t.Route.Original[f.kind()]
		m := mark{created: !existed}
		if e != nil {
			o := inspect(f, e)
			if !o.Edited && o.Colour == serve {
				return nil, nil
			}
			m.move = o.Move
			base = indexed(base, e.GetModifyIndex())
		}
		repaired := f.framed(base, serve, t.Route.Loose)
		_, m.digest, _ = f.parts(repaired)
		m.owner, m.epoch, m.colour = t.Owner, t.Epoch, serve
		setMeta(repaired, m.write(base.GetMeta()))
		return repaired, nil
	})
}

// rewrite changes every entry of the service and takes the outcome as the
// service's own. What the service speaks may be gone too: whoever takes Teal's
// entries away, or a release of the service that its leader did not survive,
// takes the protocol that Teal added along.
func (r *entries) rewrite(ctx context.Context, s Setup,
	change func(f form, e api.ConfigEntry) (api.ConfigEntry, error)) (deployment.Route, error) {
	t, route := s.Target, s.Route
	route.Original = maps.Clone(t.Route.Original)
	if route.Original == nil {
		route.Original = map[string]string{}
	}
	if r.companion != nil {
		if err := r.protocol(ctx, t, s.Protocol, route.Original); err != nil {
			return t.Route, fmt.Errorf("settle the edit of %s: %w", t.Service, err)
		}
	}
	for _, f := range r.forms() {
		e, err := r.update(ctx, t, f, func(e api.ConfigEntry) (api.ConfigEntry, error) { return change(f, e) })
		if err != nil {
			return t.Route, fmt.Errorf("settle the edit of %s: %w", t.Service, err)
		}
		delete(route.Original, f.kind())
		if text, ok := original(f, t, e); ok {
			route.Original[f.kind()] = text
		}
		if f == r.main {
			_, route.Digest, _ = f.parts(e)
		}
	}
	return route, r.rewarm(ctx, t)
}
