package consultest

import (
	"context"
	"time"

	"github.com/hashicorp/consul/api"
)

// promptly checks that a query under way answered because of a change, not
// because its wait had passed.
func (x *trial) promptly(began time.Time) {
	x.t.Helper()
	if took := time.Since(began); took < Wait/10 || took > Wait*8/10 {
		x.t.Errorf("answered after %s; the change came after %s", took, Wait/10)
	}
}

func (x *trial) blocks() {
	was := x.put("k", "1")
	_, index, err := x.Get(x.ctx, was.Key, 0)
	x.must(err)
	if index != was.ModifyIndex {
		x.t.Errorf("index %d, the key's is %d", index, was.ModifyIndex)
	}
	began := time.Now()
	done := x.meanwhile(func() { _ = x.Put(x.ctx, was.Key, []byte("2")) })
	pair, next, err := x.Get(x.ctx, was.Key, index)
	done()
	x.must(err)
	x.promptly(began)
	if string(pair.Value) != "2" || next <= index || next != pair.ModifyIndex {
		x.t.Errorf("answered %+v at %d", pair, next)
	}
	// Not asked in time, it is told at once.
	began = time.Now()
	if _, again, err := x.Get(x.ctx, was.Key, index); err != nil || again != next || time.Since(began) > Wait/2 {
		x.t.Errorf("index %d after %s (%v), want %d at once", again, time.Since(began), err, next)
	}
	_, index, err = x.List(x.ctx, x.key(""), 0)
	x.must(err)
	began = time.Now()
	done = x.meanwhile(func() { _ = x.Delete(x.ctx, was.Key) })
	list, next, err := x.List(x.ctx, x.key(""), index)
	done()
	x.must(err)
	x.promptly(began)
	if len(list) != 0 || next <= index {
		x.t.Errorf("after a deletion %v at %d, was %d", list, next, index)
	}
}

func (x *trial) waits() {
	was := x.put("k", "1")
	began := time.Now()
	pair, index, err := x.Get(x.ctx, was.Key, was.ModifyIndex)
	x.must(err)
	if took := time.Since(began); took < Wait || took > 2*Wait {
		x.t.Errorf("answered after %s, its wait is %s", took, Wait)
	}
	if index != was.ModifyIndex {
		x.t.Errorf("index %d, was %d", index, was.ModifyIndex)
	}
	x.equal("the same", pair, was)
}

func (x *trial) elsewhere() {
	was := x.put("k", "1")
	inside := x.put("below/k", "1")
	began := time.Now()
	done := x.meanwhile(func() {
		_ = x.Put(x.ctx, x.key("other"), []byte("1"))
		_ = x.Put(x.ctx, was.Key, was.Value) // nothing new either
	})
	_, index, err := x.Get(x.ctx, was.Key, was.ModifyIndex)
	done()
	x.must(err)
	if took := time.Since(began); took < Wait || index != was.ModifyIndex {
		x.t.Errorf("woken after %s with index %d, was %d", took, index, was.ModifyIndex)
	}
	began = time.Now()
	done = x.meanwhile(func() { _ = x.Put(x.ctx, x.key("other"), []byte("2")) })
	_, index, err = x.List(x.ctx, x.key("below/"), inside.ModifyIndex)
	done()
	x.must(err)
	if took := time.Since(began); took < Wait || index != inside.ModifyIndex {
		x.t.Errorf("the list was woken after %s with index %d, was %d", took, index, inside.ModifyIndex)
	}
}

func (x *trial) absent() {
	x.put("other", "1")
	pair, index, err := x.Get(x.ctx, x.key("k"), 0)
	x.must(err)
	if pair != nil || index == 0 {
		x.t.Fatalf("found %v at %d", pair, index)
	}
	done := x.meanwhile(func() {
		_ = x.Put(x.ctx, x.key("other"), []byte("2"))
		_ = x.Put(x.ctx, x.key("k"), []byte("1"))
	})
	defer done()
	// It may answer early, with nothing; the key is not missed.
	for began := time.Now(); pair == nil; {
		x.looks()
		pair, index, err = x.Get(x.ctx, x.key("k"), index)
		x.must(err)
		if time.Since(began) > Wait*8/10 {
			x.t.Fatalf("found %v after %s", pair, time.Since(began))
		}
	}
	if index != pair.ModifyIndex {
		x.t.Errorf("index %d, the key's is %d", index, pair.ModifyIndex)
	}
	if list, index, err := x.List(x.ctx, x.key("none/"), 0); err != nil || len(list) != 0 || index == 0 {
		x.t.Errorf("an empty list: %v at %d (%v)", list, index, err)
	}
}

// future is what a client sees after its Consul was restored from a snapshot:
// nothing as new as the index it asks with.
func (x *trial) future() {
	was := x.put("k", "1")
	pair, index, err := x.Get(x.ctx, was.Key, was.ModifyIndex+1_000_000)
	x.must(err)
	if index != was.ModifyIndex {
		x.t.Errorf("index %d", index)
	}
	x.equal("the key", pair, was)
}

func (x *trial) cancelled() {
	was := x.put("k", "1")
	ctx, cancel := context.WithCancel(x.ctx)
	began := time.Now()
	done := x.meanwhile(cancel)
	_, _, err := x.Get(ctx, was.Key, was.ModifyIndex)
	done()
	x.is(err, context.Canceled)
	x.promptly(began)
	x.is(x.Put(ctx, was.Key, []byte("2")), context.Canceled)
	_, _, err = x.list(ctx, api.ServiceRouter)
	x.is(err, context.Canceled)
	if got := x.pair("k"); string(got.Value) != "1" {
		x.t.Errorf("written under an ended context: %s", got.Value)
	}
}
