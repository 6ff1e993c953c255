package api

import (
	"context"
	"net/http"
	"sync"
)

// answer is a whole answer in JSON.
type answer struct {
	code int
	body []byte
}

// together gives one answer to everybody who waits for it. Each costs requests
// to Consul, and the memory for all services' records: at one time there is
// one in the making, however many ask. An answer is begun after it was asked for,
// so that nobody is told what was before.
type together struct {
	compute func(ctx context.Context) answer
	turn    chan struct{} // held while one is in the making

	mu   sync.Mutex
	next *round // that is not begun yet; nil: nobody waits
}

// round is one answer, for all who asked before it was begun.
type round struct {
	done chan struct{}
	answer
}

func newTogether(compute func(ctx context.Context) answer) *together {
	return &together{compute: compute, turn: make(chan struct{}, 1)}
}

// get waits for an answer; false when ctx ended first. The first who asks makes
// it for all, also when he himself has gone away.
func (t *together) get(ctx context.Context) (answer, bool) {
	t.mu.Lock()
	r := t.next
	first := r == nil
	if first {
		r = &round{done: make(chan struct{})}
		t.next = r
	}
	t.mu.Unlock()
	if first {
		t.serve(ctx, r)
	}
	select {
	case <-r.done:
		return r.answer, true
	case <-ctx.Done():
		return answer{}, false
	}
}

func (t *together) serve(ctx context.Context, r *round) {
	// An answer takes no longer than requestTimeout, so neither does this wait.
	t.turn <- struct{}{}
	defer func() { <-t.turn }()
	t.mu.Lock()
	t.next = nil // who asks from now on waits for another
	t.mu.Unlock()
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), requestTimeout)
	defer cancel()
	defer close(r.done)
	r.answer = answer{http.StatusInternalServerError, []byte("{}\n")} // should compute panic
	r.answer = t.compute(ctx)
}
