package leader

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hashicorp/consul/api"
	"github.com/hashicorp/go-hclog"

	"github.com/tealdeploy/teal/agent/consul"
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

func TestOneOfManyLeads(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		for i := range 20 {
			w.agent(fmt.Sprint("a", i)).run()
		}
		time.Sleep(10 * time.Minute)
		if n := w.count(); n != 1 {
			t.Errorf("%d terms in ten quiet minutes\n%s", n, w.logs())
		}
		leader := w.running()[0].agent
		if n := len(w.server.Sessions()); n != 1 {
			t.Errorf("%d sessions; those who stand by need none", n)
		}
		for _, a := range w.agents {
			if s, _ := a.Now(); s.Leader != leader || s.Leading != (a.name == leader) {
				t.Errorf("%s sees %+v, %s leads", a.name, s, leader)
			}
		}
		w.settle()
	})
}

// A killed leader's check fails, which ends its session: the next is there at
// once.
func TestTakeoverAfterKill(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		one := w.agent("one").run()
		w.leads("one", time.Second)
		two := w.agent("two").run()
		time.Sleep(time.Minute)

		w.server.SetCheck("one", alive, api.HealthCritical)
		if took := w.leads("two", time.Second); took > 10*time.Millisecond {
			t.Errorf("taken over after %s", took)
		}
		if s, _ := two.Now(); !s.Leading || s.Leader != "two" || s.Epoch != w.running()[0].term.Epoch {
			t.Errorf("two: %+v", s)
		}
		time.Sleep(time.Second) // one tries, and is refused for its check
		if s, _ := one.Now(); s.Leading || s.Leader != "two" {
			t.Errorf("one: %+v", s)
		}
		// One is not dead but was slow: it comes back as one who stands by.
		w.server.SetCheck("one", alive, api.HealthPassing)
		time.Sleep(time.Minute)
		w.leads("two", 0)
		w.settle()
	})
}

// SIGTERM hands over at once, after the work has returned.
func TestCleanHandover(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		one := w.agent("one")
		var after error
		one.body = func(ctx context.Context, term Term) error {
			<-ctx.Done()
			after = term.Check()
			if s, _ := one.Now(); s.Leading {
				t.Error("still shown as leading")
			}
			time.Sleep(200 * time.Millisecond) // finishes what it is at
			if pair, _ := one.client.Read(context.Background(), key); sessionOf(pair) == "" {
				t.Error("the key was given up before the work had returned")
			}
			return nil
		}
		one.run()
		w.leads("one", time.Second)
		w.agent("two").run()
		time.Sleep(time.Minute)

		began := time.Now()
		one.stop()
		if took := time.Since(began); took != 200*time.Millisecond {
			t.Errorf("stopped after %s", took)
		}
		if took := w.leads("two", time.Second); took > 10*time.Millisecond {
			t.Errorf("handed over after %s", took)
		}
		if !errors.Is(after, consul.ErrDeposed) {
			t.Errorf("the term holds after its context has ended: %v", after)
		}
		w.settle()
		if n := len(w.server.Sessions()); n != 0 {
			t.Errorf("%d sessions left", n)
		}
	})
}

// Parted from Consul, the leader stops by its own clock, before Consul gives
// the key to another.
func TestPartitionBeyondTheLease(t *testing.T) {
	for name, expiry := range map[string]func(time.Duration) time.Duration{
		"as Consul does":         nil,
		"as early as it may":     func(ttl time.Duration) time.Duration { return ttl },
		"and the work is stingy": func(ttl time.Duration) time.Duration { return ttl },
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t)
				if expiry != nil {
					w.server.SetExpiry(expiry)
				}
				one := w.agent("one")
				var term Term
				one.body = func(ctx context.Context, got Term) error { term = got; <-ctx.Done(); return nil }
				one.run()
				w.leads("one", time.Second)
				two := w.agent("two").run()
				time.Sleep(time.Minute)

				w.server.Cut("one")
				cut := time.Now()
				took := w.nobody(ttl)
				if took < holds-ttl/3-time.Second || took > holds {
					t.Errorf("stopped after %s", took)
				}
				if err := term.Check(); !errors.Is(err, consul.ErrDeposed) {
					t.Errorf("check: %v", err)
				}
				w.leads("two", 3*ttl)
				if since := time.Since(cut); since > 2*ttl+time.Second {
					t.Errorf("two leads after %s", since)
				}
				time.Sleep(time.Minute)
				w.server.Heal("one")
				time.Sleep(time.Minute)
				w.leads("two", 0)
				if s, _ := one.Now(); s.Leader != "two" {
					t.Errorf("one, healed, sees %+v", s)
				}
				two.stop()
				w.leads("one", time.Second)
				w.settle()
			})
		})
	}
}

