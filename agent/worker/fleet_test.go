package worker

import (
	"context"
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hashicorp/consul/api"

	"github.com/tealdeploy/teal/agent/consul"
	"github.com/tealdeploy/teal/agent/consul/consultest"
	"github.com/tealdeploy/teal/agent/deployment"
	"github.com/tealdeploy/teal/agent/joblock"
	"github.com/tealdeploy/teal/agent/kv"
)

const (
	blue  = deployment.Blue
	green = deployment.Green
	none  = deployment.None
)

var keys = kv.NewKeys("")

// ledger sees every command from outside: who processes, under which token.
type ledger struct {
	*testing.T
	mu      sync.Mutex
	running map[*task]bool
	highest uint64
	starts  map[deployment.Colour]int
	killed  int
}

// task is a command that takes some time to end when asked to.
type task struct {
	colour deployment.Colour
	token  uint64
	slow   time.Duration
	book   *ledger
	once   sync.Once
	done   chan struct{}
	exit   int
}

// note writes the history, which a test that fails prints.
func (l *ledger) note(format string, args ...any) {
	l.Logf("%s "+format, append([]any{time.Now().Format("04:05.000")}, args...)...)
}

func (l *ledger) start(cfg Config, token uint64, slow time.Duration) *task {
	t := &task{colour: cfg.Colour, token: token, slow: slow, book: l, done: make(chan struct{})}
	l.mu.Lock()
	defer l.mu.Unlock()
	for other := range l.running {
		if other.colour != t.colour {
			l.Errorf("%s starts with token %d while %s processes with token %d", t.colour, token, other.colour, other.token)
		}
	}
	if token < l.highest {
		l.Errorf("token %d after %d", token, l.highest)
	}
	l.highest = token
	l.running[t] = true
	l.note("%s starts with token %d", cfg.ID, token)
	l.starts[t.colour]++
	return t
}

func (l *ledger) now(c deployment.Colour) int {
	l.mu.Lock()
	defer l.mu.Unlock()
	n := 0
	for t := range l.running {
		if t.colour == c {
			n++
		}
	}
	return n
}

// tally is a copy of the figures.
func (l *ledger) tally(c deployment.Colour) (starts, killed int, highest uint64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.starts[c], l.killed, l.highest
}

func (t *task) end(exit int) {
	t.once.Do(func() {
		t.book.mu.Lock()
		delete(t.book.running, t)
		t.book.note("%s with token %d ends with %d", t.colour, t.token, exit)
		if exit != 0 {
			t.book.killed++
		}
		t.book.mu.Unlock()
		t.exit = exit
		close(t.done)
	})
}

func (t *task) Ended() <-chan struct{} { return t.done }
func (t *task) Code() int              { return t.exit }
func (t *task) Terminate()             { time.AfterFunc(t.slow, func() { t.end(0) }) }
func (t *task) Kill()                  { t.end(137) }

// fleet is a Consul, workers of both colours and an agent that leads.
type fleet struct {
	*ledger
	ctx    context.Context
	server *consultest.Server
	agent  *consultest.Client
	fence  consul.Fence
	joined sync.WaitGroup
}

func newFleet(t *testing.T) *fleet {
	ctx, cancel := context.WithCancel(context.Background())
	f := &fleet{
		ledger: &ledger{T: t, running: map[*task]bool{}, starts: map[deployment.Colour]int{}},
		ctx:    ctx, server: consultest.New(),
	}
	f.server.SetExpiry(func(ttl time.Duration) time.Duration { return ttl }) // the worst Consul may do
	f.agent = f.server.Client("agent")
	session, err := f.agent.NewSession(ctx, &api.SessionEntry{Behavior: "release", LockDelay: time.Millisecond})
	f.must(err)
	if ok, err := f.agent.Acquire(ctx, keys.Leader(), nil, session); !ok || err != nil {
		t.Fatal(ok, err)
	}
	f.fence = consul.Fence{LeaderKey: keys.Leader(), Session: session}
	t.Cleanup(func() {
		cancel()
		f.joined.Wait()
	})
	return f
}

func (f *fleet) must(err error) {
	f.Helper()
	if err != nil {
		f.Fatal(err)
	}
}

// work starts a worker whose commands take slow to end when asked to.
func (f *fleet) work(name string, c deployment.Colour, slow func() time.Duration) (stop func()) {
	ctx, cancel := context.WithCancel(f.ctx)
	cfg := Config{Keys: keys, Service: "api", Colour: c, Command: []string{"x"}, ID: name, Start: func(cfg Config, token uint64) (Running, error) {
		return f.start(cfg, token, slow()), nil
	}}
	f.joined.Go(func() { _, _ = Run(ctx, cfg, f.server.Client(name)) })
	return cancel
}

