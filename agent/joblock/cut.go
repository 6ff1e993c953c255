package joblock

import (
	"context"
	"slices"
	"time"

	"github.com/hashicorp/consul/api"

	"github.com/tealdeploy/teal/agent/consul"
	"github.com/tealdeploy/teal/agent/deployment"
)

// errConflict is what a commit fails with when a key changed meanwhile.
var errConflict = consul.ErrConflict

// cutKey is written before sessions are destroyed and deleted once the leases
// have passed, so that a leader who takes over in between waits too, also if
// the jobs were given back to the colour meanwhile: those that were cut off
// are not seen under their keys any more. It holds the longest lease. No
// session holds it, so it is no worker.
func (h Handover) cutKey(c deployment.Colour) string {
	return h.Keys.Worker(h.Service, c, ".cut")
}

// cutOff is a cut that was begun: which key says so, and since when, by our
// own clock, nobody who was cut off has been in contact.
type cutOff struct {
	key   *api.KVPair
	lease time.Duration
	since time.Time
}

// begun finds a cut that an earlier leader did not wait out; nil if there is
// none. Its lease counts from here: our clock did not see it begin.
func (h Handover) begun(ctx context.Context, c deployment.Colour) (*cutOff, error) {
	all, err := h.now(ctx, c)
	if err != nil {
		return nil, err
	}
	at := slices.IndexFunc(all, func(p *api.KVPair) bool { return p.Key == h.cutKey(c) })
	if at < 0 {
		return nil, nil
	}
	return &cutOff{all[at], ParseWorker(all[at].Value).lease(), time.Now()}, nil
}

// cut ends the sessions of workers that do not answer.
func (h Handover) cut(ctx context.Context, c deployment.Colour, left api.KVPairs, before *cutOff) (*cutOff, error) {
	made := &cutOff{}
	if before != nil {
		made.lease = before.lease
	}
	for _, p := range left {
		made.lease = max(made.lease, ParseWorker(p.Value).lease())
	}
	value := Worker{Lease: Duration(made.lease)}.Value()
	pairs, err := h.Commit(ctx, api.KVTxnOps{{Verb: api.KVSet, Key: h.cutKey(c), Value: value}})
	if err != nil {
		return nil, err
	}
	made.key = pairs[0]
	for _, p := range left {
		if err := h.Store.DestroySession(ctx, p.Session); err != nil {
			return nil, err
		}
	}
	made.since = time.Now()
	return made, nil
}

// waitOut returns when all who were cut off have ended by their own clock.
func (h Handover) waitOut(ctx context.Context, cut *cutOff) error {
	lease := time.NewTimer(time.Until(cut.since.Add(cut.lease)))
	defer lease.Stop()
	select {
	case <-lease.C:
	case <-ctx.Done():
		return ctx.Err()
	}
	_, err := h.Commit(ctx, api.KVTxnOps{{Verb: api.KVDeleteCAS, Key: cut.key.Key, Index: cut.key.ModifyIndex}})
	return err
}