// A partition that heals before Consul has ended the session leaves the key
// with a term that is over: its agent frees it instead of waiting.
func TestPartitionHealsAfterTheLeaseBeforeTheTTL(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.agent("one").run()
		w.leads("one", time.Second)
		w.server.Cut("one")
		w.nobody(ttl)
		w.server.Heal("one")
		// One try of the watch may be under way into the void.
		w.leads("one", consul.DefaultTimeout+5*time.Second)
		w.settle()
	})
}

// A short partition costs nothing.
func TestPartitionWithinTheLease(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		one := w.agent("one").run()
		w.leads("one", time.Second)
		w.agent("two").run()
		for range 20 {
			time.Sleep(10 * time.Second)
			w.server.Cut("one")
			time.Sleep(5 * time.Second)
			w.server.Heal("one")
		}
		time.Sleep(time.Minute)
		if n := w.count(); n != 1 {
			t.Errorf("%d terms\n%s", n, w.logs())
		}
		if away, back := one.says("Consul does not answer"), one.says("Consul answers again"); away != back || away == 0 || away > 20 {
			t.Errorf("said %d times that Consul is away and %d times that it is back\n%s", away, back, one.log)
		}
		w.settle()
	})
}

// A person deletes the key: the term ends within milliseconds, and the next
// one's epoch is greater all the same.
func TestKeyDeletedByHand(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		one := w.agent("one").run()
		w.leads("one", time.Second)
		for range 5 {
			time.Sleep(time.Minute)
			before := w.count()
			ended := make(chan struct{})
			_, changed := one.Now()
			go func() { <-changed; close(ended) }()
			if err := one.client.Delete(t.Context(), key); err != nil {
				t.Fatal(err)
			}
			synctest.Wait()
			select {
			case <-ended:
			default:
				t.Fatal("the term goes on without the key")
			}
			w.leads("one", time.Second)
			if w.count() != before+1 {
				t.Errorf("%d terms after %d", w.count(), before)
			}
		}
		// LockIndex is 1 each time: it would have told nobody.
		if pair, _ := one.client.Read(t.Context(), key); pair.LockIndex != 1 {
			t.Errorf("LockIndex %d: this test deletes nothing", pair.LockIndex)
		}
		w.settle()
	})
}

// A plain put keeps the session but sets LockIndex back to 0.
func TestEpochGrowsAcrossEverything(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		names := []string{"one", "two", "three"}
		for _, name := range names {
			w.agent(name).run()
		}
		hand := w.server.Client("hand")
		snapshot := w.server.Snapshot()
		spoil := []func(leader string){
			func(string) { _ = hand.Delete(t.Context(), key) },
			func(string) { _ = hand.Put(t.Context(), key, []byte("nobody")) },
			func(leader string) {
				w.server.SetCheck(leader, alive, api.HealthCritical)
				time.Sleep(time.Second)
				w.server.SetCheck(leader, alive, api.HealthPassing)
			},
			func(string) { w.server.ExpireSession(w.server.Sessions()[0].ID) },
			func(string) {
				_ = hand.Put(t.Context(), key, []byte("x"))
				w.server.ExpireSession(w.server.Sessions()[0].ID)
				_ = hand.Delete(t.Context(), key)
			},
			func(leader string) { w.server.Cut(leader); time.Sleep(time.Minute); w.server.Heal(leader) },
			func(string) { w.server.SetAway(true); time.Sleep(time.Minute); w.server.SetAway(false) },
			func(string) { w.server.Pause(); time.Sleep(time.Minute); w.server.Resume() },
			func(string) { w.server.Restore(snapshot) },
			func(string) { snapshot = w.server.Snapshot() },
			func(leader string) {
				for _, a := range w.agents {
					if a.name == leader {
						a.stop()
						a.run()
					}
				}
			},
		}
		for round := range 3 * len(spoil) {
			time.Sleep(20 * time.Second)
			now := w.running()
			if len(now) != 1 {
				t.Fatalf("round %d: %d lead\n%s", round, len(now), w.logs())
			}
			spoil[round%len(spoil)](now[0].agent)
			time.Sleep(20 * time.Second)
		}
		if w.count() < 3*(len(spoil)-2) {
			t.Errorf("only %d terms", w.count())
		}
		w.settle()
	})
}