func promptly() time.Duration { return 10 * time.Millisecond }
func never() time.Duration    { return time.Hour }

func (f *fleet) handover(to deployment.Colour, drain time.Duration) joblock.Handover {
	return joblock.Handover{
		Store: f.agent, Keys: keys, Service: "api", To: to, Deadline: time.Now().Add(drain),
		Commit: func(ctx context.Context, ops api.KVTxnOps) (api.KVPairs, error) {
			return consul.Store{KV: f.agent}.Commit(ctx, f.fence, ops)
		},
	}
}

// gives hands the jobs over and checks how it went and how long it took.
func (f *fleet) gives(to deployment.Colour, drain time.Duration, want joblock.Outcome, within time.Duration) {
	f.Helper()
	began := time.Now()
	got, err := handOver(f.ctx, f.handover(to, drain))
	f.must(err)
	if got != want {
		f.Errorf("handover to %s: %s, want %s", to, got, want)
	}
	if took := time.Since(began); took > within {
		f.Errorf("handover to %s took %s, want %s", to, took, within)
	}
	f.owner(to)
}

func (f *fleet) owner(want deployment.Colour) {
	f.Helper()
	pair, err := f.agent.Read(f.ctx, keys.JobProcessor("api"))
	f.must(err)
	if k := joblock.Parse(pair); k.Owner != want || k.Garbled != "" {
		f.Errorf("the key says %+v, want %s", k, want)
	}
}

// settles waits until exactly n of a colour process.
func (f *fleet) settles(c deployment.Colour, n int, within time.Duration) {
	f.Helper()
	for end := time.Now().Add(within); f.now(c) != n; {
		if time.Now().After(end) {
			f.Fatalf("%d of %s process, want %d", f.now(c), c, n)
		}
		tick()
	}
}

// tick lets virtual time pass.
func tick() { <-time.After(5 * time.Millisecond) }

func TestJobsGoFromColourToColour(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFleet(t)
		for i := range 3 {
			f.work(fmt.Sprint("b", i), blue, promptly)
			f.work(fmt.Sprint("g", i), green, promptly)
		}
		f.gives(blue, time.Minute, joblock.Released, time.Second)
		f.settles(blue, 3, time.Second)
		for range 5 {
			f.gives(green, time.Minute, joblock.Released, time.Second)
			f.settles(green, 3, time.Second)
			f.gives(blue, time.Minute, joblock.Released, time.Second)
			f.settles(blue, 3, time.Second)
		}
		f.gives(none, time.Minute, joblock.Released, time.Second)
		f.settles(blue, 0, time.Second)
	})
}

func TestAWorkerThatDoesNotEndIsForced(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFleet(t)
		f.work("b", blue, never)
		f.work("g", green, promptly)
		f.gives(blue, time.Minute, joblock.Released, time.Second)
		f.settles(blue, 1, time.Second)
		// It can be reached, so it says at once that it has ended.
		f.gives(green, 5*time.Second, joblock.Forced, 5*time.Second+100*time.Millisecond)
		f.settles(green, 1, time.Second)
	})
}

func TestAWorkerThatCannotBeReachedIsWaitedOut(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFleet(t)
		f.server.SetExpiry(func(ttl time.Duration) time.Duration { return 100 * ttl })
		f.work("b", blue, never)
		f.work("g", green, promptly)
		f.gives(blue, time.Minute, joblock.Released, time.Second)
		f.settles(blue, 1, time.Second)
		f.server.Cut("b")
		f.gives(green, time.Millisecond, joblock.Forced, 13*time.Second)
		f.settles(green, 1, time.Second)
	})
}

func TestALeaderThatDiesWhileWaitingOutIsFollowedByOneThatWaits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFleet(t)
		f.work("b", blue, never)
		f.work("g", green, promptly)
		f.gives(blue, time.Minute, joblock.Released, time.Second)
		f.settles(blue, 1, time.Second)
		f.server.Cut("b")
		dying, cancel := context.WithTimeout(f.ctx, 3*time.Second)
		defer cancel()
		if _, err := handOver(dying, f.handover(green, time.Millisecond)); err == nil {
			t.Fatal("did not die")
		}
		if f.now(blue) != 1 {
			t.Fatal("the scenario needs blue to be processing still")
		}
		f.gives(green, time.Millisecond, joblock.Forced, 13*time.Second)
		f.settles(green, 1, time.Second)
	})
}

func TestWithoutConsulTheCommandEndsInTimeAndComesBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFleet(t)
		f.work("b", blue, never)
		f.gives(blue, time.Minute, joblock.Released, time.Second)
		f.settles(blue, 1, time.Second)
		f.server.SetAway(true)
		f.settles(blue, 0, DefaultTTL-time.Second/2)
		f.server.SetAway(false)
		f.settles(blue, 1, 30*time.Second)
	})
}

