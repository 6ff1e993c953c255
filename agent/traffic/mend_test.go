package traffic

import (
	"errors"
	"testing"
	"time"

	"github.com/hashicorp/consul/api"
)

// Somebody pointed the routes elsewhere, then took a colour's subset away. The
// way back puts back what it needs.
func TestARollbackMendsASubsetThatWasDeleted(t *testing.T) {
	w := newWorld(t)
	w.put(usersResolver(w))
	r := w.router(api.ServiceRouter)
	target := w.prepare(r, 1)
	_, err := r.Shift(w.ctx, target, move(green, "cutover"))
	w.must(err)
	w.must(r.Verify(w.ctx, target, move(green, "cutover")))
	e := w.routerEntry()
	e.Routes = e.Routes[1:] // without blue's preview
	w.put(e)
	resolver := w.resolverEntry()
	delete(resolver.Subsets, "blue")
	resolver.ConnectTimeout = 7 * time.Second
	w.put(resolver)

	_, err = r.Shift(w.ctx, target, move(blue, "next"))
	w.wantsEdited(err)
	_, err = r.Shift(w.ctx, target, rollback(blue))
	w.must(err)
	w.must(r.Verify(w.ctx, target, rollback(blue)))
	w.serves(r, target, blue)
	if got := w.resolverEntry(); got.Subsets["blue"].Filter == "" || got.ConnectTimeout != 7*time.Second || got.Subsets["v1"].Filter == "" {
		t.Errorf("mended: %s", text(t, got))
	}
}

// In a tcp service's resolver the default subset and the subsets are one
// entry: one write mends both.
func TestATcpRollbackMendsItsSubset(t *testing.T) {
	w := newWorld(t)
	r := w.router(api.ServiceResolver)
	target := w.prepare(r, 1)
	_, err := r.Shift(w.ctx, target, move(green, "cutover"))
	w.must(err)
	e := w.resolverEntry()
	delete(e.Subsets, "blue")
	w.put(e)
	_, err = r.Shift(w.ctx, target, rollback(blue))
	w.must(err)
	w.must(r.Verify(w.ctx, target, rollback(blue)))
}

// A rollback that Consul refuses for another reason is not tried for ever, and
// says what Consul said.
func TestARollbackThatCannotBeMended(t *testing.T) {
	w := newWorld(t)
	r := w.router(api.ServiceRouter)
	target := w.prepare(r, 1)
	_, err := r.Shift(w.ctx, target, move(green, "cutover"))
	w.must(err)
	denied := errors.New("permission denied")
	tries := 0
	var deny func(func() (bool, error)) (bool, error)
	deny = func(func() (bool, error)) (bool, error) {
		tries++
		w.consul.onWrite = deny
		return false, denied
	}
	w.consul.onWrite = deny
	_, err = r.Shift(w.ctx, target, rollback(blue))
	w.wants(err, denied)
	if tries != 1 {
		t.Errorf("%d tries", tries)
	}
}