// Renewals that hang do not keep the term beyond its lease, and one that
// hangs does not end it.
func TestRenewalHangs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		one := w.agent("one").run()
		w.leads("one", time.Second)

		var tries atomic.Int64
		w.server.Intercept(func(c consultest.Call) consultest.Fault {
			if c.Op != "RenewSession" {
				return consultest.Fault{}
			}
			return consultest.Fault{Hang: tries.Add(1)%2 == 1}
		})
		time.Sleep(10 * time.Minute)
		if n := w.count(); n != 1 {
			t.Errorf("every second renewal hangs: %d terms\n%s", n, w.logs())
		}

		began, before := time.Now(), tries.Load()
		w.server.Intercept(func(c consultest.Call) consultest.Fault {
			if c.Op == "RenewSession" {
				tries.Add(1)
			}
			return consultest.Fault{Hang: c.Op == "RenewSession"}
		})
		first, changed := one.Now()
		for s := first; s.Epoch == first.Epoch; s, changed = one.Now() {
			<-changed
		}
		if took := time.Since(began); took > holds {
			t.Errorf("all renewals hang: ended after %s", took)
		}
		if n := tries.Load() - before; n < 2 || n > 20 {
			t.Errorf("%d tries in one lease", n)
		}
		w.server.Intercept(nil)
		w.leads("one", time.Minute)
		w.settle()
	})
}

// Even a renewal that is deaf to its context, as in a stopped thread.
func TestRenewalStalls(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.agent("one").run()
		w.leads("one", time.Second)
		w.server.Intercept(func(c consultest.Call) consultest.Fault {
			if c.Op == "RenewSession" {
				return consultest.Fault{Stall: 5 * time.Minute}
			}
			return consultest.Fault{}
		})
		if took := w.nobody(ttl); took > holds {
			t.Errorf("ended after %s", took)
		}
		w.server.Intercept(nil)
		w.leads("one", 10*time.Minute)
		w.settle()
	})
}

// An answer that comes after the lease has ended does not bring it back.
func TestLateRenewalDoesNotRevive(t *testing.T) {
	l := newLease("s", time.Now().Add(-ttl), ttl)
	if err := l.check(); !errors.Is(err, consul.ErrDeposed) {
		t.Fatalf("a lease of %s after %s: %v", l.valid, ttl, err)
	}
	l.end(errDone)
	l.extend(time.Now())
	if err := l.check(); !errors.Is(err, consul.ErrDeposed) {
		t.Errorf("revived: %v", err)
	}
	if err := (Term{}).Check(); !errors.Is(err, consul.ErrDeposed) {
		t.Errorf("no term: %v", err)
	}
	if err := Until(1, consul.Fence{}, time.Now().Add(time.Hour)).Check(); err != nil {
		t.Errorf("until in an hour: %v", err)
	}
}

// The process is stopped past its lease and goes on: no timer has run yet,
// and still Check refuses.
func TestCheckAsksTheClock(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLease("s", time.Now(), ttl)
		if err := l.check(); err != nil {
			t.Fatal(err)
		}
		time.Sleep(holds)
		if err := l.check(); !errors.Is(err, consul.ErrDeposed) {
			t.Errorf("%v", err)
		}
	})
}

// Consul ends the session: the next renewal says so, and the watch says it
// sooner. Either is enough.
func TestSessionGone(t *testing.T) {
	for _, deaf := range []string{"RenewSession", "Get"} {
		t.Run("without "+deaf, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t)
				w.agent("one").run()
				w.leads("one", time.Second)
				w.server.Intercept(func(c consultest.Call) consultest.Fault {
					return consultest.Fault{Hang: c.Op == deaf}
				})
				if deaf == "Get" { // the query under way must not see it either
					time.Sleep(2 * time.Minute)
				}
				before := w.count()
				w.server.ExpireSession(w.server.Sessions()[0].ID)
				began := time.Now()
				for w.count() == before && len(w.running()) == 1 && time.Since(began) < ttl {
					time.Sleep(time.Millisecond)
					synctest.Wait()
				}
				limit := 10 * time.Millisecond
				if deaf == "Get" {
					limit = ttl / 3
				}
				if took := time.Since(began); took > limit {
					t.Errorf("noticed after %s", took)
				}
				w.server.Intercept(nil)
				w.leads("one", time.Minute)
				w.settle()
			})
		})
	}
}

