package consul

import (
	"context"
	"fmt"
	"slices"
	"sync"

	"github.com/hashicorp/consul/api"
	"golang.org/x/sync/errgroup"
)

// Get reads one key; nil when there is none.
//
// While a key is missing, the index is that of the whole store, so that a
// blocking query may return early, with nothing new to tell.
func (c *Client) Get(ctx context.Context, key string, index uint64) (*api.KVPair, uint64, error) {
	ctx, done := c.bound(ctx, index)
	defer done()
	var pair *api.KVPair
	last, err := c.newest(ctx, index, func(q *api.QueryOptions) (meta *api.QueryMeta, err error) {
		pair, meta, err = c.api.KV().Get(key, q)
		return meta, err
	})
	if err != nil {
		return nil, 0, c.wrap(ctx, fmt.Sprintf("read key %q", key), &Rule{"key", key, "read"}, err)
	}
	return pair, last, nil
}

// Read reads one key: the answer is at least as new as anything acknowledged
// before the call.
func (c *Client) Read(ctx context.Context, key string) (*api.KVPair, error) {
	pair, _, err := c.Get(ctx, key, 0)
	return pair, err
}

// List reads all keys below prefix, in order.
func (c *Client) List(ctx context.Context, prefix string, index uint64) (api.KVPairs, uint64, error) {
	op, rule := fmt.Sprintf("list keys below %q", prefix), Rule{"key_prefix", prefix, "read"}
	ctx, done := c.bound(ctx, index)
	defer done()
	var pairs api.KVPairs
	last, err := c.newest(ctx, index, func(q *api.QueryOptions) (meta *api.QueryMeta, err error) {
		if pairs, meta, err = c.api.KV().List(prefix, q); err == nil {
			err = filtered(op, rule, meta)
		}
		return meta, err
	})
	if err != nil {
		return nil, 0, c.wrap(ctx, op, &rule, err)
	}
	return pairs, last, nil
}

// Keys names all keys below prefix, in order, without reading their values.
func (c *Client) Keys(ctx context.Context, prefix string) ([]string, error) {
	return c.names(ctx, prefix, "")
}

func (c *Client) names(ctx context.Context, prefix, separator string) ([]string, error) {
	op, rule := fmt.Sprintf("list keys below %q", prefix), Rule{"key_prefix", prefix, "list"}
	ctx, done := c.bound(ctx, 0)
	defer done()
	keys, meta, err := c.api.KV().Keys(prefix, separator, c.read(ctx, 0))
	if err == nil {
		err = filtered(op, rule, meta)
	}
	return keys, c.wrap(ctx, op, &rule, err)
}

// Folders names what stands below prefix, up to and with the next slash, in
// order: "teal/services/" gives one name for each service, however many keys
// it has.
func (c *Client) Folders(ctx context.Context, prefix string) ([]string, error) {
	return c.names(ctx, prefix, "/")
}

// GetEach reads many keys, in the consistent mode, and hands over those that
// exist, in no order and from one goroutine at a time. It asks for MaxOps of
// them at once: one answer for thousands would outlast any timeout, and would
// have to fit into memory.
func (c *Client) GetEach(ctx context.Context, keys []string, see func(*api.KVPair)) error {
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(eachAtOnce)
	var one sync.Mutex
	for part := range slices.Chunk(keys, MaxOps) {
		g.Go(func() error {
			ops := make(api.KVTxnOps, len(part))
			for i, key := range part {
				ops[i] = &api.KVTxnOp{Verb: api.KVGetOrEmpty, Key: key}
			}
			pairs, err := c.Txn(ctx, ops)
			one.Lock()
			defer one.Unlock()
			for _, p := range pairs {
				if p.ModifyIndex > 0 { // else there is none
					see(p)
				}
			}
			return err
		})
	}
	return g.Wait()
}

// eachAtOnce is how many requests GetEach has under way.
const eachAtOnce = 4

// Put writes a key, whatever it held. Writing what is already there changes
// nothing, not even the key's ModifyIndex.
func (c *Client) Put(ctx context.Context, key string, value []byte) error {
	ctx, done := c.bound(ctx, 0)
	defer done()
	_, err := c.api.KV().Put(&api.KVPair{Key: key, Value: value}, c.write(ctx))
	return c.wrap(ctx, fmt.Sprintf("write key %q", key), &Rule{"key", key, "write"}, err)
}

// CAS writes a key if its ModifyIndex is still index; 0 means that it must not
// exist. false: it is not.
func (c *Client) CAS(ctx context.Context, key string, value []byte, index uint64) (bool, error) {
	ctx, done := c.bound(ctx, 0)
	defer done()
	ok, _, err := c.api.KV().CAS(&api.KVPair{Key: key, Value: value, ModifyIndex: index}, c.write(ctx))
	return ok, c.wrap(ctx, fmt.Sprintf("write key %q", key), &Rule{"key", key, "write"}, err)
}

// Delete removes a key; one that is not there is no error.
func (c *Client) Delete(ctx context.Context, key string) error {
	ctx, done := c.bound(ctx, 0)
	defer done()
	_, err := c.api.KV().Delete(key, c.write(ctx))
	return c.wrap(ctx, fmt.Sprintf("delete key %q", key), &Rule{"key", key, "write"}, err)
}

// Acquire takes the lock on a key for a session and writes value. false:
// somebody else holds it, or its lock delay has not passed. A session that
// holds it already is told true.
func (c *Client) Acquire(ctx context.Context, key string, value []byte, session string) (bool, error) {
	ctx, done := c.bound(ctx, 0)
	defer done()
	ok, _, err := c.api.KV().Acquire(&api.KVPair{Key: key, Value: value, Session: session}, c.write(ctx))
	return ok, sessionGone(c.wrap(ctx, fmt.Sprintf("lock key %q", key), &Rule{"key", key, "write"}, err))
}

// Release gives the lock on a key back and writes value. false: the session
// does not hold it.
func (c *Client) Release(ctx context.Context, key string, value []byte, session string) (bool, error) {
	ctx, done := c.bound(ctx, 0)
	defer done()
	ok, _, err := c.api.KV().Release(&api.KVPair{Key: key, Value: value, Session: session}, c.write(ctx))
	return ok, sessionGone(c.wrap(ctx, fmt.Sprintf("unlock key %q", key), &Rule{"key", key, "write"}, err))
}
