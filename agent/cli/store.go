package cli

import (
	"context"
	"encoding/json"
	"math/rand/v2"
	"strings"
	"time"

	"github.com/hashicorp/consul/api"

	"github.com/tealdeploy/teal/agent/kv"
	"github.com/tealdeploy/teal/agent/trust"
)

// store is Teal's part of Consul KV as the commands see it.
type store struct {
	kv      *api.KV
	txn     *api.Txn
	keys    kv.Keys
	address string
	trust   *trust.Settings
}

const (
	blockFor = time.Minute
	// watchBackoff is between two tries of a -watch while Consul is away.
	watchBackoff = time.Second
	// batch is how many keys one transaction reads: Consul takes 64 in every
	// version that is about (128 since 1.13).
	batch = 64
)

func (s *store) query(ctx context.Context, index uint64) *api.QueryOptions {
	q := &api.QueryOptions{WaitIndex: index, RequireConsistent: index == 0}
	if index > 0 {
		q.WaitTime = blockFor
	}
	return q.WithContext(ctx)
}

// get reads one key, nil when there is none; with an index it blocks until
// the key has changed since. It returns the index to block on next.
func (s *store) get(ctx context.Context, key string, index uint64) (*api.KVPair, uint64, error) {
	pair, meta, err := s.kv.Get(key, s.query(ctx, index))
	if err != nil {
		return nil, 0, s.explain(err, "read", key)
	}
	return pair, next(index, meta.LastIndex), nil
}

func (s *store) list(ctx context.Context, prefix string) (api.KVPairs, error) {
	pairs, _, err := s.listed(ctx, prefix)
	return pairs, err
}

// listed also says whether there is more that the token may not see: Consul
// leaves it out without an error.
func (s *store) listed(ctx context.Context, prefix string) (pairs api.KVPairs, hidden bool, err error) {
	pairs, meta, err := s.kv.List(prefix, s.query(ctx, 0))
	if err != nil {
		return nil, false, s.explain(err, "read", prefix)
	}
	return pairs, meta.ResultsFilteredByACLs, nil
}

// services names every service that has keys, and blocks like get.
func (s *store) services(ctx context.Context, index uint64) ([]string, uint64, error) {
	keys, meta, err := s.kv.Keys(s.keys.Services(), "/", s.query(ctx, index))
	if err != nil {
		return nil, 0, s.explain(err, "read", s.keys.Services())
	}
	if len(keys) == 0 && meta.ResultsFilteredByACLs {
		return nil, 0, s.deny("read", s.keys.Services())
	}
	var names []string
	for _, k := range keys {
		if name, ok := strings.CutSuffix(strings.TrimPrefix(k, s.keys.Services()), "/"); ok && name != "" {
			names = append(names, name)
		}
	}
	return names, next(index, meta.LastIndex), nil
}

// values reads many keys in few requests. Keys that do not exist are missing
// from the answer.
func (s *store) values(ctx context.Context, keys []string) (map[string][]byte, error) {
	out := make(map[string][]byte, len(keys))
	for len(keys) > 0 {
		n := min(batch, len(keys))
		var ops api.TxnOps
		for _, k := range keys[:n] {
			ops = append(ops, &api.TxnOp{KV: &api.KVTxnOp{Verb: api.KVGetOrEmpty, Key: k}})
		}
		ok, resp, _, err := s.txn.Txn(ops, s.query(ctx, 0))
		if err != nil {
			return nil, s.explain(err, "read", keys[0])
		}
		if !ok {
			return nil, s.explainTxn(resp.Errors, "read", keys[0])
		}
		for _, r := range resp.Results {
			if r.KV != nil && r.KV.ModifyIndex > 0 {
				out[r.KV.Key] = r.KV.Value
			}
		}
		keys = keys[n:]
	}
	return out, nil
}

