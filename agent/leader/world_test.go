package leader

import (
	"bytes"
	"context"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hashicorp/consul/api"
	"github.com/hashicorp/go-hclog"

	"github.com/tealdeploy/teal/agent/consul/consultest"
	"github.com/tealdeploy/teal/agent/kv"
)

const (
	ttl   = 15 * time.Second
	holds = ttl - ttl/margin
	alive = "alive" // the agents' check
)

var key = kv.NewKeys("").Leader()

// world is a Consul, its agents, and a ledger of every term as seen from
// outside.

type world struct {
	*testing.T
	server *consultest.Server

	mu     sync.Mutex
	terms  []*tenure
	agents []*agent
}

// tenure is one term's work.

type tenure struct {
	agent      string
	term       Term
	began, end time.Time // end is zero while the work runs
}

// agent is one process with an elector in it.

type agent struct {
	*Elector
	w      *world
	name   string
	client *consultest.Client
	log    *lockedBuffer
	stop   func() // as SIGTERM does, and waits
	// body is what the work does in its term; waiting for its end by default.
	body func(ctx context.Context, term Term) error
	// refused counts the sessions that were refused.
	refused atomic.Int64
}

func newWorld(t *testing.T) *world {
	w := &world{T: t, server: consultest.New()}
	return w
}

// agent makes an agent that is alive and does not stand yet.

func (w *world) agent(name string) *agent {
	a := &agent{w: w, name: name, client: w.server.Client(name), log: &lockedBuffer{}}
	w.server.SetCheck(name, alive, api.HealthPassing)
	a.body = func(ctx context.Context, _ Term) error { <-ctx.Done(); return nil }
	a.Elector = New(Config{
		Consul: a.client, Key: key, Name: name, TTL: ttl, Check: alive,
		Refused: func() { a.refused.Add(1) },
		Log:     hclog.New(&hclog.LoggerOptions{Output: a.log, Level: hclog.Debug, DisableTime: true}),
	})
	w.agents = append(w.agents, a)
	return a
}

// run has the agent stand until it is stopped.

func (a *agent) run() *agent {
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		if err := a.Run(ctx, a.work); err != nil {
			a.w.Errorf("%s: %v", a.name, err)
		}
	}()
	a.stop = sync.OnceFunc(func() { cancel(); <-done })
	a.w.Cleanup(a.stop)
	return a
}

func (a *agent) work(ctx context.Context, term Term) error {
	w := a.w
	t := &tenure{agent: a.name, term: term, began: time.Now()}
	w.mu.Lock()
	w.terms = append(w.terms, t)
	body := a.body
	w.mu.Unlock()
	if err := term.Check(); err != nil && ctx.Err() == nil || term.Epoch == 0 || term.Fence.Session == "" {
		w.Errorf("%s begins a term that does not hold: %+v, %v", a.name, term, err)
	}
	err := body(ctx, term)
	w.mu.Lock()
	t.end = time.Now()
	w.mu.Unlock()
	return err
}

// leads waits until exactly this agent's work runs and says how long it took.

func (w *world) leads(name string, within time.Duration) time.Duration {
	w.Helper()
	began := time.Now()
	for time.Since(began) <= within {
		synctest.Wait()
		if now := w.running(); len(now) == 1 && now[0].agent == name {
			return time.Since(began)
		}
		time.Sleep(time.Millisecond)
	}
	w.Fatalf("%s does not lead within %s; running: %v\n%s", name, within, w.running(), w.logs())
	return 0
}

// nobody waits until no work runs.

func (w *world) nobody(within time.Duration) time.Duration {
	w.Helper()
	began := time.Now()
	for time.Since(began) <= within {
		synctest.Wait()
		if len(w.running()) == 0 {
			return time.Since(began)
		}
		time.Sleep(time.Millisecond)
	}
	w.Fatalf("still leading after %s: %v\n%s", within, w.running(), w.logs())
	return 0
}

func (w *world) running() (now []*tenure) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, t := range w.terms {
		if t.end.IsZero() {
			now = append(now, t)
		}
	}
	return now
}

func (w *world) count() int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return len(w.terms)
}

// settle stops everybody and checks the ledger: no two terms overlapped, and
// every epoch is greater than the one before.

func (w *world) settle() {
	w.Helper()
	for _, a := range w.agents {
		if a.stop != nil {
			a.stop()
		}
	}
	for i, t := range w.terms[:max(0, len(w.terms)-1)] {
		next := w.terms[i+1]
		if next.began.Before(t.end) {
			w.Errorf("%s begins %s before %s has ended", next.agent, t.end.Sub(next.began), t.agent)
		}
		if next.term.Epoch <= t.term.Epoch {
			w.Errorf("epoch %d of %s after %d of %s", next.term.Epoch, next.agent, t.term.Epoch, t.agent)
		}
	}
}

func (w *world) logs() string {
	var all strings.Builder
	for _, a := range w.agents {
		fmt.Fprintf(&all, "--- %s\n%s", a.name, a.log)
	}
	return all.String()
}

// says counts the lines of the log that hold a text.

func (a *agent) says(text string) (n int) {
	for line := range strings.SplitSeq(a.log.String(), "\n") {
		if strings.Contains(line, text) {
			n++
		}
	}
	return n
}

type lockedBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *lockedBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lockedBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

// A killed leader's check fails, which ends its session: the next is there at
// once.

// SIGTERM hands over at once, after the work has returned.

// Parted from Consul, the leader stops by its own clock, before Consul gives
// the key to another.

// A partition that heals before Consul has ended the session leaves the key
// with a term that is over: its agent frees it instead of waiting.

// A short partition costs nothing.

// A person deletes the key: the term ends within milliseconds, and the next
// one's epoch is greater all the same.

// A plain put keeps the session but sets LockIndex back to 0.

// Renewals that hang do not keep the term beyond its lease, and one that
// hangs does not end it.

// Even a renewal that is deaf to its context, as in a stopped thread.

// An answer that comes after the lease has ended does not bring it back.

// The process is stopped past its lease and goes on: no timer has run yet,
// and still Check refuses.

// Consul ends the session: the next renewal says so, and the watch says it
// sooner. Either is enough.

// Work that does not heed its context holds up its own agent and nobody else;
// it is told that its term is over, and so are people.

// Work that gives up steps down, lets others try, and never spins.

// Consul is away at the start, or for a while: said once, no spinning, back by
// itself.

// Stopping does not wait for a Consul that is away.

// The answer to the acquisition is lost: the key is not left to a session that
// nobody knows of.

// The same, and Consul cannot be told to end the session either.

// The question whether that is so hangs: there is time to ask again.

// A free key with a lock delay is not stormed.

// Consul does not know the agent's check: the agent is told, so that it can
// register itself anew, and people are told if that does not help.

// Somebody takes the office away again and again: it is not fought for.

// What a deposed leader still has under way is refused by Consul itself.

// A read that is served stale is no reason to step down.
