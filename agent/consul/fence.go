package consul

import (
	"context"
	"errors"
	"fmt"

	"github.com/hashicorp/consul/api"
)

// Fence is what a leader's writes depend on: that the leader key is still held
// by the session of its term.
type Fence struct{ LeaderKey, Session string }

// Held says whether the fence held when the leader key was read, or is an
// ErrDeposed. It is for what Consul cannot fence itself.
func (f Fence) Held(leader *api.KVPair) error {
	switch {
	case f.Session == "":
		return fmt.Errorf("no fence: %w", ErrDeposed)
	case leader == nil || leader.Session != f.Session:
		return fmt.Errorf("the leader key %s is not held by this term's session: %w", f.LeaderKey, ErrDeposed)
	}
	return nil
}

// Transactor carries out a transaction: *Client or a fake.
type Transactor interface {
	Txn(ctx context.Context, ops api.KVTxnOps) (api.KVPairs, error)
}

// Store is the key/value store as a leader may write it.
type Store struct{ KV Transactor }

// Commit carries out ops in one transaction that also checks the fence, so
// that Consul itself refuses a leader that was deposed, however late its
// write arrives. ErrDeposed: the fence does not hold. ErrConflict: an
// operation's own condition does not; OpError tells which, its Index counting
// in ops. The result has one pair for each operation that yields one.
//
// ErrUnavailable leaves open whether the writes took place: read before
// trying again.
func (s Store) Commit(ctx context.Context, fence Fence, ops api.KVTxnOps) (api.KVPairs, error) {
	if fence.LeaderKey == "" || fence.Session == "" {
		return nil, fmt.Errorf("commit without a fence: %w", ErrDeposed)
	}
	if len(ops) == 0 || len(ops) > MaxOps-1 {
		return nil, &Error{Op: "commit", Kind: ErrInvalid,
			Err: fmt.Errorf("%d operations; a fenced write takes 1 to %d", len(ops), MaxOps-1)}
	}
	all := make(api.KVTxnOps, 0, len(ops)+1)
	all = append(all, &api.KVTxnOp{Verb: api.KVCheckSession, Key: fence.LeaderKey, Session: fence.Session})
	all = append(all, ops...)

	pairs, err := s.KV.Txn(ctx, all)
	var failed *OpError
	switch {
	case errors.As(err, &failed) && failed.Kind == ErrConflict && failed.Index == 0:
		return nil, fmt.Errorf("%w: %s", ErrDeposed, failed.What)
	case errors.As(err, &failed):
		failed.Index--
		return nil, err
	case err != nil:
		return nil, err
	}
	if len(pairs) > 0 { // the check's own
		pairs = pairs[1:]
	}
	return pairs, nil
}
