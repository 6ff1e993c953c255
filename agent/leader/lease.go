package leader

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/tealdeploy/teal/agent/consul"
)

// lease is the agent's own view of how long its session lives. Consul starts
// a session's TTL anew when a renewal arrives, which is never before it was
// sent: counted from there, and a margin shorter, the lease always ends first.
type lease struct {
	session string
	valid   time.Duration // after a renewal was sent

	mu    sync.Mutex
	until time.Time // carries the monotonic clock
	ended error     // why, once it has; it never comes back
}

// margin is the part of the TTL that the lease is shorter: room for clocks
// that run at different speeds, and for a write that is on its way when the
// lease ends.
const margin = 5

func newLease(session string, sent time.Time, ttl time.Duration) *lease {
	valid := ttl - ttl/margin
	return &lease{session: session, valid: valid, until: sent.Add(valid)}
}

func (l *lease) check() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.ended != nil {
		return l.ended
	}
	if over := time.Since(l.until); over >= 0 {
		return fmt.Errorf("the lease ended %s ago: %w", over.Round(time.Millisecond), consul.ErrDeposed)
	}
	return nil
}

// extend counts from a renewal that succeeded. A lease that has run out does not
// come back: what was refused in between is not done again in the same term.
func (l *lease) extend(sent time.Time) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if until := sent.Add(l.valid); until.After(l.until) && time.Until(l.until) > 0 {
		l.until = until
	}
}

// end ends the lease for good, for the first reason given.
func (l *lease) end(why error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.ended == nil {
		l.ended = why
	}
}

func (l *lease) left() time.Duration {
	l.mu.Lock()
	defer l.mu.Unlock()
	return time.Until(l.until)
}

// expire waits until the lease has run out (the error is why) or ctx ends.
// It makes no request: nothing that hangs can keep it.
func (l *lease) expire(ctx context.Context) error {
	for left := l.left(); left > 0; left = l.left() {
		if !wait(ctx, left) {
			return nil
		}
	}
	return l.check()
}

// wait lets d pass; false when ctx ended first.
func wait(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}
