package consultest

import (
	"context"
	"strings"
	"time"

	"github.com/hashicorp/consul/api"

	"github.com/tealdeploy/teal/agent/consul"
)

func (x *trial) lock() {
	a, b := x.session(api.SessionEntry{}), x.session(api.SessionEntry{})
	key := x.key("lock")
	x.says(true)(x.Acquire(x.ctx, key, []byte("a"), a))
	x.says(false)(x.Acquire(x.ctx, key, []byte("b"), b))
	x.says(true)(x.Acquire(x.ctx, key, []byte("a again"), a))
	first := x.pair("lock")
	if first.Session != a || first.LockIndex != 1 || string(first.Value) != "a again" {
		x.t.Errorf("held: %+v", first)
	}
	x.says(false)(x.Release(x.ctx, key, []byte("b"), b))
	x.says(true)(x.Release(x.ctx, key, []byte("free"), a))
	x.says(false)(x.Release(x.ctx, key, []byte("free"), a))
	if p := x.pair("lock"); p.Session != "" || string(p.Value) != "free" || p.LockIndex != 1 {
		x.t.Errorf("given back: %+v", p)
	}
	x.says(true)(x.Acquire(x.ctx, key, []byte("b"), b))
	if p := x.pair("lock"); p.Session != b || p.LockIndex != 2 || p.ModifyIndex <= first.ModifyIndex {
		x.t.Errorf("the next holder's: %+v", p)
	}
	// A lock is no guard against a writer that does not ask for it.
	x.put("lock", "by hand")
	x.must(x.Delete(x.ctx, key))
	x.says(true)(x.Acquire(x.ctx, key, []byte("a"), a))
	if p := x.pair("lock"); p.LockIndex != 1 {
		x.t.Errorf("after a deletion the count is %d", p.LockIndex)
	}
}

func (x *trial) plainWrite() {
	a := x.session(api.SessionEntry{})
	x.says(true)(x.Acquire(x.ctx, x.key("lock"), []byte("a"), a))
	x.says(true)(x.Release(x.ctx, x.key("lock"), []byte("a"), a))
	x.says(true)(x.Acquire(x.ctx, x.key("lock"), []byte("a"), a))
	before := x.pair("lock")
	if after := x.put("lock", "by hand"); before.LockIndex != 2 || after.Session != a || after.LockIndex != 0 {
		x.t.Errorf("by hand: %+v, was %+v", after, before)
	}
}

func (x *trial) behaviours() {
	release, remove := x.session(api.SessionEntry{Behavior: "release"}), x.session(api.SessionEntry{Behavior: "delete"})
	x.says(true)(x.Acquire(x.ctx, x.key("kept"), []byte("v"), release))
	x.says(true)(x.Acquire(x.ctx, x.key("taken"), []byte("v"), remove))
	kept := x.pair("kept")
	_, index, err := x.List(x.ctx, x.key(""), 0)
	x.must(err)
	x.must(x.DestroySession(x.ctx, release))
	x.must(x.DestroySession(x.ctx, remove))
	if p := x.pair("kept"); p == nil || p.Session != "" || string(p.Value) != "v" || p.LockIndex != 1 || p.ModifyIndex <= kept.ModifyIndex {
		x.t.Errorf("released: %+v, was %+v", p, kept)
	}
	if p := x.pair("taken"); p != nil {
		x.t.Errorf("not deleted: %+v", p)
	}
	if _, after, err := x.List(x.ctx, x.key(""), 0); err != nil || after <= index {
		x.t.Errorf("the list's index is %d, was %d (%v)", after, index, err)
	}
}

func (x *trial) lockDelay() {
	const delay = 2 * time.Second
	next := x.session(api.SessionEntry{})
	for name, d := range map[string]time.Duration{"at once": 0, "late": delay} {
		holder := x.session(api.SessionEntry{LockDelay: d})
		x.says(true)(x.Acquire(x.ctx, x.key(name), nil, holder))
		x.must(x.DestroySession(x.ctx, holder))
	}
	began := time.Now()
	x.says(true)(x.Acquire(x.ctx, x.key("at once"), nil, next))
	x.says(false)(x.Acquire(x.ctx, x.key("late"), nil, next))
	x.conflict(1)(x.Txn(x.ctx, api.KVTxnOps{
		{Verb: api.KVSet, Key: x.key("k"), Value: []byte("v")},
		{Verb: api.KVLock, Key: x.key("late"), Session: next},
	}))
	x.eventually("the lock is to be had", func() bool {
		ok, err := x.Acquire(x.ctx, x.key("late"), nil, next)
		x.must(err)
		return ok
	})
	if took := time.Since(began); took < delay-200*time.Millisecond {
		x.t.Errorf("to be had after %s, the delay is %s", took, delay)
	}
	// Giving a lock back starts no delay.
	polite := x.session(api.SessionEntry{LockDelay: delay})
	x.says(true)(x.Acquire(x.ctx, x.key("given"), nil, polite))
	x.says(true)(x.Release(x.ctx, x.key("given"), nil, polite))
	x.says(true)(x.Acquire(x.ctx, x.key("given"), nil, next))
}

