package consultest

import (
	"bytes"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/hashicorp/consul/api"
)

func writes(verb api.KVOp) bool {
	switch verb {
	case api.KVSet, api.KVDelete, api.KVDeleteCAS, api.KVDeleteTree, api.KVCAS, api.KVLock, api.KVUnlock:
		return true
	}
	return false
}

// txn carries out all of ops or, when one fails, none.
func (s *Server) txn(ops api.KVTxnOps) (api.KVPairs, *api.TxnError) {
	// Lock delays are checked before anything is applied, as Consul does.
	for i, op := range ops {
		if s.delayed(op) {
			return nil, &api.TxnError{OpIndex: i, What: fmt.Sprintf("failed to lock key %q due to lock delay", op.Key)}
		}
	}
	d := &draft{s: s, index: s.index + 1, pairs: map[string]*api.KVPair{}}
	var out api.KVPairs
	for i, op := range ops {
		pairs, what := d.apply(op)
		if what != "" {
			return nil, &api.TxnError{OpIndex: i, What: what}
		}
		out = append(out, pairs...)
	}
	for _, op := range ops {
		if writes(op.Verb) {
			// Every write is a raft entry, also one that changes nothing.
			s.index = d.index
		}
	}
	for _, name := range d.order {
		s.putKey(name, d.pairs[name], d.index)
	}
	return out, nil
}

// delayed says whether an operation is a lock that comes too soon after the
// last holder lost it.
func (s *Server) delayed(op *api.KVTxnOp) bool {
	return op.Verb == api.KVLock && s.delays[op.Key].After(time.Now())
}

// draft is a transaction before it is committed.
type draft struct {
	s     *Server
	index uint64
	pairs map[string]*api.KVPair // written so far; nil means deleted
	order []string
}

func (d *draft) get(key string) *api.KVPair {
	pair, ok := d.pairs[key]
	if !ok {
		return d.s.pair(key, d.s.index)
	}
	if pair == nil {
		return nil
	}
	written := *pair
	return &written
}

// under is what there is below prefix, in order.
func (d *draft) under(prefix string) (pairs api.KVPairs) {
	var names []string
	d.s.keys.under(prefix, d.s.index, func(name string, _ version[api.KVPair]) { names = append(names, name) })
	for _, name := range d.order {
		if strings.HasPrefix(name, prefix) && !slices.Contains(names, name) {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	for _, name := range names {
		if pair := d.get(name); pair != nil {
			pairs = append(pairs, pair)
		}
	}
	return pairs
}

func (d *draft) set(key string, pair *api.KVPair) {
	if _, ok := d.pairs[key]; !ok {
		d.order = append(d.order, key)
	}
	d.pairs[key] = pair
}

// store writes a pair. Like Consul it changes nothing, not even ModifyIndex,
// when the content is what is there.
func (d *draft) store(old *api.KVPair, op *api.KVTxnOp, session string, lock uint64) *api.KVPair {
	pair := &api.KVPair{
		Key: op.Key, Value: bytes.Clone(op.Value), Flags: op.Flags, Session: session, LockIndex: lock,
		CreateIndex: d.index, ModifyIndex: d.index,
	}
	if old != nil {
		pair.CreateIndex = old.CreateIndex
		if bytes.Equal(old.Value, pair.Value) && old.Flags == pair.Flags && old.Session == session && old.LockIndex == lock {
			return old
		}
	}
	d.set(op.Key, pair)
	return pair
}

// apply carries out one operation; a text means that it failed.
func (d *draft) apply(op *api.KVTxnOp) (api.KVPairs, string) {
	old := d.get(op.Key)
	session, lock, index := "", uint64(0), uint64(0)
	if old != nil {
		session, lock, index = old.Session, old.LockIndex, old.ModifyIndex
	}
	var result *api.KVPair
	switch op.Verb {
	case api.KVSet:
		// A plain set keeps the lock; consul sets LockIndex to the request's,
		// which is 0.
		result = d.store(old, op, session, 0)
	case api.KVCAS:
		if op.Index != index {
			return nil, fmt.Sprintf("failed to set key %q, index is stale", op.Key)
		}
		result = d.store(old, op, session, 0)
	case api.KVDelete:
		if old != nil {
			d.set(op.Key, nil)
		}
	case api.KVDeleteCAS:
		if old != nil && op.Index != index {
			return nil, fmt.Sprintf("failed to delete key %q, index is stale", op.Key)
		}
		if old != nil { // a missing key is no conflict: Consul's rule
			d.set(op.Key, nil)
		}
	case api.KVDeleteTree:
		for _, pair := range d.under(op.Key) {
			d.set(pair.Key, nil)
		}
	case api.KVLock:
		switch {
		case op.Session == "":
			return nil, "missing session"
		case d.s.sessions[op.Session] == nil:
			return nil, fmt.Sprintf("invalid session %q", op.Session)
		case session != "" && session != op.Session:
			return nil, fmt.Sprintf("failed to lock key %q, lock is already held", op.Key)
		case session == "":
			lock++
		}
		result = d.store(old, op, op.Session, lock)
	case api.KVUnlock:
		if op.Session == "" || session != op.Session {
			return nil, fmt.Sprintf("failed to unlock key %q, lock isn't held, or is held by another session", op.Key)
		}
		result = d.store(old, op, "", lock)
	case api.KVGet:
		if old == nil {
			return nil, fmt.Sprintf("key %q doesn't exist", op.Key)
		}
		return api.KVPairs{old}, ""
	case api.KVGetOrEmpty:
		if old == nil {
			old = &api.KVPair{Key: op.Key}
		}
		return api.KVPairs{old}, ""
	case api.KVGetTree:
		return d.under(op.Key), ""
	case api.KVCheckSession:
		if old == nil {
			return nil, fmt.Sprintf("failed to check session, key %q doesn't exist", op.Key)
		}
		if session != op.Session {
			return nil, fmt.Sprintf("failed session check for key %q, current session %q != %q", op.Key, session, op.Session)
		}
		result = old
	case api.KVCheckIndex:
		if old == nil {
			return nil, fmt.Sprintf("failed to check index, key %q doesn't exist", op.Key)
		}
		if index != op.Index {
			return nil, fmt.Sprintf("failed index check for key %q, current modify index %d != %d", op.Key, index, op.Index)
		}
		result = old
	case api.KVCheckNotExists:
		if old != nil {
			return nil, fmt.Sprintf("key %q exists", op.Key)
		}
	default:
		return nil, fmt.Sprintf("unknown KV operation: %s", op.Verb)
	}
	if result == nil {
		return nil, ""
	}
	bare := *result
	bare.Value = nil
	return api.KVPairs{&bare}, ""
}

// pair is a copy of a key as it was at an index, nil when there was none.
func (s *Server) pair(key string, at uint64) *api.KVPair {
	v, ok := s.keys.at(key, at)
	if !ok {
		return nil
	}
	return clone(v)
}

func clone(v version[api.KVPair]) *api.KVPair {
	pair := *v.value
	pair.Value = bytes.Clone(pair.Value)
	return &pair
}
