package traffic

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"

	"github.com/hashicorp/consul/api"

	"github.com/tealdeploy/teal/agent/deployment"
)

// retries bounds how often a compare-and-set is tried against others who
// write the same entry at the same time.
const retries = 8

// errContended is what remains after that.
var errContended = errors.New("others keep writing the entry")

// entries is a router made of Consul config entries: main is the one whose
// write moves traffic, companion (if any) the one that must exist beside it.
type entries struct {
	scope     Scope
	main      form
	companion form

	mu sync.Mutex
	// warm is the last known main entry of each service in flight; nil while
	// our own last write is not read back yet.
	warm map[place]api.ConfigEntry
}

// place is where a service lives.
type place struct{ service, namespace, partition string }

func (t Target) place() place {
	return place{t.Service, orDefault(t.Route.Namespace), orDefault(t.Route.Partition)}
}

func newEntries(scope Scope, main, companion form) *entries {
	return &entries{scope: scope, main: main, companion: companion, warm: map[place]api.ConfigEntry{}}
}

// Kind is the kind of the entry whose write moves traffic.
func (r *entries) Kind() string { return r.main.kind() }

// forms are the entries in the order they are written; they are taken away in
// the opposite order.
func (r *entries) forms() []form {
	if r.companion == nil {
		return []form{r.main}
	}
	return []form{r.companion, r.main}
}

func (r *entries) consul(t Target) Consul { return r.scope(t.Route.Namespace, t.Route.Partition) }

// read is an entry as Consul has it now, and keeps the main one warm.
func (r *entries) read(ctx context.Context, t Target, f form) (api.ConfigEntry, error) {
	e, err := r.consul(t).Entry(ctx, f.kind(), t.Service)
	if err != nil {
		return nil, err
	}
	if f == r.main {
		r.mu.Lock()
		if e == nil {
			delete(r.warm, t.place())
		} else {
			r.warm[t.place()] = e
		}
		r.mu.Unlock()
	}
	return e, nil
}

// set writes an entry if it is still as read. An entry of index 0 must not
// exist.
func (r *entries) set(ctx context.Context, t Target, f form, e api.ConfigEntry) (bool, error) {
	index := e.GetModifyIndex()
	ok, err := r.consul(t).SetEntry(ctx, e, index)
	if ok && f == r.main {
		// The new index is not in Consul's answer. Unless the watch was
		// faster, what is kept is out of date.
		r.mu.Lock()
		if w := r.warm[t.place()]; w != nil && w.GetModifyIndex() == index {
			r.warm[t.place()] = nil
		}
		r.mu.Unlock()
	}
	return ok, err
}

// Note keeps an entry that a watch delivered, for services in flight, and says
// what the entry says.
func (r *entries) Note(e api.ConfigEntry) Observed {
	if e.GetKind() == r.main.kind() {
		p := place{e.GetName(), orDefault(e.GetNamespace()), orDefault(e.GetPartition())}
		r.mu.Lock()
		if w, hot := r.warm[p]; hot && (w == nil || w.GetModifyIndex() < e.GetModifyIndex()) {
			r.warm[p] = e
		}
		r.mu.Unlock()
	}
	return Inspect(e)
}

// Forget drops what is kept for a service.
func (r *entries) Forget(t Target) {
	r.mu.Lock()
	delete(r.warm, t.place())
	r.mu.Unlock()
}

func (r *entries) warmed(t Target) api.ConfigEntry {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.warm[t.place()]
}

// Inspect says what a router's entry says, from the entry alone. For kinds
// that no router writes it answers the zero Observed.
func Inspect(e api.ConfigEntry) Observed {
	switch e.GetKind() {
	case api.ServiceRouter:
		return inspect(routerForm{}, e)
	case api.ServiceResolver:
		return inspect(resolverForm{}, e)
	}
	return Observed{}
}

// Observe reads what Consul has now. An edit of either entry counts.
func (r *entries) Observe(ctx context.Context, t Target) (Observed, error) {
	var o Observed
	for _, f := range r.forms() {
		e, err := r.read(ctx, t, f)
		if err != nil {
			return Observed{}, err
		}
		var before []string
		for _, c := range o.Changes {
			before = append(before, r.companion.kind()+": "+c)
		}
		if e == nil {
			o = Observed{Service: t.Service, Namespace: t.Route.Namespace, Partition: t.Route.Partition,
				Colour: deployment.None, Edited: true, Changes: []string{f.kind() + " does not exist"}}
		} else {
			o = inspect(f, e)
			if more := f.differs(t, e); o.Edited && len(more) > 0 {
				o.Changes = append(slices.DeleteFunc(o.Changes, func(c string) bool { return c == otherContent }), more...)
			}
		}
		o.Changes = append(o.Changes, before...)
		o.Edited = len(o.Changes) > 0
	}
	return o, nil
}

// update is the loop every write but the shift goes through: read, refuse what
// is not ours to touch, change, compare and set. change returns nil to leave
// the entry as it is. It returns the entry as it is afterwards; after a write
// that is the written content with the index of before.
func (r *entries) update(ctx context.Context, t Target, f form,
	change func(e api.ConfigEntry) (api.ConfigEntry, error)) (api.ConfigEntry, error) {
	for range retries {
		e, err := r.read(ctx, t, f)
		if err != nil {
			return nil, err
		}
		if e != nil {
			if err := ourOwner(e, t.Owner); err != nil {
				return nil, err
			}
			if m := readMark(e.GetMeta()); m.epoch > t.Epoch {
				return nil, deposed(f.kind(), t.Service, m.epoch, t.Epoch)
			}
		}
		next, err := change(e)
		if err != nil || next == nil {
			return e, err
		}
		ok, err := r.set(ctx, t, f, next)
		if err != nil {
			return nil, err
		}
		if ok {
			return next, nil
		}
	}
	return nil, fmt.Errorf("write %s %s: %w", f.kind(), t.Service, errContended)
}
