package worker

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/tealdeploy/teal/agent/consul"
	"github.com/tealdeploy/teal/agent/joblock"
)

// supervise waits for the end of the command, and brings it about when the
// jobs are lost, the lease runs out or ctx ends. It returns when the command
// and its whole process group are dead.
func (w *worker) supervise(ctx, live context.Context, c Running, l *lease, key joblock.Key) (exit int, done bool) {
	live, end := context.WithCancel(live)
	var watchers sync.WaitGroup
	defer watchers.Wait()
	defer end()
	lost := make(chan string, 1) // end it, with time to finish
	cut := make(chan string, 1)  // end it now
	watchers.Go(func() {
		if err := l.keep(live, w.consul); err != nil {
			cut <- err.Error()
		}
	})
	watchers.Go(func() { w.watchOwner(live, key, lost) })

	soft, hard := time.NewTimer(time.Until(l.soft())), time.NewTimer(time.Until(l.hard()))
	kill := time.NewTimer(time.Hour)
	kill.Stop()
	defer soft.Stop()
	defer hard.Stop()
	defer kill.Stop()

	stopping := ""
	stopped := ctx.Done()
	var told chan string // by the leading agent or our key's disappearance
	terminate := func(why string) {
		if stopping != "" {
			return
		}
		stopping = why
		w.Log.Info("stopping the command", "reason", why, "kill_timeout", w.KillTimeout)
		c.Terminate()
		kill.Reset(w.KillTimeout)
		told = make(chan string, 1)
		watchers.Go(func() { w.watchSelf(live, l.session, told) })
	}
	for {
		select {
		case <-c.Ended():
			w.Log.Info("the command has ended", "exit", c.Code(), "reason", stopping)
			return c.Code(), stopping == "" || ctx.Err() != nil
		case <-l.changed:
			soft.Reset(time.Until(l.soft()))
			hard.Reset(time.Until(l.hard()))
		case why := <-lost:
			terminate(why)
		case <-stopped:
			stopped = nil
			terminate("told to stop")
		case <-soft.C:
			terminate("no contact with Consul")
		case why := <-cut:
			stopping = orElse(stopping, why)
			w.kill(c, why)
		case why := <-told:
			w.kill(c, why)
		case <-hard.C:
			w.kill(c, "the lease ends")
		case <-kill.C:
			w.kill(c, fmt.Sprintf("it did not end within %s", w.KillTimeout))
		}
	}
}

func (w *worker) kill(c Running, why string) {
	w.Log.Warn("killing the command", "reason", why)
	c.Kill()
}

func orElse(s, other string) string {
	if s == "" {
		return other
	}
	return s
}

// watchOwner reports when the key is not any more what it was: another owner,
// or a new token, which an older one must not work beside.
func (w *worker) watchOwner(ctx context.Context, was joblock.Key, lost chan<- string) {
	_ = consul.Watch(ctx, func(ctx context.Context, index uint64) (uint64, error) {
		pair, index, err := w.consul.Get(ctx, w.Keys.JobProcessor(w.Service), index)
		if err != nil {
			return 0, err // the lease decides how long
		}
		now := joblock.Parse(pair)
		switch {
		case now.Owner != w.Colour:
			lost <- "the jobs belong to " + now.Owner.String()
		case now.Index > was.Index:
			lost <- "the jobs were handed over anew"
		default: // the same, or a stale answer from before
			return index, nil
		}
		return index, consul.ErrStop
	})
}

// watchSelf reports when the leading agent wants the command dead at once, or
// has cut the worker off.
func (w *worker) watchSelf(ctx context.Context, session string, told chan<- string) {
	_ = consul.Watch(ctx, func(ctx context.Context, index uint64) (uint64, error) {
		pair, index, err := w.consul.Get(ctx, w.key(), index)
		switch {
		case err != nil:
			return 0, err
		case pair == nil || pair.Session != session:
			told <- "cut off by the leading agent"
		case joblock.ParseWorker(pair.Value).Stop:
			told <- "the handover's deadline has passed"
		default:
			return index, nil
		}
		return index, consul.ErrStop
	})
}
