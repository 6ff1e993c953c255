package consultest

import (
	"context"
	"time"
)

// found is what a look at the state gave: the index to report, and whether it
// was a missing key, of which Consul does not tell twice.
type found struct {
	index   uint64
	missing bool
}

// read carries out a read. look runs under the server's lock and sees the
// state as it was at an index. The index returned is the one to block on next.
func (c *Client) read(ctx context.Context, op, key string, index uint64, look func(s *Server, at uint64) found) (uint64, error) {
	if err := ended(ctx, op); err != nil {
		return 0, err
	}
	fault, err := c.fault(Call{Op: op, Key: key, Index: index})
	if err != nil {
		return 0, err
	}
	if err := ended(ctx, op); err != nil {
		return 0, err
	}
	if fault.Hang {
		return 0, c.hang(ctx, op, c.patience(index))
	}
	dead := time.NewTimer(c.patience(index))
	defer dead.Stop()
	if err := underway(ctx, op, fault.Delay, dead); err != nil {
		return 0, err
	}
	q := query{index: index, after: index, fault: fault, look: look}
	expired := time.NewTimer(c.waits(index))
	defer expired.Stop()
	for {
		last, answered, changed, err := c.try(op, &q)
		if err != nil || answered {
			return last, err
		}
		select {
		case <-changed:
		case <-expired.C:
			q.expired = true
		case <-dead.C:
			return 0, unavailable(op, "no answer in time")
		case <-ctx.Done():
			return 0, ended(ctx, op)
		}
	}
}

// query is a read that waits for its answer.
type query struct {
	index    uint64 // asked for
	after    uint64 // what counts as newer
	missing  bool   // at the last look
	expired  bool   // its wait has passed
	looked   bool
	restored int // what the server's was at the first look
	fault    Fault
	look     func(s *Server, at uint64) found
}

// try looks once; changed closes when it is worth looking again.
func (c *Client) try(op string, q *query) (last uint64, answered bool, changed <-chan struct{}, err error) {
	s := c.s
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case s.away:
		return 0, false, nil, unavailable(op, "connection refused")
	case s.cut[c.agent], s.paused:
		return 0, false, s.changed, nil
	}
	at := s.index
	if q.index > 0 {
		at -= min(at, q.fault.Stale)
	}
	got := q.look(s, at)
	if q.missing && got.missing { // nothing new for the caller
		q.after = got.index
	}
	if !q.looked {
		q.restored = s.restored
	}
	q.missing, q.looked = got.missing, true
	if q.index > 0 && got.index <= q.after && !q.fault.Early && !q.expired && q.restored == s.restored {
		return 0, false, s.changed, nil
	}
	if q.fault.After != nil {
		return 0, false, nil, q.fault.After
	}
	if got.index < q.index { // the client asks again for what is there now
		got = q.look(s, s.index)
	}
	return got.index, true, nil, nil
}

// waits is how long a query with this index waits for something newer.
func (c *Client) waits(index uint64) time.Duration {
	c.s.mu.Lock()
	defer c.s.mu.Unlock()
	if index == 0 {
		return c.s.timeout
	}
	return c.s.wait
}

// underway holds a request on its way.
func underway(ctx context.Context, op string, d time.Duration, dead *time.Timer) error {
	if d <= 0 {
		return nil
	}
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-dead.C:
		return unavailable(op, "no answer in time")
	case <-ctx.Done():
		return ended(ctx, op)
	}
}
