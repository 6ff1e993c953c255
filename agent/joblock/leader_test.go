package joblock

import (
	"context"
	"fmt"

	"github.com/hashicorp/consul/api"

	"github.com/tealdeploy/teal/agent/deployment"
	"github.com/tealdeploy/teal/agent/kv"
)

// What the leading agent does around a drain, as package controller does it
// together with its record.

// Run does the whole handover: none, drain, the new owner. It begins with what
// the key says, so it may be run again after a crash or an error at any point,
// by this agent or another.
func (h Handover) Run(ctx context.Context) (Outcome, error) {
	key, err := h.read(ctx)
	if err != nil {
		return "", err
	}
	if key.Owner.Valid() && key.Owner != h.To {
		if err := h.write(ctx, key, deployment.None); err != nil {
			return "", err
		}
	}
	outcome, err := h.Drain(ctx)
	if err != nil || !h.To.Valid() {
		return outcome, err
	}
	if key, err = h.read(ctx); err != nil {
		return outcome, err
	}
	return outcome, h.write(ctx, key, h.To)
}

func (h Handover) read(ctx context.Context) (Key, error) {
	pair, _, err := h.Store.Get(ctx, h.Keys.JobProcessor(h.Service), 0)
	if err != nil {
		return Key{}, err
	}
	return Parse(pair), nil
}

func (h Handover) write(ctx context.Context, key Key, to deployment.Colour) error {
	ops, err := key.Ops(h.Keys, h.Service, to)
	if err != nil {
		return err
	}
	if _, err := h.Commit(ctx, ops); err != nil {
		return fmt.Errorf("jobs of %s to %s: %w", h.Service, to, err)
	}
	return nil
}

// Ops is the change of the key to a colour or to none, on condition that the
// key is still as read. It belongs into one fenced transaction with the record
// that says so. Nothing is to be done when the key says it already: Ops is then
// only the condition. From one colour straight to the other is refused.
func (k Key) Ops(keys kv.Keys, service string, to deployment.Colour) (api.KVTxnOps, error) {
	if k.Owner.Valid() && to.Valid() && k.Owner != to {
		return nil, fmt.Errorf("jobs of %s: from %s to %s only through none", service, k.Owner, to)
	}
	op := &api.KVTxnOp{Verb: api.KVCAS, Key: keys.JobProcessor(service), Value: []byte(to.String()), Index: k.Index}
	if k.Index > 0 && k.Garbled == "" && k.Owner.String() == to.String() {
		op = &api.KVTxnOp{Verb: api.KVCheckIndex, Key: op.Key, Index: k.Index}
	}
	return api.KVTxnOps{op}, nil
}
