package notify

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	consulapi "github.com/hashicorp/consul/api"
	"github.com/hashicorp/go-hclog"
	"golang.org/x/sync/errgroup"

	"github.com/tealdeploy/teal/agent/consul"
	"github.com/tealdeploy/teal/agent/deployment"
	"github.com/tealdeploy/teal/agent/kv"
)

// Store is Consul KV as a leader may write it.
type Store interface {
	List(ctx context.Context, prefix string, index uint64) (consulapi.KVPairs, uint64, error)
	Commit(ctx context.Context, fence consul.Fence, ops consulapi.KVTxnOps) (consulapi.KVPairs, error)
}

// Meter is told what became of notices, for /v1/metrics.
type Meter interface {
	Notice(receiver, result string)
	NoticesWaiting(n int)
}

// What becomes of a notice, or of a try.
const (
	Told    = "told"
	Tried   = "failed" // and is tried again
	GivenUp = "given-up"
	Dropped = "dropped" // there was no room
)

// Results lists them.
var Results = []string{Told, Tried, GivenUp, Dropped}

// Config is what an Outbox needs.
type Config struct {
	Receivers []Receiver
	Keys      kv.Keys
	Store     Store
	Meter     Meter
	Log       hclog.Logger
}

// maxOwed is how many notices may wait in Consul. A receiver that is away for long
// must not fill it.
const maxOwed = 500

const (
	retryFirst = time.Second
	retryMost  = 2 * time.Minute
)

// Outbox keeps what is to be told until it was.
type Outbox struct {
	cfg Config

	mu   sync.Mutex
	owed map[string]*owed // by key
	full bool             // said that there is no room
	// told are the keys that were read at the term's beginning and are taken off
	// since. A save of that moment may be among them, and be announced only now.
	told map[string]bool
	wake map[string]chan struct{}

	// writing is held while a key is written, so that two receivers' answers to
	// one notice do not undo each other.
	writing sync.Mutex
}

// owed is a notice and who has not been told yet.
type owed struct {
	Notice
	To []string `json:"owed_to"`

	read bool // from Consul, at the term's beginning
	// since is when it began to be owed: its own time, unless that is still to come.
	since time.Time
}

// New makes an outbox. It does no I/O and starts nothing.
func New(cfg Config) *Outbox {
	return &Outbox{cfg: cfg, owed: map[string]*owed{}, wake: map[string]chan struct{}{}}
}

// Owed are the writes that go into the same transaction as what is to be told of.
func (o *Outbox) Owed(before, after deployment.Service, ev deployment.Event) consulapi.KVTxnOps {
	var ops consulapi.KVTxnOps
	for _, n := range Of(before, after, ev) {
		w := owed{Notice: n}
		for _, r := range o.cfg.Receivers {
			if r.Wants(n) {
				w.To = append(w.To, r.Name)
			}
		}
		if len(w.To) == 0 {
			continue
		}
		value, err := json.Marshal(w)
		if err != nil || !o.room(len(ops)) {
			o.drop(w)
			continue
		}
		ops = append(ops, &consulapi.KVTxnOp{Verb: consulapi.KVSet, Key: o.cfg.Keys.Notice(n.Service, n.ID), Value: value})
	}
	return ops
}

func (o *Outbox) room(more int) bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	return len(o.owed)+more < maxOwed
}

// drop gives a notice up for want of room; it is said once.
func (o *Outbox) drop(w owed) {
	o.mu.Lock()
	said := o.full
	o.full = true
	o.mu.Unlock()
	for _, name := range w.To {
		o.cfg.Meter.Notice(name, Dropped)
	}
	if !said {
		o.cfg.Log.Error("a notice is dropped: too many wait for receivers that do not take them", "waiting", maxOwed, "service", w.Service, "event", string(w.Event))
	}
}

// Saved says that those writes were made.
func (o *Outbox) Saved(ops consulapi.KVTxnOps) {
	for _, op := range ops {
		o.take(op.Key, op.Value, false)
	}
}

// take puts a notice among those that are owed.
func (o *Outbox) take(key string, value []byte, read bool) {
	w := owed{read: read}
	if err := json.Unmarshal(value, &w); err != nil || w.ID == "" || len(w.To) == 0 || o.cfg.Keys.Notice(w.Service, w.ID) != key {
		o.cfg.Log.Warn("notice in Consul cannot be read and is left there", "key", key)
		return
	}
	if w.since = time.Now(); w.At.Before(w.since) {
		w.since = w.At
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	if _, there := o.owed[key]; there || o.told[key] {
		return
	}
	o.owed[key] = &w
	o.cfg.Meter.NoticesWaiting(len(o.owed))
	for _, name := range w.To {
		select {
		case o.wake[name] <- struct{}{}: // nil: nobody here has that name
		default:
		}
	}
}

// Term begins a term's work: what earlier terms still owed is told, and what is
// saved from now on. The function that it returns does it, until its context ends.
func (o *Outbox) Term(fence consul.Fence) func(ctx context.Context) error {
	o.mu.Lock()
	o.owed, o.full, o.told = map[string]*owed{}, false, map[string]bool{}
	for _, r := range o.cfg.Receivers {
		o.wake[r.Name] = make(chan struct{}, 1)
	}
	o.mu.Unlock()
	return func(ctx context.Context) error {
		defer o.cfg.Meter.NoticesWaiting(0)
		if err := o.load(ctx); err != nil { // first, so that all is told in order
			return ended(ctx, err)
		}
		g, ctx := errgroup.WithContext(ctx)
		for _, r := range o.cfg.Receivers {
			g.Go(func() error { return ended(ctx, o.serve(ctx, fence, r)) })
		}
		g.Go(func() error { return ended(ctx, o.sweep(ctx, fence)) })
		return g.Wait()
	}
}

// ended makes the end of a term no error.
func ended(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return nil
	}
	return err
}

