package consul

import (
	"context"
	"errors"
	"math/rand/v2"
	"time"
)

// ErrStop ends a Watch from within, without an error.
var ErrStop = errors.New("stop watching")

const (
	firstPause = 100 * time.Millisecond
	lastPause  = 3 * time.Second
	// quick is how soon a blocking query may come back with nothing new
	// before the loop suspects that it does not block at all.
	quick = 50 * time.Millisecond
)

// Watch calls fetch for ever: with 0 first, then with the index it returned,
// until ctx ends (the error is then ctx's) or fetch returns ErrStop (nil).
//
// fetch does one read, acts on it, and returns the read's index. Its errors
// do not end the watch: it is called again, from index 0, after a growing
// pause with jitter; it logs them itself if it cares. An index that goes
// backwards (a restored snapshot, a new cluster) begins anew at 0, as Consul
// asks of its clients. A query that does not block is slowed down, never
// repeated without a pause.
func Watch(ctx context.Context, fetch func(ctx context.Context, index uint64) (uint64, error)) error {
	var index uint64
	var pause Backoff
	for ctx.Err() == nil {
		began := time.Now()
		next, err := fetch(ctx, index)
		switch {
		case errors.Is(err, ErrStop):
			return nil
		case err != nil:
			index = 0
			pause.Wait(ctx)
		case next == 0, next <= index && time.Since(began) < quick:
			index = next
			pause.Wait(ctx)
		case next < index:
			index = 0
		default:
			index = next
			pause.Reset()
		}
	}
	return ctx.Err()
}

// Backoff is a growing pause with jitter between tries. The zero value is
// ready to use.
type Backoff struct{ next time.Duration }

// Wait pauses, each time up to twice as long as the last, at most three
// seconds, or until ctx ends.
func (b *Backoff) Wait(ctx context.Context) {
	wait := b.Next()
	timer := time.NewTimer(wait)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
	}
}

// Next is how long the next pause is: between half and all of a bound that
// doubles each time.
func (b *Backoff) Next() time.Duration {
	bound := max(b.next, firstPause)
	b.next = min(2*bound, lastPause)
	return bound/2 + rand.N(bound/2)
}

// Reset begins again with the shortest pause.
func (b *Backoff) Reset() { b.next = 0 }