// create puts a key that must not exist yet and returns its index. created is
// false when there is one already. A transaction is used because its answer
// carries the index, which a plain put does not.
func (s *store) create(ctx context.Context, key string, value []byte) (index uint64, created bool, err error) {
	return s.replace(ctx, key, value, 0)
}

// replace is create for a key that has to be as it was at an index.
func (s *store) replace(ctx context.Context, key string, value []byte, at uint64) (index uint64, done bool, err error) {
	ops := api.TxnOps{{KV: &api.KVTxnOp{Verb: api.KVCAS, Key: key, Value: value, Index: at}}}
	ok, resp, _, err := s.txn.Txn(ops, (&api.QueryOptions{}).WithContext(ctx))
	if err != nil {
		return 0, false, s.explain(err, "write", key)
	}
	if ok {
		return resp.Results[0].KV.ModifyIndex, true, nil
	}
	if err := s.explainTxn(resp.Errors, "write", key); err != nil {
		return 0, false, err
	}
	return 0, false, nil
}

// withdraw deletes a key if it still is as it was at index.
func (s *store) withdraw(ctx context.Context, key string, index uint64) (bool, error) {
	done, _, err := s.kv.DeleteCAS(&api.KVPair{Key: key, ModifyIndex: index}, (&api.WriteOptions{}).WithContext(ctx))
	if err != nil {
		return false, s.explain(err, "write", key)
	}
	return done, nil
}

// leader is the name of the agent that holds the lock, empty when none does.
func (s *store) leader(ctx context.Context) (string, error) {
	pair, _, err := s.get(ctx, s.keys.Leader(), 0)
	if err != nil || pair == nil || pair.Session == "" {
		return "", err
	}
	return safe(strings.TrimSpace(string(pair.Value))), nil
}

// agents reads what each agent says of itself. An entry that cannot be read
// is left out: it is not the reader's to judge.
func (s *store) agents(ctx context.Context) ([]kv.AgentInfo, error) {
	pairs, hidden, err := s.listed(ctx, s.keys.Agents())
	if err == nil && hidden && len(pairs) == 0 {
		err = s.deny("read", s.keys.Agents())
	}
	if err != nil {
		return nil, err
	}
	var out []kv.AgentInfo
	for _, p := range pairs {
		var a kv.AgentInfo
		if json.Unmarshal(p.Value, &a) == nil && a.Name != "" {
			out = append(out, a)
		}
	}
	return out, nil
}

// audits reads the ends of the agents' audit files.
func (s *store) audits(ctx context.Context) ([]kv.AuditHead, error) {
	pairs, err := s.list(ctx, s.keys.Audits())
	if err != nil {
		return nil, err
	}
	var out []kv.AuditHead
	for _, p := range pairs {
		var h kv.AuditHead
		if json.Unmarshal(p.Value, &h) == nil && h.Name != "" {
			out = append(out, h)
		}
	}
	return out, nil
}

// watch calls see with a key's value now and after every change, until see
// returns true or ctx ends. Trouble that passes is told and outlived; being
// denied is not.
func (s *store) watch(ctx context.Context, key string, see func(*api.KVPair) bool, trouble func(error)) error {
	var index uint64
	wait := 100 * time.Millisecond
	for ctx.Err() == nil {
		pair, at, err := s.get(ctx, key, index)
		if err != nil {
			if ctx.Err() != nil {
				break
			}
			if !passing(err) {
				return err
			}
			trouble(err)
			index = 0
			if !pauseFor(ctx, wait/2+rand.N(wait/2)) {
				break
			}
			wait = min(2*wait, 5*time.Second)
			continue
		}
		wait, index = 100*time.Millisecond, at
		if see(pair) {
			return nil
		}
	}
	return ctx.Err()
}

// pauseFor is the backoff between two tries; false when ctx ended first.
func pauseFor(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-timer.C:
		return true
	}
}

// next is the index to block on after last: never zero, and from the start
// again when Consul's went backwards (a restored snapshot).
func next(before, last uint64) uint64 {
	if last < before {
		return 0
	}
	return max(last, 1)
}
