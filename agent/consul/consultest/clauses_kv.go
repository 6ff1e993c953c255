package consultest

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/hashicorp/consul/api"

	"github.com/tealdeploy/teal/agent/consul"
)

func (x *trial) manyKeys() {
	var want []string
	for i := range consul.MaxOps + 10 {
		name := fmt.Sprintf("svc-%03d", i)
		x.put(name+"/state", name)
		want = append(want, x.key(name+"/state"))
	}
	x.put("svc-000/deployments/1", "old")
	x.put("plain", "1")
	folders, err := x.Folders(x.ctx, x.key(""))
	x.must(err)
	if len(folders) != len(want)+1 || folders[0] != x.key("plain") || folders[1] != x.key("svc-000/") || folders[2] != x.key("svc-001/") {
		x.t.Errorf("%d folders: %v", len(folders), folders[:min(4, len(folders))])
	}
	got := map[string]string{}
	x.must(x.GetEach(x.ctx, append(slices.Clone(want), x.key("missing")), func(p *api.KVPair) {
		if p.ModifyIndex == 0 {
			x.t.Errorf("%s has no index", p.Key)
		}
		got[p.Key] = string(p.Value)
	}))
	x.equal("the keys read", slices.Sorted(maps.Keys(got)), want)
	if got[x.key("svc-042/state")] != "svc-042" {
		x.t.Errorf("svc-042 is %q", got[x.key("svc-042/state")])
	}
}

func (x *trial) keys() {
	if pair := x.pair("a"); pair != nil {
		x.t.Fatalf("found %v", pair)
	}
	x.put("b", "2")
	a := x.put("a", "1")
	if string(a.Value) != "1" || a.CreateIndex == 0 || a.CreateIndex != a.ModifyIndex {
		x.t.Errorf("read %+v", a)
	}
	again := x.put("a", "3")
	if again.CreateIndex != a.CreateIndex || again.ModifyIndex <= a.ModifyIndex {
		x.t.Errorf("rewritten %+v, was %+v", again, a)
	}
	list, index, err := x.List(x.ctx, x.key(""), 0)
	x.must(err)
	if len(list) != 2 || list[0].Key != x.key("a") || list[1].Key != x.key("b") || index != again.ModifyIndex {
		x.t.Errorf("listed %v at %d", list, index)
	}
	names, err := x.Keys(x.ctx, x.key(""))
	x.must(err)
	x.equal("keys", names, []string{x.key("a"), x.key("b")})
	x.must(x.Delete(x.ctx, x.key("a")))
	x.must(x.Delete(x.ctx, x.key("a")))
	if pair, _, err := x.Get(x.ctx, x.key("a"), 0); err != nil || pair != nil {
		x.t.Errorf("deleted, and there: %v %v", pair, err)
	}
	list, after, err := x.List(x.ctx, x.key(""), 0)
	x.must(err)
	if len(list) != 1 || after <= index {
		x.t.Errorf("after the deletion %v at %d, before it at %d", list, after, index)
	}
}

func (x *trial) sameValue() {
	before := x.put("k", "v")
	x.put("other", "v")
	if after := x.put("k", "v"); after.ModifyIndex != before.ModifyIndex {
		x.t.Errorf("index %d, was %d", after.ModifyIndex, before.ModifyIndex)
	}
	x.says(true)(x.CAS(x.ctx, x.key("k"), []byte("v"), before.ModifyIndex))
	if after := x.pair("k"); after.ModifyIndex != before.ModifyIndex {
		x.t.Errorf("after a compare and set: index %d, was %d", after.ModifyIndex, before.ModifyIndex)
	}
}

func (x *trial) casKey() {
	key := x.key("k")
	x.says(false)(x.CAS(x.ctx, key, []byte("1"), 7))
	x.says(true)(x.CAS(x.ctx, key, []byte("1"), 0))
	x.says(false)(x.CAS(x.ctx, key, []byte("2"), 0))
	first := x.pair("k").ModifyIndex
	x.says(true)(x.CAS(x.ctx, key, []byte("2"), first))
	x.says(false)(x.CAS(x.ctx, key, []byte("3"), first))
	if got := string(x.pair("k").Value); got != "2" {
		x.t.Errorf("holds %q", got)
	}
}

func (x *trial) oneIndex() {
	a := x.put("a", "1").ModifyIndex
	b := x.setEntry(x.defaults("http")).GetModifyIndex()
	c := x.put("c", "1").ModifyIndex
	if a >= b || b >= c {
		x.t.Errorf("in this order: key %d, entry %d, key %d", a, b, c)
	}
}

