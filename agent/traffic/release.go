package traffic

import (
	"context"
	"fmt"

	"github.com/hashicorp/consul/api"
)

// Release takes our part out of the entries: routes, then subsets, then the
// protocol, the opposite of the order they came in. What people made of the
// entries meanwhile stays. The resolver's default subset goes with the
// subsets: afterwards every passing instance serves.
func (r *entries) Release(ctx context.Context, t Target) error {
	forms := r.forms()
	routed := false // by routes of somebody else's, which stay
	for i := len(forms) - 1; i >= 0; i-- {
		f := forms[i]
		err := r.giveBack(ctx, t, f, func(e api.ConfigEntry) (api.ConfigEntry, bool) {
			m := readMark(e.GetMeta())
			isRouter := f.kind() == api.ServiceRouter
			routed = routed || isRouter
			if m.owner == "" && !(t.Route.Prepared && inspect(f, e).Colour.Valid()) {
				return nil, false
			}
			plain, empty := f.plain(e)
			_, existed := t.Route.Original[f.kind()]
			gone := empty && (m.created || !existed)
			if isRouter && gone {
				routed = false
			}
			return asFound(f, t, plain), gone
		})
		if err != nil {
			return err
		}
	}
	err := r.giveBackProtocol(ctx, t, routed)
	if err == nil {
		r.Forget(t)
	}
	return err
}

// giveBackProtocol takes back the protocol that Teal wrote, or leaves it as the
// service's own: Consul refuses to lose one that routes need.
func (r *entries) giveBackProtocol(ctx context.Context, t Target, leave bool) error {
	return r.giveBack(ctx, t, defaultsForm{}, func(e api.ConfigEntry) (api.ConfigEntry, bool) {
		defaults := e.(*api.ServiceConfigEntry)
		m := readMark(defaults.Meta)
		if m.owner == "" {
			return nil, false
		}
		if leave {
			unmarked := *defaults
			unmarked.Meta = eraseMark(defaults.Meta)
			return &unmarked, false
		}
		plain, empty := withoutProtocol(defaults)
		return plain, empty && m.created
	})
}

// giveBack writes an entry's plain form, or deletes it if nothing is left.
// plain returns nil for an entry that is not ours.
func (r *entries) giveBack(ctx context.Context, t Target, f form,
	plain func(e api.ConfigEntry) (p api.ConfigEntry, gone bool)) error {
	for range retries {
		e, err := r.consul(t).Entry(ctx, f.kind(), t.Service)
		if err != nil || e == nil {
			return err
		}
		p, gone := plain(e)
		if p == nil {
			return nil
		}
		if err := ourOwner(e, t.Owner); err != nil {
			return err
		}
		if m := readMark(e.GetMeta()); m.epoch > t.Epoch {
			return deposed(f.kind(), t.Service, m.epoch, t.Epoch)
		}
		var ok bool
		if gone {
			ok, err = r.consul(t).DeleteEntry(ctx, f.kind(), t.Service, e.GetModifyIndex())
		} else {
			ok, err = r.consul(t).SetEntry(ctx, indexed(p, e.GetModifyIndex()), e.GetModifyIndex())
		}
		if err != nil {
			return fmt.Errorf("give back %s %s: %w", f.kind(), t.Service, err)
		}
		if ok {
			return nil
		}
	}
	return fmt.Errorf("give back %s %s: %w", f.kind(), t.Service, errContended)
}
