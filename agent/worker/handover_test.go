package worker

import (
	"context"
	"fmt"

	"github.com/hashicorp/consul/api"

	"github.com/tealdeploy/teal/agent/deployment"
	"github.com/tealdeploy/teal/agent/joblock"
)

// handOver does the whole handover as the leading agent does it: none, drain, the
// new owner. It begins with what the key says, so that it may be run again.
func handOver(ctx context.Context, h joblock.Handover) (joblock.Outcome, error) {
	if err := give(ctx, h, deployment.None); err != nil {
		return "", err
	}
	outcome, err := h.Drain(ctx)
	if err != nil || !h.To.Valid() {
		return outcome, err
	}
	return outcome, give(ctx, h, h.To)
}

// give writes who owns the jobs; an owner that is so already stays untouched.
func give(ctx context.Context, h joblock.Handover, to deployment.Colour) error {
	key, err := h.Owner(ctx)
	if err != nil {
		return err
	}
	if key.Owner == to && key.Index != 0 || key.Owner == h.To && to == deployment.None {
		return nil
	}
	op := &api.KVTxnOp{Verb: api.KVCAS, Key: h.Keys.JobProcessor(h.Service), Value: []byte(to.String()), Index: key.Index}
	if _, err := h.Commit(ctx, api.KVTxnOps{op}); err != nil {
		return fmt.Errorf("jobs of %s to %s: %w", h.Service, to, err)
	}
	return nil
}