func TestAShortAbsenceOfConsulIsNotNoticed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFleet(t)
		f.work("b", blue, promptly)
		f.gives(blue, time.Minute, joblock.Released, time.Second)
		f.settles(blue, 1, time.Second)
		f.server.SetAway(true)
		time.AfterFunc(3*time.Second, func() { f.server.SetAway(false) })
		<-time.After(time.Minute)
		if starts, _, _ := f.tally(blue); starts != 1 || f.now(blue) != 1 {
			t.Fatalf("started %d times", starts)
		}
	})
}

func TestALostSessionEndsTheCommandAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFleet(t)
		f.work("b", blue, never)
		f.gives(blue, time.Minute, joblock.Released, time.Second)
		f.settles(blue, 1, time.Second)
		for _, s := range f.server.Sessions() {
			if s.ID != f.fence.Session {
				f.server.ExpireSession(s.ID)
			}
		}
		<-time.After(3 * time.Second)
		if starts, _, _ := f.tally(blue); starts != 2 || f.now(blue) != 1 {
			t.Errorf("started %d times, %d running", starts, f.now(blue))
		}
	})
}

// Jobs that went away and came back between two looks are jobs under a new
// token: the old one must not work beside it.
func TestANewTokenRestartsTheCommand(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFleet(t)
		f.work("b", blue, promptly)
		f.gives(blue, time.Minute, joblock.Released, time.Second)
		f.settles(blue, 1, time.Second)
		f.server.Intercept(func(c consultest.Call) (fault consultest.Fault) {
			if c.Agent == "b" && c.Op == "Get" {
				fault.Delay = time.Second
			}
			return fault
		})
		f.must(f.agent.Put(f.ctx, keys.JobProcessor("api"), []byte("none")))
		f.must(f.agent.Put(f.ctx, keys.JobProcessor("api"), []byte("blue")))
		<-time.After(5 * time.Second)
		pair, err := f.agent.Read(f.ctx, keys.JobProcessor("api"))
		f.must(err)
		if starts, _, token := f.tally(blue); starts != 2 || token != pair.ModifyIndex {
			t.Errorf("started %d times, token %d, want %d", starts, token, pair.ModifyIndex)
		}
	})
}

// A renewal that takes long was valid from when it was sent, not from when it
// was answered.
func TestALateAnswerDoesNotMakeALeaseLonger(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFleet(t)
		f.work("b", blue, never)
		f.gives(blue, time.Minute, joblock.Released, time.Second)
		f.settles(blue, 1, time.Second)
		var mu sync.Mutex
		var sent time.Time
		f.server.Intercept(func(c consultest.Call) consultest.Fault {
			if c.Op != "RenewSession" || c.Agent != "b" {
				return consultest.Fault{}
			}
			mu.Lock()
			defer mu.Unlock()
			if sent.IsZero() { // on time, but the agent hears of it late
				sent = time.Now()
				return consultest.Fault{Stall: 1900 * time.Millisecond}
			}
			return consultest.Fault{Hang: true}
		})
		f.settles(blue, 0, 15*time.Second)
		mu.Lock()
		defer mu.Unlock()
		if lived := time.Since(sent); lived > 9100*time.Millisecond {
			t.Errorf("processed until %s after the renewal was sent", lived)
		}
	})
}

func TestGarbageAndHandEditsOfTheKey(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFleet(t)
		f.work("b", blue, promptly)
		f.work("g", green, promptly)
		f.gives(blue, time.Minute, joblock.Released, time.Second)
		f.settles(blue, 1, time.Second)
		for _, value := range []string{"purple", "", "bluegreen"} {
			f.must(f.agent.Put(f.ctx, keys.JobProcessor("api"), []byte(value)))
			f.settles(blue, 0, time.Second)
			pair, err := f.agent.Read(f.ctx, keys.JobProcessor("api"))
			f.must(err)
			if k := joblock.Parse(pair); k.Garbled == "" || k.Edited(blue) == "" {
				t.Errorf("%q is not seen: %+v", value, k)
			}
			f.gives(blue, time.Minute, joblock.Released, time.Second)
			f.settles(blue, 1, time.Second)
		}
		f.must(f.agent.Delete(f.ctx, keys.JobProcessor("api")))
		f.settles(blue, 0, time.Second)
		f.gives(green, time.Minute, joblock.Released, time.Second)
		f.settles(green, 1, time.Second)
	})
}