// Work that does not heed its context holds up its own agent and nobody else;
// it is told that its term is over, and so are people.
func TestWorkOutlivesItsContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		one := w.agent("one")
		release, late := make(chan struct{}), make(chan error, 1)
		one.body = func(ctx context.Context, term Term) error {
			select {
			case late <- nil: // the first term
				<-release
				late <- term.Check()
			default:
				<-ctx.Done()
			}
			return nil
		}
		one.run()
		w.leads("one", time.Second)
		<-late
		w.agent("two").run()
		time.Sleep(time.Minute)

		w.server.SetCheck("one", alive, api.HealthCritical)
		w.server.SetCheck("one", alive, api.HealthPassing)
		time.Sleep(time.Minute)
		if now := w.running(); len(now) != 2 || now[1].agent != "two" {
			t.Fatalf("running: %v\n%s", now, w.logs())
		}
		if s, _ := one.Now(); s.Leading {
			t.Error("shown as leading")
		}
		if one.says("has not returned") != 1 {
			t.Errorf("nobody was told\n%s", one.log)
		}
		w.agents[1].stop()
		time.Sleep(time.Minute)
		if n := w.count(); n != 2 {
			t.Fatalf("one stood again while its work still ran\n%s", w.logs())
		}
		close(release)
		synctest.Wait()
		if err := <-late; !errors.Is(err, consul.ErrDeposed) {
			t.Errorf("check: %v", err)
		}
		w.leads("one", time.Minute)
	})
}

// Work that gives up steps down, lets others try, and never spins.
func TestWorkGivesUp(t *testing.T) {
	for name, err := range map[string]error{
		"deposed": fmt.Errorf("write: %w", consul.ErrDeposed),
		"broken":  errors.New("disk full"),
		"nothing": nil,
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t)
				one := w.agent("one")
				one.body = func(context.Context, Term) error { return err }
				one.run()
				time.Sleep(time.Minute)
				if n := w.count(); n < 5 || n > 25 {
					t.Errorf("%d terms in a minute", n)
				}
				if one.says("stepped down") != w.count() {
					t.Errorf("%d terms\n%s", w.count(), one.log)
				}
				w.agent("two").run()
				w.leads("two", 30*time.Second)
				w.settle()
			})
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t)
				for _, name := range []string{"one", "two"} {
					a := w.agent(name)
					a.body = func(context.Context, Term) error { time.Sleep(2 * ttl); return err }
					a.run()
				}
				time.Sleep(20 * ttl)
				w.settle()
				for i, term := range w.terms[1:] {
					if term.agent == w.terms[i].agent {
						t.Errorf("%s, which gave up, was faster than the other", term.agent)
					}
				}
				if n := w.count(); n < 8 {
					t.Errorf("%d terms", n)
				}
			})
		})
	}
}

// Consul is away at the start, or for a while: said once, no spinning, back by
// itself.
func TestConsulAway(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.server.SetAway(true)
		var calls atomic.Int64
		w.server.Intercept(func(consultest.Call) consultest.Fault { calls.Add(1); return consultest.Fault{} })
		one := w.agent("one").run()
		time.Sleep(10 * time.Minute)
		if n := calls.Load(); n > 200 {
			t.Errorf("%d requests in ten minutes", n)
		}
		w.server.SetAway(false)
		w.leads("one", 15*time.Second)
		for range 3 {
			time.Sleep(time.Minute)
			w.server.SetAway(true)
			w.nobody(ttl)
			time.Sleep(10 * time.Minute)
			w.server.SetAway(false)
			w.leads("one", 15*time.Second)
		}
		if away, back := one.says("Consul does not answer"), one.says("Consul answers again"); away != 4 || back != 4 {
			t.Errorf("four outages; said %d times that they began, %d times that they ended\n%s", away, back, one.log)
		}
		w.settle()
	})
}

// Stopping does not wait for a Consul that is away.
func TestStopWhileConsulIsAway(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		one := w.agent("one").run()
		w.leads("one", time.Second)
		w.server.Cut("one")
		began := time.Now()
		one.stop()
		if took := time.Since(began); took > farewell {
			t.Errorf("stopped after %s", took)
		}
		if one.says("could not be handed over") != 1 {
			t.Errorf("nobody was told\n%s", one.log)
		}
		w.settle()
	})
}