func (x *trial) atomic() {
	was := x.put("a", "1")
	x.put("b", "1")
	set := &api.KVTxnOp{Verb: api.KVSet, Key: x.key("c"), Value: []byte("new")}
	x.conflict(2)(x.Txn(x.ctx, api.KVTxnOps{
		set,
		{Verb: api.KVCAS, Key: x.key("a"), Value: []byte("2"), Index: was.ModifyIndex},
		{Verb: api.KVCAS, Key: x.key("b"), Value: []byte("2"), Index: was.ModifyIndex},
		{Verb: api.KVCheckNotExists, Key: x.key("a")},
	}))
	if string(x.pair("a").Value) != "1" || x.pair("c") != nil {
		x.t.Error("half of it was written")
	}
	for _, op := range []*api.KVTxnOp{
		{Verb: api.KVCheckNotExists, Key: x.key("a")},
		{Verb: api.KVCheckIndex, Key: x.key("a"), Index: was.ModifyIndex + 1},
		{Verb: api.KVCheckIndex, Key: x.key("none"), Index: 1},
		{Verb: api.KVCheckSession, Key: x.key("none"), Session: "s"},
		{Verb: api.KVCheckSession, Key: x.key("a"), Session: "s"},
		{Verb: api.KVDeleteCAS, Key: x.key("a"), Index: was.ModifyIndex + 1},
		{Verb: api.KVCAS, Key: x.key("none"), Value: []byte("x"), Index: 1},
		{Verb: api.KVUnlock, Key: x.key("a"), Session: "s"},
		{Verb: api.KVGet, Key: x.key("none")},
	} {
		x.conflict(1)(x.Txn(x.ctx, api.KVTxnOps{set, op}))
	}
	if x.pair("c") != nil {
		x.t.Error("written beside an operation that failed")
	}
}

func (x *trial) answers() {
	a := x.put("a", "1")
	pairs, err := x.Txn(x.ctx, api.KVTxnOps{
		{Verb: api.KVCheckIndex, Key: x.key("a"), Index: a.ModifyIndex},
		{Verb: api.KVCheckNotExists, Key: x.key("b")},
		{Verb: api.KVSet, Key: x.key("b"), Value: []byte("2")},
		{Verb: api.KVDelete, Key: x.key("none")},
		{Verb: api.KVGet, Key: x.key("b")},
		{Verb: api.KVGetTree, Key: x.key("")},
		{Verb: api.KVDeleteTree, Key: x.key("")},
		{Verb: api.KVGetOrEmpty, Key: x.key("b")},
	})
	x.must(err)
	var got []string
	for _, p := range pairs {
		got = append(got, strings.TrimPrefix(p.Key, x.id+"/")+"="+string(p.Value))
	}
	x.equal("pairs", got, []string{"a=", "b=", "b=2", "a=1", "b=2", "b="})
	if pairs[1].ModifyIndex <= a.ModifyIndex || pairs[2].ModifyIndex != pairs[1].ModifyIndex {
		x.t.Errorf("a %d, b written at %d and read at %d", a.ModifyIndex, pairs[1].ModifyIndex, pairs[2].ModifyIndex)
	}
	if left, _, err := x.List(x.ctx, x.key(""), 0); err != nil || len(left) != 0 {
		x.t.Errorf("the tree is left: %v %v", left, err)
	}
}

func (x *trial) bounds() {
	_, err := x.Txn(x.ctx, nil)
	x.is(err, consul.ErrInvalid)
	var ops api.KVTxnOps
	for range consul.MaxOps {
		ops = append(ops, &api.KVTxnOp{Verb: api.KVSet, Key: x.key("k"), Value: []byte("v")})
	}
	_, err = x.Txn(x.ctx, ops)
	x.must(err)
	_, err = x.Txn(x.ctx, append(ops, ops[0]))
	x.is(err, consul.ErrInvalid)
}

// consume is how a command is taken exactly once: deleting a key that is gone
// succeeds, so the check stands before it.
func (x *trial) consume() {
	k := x.put("k", "go")
	del := &api.KVTxnOp{Verb: api.KVDeleteCAS, Key: k.Key, Index: k.ModifyIndex}
	take := api.KVTxnOps{{Verb: api.KVCheckIndex, Key: k.Key, Index: k.ModifyIndex}, del}
	_, err := x.Txn(x.ctx, take)
	x.must(err)
	x.conflict(0)(x.Txn(x.ctx, take))
	_, err = x.Txn(x.ctx, api.KVTxnOps{del})
	x.must(err)
	x.put("k", "go again")
	x.conflict(0)(x.Txn(x.ctx, api.KVTxnOps{del}))
	if x.pair("k") == nil {
		x.t.Error("a newer one was deleted")
	}
}

func (x *trial) fence() {
	holder, other := x.session(api.SessionEntry{}), x.session(api.SessionEntry{})
	store := consul.Store{KV: x}
	fence := consul.Fence{LeaderKey: x.key("leader"), Session: holder}
	ops := api.KVTxnOps{{Verb: api.KVSet, Key: x.key("k"), Value: []byte("v")}}
	commit := func(f consul.Fence) error {
		_, err := store.Commit(x.ctx, f, ops)
		return err
	}
	x.is(commit(fence), consul.ErrDeposed) // no such key
	x.says(true)(x.Acquire(x.ctx, fence.LeaderKey, []byte("me"), holder))
	x.must(commit(fence))
	x.is(commit(consul.Fence{LeaderKey: fence.LeaderKey, Session: other}), consul.ErrDeposed)
	ops = append(ops, &api.KVTxnOp{Verb: api.KVCheckNotExists, Key: x.key("k")})
	x.conflict(1)(store.Commit(x.ctx, fence, ops))
	ops = ops[:1]
	x.must(x.DestroySession(x.ctx, holder))
	x.is(commit(fence), consul.ErrDeposed)
	x.says(true)(x.Acquire(x.ctx, fence.LeaderKey, nil, other))
	x.is(commit(fence), consul.ErrDeposed)
}