func TestAWorkerThatIsStoppedEndsItsCommandFirst(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFleet(t)
		stop := f.work("b", blue, func() time.Duration { return 15 * time.Second })
		f.gives(blue, time.Minute, joblock.Released, time.Second)
		f.settles(blue, 1, time.Second)
		stop()
		f.gives(green, time.Minute, joblock.Released, 16*time.Second)
		if f.now(blue) != 0 {
			t.Error("the key was let go before the command had ended")
		}
		if _, killed, _ := f.tally(blue); killed != 0 {
			t.Error("the command was not given its time")
		}
	})
}

// The window between reading the key and registering is where two sides could
// meet: the handover happens exactly there.
func TestAHandoverWhileAWorkerRegisters(t *testing.T) {
	for _, op := range []string{"NewSession", "Acquire", "Read"} {
		t.Run(op, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				f := newFleet(t)
				f.work("g", green, promptly)
				f.gives(blue, time.Minute, joblock.Released, time.Second)
				var once sync.Once
				f.server.Intercept(func(c consultest.Call) (fault consultest.Fault) {
					if c.Agent == "b" && c.Op == op {
						once.Do(func() {
							go func() { _, _ = handOver(f.ctx, f.handover(green, time.Minute)) }()
							fault.Stall = 2 * time.Second
						})
					}
					return fault
				})
				f.work("b", blue, promptly)
				f.settles(green, 1, 10*time.Second)
				<-time.After(time.Minute)
			})
		})
	}
}

// TestNeverBothSides hands the jobs back and forth while Consul goes away,
// workers are cut off, come and go and do not end, requests are late, and
// handovers die half way.
func TestNeverBothSides(t *testing.T) {
	for seed := range uint64(600) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) { neverBothSides(t, rand.New(rand.NewPCG(seed, 1))) })
		})
	}
}

func neverBothSides(t *testing.T, r *rand.Rand) {
	f := newFleet(t)
	var mu sync.Mutex // r is used by all workers
	chance := func(n int) int {
		mu.Lock()
		defer mu.Unlock()
		return r.IntN(n)
	}
	slow := func() time.Duration { return []time.Duration{0, time.Second, 15 * time.Second, time.Hour}[chance(4)] }
	f.server.Intercept(func(c consultest.Call) (fault consultest.Fault) {
		defer func() {
			if c.Write || fault != (consultest.Fault{}) {
				f.note("%s: %s %s %+v", c.Agent, c.Op, c.Key, fault)
			}
		}()
		switch chance(40) {
		case 0:
			if c.Write {
				return consultest.Fault{Stall: time.Duration(chance(1000)) * time.Millisecond}
			}
			return consultest.Fault{Delay: time.Duration(chance(9000)) * time.Millisecond}
		case 1:
			return consultest.Fault{Before: &consul.Error{Op: c.Op, Kind: consul.ErrUnavailable}}
		case 2:
			return consultest.Fault{After: &consul.Error{Op: c.Op, Kind: consul.ErrUnavailable}}
		case 3:
			return consultest.Fault{Stale: uint64(chance(5)), Early: true}
		}
		return consultest.Fault{}
	})
	stops := map[string]func(){}
	names := []string{"b1", "b2", "b3", "g1", "g2", "g3"}
	colours := map[byte]deployment.Colour{'b': blue, 'g': green}
	for _, name := range names {
		stops[name] = f.work(name, colours[name[0]], slow)
	}
	to := blue
	for step := range 25 {
		name := names[chance(len(names))]
		what := chance(6)
		f.note("step %d: %d, %s", step, what, name)
		switch what {
		case 0:
			f.server.Cut(name)
		case 1:
			f.server.Heal(name)
		case 2:
			f.server.SetAway(true)
			<-time.After(time.Duration(chance(20)) * time.Second)
			f.server.SetAway(false)
		case 3:
			stops[name]()
			stops[name] = f.work(fmt.Sprint(name, "-", step), colours[name[0]], slow)
		default:
			to = to.Other()
			ctx, cancel := context.WithTimeout(f.ctx, time.Duration(chance(60))*time.Second)
			_, _ = handOver(ctx, f.handover(to, time.Duration(chance(30))*time.Second))
			cancel()
		}
		<-time.After(time.Duration(chance(5000)) * time.Millisecond)
	}
	// The faults stop: all of the owner's process, none of the other's.
	f.server.Intercept(nil)
	f.server.SetAway(false)
	for _, name := range names {
		f.server.Heal(name)
		stops[name]()
		f.work(name+"-last", colours[name[0]], promptly)
	}
	if _, err := handOver(f.ctx, f.handover(to, 30*time.Second)); err != nil {
		t.Fatal(err)
	}
	f.settles(to, 3, 2*time.Minute)
	<-time.After(10 * time.Second) // late requests arrive
	if n := f.now(to.Other()); n != 0 {
		t.Errorf("%d of %s process", n, to.Other())
	}
}
