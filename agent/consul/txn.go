package consul

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/hashicorp/consul/api"
)

// MaxOps is how many operations a transaction may have. Consul's documented
// limit is 64; newer servers take 128.
const MaxOps = 64

// OpError is the first operation for which a transaction was not committed.
// It is an ErrConflict, or an ErrForbidden when a rule is missing.
type OpError struct {
	Index int // of the operation
	Verb  api.KVOp
	Key   string
	What  string // Consul's own words
	Kind  error
}

func (e *OpError) Error() string {
	return fmt.Sprintf("transaction, operation %d, %s %q: %v: %s", e.Index, e.Verb, e.Key, e.Kind, e.What)
}

func (e *OpError) Unwrap() error { return e.Kind }

// Txn carries out all of ops or none. The result has one pair for each
// operation that yields one (values only for reads; delete yields none). An
// error that is an ErrConflict is an *OpError and tells which operation.
//
// Beware: "delete-cas" of a key that is already gone succeeds. To consume a
// key exactly once put a "check-index" of it before the delete.
func (c *Client) Txn(ctx context.Context, ops api.KVTxnOps) (api.KVPairs, error) {
	if err := CheckOps(ops); err != nil {
		return nil, err
	}
	ctx, done := c.bound(ctx, 0)
	defer done()
	// The api package rewrites nothing in ops but sends them by reference.
	ok, answer, _, err := c.api.KV().Txn(ops, c.read(ctx, 0))
	if err != nil {
		return nil, c.wrap(ctx, "transaction on "+keysOf(ops), &Rule{"key", ops[0].Key, "write"}, err)
	}
	if ok {
		return answer.Results, nil
	}
	if len(answer.Errors) == 0 {
		return nil, &Error{Op: "transaction on " + keysOf(ops), Kind: ErrConflict}
	}
	return nil, FailedOp(ops, answer.Errors[0])
}

// FailedOp is the error for a transaction that Consul answered with e.
func FailedOp(ops api.KVTxnOps, e *api.TxnError) error {
	failed := &OpError{Index: e.OpIndex, What: e.What, Kind: ErrConflict}
	if e.OpIndex >= 0 && e.OpIndex < len(ops) {
		failed.Verb, failed.Key = ops[e.OpIndex].Verb, ops[e.OpIndex].Key
	}
	if strings.Contains(e.What, "Permission denied") {
		failed.Kind = ErrForbidden
		rule := Rule{"key", failed.Key, "write"}
		if failed.Verb == api.KVCheckIndex || failed.Verb == api.KVCheckSession {
			rule.Access = "read"
		}
		return &Error{Op: "transaction", Kind: ErrForbidden, Rule: missing(e.What, &rule), Err: failed}
	}
	return failed
}

// CheckOps refuses transactions that Consul would: empty or too long.
func CheckOps(ops api.KVTxnOps) error {
	switch {
	case len(ops) == 0:
		return &Error{Op: "transaction", Kind: ErrInvalid, Err: errors.New("it has no operations")}
	case len(ops) > MaxOps:
		return &Error{Op: "transaction on " + keysOf(ops), Kind: ErrInvalid,
			Err: fmt.Errorf("%d operations, Consul takes at most %d: write less at once", len(ops), MaxOps)}
	}
	return nil
}

func keysOf(ops api.KVTxnOps) string {
	if len(ops) == 1 {
		return fmt.Sprintf("key %q", ops[0].Key)
	}
	return fmt.Sprintf("key %q and %d more", ops[0].Key, len(ops)-1)
}
