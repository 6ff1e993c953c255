package world

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	consulapi "github.com/hashicorp/consul/api"

	"github.com/tealdeploy/teal/agent/deployment"
	"github.com/tealdeploy/teal/agent/kv"
)

// Put writes a key.
func (w *World) Put(ctx context.Context, key, value string) error {
	_, err := w.ConsulClient().KV().Put(&consulapi.KVPair{Key: key, Value: []byte(value)}, (&consulapi.WriteOptions{}).WithContext(ctx))
	return err
}

// Value reads a key; it is empty when there is none.
func (w *World) Value(ctx context.Context, key string) (string, error) {
	pair, _, err := w.ConsulClient().KV().Get(key, (&consulapi.QueryOptions{RequireConsistent: true}).WithContext(ctx))
	if err != nil || pair == nil {
		return "", err
	}
	return string(pair.Value), nil
}

// AwaitKey waits by blocking queries until a key's pair, nil when there is
// none, is as wanted. When ctx ends the error says how it was last.
func (w *World) AwaitKey(ctx context.Context, key string, wanted func(*consulapi.KVPair) bool) error {
	var last *consulapi.KVPair
	for index := uint64(0); ; {
		q := (&consulapi.QueryOptions{WaitIndex: index, WaitTime: 30 * time.Second}).WithContext(ctx)
		pair, meta, err := w.ConsulClient().KV().Get(key, q)
		switch {
		case ctx.Err() != nil:
			if last == nil {
				return fmt.Errorf("%s: %w; there is no such key", key, context.Cause(ctx))
			}
			return fmt.Errorf("%s: %w; last value: %s", key, context.Cause(ctx), last.Value)
		case err != nil: // Consul is away: the test may have wanted that
			if !pause(ctx, 50*time.Millisecond) {
				continue
			}
			index = 0
		default:
			last = pair
			if wanted(pair) {
				return nil
			}
			if meta.LastIndex < index { // Consul was restored or began anew
				meta.LastIndex = 0
			}
			index = meta.LastIndex
		}
	}
}

// Record reads a service's record.
func (s *Site) Record(ctx context.Context, service string) (deployment.Service, error) {
	value, err := s.Value(ctx, s.Keys.State(service))
	if err != nil {
		return deployment.Service{}, err
	}
	if value == "" {
		return deployment.Service{}, fmt.Errorf("there is no record of %s", service)
	}
	return deployment.Decode(service, []byte(value))
}

// AwaitRecord waits until a service's record is as wanted.
func (s *Site) AwaitRecord(ctx context.Context, service string, wanted func(deployment.Service) bool) (deployment.Service, error) {
	var found deployment.Service
	err := s.AwaitKey(ctx, s.Keys.State(service), func(pair *consulapi.KVPair) bool {
		if pair == nil {
			return false
		}
		rec, err := deployment.Decode(service, pair.Value)
		if err != nil {
			return false
		}
		found = rec
		return wanted(rec)
	})
	return found, err
}

// AwaitState waits until the release of a version is in one of the states.
func (s *Site) AwaitState(ctx context.Context, service, version string, states ...deployment.State) (deployment.Deployment, error) {
	return s.AwaitRelease(ctx, service, version, func(d deployment.Deployment) bool {
		for _, state := range states {
			if d.State == state {
				return true
			}
		}
		return false
	})
}

// AwaitEnd waits until the newest release of a version has ended.
func (s *Site) AwaitEnd(ctx context.Context, service, version string) (deployment.Deployment, error) {
	return s.AwaitRelease(ctx, service, version, func(d deployment.Deployment) bool { return d.Outcome != "" })
}

// AwaitRelease waits until the newest release of a version is as wanted, be it
// in flight or finished.
func (s *Site) AwaitRelease(ctx context.Context, service, version string, wanted func(deployment.Deployment) bool) (deployment.Deployment, error) {
	var found deployment.Deployment
	var bad error
	_, err := s.AwaitRecord(ctx, service, func(rec deployment.Service) bool {
		if d := rec.Deployment; d != nil && d.Candidate.Version == version {
			found = *d
			return wanted(*d)
		}
		for _, id := range rec.Finished {
			d, err := s.Finished(ctx, service, id)
			if err != nil {
				bad = err
				return true
			}
			if d.Candidate.Version == version {
				found = d
				return wanted(d)
			}
		}
		return false
	})
	if bad != nil {
		return found, bad
	}
	return found, err
}

// Finished reads the record of a finished deployment.
func (s *Site) Finished(ctx context.Context, service, id string) (deployment.Deployment, error) {
	var d deployment.Deployment
	value, err := s.Value(ctx, s.Keys.Deployment(service, id))
	if err != nil {
		return d, err
	}
	if err := json.Unmarshal([]byte(value), &d); err != nil {
		return d, fmt.Errorf("deployment %s of %s: %w: %q", id, service, err, value)
	}
	return d, nil
}

// Order puts a command as `consul kv put` does, and waits for the answer to
// exactly this one.
func (s *Site) Order(ctx context.Context, service string, verb kv.Verb, value string) (kv.Result, error) {
	client, key := s.ConsulClient(), s.Keys.Command(service, verb)
	ok, response, _, err := client.Txn().Txn(consulapi.TxnOps{{KV: &consulapi.KVTxnOp{
		Verb: consulapi.KVSet, Key: key, Value: []byte(value),
	}}}, (&consulapi.QueryOptions{}).WithContext(ctx))
	if err != nil || !ok {
		return kv.Result{}, fmt.Errorf("put %s: %v, %w", key, response, err)
	}
	index := response.Results[0].KV.ModifyIndex
	var result kv.Result
	err = s.AwaitKey(ctx, s.Keys.Result(service, verb), func(pair *consulapi.KVPair) bool {
		return pair != nil && json.Unmarshal(pair.Value, &result) == nil && result.Index == index
	})
	if err != nil {
		return result, fmt.Errorf("answer to %s %q: %w", key, value, err)
	}
	return result, nil
}

// pause lets d pass; false when ctx ended first.
func pause(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-timer.C:
		return true
	}
}