// eventually asks again until the answer is yes.
func (x *trial) eventually(what string, ask func() bool) {
	x.t.Helper()
	again := time.NewTicker(20 * time.Millisecond)
	defer again.Stop()
	for !ask() {
		select {
		case <-again.C:
		case <-x.ctx.Done():
			x.t.Fatalf("not within %s: %s", patience, what)
		}
	}
}

func (x *trial) ttl() {
	const ttl = 10 * time.Second
	began := time.Now()
	left := x.session(api.SessionEntry{TTL: ttl.String(), Behavior: "delete"})
	kept := x.session(api.SessionEntry{TTL: ttl.String(), Behavior: "delete"})
	x.says(true)(x.Acquire(x.ctx, x.key("left"), nil, left))
	x.says(true)(x.Acquire(x.ctx, x.key("kept"), nil, kept))
	renewing, stop := context.WithCancel(x.ctx)
	renewed := make(chan error, 1)
	go func() {
		every := time.NewTicker(ttl / 2)
		defer every.Stop()
		for {
			select {
			case <-every.C:
			case <-renewing.Done():
				renewed <- nil
				return
			}
			if got, err := x.RenewSession(renewing, kept); renewing.Err() == nil && (err != nil || got != ttl) {
				renewed <- err
				return
			}
		}
	}()
	pair, index, err := x.Get(x.ctx, x.key("left"), 0)
	for err == nil && pair != nil {
		x.looks()
		pair, index, err = x.Get(x.ctx, x.key("left"), index)
	}
	x.must(err)
	if took := time.Since(began); took < ttl || took > 2*ttl+5*time.Second {
		x.t.Errorf("ended after %s", took)
	}
	// The renewed one does not end beside it.
	other := x.pair("kept")
	if other == nil {
		x.t.Fatal("the renewed one ended too")
	}
	other, _, err = x.Get(x.ctx, x.key("kept"), other.ModifyIndex)
	x.must(err)
	if other == nil {
		x.t.Error("the renewed one ended soon after")
	}
	stop()
	x.must(<-renewed)
}

func (x *trial) gone() {
	id := x.session(api.SessionEntry{TTL: "10s"})
	if ttl, err := x.RenewSession(x.ctx, id); err != nil || ttl != 10*time.Second {
		x.t.Errorf("renewed: %s %v", ttl, err)
	}
	x.must(x.DestroySession(x.ctx, id))
	x.must(x.DestroySession(x.ctx, id))
	_, err := x.RenewSession(x.ctx, id)
	x.is(err, consul.ErrNoSession)
	_, err = x.Acquire(x.ctx, x.key("lock"), nil, id)
	x.is(err, consul.ErrNoSession)
	x.says(false)(x.Release(x.ctx, x.key("lock"), nil, id))
	x.put("lock", "v")
	x.says(false)(x.Release(x.ctx, x.key("lock"), nil, id))
	x.conflict(0)(x.Txn(x.ctx, api.KVTxnOps{{Verb: api.KVLock, Key: x.key("lock"), Session: id}}))
}

func (x *trial) badSessions() {
	for says, s := range map[string]api.SessionEntry{
		"Invalid Session TTL '9":            {TTL: "9s"},
		"Invalid Session TTL '90000":        {TTL: "25h"},
		"Session TTL 'soon' invalid":        {TTL: "soon"},
		"Invalid Behavior setting":          {Behavior: "keep"},
		"Missing node registration":         {Node: x.id + "-nowhere"},
		"Missing check '" + x.id:            {NodeChecks: []string{"serfHealth", x.id}},
		"Missing check '" + x.id + "-other": {ServiceChecks: []api.ServiceCheck{{ID: x.id + "-other"}}},
	} {
		_, err := x.NewSession(x.ctx, &s)
		x.is(err, consul.ErrInvalid)
		if !strings.Contains(err.Error(), says) {
			x.t.Errorf("%v, want %q", err, says)
		}
	}
}

func (x *trial) bound() {
	node := x.id + "-node"
	x.must(x.SetCheck(node, "alive", api.HealthWarning))
	bound := func() api.SessionEntry { return api.SessionEntry{Node: node, NodeChecks: []string{"alive"}} }
	for _, end := range []string{api.HealthCritical, ""} {
		x.must(x.SetCheck(node, "alive", api.HealthPassing))
		id := x.session(bound())
		x.says(true)(x.Acquire(x.ctx, x.key("lock"), nil, id))
		x.must(x.SetCheck(node, "alive", api.HealthWarning))
		held, index, err := x.Get(x.ctx, x.key("lock"), 0)
		x.must(err)
		if held.Session != id {
			x.t.Fatalf("a warning ended it: %+v", held)
		}
		done := x.meanwhile(func() {
			if err := x.SetCheck(node, "alive", end); err != nil {
				x.t.Error(err)
			}
		})
		free, _, err := x.Get(x.ctx, x.key("lock"), index)
		done()
		x.must(err)
		if free.Session != "" {
			x.t.Fatalf("still held after the check became %q: %+v", end, free)
		}
		_, err = x.RenewSession(x.ctx, id)
		x.is(err, consul.ErrNoSession)
		s := bound()
		_, err = x.NewSession(x.ctx, &s)
		x.is(err, consul.ErrInvalid)
	}
}
