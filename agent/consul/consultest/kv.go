package consultest

import (
	"bytes"
	"context"
	"fmt"
	"strings"

	"github.com/hashicorp/consul/api"

	"github.com/tealdeploy/teal/agent/consul"
)

// Get is consul.Client's.
func (c *Client) Get(ctx context.Context, key string, index uint64) (*api.KVPair, uint64, error) {
	return c.get(ctx, "Get", key, index)
}

// Read is consul.Client's.
func (c *Client) Read(ctx context.Context, key string) (*api.KVPair, error) {
	pair, _, err := c.get(ctx, "Read", key, 0)
	return pair, err
}

func (c *Client) get(ctx context.Context, op, key string, index uint64) (pair *api.KVPair, last uint64, err error) {
	last, err = c.read(ctx, op, key, index, func(s *Server, at uint64) found {
		if pair = s.pair(key, at); pair != nil {
			return found{index: pair.ModifyIndex}
		}
		return found{index: max(s.keys.last, 1), missing: true}
	})
	if err != nil {
		return nil, 0, err
	}
	return pair, last, nil
}

// List is consul.Client's.
func (c *Client) List(ctx context.Context, prefix string, index uint64) (pairs api.KVPairs, last uint64, err error) {
	last, err = c.read(ctx, "List", prefix, index, func(s *Server, at uint64) found {
		pairs = nil
		newest := s.keys.under(prefix, at, func(_ string, v version[api.KVPair]) {
			pairs = append(pairs, clone(v))
		})
		if newest == 0 {
			newest = max(s.keys.last, 1)
		}
		return found{index: newest}
	})
	if err != nil {
		return nil, 0, err
	}
	return pairs, last, nil
}

// Keys is consul.Client's.
func (c *Client) Keys(ctx context.Context, prefix string) (names []string, err error) {
	_, err = c.read(ctx, "Keys", prefix, 0, func(s *Server, at uint64) found {
		names = nil
		s.keys.under(prefix, at, func(name string, _ version[api.KVPair]) { names = append(names, name) })
		return found{index: s.index}
	})
	return names, err
}

// Folders is consul.Client's.
func (c *Client) Folders(ctx context.Context, prefix string) (names []string, err error) {
	_, err = c.read(ctx, "Folders", prefix, 0, func(s *Server, at uint64) found {
		names = nil
		s.keys.under(prefix, at, func(name string, _ version[api.KVPair]) {
			if folder, _, deeper := strings.Cut(strings.TrimPrefix(name, prefix), "/"); deeper {
				name = prefix + folder + "/"
			}
			if len(names) == 0 || names[len(names)-1] != name {
				names = append(names, name)
			}
		})
		return found{index: s.index}
	})
	return names, err
}

// GetEach is consul.Client's.
func (c *Client) GetEach(ctx context.Context, keys []string, see func(*api.KVPair)) error {
	for _, key := range keys {
		pair, _, err := c.get(ctx, "GetEach", key, 0)
		if err != nil {
			return err
		}
		if pair != nil {
			see(pair)
		}
	}
	return nil
}

// Put is consul.Client's.
func (c *Client) Put(ctx context.Context, key string, value []byte) error {
	_, err := c.one(ctx, "Put", &api.KVTxnOp{Verb: api.KVSet, Key: key, Value: value})
	return err
}

// CAS is consul.Client's.
func (c *Client) CAS(ctx context.Context, key string, value []byte, index uint64) (bool, error) {
	return c.one(ctx, "CAS", &api.KVTxnOp{Verb: api.KVCAS, Key: key, Value: value, Index: index})
}

// Delete is consul.Client's.
func (c *Client) Delete(ctx context.Context, key string) error {
	_, err := c.one(ctx, "Delete", &api.KVTxnOp{Verb: api.KVDelete, Key: key})
	return err
}

// Acquire is consul.Client's.
func (c *Client) Acquire(ctx context.Context, key string, value []byte, session string) (bool, error) {
	return c.one(ctx, "Acquire", &api.KVTxnOp{Verb: api.KVLock, Key: key, Value: value, Session: session})
}

// Release is consul.Client's.
func (c *Client) Release(ctx context.Context, key string, value []byte, session string) (bool, error) {
	return c.one(ctx, "Release", &api.KVTxnOp{Verb: api.KVUnlock, Key: key, Value: value, Session: session})
}

// one carries out a single operation: a condition that does not hold is
// false, not an error.
func (c *Client) one(ctx context.Context, op string, what *api.KVTxnOp) (bool, error) {
	sent := *what
	sent.Value = bytes.Clone(what.Value)
	return write(ctx, c, op, what.Key, func(s *Server) (bool, error) {
		if s.delayed(&sent) {
			return false, nil
		}
		if sent.Verb == api.KVLock && s.sessions[sent.Session] == nil {
			return false, &consul.Error{Op: op, Kind: consul.ErrNoSession, Err: fmt.Errorf("invalid session %q", sent.Session)}
		}
		_, failed := s.txn(api.KVTxnOps{&sent})
		return failed == nil, nil
	})
}

// Txn is consul.Client's.
func (c *Client) Txn(ctx context.Context, ops api.KVTxnOps) (api.KVPairs, error) {
	if err := consul.CheckOps(ops); err != nil {
		return nil, err
	}
	key := ops[0].Key
	for _, op := range ops {
		if writes(op.Verb) {
			key = op.Key
			break
		}
	}
	sent := make(api.KVTxnOps, len(ops))
	for i, op := range ops {
		copied := *op
		copied.Value = bytes.Clone(op.Value)
		sent[i] = &copied
	}
	return write(ctx, c, "Txn", key, func(s *Server) (api.KVPairs, error) {
		pairs, failed := s.txn(sent)
		if failed != nil {
			return nil, consul.FailedOp(sent, failed)
		}
		return pairs, nil
	})
}

// Commit is consul.Store's, over this client.
func (c *Client) Commit(ctx context.Context, fence consul.Fence, ops api.KVTxnOps) (api.KVPairs, error) {
	return consul.Store{KV: c}.Commit(ctx, fence, ops)
}
