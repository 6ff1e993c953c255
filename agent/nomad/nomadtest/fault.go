package nomadtest

import (
	"context"
	"errors"
	"time"

	"github.com/tealdeploy/teal/agent/nomad"
)

// Call is one request as it leaves an agent.
type Call struct {
	Agent string
	Op    string // the method of nomad.Client: "Register", "Stop", …
	Job   string // its ID; empty for Parse, Ping and Stream
	Write bool
}

// Fault is what happens to a request. The zero value: nothing.
type Fault struct {
	// Stall holds the agent itself before the request leaves, whatever its
	// context says: a stopped process.
	Stall time.Duration
	// Before is returned instead of carrying the request out.
	Before error
	// Twice carries a write out twice, as a retry below HTTP does; the answer
	// is the second's.
	Twice bool
	// After is returned although the request was carried out.
	After error
	// Hang never answers: the request ends with its context or its timeout.
	Hang bool
}

// timeout is when a request that gets no answer fails.
const timeout = 30 * time.Second

// Intercept has every request ask f what happens to it; nil ends that. f is
// called without locks held and may use the server.
func (s *Server) Intercept(f func(Call) Fault) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.intercept = f
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
	c.s.mu.Lock()
	away, cut := c.s.away, c.s.cut[c.agent]
	c.s.mu.Unlock()
	switch {
	case fault.Hang, cut:
		timer := time.NewTimer(timeout)
		defer timer.Stop()
		select {
		case <-ctx.Done():
			return fault, ctx.Err()
		case <-timer.C:
			return fault, unavailable(call.Op, "no answer in time")
		}
	case away:
		return fault, unavailable(call.Op, "connection refused")
	}
	return fault, nil
}

func (f Fault) leave(err error) error {
	if f.After != nil {
		return f.After
	}
	return err
}

// write carries out a request that changes something, under the lock.
func (c *Client) write(ctx context.Context, op, job string, effect func() error) error {
	fault, err := c.enter(ctx, Call{Op: op, Job: job, Write: true})
	if err != nil {
		return err
	}
	c.s.change(func() {
		err = effect()
		if fault.Twice {
			err = effect()
		}
	})
	return fault.leave(err)
}

// read carries out a request that changes nothing, under the lock.
func (c *Client) read(ctx context.Context, op, job string, look func()) error {
	fault, err := c.enter(ctx, Call{Op: op, Job: job})
	if err != nil {
		return err
	}
	c.s.mu.Lock()
	look()
	c.s.mu.Unlock()
	return fault.leave(nil)
}

// follow looks at the state now and after each change until look is done.
func (c *Client) follow(ctx context.Context, op, job string, look func() (then func() (done bool))) error {
	fault, err := c.enter(ctx, Call{Op: op, Job: job})
	if err != nil {
		return err
	}
	for {
		c.s.mu.Lock()
		changed, away, cut := c.s.changed, c.s.away, c.s.cut[c.agent]
		if away {
			c.s.mu.Unlock()
			return unavailable(op, "connection refused")
		}
		then := func() bool { return false }
		if !cut { // a cut connection is silent, not closed
			then = look()
		}
		c.s.mu.Unlock()
		if then() {
			return fault.leave(nil)
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