// The answer to the acquisition is lost: the key is not left to a session that
// nobody knows of.
func TestLostAnswer(t *testing.T) {
	for _, op := range []string{"NewSession", "Acquire", "Read"} {
		t.Run(op, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t)
				var lost atomic.Int64
				w.server.Intercept(func(c consultest.Call) consultest.Fault {
					if c.Op == op && lost.Add(1) <= 3 {
						return consultest.Fault{After: &consul.Error{Op: op, Kind: consul.ErrUnavailable}}
					}
					return consultest.Fault{}
				})
				w.agent("one").run()
				if took := w.leads("one", 5*time.Second); took > 2*time.Second {
					t.Errorf("leads after %s", took)
				}
				w.settle()
			})
		})
	}
}

// The same, and Consul cannot be told to end the session either.
func TestLostAnswerAndConsulAway(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.server.Intercept(func(c consultest.Call) consultest.Fault {
			switch c.Op {
			case "Acquire":
				return consultest.Fault{After: &consul.Error{Op: c.Op, Kind: consul.ErrUnavailable}}
			case "DestroySession":
				return consultest.Fault{Before: &consul.Error{Op: c.Op, Kind: consul.ErrUnavailable}}
			}
			return consultest.Fault{}
		})
		w.agent("one").run()
		time.Sleep(time.Second)
		w.server.Intercept(nil)
		w.leads("one", 5*time.Second) // and not after the orphan's TTL
		w.settle()
	})
}

// forgetful is a Consul that has just come back: it has not read its own log
// yet, knows no session, and says so in good faith.
type forgetful struct {
	Consul
	until *atomic.Pointer[time.Time]
}

func (f forgetful) RenewSession(ctx context.Context, id string) (time.Duration, error) {
	if time.Now().Before(*f.until.Load()) {
		return 0, &consul.Error{Op: "renew session " + id, Kind: consul.ErrNoSession}
	}
	return f.Consul.RenewSession(ctx, id)
}

func (f forgetful) DestroySession(ctx context.Context, id string) error {
	if time.Now().Before(*f.until.Load()) {
		return nil
	}
	return f.Consul.DestroySession(ctx, id)
}

func TestConsulForgetsForAMoment(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		one := w.agent("one")
		var until atomic.Pointer[time.Time]
		forget := func(d time.Duration) { end := time.Now().Add(d); until.Store(&end) }
		forget(0)
		one.Config.Consul = forgetful{one.client, &until}
		var giveUp atomic.Bool
		one.body = func(ctx context.Context, _ Term) error {
			for ctx.Err() == nil && !giveUp.Swap(false) {
				wait(ctx, 10*time.Millisecond)
			}
			return nil
		}
		one.run()
		w.leads("one", time.Second)

		// That it does not know the session is no proof.
		time.Sleep(time.Minute)
		forget(6 * time.Second)
		time.Sleep(time.Minute)
		if n := w.count(); n != 1 {
			t.Errorf("%d terms\n%s", n, one.log)
		}
		// That it says to have ended it is none either.
		forget(500 * time.Millisecond)
		giveUp.Store(true)
		time.Sleep(5 * time.Second) // and not the TTL
		if len(w.running()) != 1 || w.count() != 2 {
			t.Errorf("%d terms, %d now: the key is left to a session of ours\n%s", w.count(), len(w.running()), one.log)
		}
		w.settle()
	})
}

// The question whether that is so hangs: there is time to ask again.
func TestConsulForgetsAndHangs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		one := w.agent("one").run()
		w.leads("one", time.Second)
		var renewals, reads atomic.Int64
		w.server.Intercept(func(c consultest.Call) consultest.Fault {
			switch {
			case c.Op == "RenewSession" && renewals.Add(1) == 1:
				return consultest.Fault{Before: &consul.Error{Op: c.Op, Kind: consul.ErrNoSession}}
			case c.Op == "Read" && reads.Add(1) == 1:
				return consultest.Fault{Hang: true}
			}
			return consultest.Fault{}
		})
		time.Sleep(time.Minute)
		if n := w.count(); n != 1 || reads.Load() == 0 {
			t.Errorf("%d terms, asked %d times\n%s", n, reads.Load(), one.log)
		}
		w.settle()
	})
}

