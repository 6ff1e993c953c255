package nomadtest

import (
	"context"
	"errors"
	"time"

	"github.com/hashicorp/nomad/api"

	"github.com/tealdeploy/teal/agent/nomad"
)

// Call is one request as it leaves an agent.
type Call struct {
	Agent string
	Op    string // the method of nomad.Client: "Register", "Stop", …
	Job   string // its ID; empty for Parse, Ping and Stream
	Write bool
	Watch bool // it waits for news: WatchJob, WaitStopped, Stream
}

// Fault is what happens to a request. The zero value: nothing.
//
// A blocking query that returns early, with nothing new, is not among them:
// nomad.Client keeps that from whoever watches.
type Fault struct {
	// Stall holds the agent itself before the request leaves, whatever its
	// context says: a stopped process.
	Stall time.Duration
	// Delay holds the request on its way. A write arrives even if its sender
	// gave up in the meantime.
	Delay time.Duration
	// Lag holds the answer on its way: of a read, it says how things were.
	Lag time.Duration
	// Before is returned instead of carrying the request out.
	Before error
	// Twice carries a write out twice, as a retry below HTTP does; the answer
	// is the second's.
	Twice bool
	// After is returned although the request was carried out.
	After error
	// Hang never answers, nor does the request arrive: it ends with its context
	// or its timeout.
	Hang bool
	// Stale answers a read, the first of a watch, and what a stop or a scaling
	// reads before it writes, as it was that many indexes ago. nomad.Client never
	// allows stale reads; a leader that was suspended, and deposed meanwhile,
	// gives such answers until it learns of that.
	Stale uint64
	// Apart has the parts of a watched job's status arrive one by one, in one of
	// the orders 1 to 6: nomad.Client asks for them by queries of their own.
	Apart int
	// Mute lets a watch or stream hear nothing after its first answer, until its
	// connection counts as dead.
	Mute bool
}

const (
	// timeout is when a request that gets no answer fails.
	timeout = 30 * time.Second
	// silence is when a blocking query that gets no answer fails: nomad.Client's
	// own bound, the longest wait with Nomad's sixteenth more, and a timeout.
	silence = 5*time.Minute + 5*time.Minute/16 + timeout
	// keepalive is when a stream fails whose peer is gone: nothing but TCP's
	// probes, ten times 15 s, finds that out.
	keepalive = 150 * time.Second
)

// Intercept has every request ask f what happens to it; nil ends that. f is
// called without locks held and may use the server.
func (s *Server) Intercept(f func(Call) Fault) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.intercept = f
}

// Silence lets everybody who watches or streams now hear nothing more, as Mute.
// Requests after it are answered.
func (s *Server) Silence() { s.change(func() { s.silenced++ }) }

// Write is a job written by an agent, at the moment at which the server does it.
type Write struct {
	Call
	Before, Now *api.Job // Before is nil when there was none
	Sent        time.Time
}

// Observe has f told of every job that an agent writes, in order. The server is
// locked.
func (s *Server) Observe(f func(Write)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.observe = f
}

// enter lets a request through to the server, or gives the error it ends
// with. leave gives the request's answer.
func (c *Client) enter(ctx context.Context, call Call) (fault Fault, err error) {
	if err := ctx.Err(); err != nil {
		return fault, err
	}
	call.Agent = c.agent
	c.s.mu.Lock()
	f := c.s.intercept
	c.s.mu.Unlock()
	if f != nil {
		fault = f(call)
	}
	if fault.Stall > 0 {
		<-time.After(fault.Stall)
		if !call.Write && ctx.Err() != nil {
			return fault, ctx.Err()
		}
	}
	if fault.Before != nil {
		return fault, fault.Before
	}
	if !call.Write {
		if err := underway(ctx, call.Op, fault.Delay); err != nil {
			return fault, err
		}
	}
	c.s.mu.Lock()
	away, cut := c.s.away, c.s.cut[c.agent]
	c.s.mu.Unlock()
	switch {
	case fault.Hang, cut:
		return fault, hang(ctx, call.Op, timeout)
	case away:
		return fault, unavailable(call.Op, "connection refused")
	}
	return fault, nil
}

// hang is a request that gets no answer.
func hang(ctx context.Context, op string, limit time.Duration) error {
	timer := time.NewTimer(limit)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-timer.C:
		return unavailable(op, "no answer in time")
	}
}

// underway holds a request, or its answer, on its way.
func underway(ctx context.Context, op string, d time.Duration) error {
	if d <= 0 {
		return nil
	}
	if d >= timeout {
		return hang(ctx, op, timeout)
	}
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-timer.C:
		return nil
	}
}

func (f Fault) leave(ctx context.Context, op string, err error) error {
	if lagged := underway(ctx, op, f.Lag); lagged != nil {
		return lagged
	}
	if f.After != nil {
		return f.After
	}
	return err
}

// asOf is the index as of which a read is answered. The lock is held.
func (s *Server) asOf(f Fault) uint64 { return s.index - min(s.index, f.Stale) }

