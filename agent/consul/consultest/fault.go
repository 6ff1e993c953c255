package consultest

import (
	"context"
	"fmt"
	"time"
)

// Call is one request as it leaves an agent.
type Call struct {
	Agent string
	Op    string // the method of consul.Client: "Get", "Txn", "SetEntry", …
	Key   string // key, prefix, kind/name, session or service; a Txn's first written key
	Index uint64 // of a blocking query, else 0
	Write bool
}

// Fault is what happens to a request. The zero value: nothing.
type Fault struct {
	// Stall holds the agent itself before the request leaves, whatever its
	// context says: a stopped process.
	Stall time.Duration
	// Delay holds the request on its way. A write arrives even if its sender
	// gave up in the meantime.
	Delay time.Duration
	// Before is returned instead of carrying the request out.
	Before error
	// Twice carries a write out twice, as a retry below HTTP does; the answer
	// is the second's.
	Twice bool
	// After is returned although the request was carried out.
	After error
	// Hang never answers, nor does the request arrive: it ends with its
	// context or its timeout.
	Hang bool
	// Stale answers a blocking query as it was that many indexes ago; the others
	// are asked in the consistent mode.
	Stale uint64
	// Early ends a blocking query at once, with nothing new.
	Early bool
}

// Intercept has every request ask f what happens to it; nil ends that. f is
// called without locks held and may use the server.
func (s *Server) Intercept(f func(Call) Fault) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.intercept = f
}

func (c *Client) fault(call Call) (Fault, error) {
	call.Agent = c.agent
	c.s.mu.Lock()
	f := c.s.intercept
	c.s.mu.Unlock()
	var fault Fault
	if f != nil {
		fault = f(call)
	}
	if fault.Stall > 0 {
		time.Sleep(fault.Stall)
	}
	return fault, fault.Before
}

// write carries out a request that changes something: effect runs under the
// server's lock and calls s.next for its index. It may run after its sender
// has gone, so what it found goes back as a value.
func write[T any](ctx context.Context, c *Client, op, key string, effect func(s *Server) (T, error)) (T, error) {
	var none T
	if err := ended(ctx, op); err != nil {
		return none, err
	}
	fault, err := c.fault(Call{Op: op, Key: key, Write: true})
	if err != nil {
		return none, err
	}
	if fault.Hang || c.isCut() {
		return none, c.hang(ctx, op, c.patience(0))
	}
	// A request whose context ended while its process was stopped may be on
	// the wire already: it is carried out, as the worst case.
	answers := make(chan answer[T], 1)
	arrive := func() {
		c.s.arrive(func() {
			value, err := apply(c, op, fault, effect)
			answers <- answer[T]{value, err}
		})
	}
	if fault.Delay > 0 {
		time.AfterFunc(fault.Delay, arrive)
	} else {
		arrive()
	}
	if err := ended(ctx, op); err != nil {
		return none, err
	}
	timer := time.NewTimer(c.patience(0))
	defer timer.Stop()
	select {
	case a := <-answers:
		return a.value, a.err
	case <-ctx.Done():
		return none, ended(ctx, op)
	case <-timer.C:
		return none, unavailable(op, "no answer in time")
	}
}

type answer[T any] struct {
	value T
	err   error
}

// arrive carries out a write that has reached the server, which may be paused.
func (s *Server) arrive(carryOut func()) {
	s.mu.Lock()
	if s.paused {
		s.waiting = append(s.waiting, carryOut)
		s.mu.Unlock()
		return
	}
	s.mu.Unlock()
	carryOut()
}

// apply is the server's side of a write.
func apply[T any](c *Client, op string, fault Fault, effect func(*Server) (T, error)) (T, error) {
	var none T
	s := c.s
	s.mu.Lock()
	defer s.mu.Unlock()
	s.writer = c.agent
	defer func() { s.writer = "" }()
	if s.away {
		return none, unavailable(op, "connection refused")
	}
	before := s.index
	value, err := effect(s)
	if fault.Twice {
		value, err = effect(s)
	}
	if s.index != before {
		s.wake()
	}
	switch {
	case fault.After != nil:
		return none, fault.After
	case err != nil:
		return none, err
	}
	return value, nil
}

func (c *Client) isCut() bool {
	c.s.mu.Lock()
	defer c.s.mu.Unlock()
	return c.s.cut[c.agent]
}

// patience is how long a request is waited for before its connection counts
// as dead: consul.Client's own bounds.
func (c *Client) patience(index uint64) time.Duration {
	c.s.mu.Lock()
	defer c.s.mu.Unlock()
	if index == 0 {
		return c.s.timeout
	}
	return c.s.wait + c.s.wait/16 + 5*time.Second
}

func (c *Client) hang(ctx context.Context, op string, limit time.Duration) error {
	timer := time.NewTimer(limit)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return ended(ctx, op)
	case <-timer.C:
		return unavailable(op, "no answer in time")
	}
}

// ended is the error of a context that its owner ended, nil while it has not.
func ended(ctx context.Context, op string) error {
	if err := ctx.Err(); err != nil {
		return fmt.Errorf("%s: %w", op, err)
	}
	return nil
}