// A free key with a lock delay is not stormed.
func TestLockDelay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		hand := w.server.Client("hand")
		id, err := hand.NewSession(t.Context(), &api.SessionEntry{LockDelay: 15 * time.Second})
		if err != nil {
			t.Fatal(err)
		}
		if ok, err := hand.Acquire(t.Context(), key, []byte("hand"), id); err != nil || !ok {
			t.Fatal(ok, err)
		}
		var calls atomic.Int64
		w.server.Intercept(func(consultest.Call) consultest.Fault { calls.Add(1); return consultest.Fault{} })
		one := w.agent("one").run()
		synctest.Wait()
		if s, _ := one.Now(); s.Leader != "hand" {
			t.Errorf("%+v", s)
		}
		_ = hand.DestroySession(t.Context(), id)
		w.leads("one", 25*time.Second)
		if n := calls.Load(); n > 60 {
			t.Errorf("%d requests", n)
		}
		w.settle()
	})
}

// Consul does not know the agent's check: the agent is told, so that it can
// register itself anew, and people are told if that does not help.
func TestCheckUnknown(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		one := w.agent("one")
		w.server.SetCheck("one", alive, "")
		one.run()
		time.Sleep(time.Second)
		if one.refused.Load() == 0 {
			t.Error("nobody was told to register")
		}
		if one.says("cannot stand for leader; trying again") != 0 {
			t.Errorf("cried too soon\n%s", one.log)
		}
		time.Sleep(time.Minute)
		if n := one.says("cannot stand for leader; trying again"); n != 1 {
			t.Errorf("said %d times\n%s", n, one.log)
		}
		if n := one.refused.Load(); n > 30 {
			t.Errorf("tried %d times", n)
		}
		w.server.SetCheck("one", alive, api.HealthPassing)
		w.leads("one", 15*time.Second)

		// That is forgotten: the next campaign that fails is tried again soon.
		time.Sleep(time.Minute)
		var failed atomic.Bool
		w.server.Intercept(func(c consultest.Call) consultest.Fault {
			if c.Op == "NewSession" && !failed.Swap(true) {
				return consultest.Fault{Before: &consul.Error{Op: c.Op, Kind: consul.ErrUnavailable}}
			}
			return consultest.Fault{}
		})
		before := w.count()
		_ = one.client.Delete(t.Context(), key)
		time.Sleep(200 * time.Millisecond)
		if !failed.Load() || w.count() != before+1 {
			t.Errorf("not back after 200 ms\n%s", one.log)
		}
		w.settle()
	})
}

// Somebody takes the office away again and again: it is not fought for.
func TestOfficeTakenAwayAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		one := w.agent("one")
		hand := w.server.Client("hand")
		one.body = func(ctx context.Context, _ Term) error {
			_ = hand.Delete(ctx, key)
			<-ctx.Done()
			return nil
		}
		one.run()
		time.Sleep(time.Minute)
		if n := w.count(); n < 5 || n > 25 {
			t.Errorf("%d terms in a minute", n)
		}
		w.settle()
	})
}

// What a deposed leader still has under way is refused by Consul itself.
func TestFence(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.agent("one").run()
		w.leads("one", time.Second)
		old := w.running()[0].term
		store := consul.Store{KV: w.server.Client("late")}
		write := api.KVTxnOps{{Verb: api.KVSet, Key: "teal/x", Value: []byte("x")}}
		if _, err := store.Commit(t.Context(), old.Fence, write); err != nil {
			t.Fatal(err)
		}
		w.agent("two").run()
		w.server.SetCheck("one", alive, api.HealthCritical)
		w.leads("two", time.Second)
		if _, err := store.Commit(t.Context(), old.Fence, write); !errors.Is(err, consul.ErrDeposed) {
			t.Errorf("the old term writes: %v", err)
		}
		if _, err := store.Commit(t.Context(), w.running()[0].term.Fence, write); err != nil {
			t.Errorf("the new term does not: %v", err)
		}
		w.settle()
	})
}

// A read that is served stale is no reason to step down.
func TestStaleRead(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.server.Intercept(func(c consultest.Call) consultest.Fault {
			if c.Op == "Get" && c.Index == 0 {
				return consultest.Fault{Stale: 2}
			}
			return consultest.Fault{}
		})
		w.agent("one").run()
		w.leads("one", time.Second)
		time.Sleep(time.Minute)
		if n := w.count(); n != 1 {
			t.Errorf("%d terms\n%s", n, w.logs())
		}
		w.settle()
	})
}
