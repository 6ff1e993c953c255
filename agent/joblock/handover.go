package joblock

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/hashicorp/consul/api"

	"github.com/tealdeploy/teal/agent/deployment"
	"github.com/tealdeploy/teal/agent/kv"
)

// Outcome is how a drain ended.
type Outcome string

// The outcomes.
const (
	// Released: every worker let go by itself.
	Released Outcome = "released"
	// Forced: the deadline passed and workers were made to end.
	Forced Outcome = "forced"
)

// insist is how long workers that were told to end at once have to say that
// they did. A worker that can be reached needs milliseconds.
const insist = 2 * time.Second

// Store is what a handover needs of Consul besides fenced commits.
type Store interface {
	Reader
	DestroySession(ctx context.Context, id string) error
}

// Handover gives the jobs of a service to a colour.
type Handover struct {
	Store   Store
	Keys    kv.Keys
	Service string
	To      deployment.Colour // or None: nobody shall process
	// Deadline is when workers that still process are made to end.
	Deadline time.Time
	// Commit carries out a transaction under the leader's fence. One that
	// only reads must be consistent.
	Commit func(ctx context.Context, ops api.KVTxnOps) (api.KVPairs, error)
}

// Drain returns once no worker of any colour but To can still be processing.
// The key must no longer name their colour: otherwise new ones keep coming.
//
// At the deadline each remaining worker is told through its own key to end at
// once. One that does not answer is cut off: its session is destroyed, and
// then its lease is waited out, after which it has ended by its own clock. A
// worker that was stopped (SIGSTOP, a paused machine) has not; its token is
// what keeps it from writing.
func (h Handover) Drain(ctx context.Context) (Outcome, error) {
	outcome := Released
	for _, c := range deployment.Colours {
		if c == h.To {
			continue
		}
		got, err := h.drain(ctx, c)
		if err != nil {
			return "", fmt.Errorf("drain %s workers of %s: %w", c, h.Service, err)
		}
		if got == Forced {
			outcome = Forced
		}
	}
	return outcome, nil
}

func (h Handover) drain(ctx context.Context, c deployment.Colour) (Outcome, error) {
	cut, err := h.begun(ctx, c)
	if err != nil {
		return "", err
	}
	left, err := h.await(ctx, c, h.Deadline)
	if err != nil {
		return "", err
	}
	if len(left) == 0 && cut == nil {
		return Released, nil
	}
	for _, p := range left {
		if err := h.tell(ctx, p); err != nil {
			return "", err
		}
	}
	if len(left) > 0 {
		if left, err = h.await(ctx, c, time.Now().Add(insist)); err != nil {
			return "", err
		}
	}
	if len(left) > 0 {
		if cut, err = h.cut(ctx, c, left, cut); err != nil {
			return "", err
		}
	}
	if cut == nil {
		return Forced, nil
	}
	return Forced, h.waitOut(ctx, cut)
}

// await watches a colour's workers until there is none or the deadline has
// passed, and returns who is left. That there is none is only believed from a
// consistent read, which sees every worker that registered before the key
// changed.
func (h Handover) await(ctx context.Context, c deployment.Colour, deadline time.Time) (api.KVPairs, error) {
	watch, cancel := context.WithDeadline(ctx, deadline)
	defer cancel()
	var index uint64
	for {
		all, err := h.now(ctx, c)
		left := working(all)
		if err != nil || len(left) == 0 || watch.Err() != nil {
			return left, err
		}
		for len(left) > 0 {
			var pairs api.KVPairs
			pairs, index, err = h.Store.List(watch, h.Keys.Workers(h.Service, c), index)
			if watch.Err() != nil && ctx.Err() == nil {
				break // the deadline: look once more
			}
			if err != nil {
				return nil, err
			}
			left = working(pairs)
		}
	}
}

// now is a colour's keys at this moment.
func (h Handover) now(ctx context.Context, c deployment.Colour) (api.KVPairs, error) {
	return h.Commit(ctx, api.KVTxnOps{{Verb: api.KVGetTree, Key: h.Keys.Workers(h.Service, c)}})
}

// Owner is what the key says at this moment: a read that may be behind could
// show none where somebody has written a colour since.
func (h Handover) Owner(ctx context.Context) (Key, error) {
	name := h.Keys.JobProcessor(h.Service)
	pairs, err := h.Commit(ctx, api.KVTxnOps{{Verb: api.KVGetTree, Key: name}})
	if err != nil {
		return Key{}, err
	}
	for _, pair := range pairs {
		if pair.Key == name {
			return Parse(pair), nil
		}
	}
	return Parse(nil), nil
}

// tell writes Stop into a worker's key. The worker's lock on it stays.
func (h Handover) tell(ctx context.Context, p *api.KVPair) error {
	w := ParseWorker(p.Value)
	if w.Stop {
		return nil
	}
	w.Stop = true
	_, err := h.Commit(ctx, api.KVTxnOps{{Verb: api.KVCAS, Key: p.Key, Value: w.Value(), Index: p.ModifyIndex}})
	if err != nil && ctx.Err() == nil && !errors.Is(err, errConflict) {
		return err
	}
	return nil // gone or renewed in the meantime: the next look tells
}
