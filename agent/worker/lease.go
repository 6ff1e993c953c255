package worker

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/tealdeploy/teal/agent/consul"
)

// lease is the worker's own view of how long its session lives. Consul starts
// a session's TTL anew when a renewal arrives, which is never before the
// renewal was sent: counted from there, the lease always ends first.
type lease struct {
	session string
	ttl     time.Duration

	mu      sync.Mutex
	renewed time.Time // when the last successful renewal was sent
	changed chan struct{}
}

func newLease(session string, sent time.Time, ttl time.Duration) *lease {
	return &lease{session: session, ttl: ttl, renewed: sent, changed: make(chan struct{}, 1)}
}

// soft is when the command is asked to end, hard when it must be dead.
func (l *lease) soft() time.Time { return l.at(6) }
func (l *lease) hard() time.Time { return l.at(9) }

func (l *lease) at(tenths time.Duration) time.Time {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.renewed.Add(l.ttl * tenths / 10)
}

func (l *lease) extend(sent time.Time) {
	l.mu.Lock()
	l.renewed = sent
	l.mu.Unlock()
	select {
	case l.changed <- struct{}{}:
	default:
	}
}

// keep renews until ctx ends (nil) or the session is gone.
func (l *lease) keep(ctx context.Context, c Consul) error {
	every := time.NewTicker(l.ttl / 5)
	defer every.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-every.C:
		}
		sent := time.Now()
		// A renewal that hangs must not stand in the way of the next.
		try, cancel := context.WithTimeout(ctx, l.ttl/5)
		_, err := c.RenewSession(try, l.session)
		cancel()
		switch {
		case err == nil:
			l.extend(sent)
		case errors.Is(err, consul.ErrNoSession):
			return err
		}
	}
}
