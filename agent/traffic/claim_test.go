package traffic

import (
	"testing"

	"github.com/hashicorp/consul/api"

	"github.com/tealdeploy/teal/agent/deployment"
)

// A claim of an epoch the entries carry already writes nothing; a new one
// changes neither routes nor digest, so that proxies are sent nothing.
func TestAClaimChangesOnlyMeta(t *testing.T) {
	everyKind(t, func(w *world, r Router) {
		target := w.prepare(r, 1)
		before := w.serves(r, target, blue)
		w.consul.forget()
		w.must(r.Claim(w.ctx, target))
		if w.consul.writes != 0 {
			w.Errorf("%d writes for an epoch it has", w.consul.writes)
		}
		routes := func() string {
			if e := w.routerEntry(); e != nil {
				return text(w.T, e.Routes)
			}
			e := w.resolverEntry()
			e.Meta, e.ModifyIndex = nil, 0
			return text(w.T, e)
		}
		was := routes()
		next := w.router(r.Kind())
		w.must(next.Claim(w.ctx, w.target(target.Route, 5)))
		after := w.serves(r, target, blue)
		if after.Epoch != 5 || after.Index <= before.Index || after.Digest != before.Digest || after.Edited || routes() != was {
			w.Errorf("claimed: %+v, was %+v", after, before)
		}
		// And it is warm: the first shift of the new leader needs no read.
		w.consul.forget()
		_, err := next.Shift(w.ctx, w.target(target.Route, 5), move(green, "cutover"))
		w.must(err)
		w.asked("write " + r.Kind())
	})
}

// A claim keeps a person's edit, and keeps it visible.
func TestAClaimOfAnEditedEntry(t *testing.T) {
	for kind := range Kinds {
		for name, edit := range personsEdits(kind) {
			t.Run(kind+" "+name, func(t *testing.T) {
				w := newWorld(t)
				w.put(usersResolver(w))
				if kind == api.ServiceRouter {
					w.put(defaults(w, "http"))
					w.put(usersRouter(w))
				}
				old := w.router(kind)
				target := w.prepare(old, 1)
				edit(w)
				w.must(w.router(kind).Claim(w.ctx, w.target(target.Route, 2)))
				if o := w.serves(old, target, blue); !o.Edited || o.Epoch != 2 {
					t.Errorf("%+v", o)
				}
				_, err := old.Shift(w.ctx, target, rollback(deployment.Green))
				w.wants(err, ErrDeposed)
			})
		}
	}
}