// answer is what a write gave; its sender may be gone by then.
type answer[T any] struct {
	value T
	err   error
}

// write carries out a request that changes something. look runs under the lock
// when the request leaves, and sees the state as of an index; what it gives runs
// when the request arrives, nil if there is nothing to change.
func write[T any](ctx context.Context, c *Client, op, job string, look func(at uint64) (effect func() (T, error))) (T, error) {
	return guarded(ctx, c, op, job, func(at uint64) (func() error, func() (T, error)) { return nil, look(at) })
}

// guarded is write of what is read before. look also gives what is asked in between,
// without locks, nil for nothing: an error of it keeps the request from being sent.
func guarded[T any](ctx context.Context, c *Client, op, job string, look func(at uint64) (may func() error, effect func() (T, error))) (T, error) {
	var none T
	call := Call{Agent: c.agent, Op: op, Job: job, Write: true}
	fault, err := c.enter(ctx, call)
	if err != nil {
		if fault.Hang {
			err = sent(err)
		}
		return none, err
	}
	c.s.mu.Lock()
	may, effect := look(c.s.asOf(fault))
	c.s.mu.Unlock()
	if may != nil {
		if err := may(); err != nil {
			return none, err
		}
	}
	var got answer[T]
	if fault.Delay <= 0 {
		c.s.change(func() { got = arrive(c.s, call, fault, effect) })
		if err := fault.leave(ctx, op, got.err); err != nil {
			return none, sent(err)
		}
		return got.value, nil
	}
	answers := make(chan answer[T], 1)
	time.AfterFunc(fault.Delay, func() {
		c.s.change(func() {
			if c.s.away {
				answers <- answer[T]{err: unavailable(op, "connection refused")}
				return
			}
			answers <- arrive(c.s, call, fault, effect)
		})
	})
	timer := time.NewTimer(timeout)
	defer timer.Stop()
	select {
	case got = <-answers:
	case <-ctx.Done():
		return none, ctx.Err()
	case <-timer.C:
		return none, sent(unavailable(op, "no answer in time"))
	}
	if err := fault.leave(ctx, op, got.err); err != nil {
		return none, sent(err)
	}
	return got.value, nil
}

// sent marks an error after which the write may still arrive, or has: its sender
// cannot know.
func sent(err error) error {
	if e, ok := err.(*nomad.Error); ok && e.Kind == nomad.ErrUnavailable {
		marked := *e
		marked.Sent = true
		return &marked
	}
	return err
}

// arrive is the server's side of a write. The lock is held.
func arrive[T any](s *Server, call Call, fault Fault, effect func() (T, error)) (got answer[T]) {
	if effect == nil {
		return got
	}
	s.writing = &Write{Call: call, Sent: time.Now().Add(-fault.Delay)}
	defer func() { s.writing = nil }()
	got.value, got.err = effect()
	if fault.Twice {
		got.value, got.err = effect()
	}
	return got
}

// read carries out a request that changes nothing. look runs under the lock and
// sees the state as of an index.
func (c *Client) read(ctx context.Context, op, job string, look func(at uint64)) error {
	fault, err := c.enter(ctx, Call{Op: op, Job: job})
	if err != nil {
		return err
	}
	c.s.mu.Lock()
	look(c.s.asOf(fault))
	c.s.mu.Unlock()
	return fault.leave(ctx, op, nil)
}

// follow looks at the state now and after each change until look is done. limit
// is when a connection that says nothing more counts as dead.
func (c *Client) follow(ctx context.Context, op, job string, limit time.Duration, look func(at uint64, f Fault) (then func() (done bool))) error {
	fault, err := c.enter(ctx, Call{Op: op, Job: job, Watch: true})
	if err != nil {
		return err
	}
	began := -1
	for {
		c.s.mu.Lock()
		changed, away, cut := c.s.changed, c.s.away, c.s.cut[c.agent]
		if began < 0 {
			began = c.s.silenced
		}
		muted := began != c.s.silenced
		if away && !muted {
			c.s.mu.Unlock()
			return unavailable(op, "connection refused")
		}
		then := func() bool { return false }
		looked := !cut && !muted // a cut connection is silent, not closed
		if looked {
			then = look(c.s.asOf(fault), fault)
		}
		c.s.mu.Unlock()
		if muted {
			return hang(ctx, op, limit)
		}
		if looked {
			if err := underway(ctx, op, fault.Lag); err != nil {
				return err
			}
			fault.Lag = 0
		}
		if then() {
			return fault.leave(ctx, op, nil)
		}
		if looked && fault.Mute {
			return hang(ctx, op, limit)
		}
		if looked && fault.Stale > 0 {
			fault.Stale = 0 // it learns that it leads no more
			continue
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-changed:
		}
	}
}

func unavailable(op, why string) error {
	return &nomad.Error{Op: op, Kind: nomad.ErrUnavailable, Err: errors.New(why)}
}