// load reads what earlier terms owed.
func (o *Outbox) load(ctx context.Context) error {
	return o.insist(ctx, "read the notices", func() error {
		pairs, _, err := o.cfg.Store.List(ctx, o.cfg.Keys.Notices(), 0)
		for _, p := range pairs {
			o.take(p.Key, p.Value, true)
		}
		return err
	})
}

// serve tells one receiver all that it is owed, the oldest first. Whatever it
// does, the others do not wait for it.
func (o *Outbox) serve(ctx context.Context, fence consul.Fence, r Receiver) error {
	log := o.cfg.Log.With("receiver", r.Name, "kind", r.Kind)
	pause, failing := retryFirst, false
	for {
		key, n, since, ok := o.next(r.Name)
		if !ok {
			select {
			case <-ctx.Done():
				return nil
			case <-o.wake[r.Name]:
			}
			continue
		}
		err := o.try(ctx, r, n)
		if err != nil && ctx.Err() != nil {
			return nil
		}
		result := Told
		switch late := time.Since(since) >= r.GiveUp; {
		case err == nil:
			if failing {
				log.Info("receiver takes notices again")
			}
			pause, failing = retryFirst, false
			log.Debug("told", "service", n.Service, "event", string(n.Event), "id", n.ID)
		case errors.Is(err, errRefused), late:
			result = GivenUp
			log.Error("a notice is given up", "service", n.Service, "event", string(n.Event), "id", n.ID, "error", err)
		default:
			if !failing {
				log.Warn("a notice could not be told; trying again", "service", n.Service, "event", string(n.Event), "id", n.ID, "until", since.Add(r.GiveUp), "error", err)
			}
			failing = true
			o.cfg.Meter.Notice(r.Name, Tried)
			if !rest(ctx, pause) {
				return nil
			}
			pause = min(2*pause, retryMost)
			continue
		}
		o.cfg.Meter.Notice(r.Name, result)
		if err := o.settle(ctx, fence, key, r.Name); err != nil {
			return err
		}
	}
}

func (o *Outbox) try(ctx context.Context, r Receiver, n Notice) error {
	ctx, cancel := context.WithTimeout(ctx, r.Timeout)
	defer cancel()
	err := r.Sender.Send(ctx, n)
	if err != nil && errors.Is(ctx.Err(), context.DeadlineExceeded) {
		return fmt.Errorf("no answer within %s", r.Timeout)
	}
	return err
}

// next is the oldest notice that a receiver is owed.
func (o *Outbox) next(receiver string) (key string, n Notice, since time.Time, ok bool) {
	o.mu.Lock()
	defer o.mu.Unlock()
	for k, w := range o.owed {
		if !slices.Contains(w.To, receiver) {
			continue
		}
		if !ok || w.At.Before(n.At) || w.At.Equal(n.At) && k < key {
			key, n, since, ok = k, w.Notice, w.since, true
		}
	}
	return key, n, since, ok
}

// settle notes that receivers are owed a notice no more.
func (o *Outbox) settle(ctx context.Context, fence consul.Fence, key string, names ...string) error {
	o.writing.Lock()
	defer o.writing.Unlock()
	o.mu.Lock()
	w := o.owed[key]
	if w == nil {
		o.mu.Unlock()
		return nil
	}
	left := slices.DeleteFunc(slices.Clone(w.To), func(name string) bool { return slices.Contains(names, name) })
	w.To = left
	op := &consulapi.KVTxnOp{Verb: consulapi.KVDelete, Key: key}
	if len(left) > 0 {
		value, err := json.Marshal(w)
		if err == nil {
			op = &consulapi.KVTxnOp{Verb: consulapi.KVSet, Key: key, Value: value}
		}
	} else {
		delete(o.owed, key)
		o.full = false
		if w.read {
			o.told[key] = true
		}
	}
	o.cfg.Meter.NoticesWaiting(len(o.owed))
	o.mu.Unlock()
	// Until this is written a next leader would tell it again.
	return o.insist(ctx, "note that a notice was told", func() error {
		_, err := o.cfg.Store.Commit(ctx, fence, consulapi.KVTxnOps{op})
		return err
	})
}

// sweepEvery is how often it is looked for notices that nobody takes.
const sweepEvery = time.Minute

// sweep gives up what is owed to names that this agent's config does not have:
// another agent's may, until they are too old.
func (o *Outbox) sweep(ctx context.Context, fence consul.Fence) error {
	for rest(ctx, sweepEvery) {
		o.mu.Lock()
		strangers := map[string][]string{}
		for key, w := range o.owed {
			for _, name := range w.To {
				if o.wake[name] == nil && time.Since(w.since) > time.Hour {
					strangers[key] = append(strangers[key], name)
				}
			}
		}
		o.mu.Unlock()
		for key, names := range strangers {
			o.cfg.Log.Error("a notice is given up: no receiver has this name", "key", key, "names", strings.Join(names, ", "))
			if err := o.settle(ctx, fence, key, names...); err != nil {
				return err
			}
		}
	}
	return nil
}

// insist tries until it works, until the term ends, or until another leads.
func (o *Outbox) insist(ctx context.Context, what string, try func() error) error {
	for pause := retryFirst; ; pause = min(2*pause, 15*time.Second) {
		err := try()
		if err == nil || errors.Is(err, consul.ErrDeposed) || ctx.Err() != nil {
			return err
		}
		o.cfg.Log.Warn("cannot "+what+"; trying again", "error", err)
		if !rest(ctx, pause) {
			return ctx.Err()
		}
	}
}

// rest is the pause between two tries; false when ctx ended first.
func rest(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-timer.C:
		return true
	}
}
