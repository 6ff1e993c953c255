package worker

import (
	"context"
	"fmt"
	"os"
	"time"

	"github.com/hashicorp/consul/api"

	"github.com/tealdeploy/teal/agent/consul"
	"github.com/tealdeploy/teal/agent/joblock"
)

// backoff is the pause between tries.
type backoff = consul.Backoff

// awaitOwnership returns nil once Consul says that the colour owns the jobs,
// and an error only when ctx ends.
func (w *worker) awaitOwnership(ctx context.Context) error {
	w.Log.Debug("waiting for the jobs", "service", w.Service, "colour", w.Colour)
	garbled := ""
	return consul.Watch(ctx, func(ctx context.Context, index uint64) (uint64, error) {
		pair, index, err := w.consul.Get(ctx, w.Keys.JobProcessor(w.Service), index)
		if err != nil {
			if ctx.Err() == nil {
				w.Log.Warn("cannot ask who owns the jobs, trying again", "error", err)
			}
			return 0, err
		}
		key := joblock.Parse(pair)
		if key.Garbled != garbled {
			if garbled = key.Garbled; garbled != "" {
				w.Log.Error("the job-processor-leader key is garbled, nobody processes", "holds", garbled)
			}
		}
		if key.Owner == w.Colour {
			return index, consul.ErrStop
		}
		return index, nil
	})
}

// own registers the worker and runs the command for as long as the colour owns
// the jobs. done says that Run is to return exit; otherwise the jobs, or
// Consul, were lost.
func (w *worker) own(ctx context.Context) (exit int, done bool, err error) {
	// The session outlives ctx: it is renewed until the command is dead.
	live, end := context.WithCancel(context.WithoutCancel(ctx))
	defer end()

	lease, err := w.register(ctx)
	if err != nil {
		w.Log.Warn("not registered, trying again", "error", err)
		w.pause.Wait(ctx)
		return 0, ctx.Err() != nil, nil
	}
	defer w.letGo(ctx, lease)

	// Registered first, then looked: a handover that does not see this worker
	// has written the key before, and this read sees that.
	pair, err := w.consul.Read(ctx, w.Keys.JobProcessor(w.Service))
	key := joblock.Parse(pair)
	if err != nil || key.Owner != w.Colour {
		w.Log.Debug("the jobs are not ours after all", "owner", key.Owner, "error", err)
		w.pause.Wait(ctx)
		return 0, ctx.Err() != nil, nil
	}
	if ctx.Err() != nil || time.Now().After(lease.soft()) {
		return 0, ctx.Err() != nil, nil
	}
	w.pause.Reset()
	c, err := w.Start(w.Config, key.Index)
	if err != nil {
		return exitNotFound, true, err
	}
	w.Log.Info("processing", "service", w.Service, "colour", w.Colour, "token", key.Index)
	exit, done = w.supervise(ctx, live, c, lease, key)
	return exit, done, nil
}

// register makes the session and takes the worker's own key with it.
func (w *worker) register(ctx context.Context) (*lease, error) {
	began := time.Now()
	id, err := w.consul.NewSession(ctx, &api.SessionEntry{
		Name:      "teal work " + w.Service + " " + string(w.Colour),
		TTL:       w.TTL.String(),
		Behavior:  api.SessionBehaviorDelete,
		LockDelay: time.Millisecond,
	})
	if err != nil {
		return nil, err
	}
	l := newLease(id, began, w.TTL)
	host, _ := os.Hostname()
	value := joblock.Worker{Host: host, PID: os.Getpid(), Since: began.UTC(), Lease: joblock.Duration(w.TTL)}.Value()
	for {
		ok, err := w.consul.Acquire(ctx, w.key(), value, id)
		if err == nil && ok {
			return l, nil
		}
		if err == nil && time.Now().After(l.soft()) {
			err = fmt.Errorf("key %s is held by another session", w.key())
		}
		if err != nil {
			w.letGo(ctx, l)
			return nil, err
		}
		w.pause.Wait(ctx) // the lock delay of our own last time
	}
}

// letGo ends the session, and with it the key. If Consul cannot be asked, the
// session ends by itself.
func (w *worker) letGo(ctx context.Context, l *lease) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 2*time.Second)
	defer cancel()
	if err := w.consul.DestroySession(ctx, l.session); err != nil {
		w.Log.Warn("session not destroyed, it ends by its TTL", "session", l.session, "error", err)
	}
}
