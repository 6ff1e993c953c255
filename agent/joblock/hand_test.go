package joblock

import (
	"context"
	"sync"
	"time"

	"github.com/hashicorp/consul/api"

	"github.com/tealdeploy/teal/agent/consul"
	"github.com/tealdeploy/teal/agent/consul/consultest"
	"github.com/tealdeploy/teal/agent/deployment"
)

// hand is a worker as the contract has it, without a process.
type hand struct {
	crew   *crew
	name   string
	colour deployment.Colour
	lease  time.Duration // 0: it does not say, and has DefaultLease
	slow   time.Duration // from being told to end to having ended
	deaf   bool          // does not hear of Stop
	frozen chan struct{} // closed: it does nothing any more but end by its own clock
}

// hire starts a worker. Its goroutine ends with the scenario.
func (c *crew) hire(h hand) *hand {
	h.crew, h.frozen = c, make(chan struct{})
	c.joined.Go(func() {
		for h.untilOwner(c.ctx, true); c.ctx.Err() == nil; h.untilOwner(c.ctx, true) {
			h.shift(c.ctx)
			<-time.After(50 * time.Millisecond)
		}
	})
	return &h
}

// shift registers, looks, works while the key says so, and lets go.
func (h *hand) shift(ctx context.Context) {
	client := h.crew.server.Client(h.name)
	sent, lease := time.Now(), h.lease
	if lease == 0 {
		lease = DefaultLease
	}
	id, err := client.NewSession(ctx, &api.SessionEntry{TTL: lease.String(), Behavior: "delete"})
	if err != nil {
		return
	}
	defer func() { _ = client.DestroySession(context.WithoutCancel(ctx), id) }()
	own := keys.Worker("api", h.colour, h.name)
	if ok, err := client.Acquire(ctx, own, Worker{Host: h.name, Lease: Duration(h.lease)}.Value(), id); err != nil || !ok {
		return
	}
	pair, err := client.Read(ctx, keys.JobProcessor("api"))
	if key := Parse(pair); err != nil || key.Owner != h.colour {
		return
	}
	h.crew.works(h, true)
	defer h.crew.works(h, false)

	// By its own clock it ends within its lease, whatever it hears.
	ctx, cancel := context.WithDeadline(ctx, sent.Add(lease*9/10))
	defer cancel()
	told, stop := context.WithCancel(ctx)
	var watching sync.WaitGroup
	defer watching.Wait()
	defer stop()
	watching.Go(func() { h.hearStop(told, client, own, id, stop) })
	watching.Go(func() { h.renew(told, client, id, lease, cancel) })
	h.untilOwner(told, false)
	select {
	case <-time.After(h.slow):
	case <-told.Done():
	case <-h.frozen:
		<-ctx.Done()
	}
}

// untilOwner returns when the jobs are its colour's, or no more, or it is
// frozen.
func (h *hand) untilOwner(ctx context.Context, is bool) {
	client := h.crew.server.Client(h.name)
	_ = consul.Watch(ctx, func(ctx context.Context, index uint64) (uint64, error) {
		select {
		case <-h.frozen:
			if !is {
				return 0, consul.ErrStop
			}
		default:
		}
		pair, next, err := client.Get(ctx, keys.JobProcessor("api"), index)
		if err == nil && (Parse(pair).Owner == h.colour) == is {
			return next, consul.ErrStop
		}
		return next, err
	})
}

// hearStop ends the work at once when the leader says so, or cut it off.
func (h *hand) hearStop(ctx context.Context, client *consultest.Client, own, session string, stop func()) {
	_ = consul.Watch(ctx, func(ctx context.Context, index uint64) (uint64, error) {
		pair, next, err := client.Get(ctx, own, index)
		switch {
		case err != nil:
			return 0, err
		case h.deaf:
			<-ctx.Done()
		case pair == nil || pair.Session != session || ParseWorker(pair.Value).Stop:
			stop()
			return next, consul.ErrStop
		}
		return next, nil
	})
}

// renew keeps the session for as long as the worker is in contact; the lease
// is not prolonged: these workers work no longer than one.
func (h *hand) renew(ctx context.Context, client *consultest.Client, id string, lease time.Duration, lost func()) {
	every := time.NewTicker(lease / 5)
	defer every.Stop()
	for {
		select {
		case <-every.C:
		case <-ctx.Done():
			return
		}
		if _, err := client.RenewSession(ctx, id); err != nil && ctx.Err() == nil && !h.deaf {
			lost()
			return
		}
	}
}
