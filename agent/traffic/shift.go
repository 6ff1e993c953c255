package traffic

import (
	"context"
	"fmt"

	"github.com/hashicorp/consul/api"

	"github.com/tealdeploy/teal/agent/deployment"
)

// Shift is the one write. With a warm entry there is no read before it: the
// compare-and-set is the check. Only when it is lost, or something about the
// warm entry needs an answer that is certainly current, is the entry read.
func (r *entries) Shift(ctx context.Context, t Target, m Move) (Written, error) {
	if !m.To.Valid() || m.Deployment == "" || m.Nonce == "" {
		return Written{}, fmt.Errorf("shift %s: a move needs a colour, a deployment and a nonce", t.Service)
	}
	written := Written{Route: t.Route}
	e, fresh, mended := r.warmed(t), false, false
	for range retries {
		if e == nil {
			var err error
			if e, err = r.read(ctx, t, r.main); err != nil {
				return Written{}, fmt.Errorf("shift %s to %s: %w", t.Service, m.To, err)
			}
			fresh = true
		}
		next, kept, err := r.next(t, m, e)
		if !fresh && (next == nil || err != nil || len(kept) > 0) {
			e = nil // the warm entry may be out of date: ask before concluding anything
			continue
		}
		if err != nil {
			return Written{}, err
		}
		written.Kept = kept
		if next == nil {
			written.Already = true
			return written, nil
		}
		ok, err := r.set(ctx, t, r.main, next)
		switch {
		case err != nil && m.Rollback && !mended:
			// A rollback must get through: perhaps a subset was deleted.
			mended = true
			if !r.mend(ctx, t, m) {
				return Written{}, fmt.Errorf("shift %s to %s: %w", t.Service, m.To, err)
			}
		case err != nil:
			return Written{}, fmt.Errorf("shift %s to %s: %w", t.Service, m.To, err)
		case ok:
			return written, nil
		}
		e = nil
	}
	return Written{}, fmt.Errorf("shift %s to %s: %w", t.Service, m.To, errContended)
}

// next is the entry a move wants in the place of e, nil if e says it already.
func (r *entries) next(t Target, m Move, e api.ConfigEntry) (next api.ConfigEntry, kept []string, err error) {
	f := r.main
	if e == nil {
		gone := []string{"it was deleted"}
		if !m.Rollback {
			return nil, nil, &EditedError{f.kind(), t.Service, gone}
		}
		base, err := restored(f, t)
		if err != nil {
			base = f.blank(t) // the way back is worth more than the routes
		}
		_, existed := t.Route.Original[f.kind()]
		next := stamped(f, t, indexed(base, 0), m.To, t.Route.Loose, m.id())
		if existed {
			mark := readMark(next.GetMeta())
			mark.created = false
			setMeta(next, mark.write(next.GetMeta()))
		}
		return next, gone, nil
	}
	if err := ourOwner(e, t.Owner); err != nil {
		return nil, nil, err
	}
	o := inspect(f, e)
	switch {
	case o.Epoch > t.Epoch:
		return nil, nil, deposed(f.kind(), t.Service, o.Epoch, t.Epoch)
	case !o.Edited && o.Colour == m.To && (!m.Rollback || o.Move == m.id()):
		// A rollback writes all the same: a cutover that was given up may still
		// be on its way, and the new index is what refuses it.
		return nil, nil, nil
	case o.Edited && o.Move == m.id() && o.Colour == m.To:
		return nil, o.Changes, nil // our rollback, which kept them
	case o.Edited && !m.Rollback:
		return nil, nil, &EditedError{f.kind(), t.Service, o.Changes}
	}
	return movedTo(f, t, e, m.To, m.id()), o.Changes, nil
}

// mend puts the companion's subsets back if they are missing; false if there
// was nothing to mend, so that trying again is of no use.
func (r *entries) mend(ctx context.Context, t Target, m Move) bool {
	if r.companion == nil {
		return false
	}
	changed := false
	_, err := r.update(ctx, t, r.companion, func(e api.ConfigEntry) (api.ConfigEntry, error) {
		if e == nil {
			base, err := restored(r.companion, t)
			if err != nil {
				base = r.companion.blank(t)
			}
			changed = true
			return stamped(r.companion, t, indexed(base, 0), m.To, t.Route.Loose, m.id()), nil
		}
		subsets := e.(*api.ServiceResolverConfigEntry).Subsets
		for _, c := range deployment.Colours {
			if _, ok := subsets[string(c)]; !ok {
				changed = true
				return movedTo(r.companion, t, e, m.To, m.id()), nil
			}
		}
		return nil, nil
	})
	return err == nil && changed
}
