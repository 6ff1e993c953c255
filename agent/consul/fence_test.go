package consul

import (
	"context"
	"errors"
	"testing"

	"github.com/hashicorp/consul/api"
)

// transactor notes what it is asked, and answers as it is told.
type transactor struct {
	ops   api.KVTxnOps
	pairs api.KVPairs
	err   error
}

func (x *transactor) Txn(_ context.Context, ops api.KVTxnOps) (api.KVPairs, error) {
	x.ops = ops
	return x.pairs, x.err
}

func TestCommitStandsBehindTheFence(t *testing.T) {
	fence := Fence{LeaderKey: "teal/leader", Session: "s"}
	ops := api.KVTxnOps{{Verb: api.KVSet, Key: "a"}, {Verb: api.KVDelete, Key: "b"}}
	x := &transactor{pairs: api.KVPairs{{Key: "teal/leader"}, {Key: "a", ModifyIndex: 7}}}
	pairs, err := Store{KV: x}.Commit(t.Context(), fence, ops)
	if err != nil || len(pairs) != 1 || pairs[0].Key != "a" {
		t.Errorf("answered %v %v", pairs, err)
	}
	if len(x.ops) != 3 || x.ops[0].Verb != api.KVCheckSession || x.ops[0].Key != "teal/leader" || x.ops[0].Session != "s" || x.ops[1] != ops[0] {
		t.Errorf("asked %+v", x.ops)
	}

	x.err = FailedOp(x.ops, &api.TxnError{OpIndex: 0, What: "failed session check"})
	if _, err = (Store{KV: x}).Commit(t.Context(), fence, ops); !errors.Is(err, ErrDeposed) {
		t.Errorf("the fence fell: %v", err)
	}
	x.err = FailedOp(x.ops, &api.TxnError{OpIndex: 2, What: "index is stale"})
	_, err = Store{KV: x}.Commit(t.Context(), fence, ops)
	var failed *OpError
	if !errors.Is(err, ErrConflict) || errors.Is(err, ErrDeposed) || !errors.As(err, &failed) || failed.Index != 1 || failed.Key != "b" {
		t.Errorf("another condition: %v", err)
	}
	// Not to be allowed to look at the key is not to be deposed.
	x.err = FailedOp(x.ops, &api.TxnError{OpIndex: 0, What: "Permission denied"})
	if _, err = (Store{KV: x}).Commit(t.Context(), fence, ops); !errors.Is(err, ErrForbidden) || errors.Is(err, ErrDeposed) {
		t.Errorf("forbidden: %v", err)
	}
	x.err = &Error{Kind: ErrUnavailable}
	if _, err = (Store{KV: x}).Commit(t.Context(), fence, ops); !errors.Is(err, ErrUnavailable) {
		t.Errorf("away: %v", err)
	}
}

func TestCommitRefusesWhatItCannotFence(t *testing.T) {
	x := &transactor{}
	op := &api.KVTxnOp{Verb: api.KVSet, Key: "a"}
	for _, fence := range []Fence{{}, {LeaderKey: "k"}, {Session: "s"}} {
		if _, err := (Store{KV: x}).Commit(t.Context(), fence, api.KVTxnOps{op}); !errors.Is(err, ErrDeposed) {
			t.Errorf("%+v: %v", fence, err)
		}
	}
	var many api.KVTxnOps
	for range MaxOps {
		many = append(many, op)
	}
	for _, ops := range []api.KVTxnOps{nil, many} {
		if _, err := (Store{KV: x}).Commit(t.Context(), Fence{"k", "s"}, ops); !errors.Is(err, ErrInvalid) {
			t.Errorf("%d operations: %v", len(ops), err)
		}
	}
	if x.ops != nil {
		t.Error("and was sent")
	}
	if _, err := (Store{KV: x}).Commit(t.Context(), Fence{"k", "s"}, many[1:]); err != nil || len(x.ops) != MaxOps {
		t.Errorf("%d operations sent: %v", len(x.ops), err)
	}
}
