package notify

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	consulapi "github.com/hashicorp/consul/api"
	"github.com/hashicorp/go-hclog"

	"github.com/tealdeploy/teal/agent/consul"
	"github.com/tealdeploy/teal/agent/consul/consultest"
	"github.com/tealdeploy/teal/agent/deployment"
	"github.com/tealdeploy/teal/agent/kv"
)

// ear is a receiver's other end.
type ear struct {
	mu    sync.Mutex
	heard []string
	fails error
	deaf  bool // it never answers
}

func (e *ear) Send(ctx context.Context, n Notice) error {
	e.mu.Lock()
	deaf, fails := e.deaf, e.fails
	e.mu.Unlock()
	if deaf {
		<-ctx.Done()
		return ctx.Err()
	}
	if fails != nil {
		return fails
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	e.heard = append(e.heard, n.Deployment+" "+string(n.Event))
	return nil
}

func (e *ear) set(fails error, deaf bool) { e.mu.Lock(); e.fails, e.deaf = fails, deaf; e.mu.Unlock() }
func (e *ear) told() string               { e.mu.Lock(); defer e.mu.Unlock(); return strings.Join(e.heard, ", ") }

// town is a Consul, and agents that tell one after the other.
type town struct {
	*testing.T
	consul *consultest.Server
	client *consultest.Client
	keys   kv.Keys
	ears   map[string]*ear
	log    bytes.Buffer
	mu     sync.Mutex
	counts map[string]int
	terms  int
}

func (w *town) Notice(receiver, result string) {
	w.mu.Lock()
	w.counts[receiver+" "+result]++
	w.mu.Unlock()
}
func (w *town) NoticesWaiting(n int)        { w.mu.Lock(); w.counts["waiting"] = n; w.mu.Unlock() }
func (w *town) count(what string) int       { w.mu.Lock(); defer w.mu.Unlock(); return w.counts[what] }
func (w *town) Write(p []byte) (int, error) { w.mu.Lock(); defer w.mu.Unlock(); return w.log.Write(p) }
func (w *town) said() string                { w.mu.Lock(); defer w.mu.Unlock(); return w.log.String() }

func inTown(t *testing.T, f func(w *town)) {
	synctest.Test(t, func(t *testing.T) {
		s := consultest.New()
		f(&town{T: t, consul: s, client: s.Client("one"), keys: kv.NewKeys(""), counts: map[string]int{},
			ears: map[string]*ear{"chat": {}, "pager": {}, "hook": {}}})
	})
}

// office is one leader's term.
type office struct {
	w     *town
	box   *Outbox
	fence consul.Fence
	end   func()
	n     int
}

// leads begins a term with receivers of these names.
func (w *town) leads(names ...string) *office { w.Helper(); return w.leadsFor(time.Hour, names...) }

// leadsFor is leads with receivers that are tried for so long.
func (w *town) leadsFor(giveUp time.Duration, names ...string) *office {
	w.Helper()
	w.terms++
	id, err := w.client.NewSession(w.Context(), &consulapi.SessionEntry{Name: fmt.Sprint("term ", w.terms), Behavior: "release", TTL: "24h"})
	if err != nil {
		w.Fatal(err)
	}
	if ok, err := w.client.Acquire(w.Context(), w.keys.Leader(), []byte("one"), id); !ok || err != nil {
		w.Fatal(ok, err)
	}
	o := &office{w: w, fence: consul.Fence{LeaderKey: w.keys.Leader(), Session: id}}
	var rs []Receiver
	for _, name := range names {
		rs = append(rs, Receiver{Kind: "webhook", Name: name, Severity: Info, Timeout: 10 * time.Second, GiveUp: giveUp, Sender: w.ears[name]})
	}
	o.box = New(Config{Receivers: rs, Keys: w.keys, Store: w.client, Meter: w, Log: hclog.New(&hclog.LoggerOptions{Output: w})})
	run := o.box.Term(o.fence)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- run(ctx) }()
	o.end = sync.OnceFunc(func() {
		cancel()
		if err := <-done; err != nil && !errors.Is(err, consul.ErrDeposed) {
			w.Error(err)
		}
		if err := w.client.DestroySession(context.Background(), id); err != nil {
			w.Error(err)
		}
	})
	return o
}

// happens saves the beginning of a release, with what is to be told of it.
func (o *office) happens(id string) {
	o.w.Helper()
	o.n++
	after := deployment.Service{Name: "api", Deployment: &deployment.Deployment{ID: id, State: deployment.Preparing, Candidate: deployment.Candidate{Version: id}}}
	ops := o.box.Owed(deployment.Service{Name: "api"}, after, deployment.Event{Kind: deployment.Begin, At: time.Now()})
	if len(ops) == 0 {
		return
	}
	if _, err := o.w.client.Commit(context.Background(), o.fence, ops); err != nil {
		o.w.Fatal(err)
	}
	o.box.Saved(ops)
}

func (w *town) left() int {
	w.Helper()
	keys, err := w.client.Keys(context.Background(), w.keys.Notices())
	if err != nil {
		w.Fatal(err)
	}
	return len(keys)
}

// A new leader tells what the one before it could not, and repeats nothing.
func TestNextLeaderTellsTheRest(t *testing.T) {
	inTown(t, func(w *town) {
		w.ears["pager"].set(errors.New("away"), false)
		first := w.leads("chat", "pager")
		first.happens("d1")
		first.happens("d2")
		time.Sleep(time.Second)
		if got := w.ears["chat"].told(); got != "d1 started, d2 started" {
			t.Errorf("chat was told %q", got)
		}
		if n := w.left(); n != 2 {
			t.Errorf("%d notices in Consul", n)
		}
		first.end()

		w.ears["pager"].set(nil, false)
		second := w.leads("chat", "pager")
		second.happens("d3")
		time.Sleep(time.Second)
		if got := w.ears["chat"].told(); got != "d1 started, d2 started, d3 started" {
			t.Errorf("chat was told %q", got)
		}
		if got := w.ears["pager"].told(); got != "d1 started, d2 started, d3 started" {
			t.Errorf("pager was told %q", got)
		}
		if n := w.left(); n != 0 || w.count("waiting") != 0 {
			t.Errorf("%d notices in Consul, %d waiting", n, w.count("waiting"))
		}
		second.end()
		third := w.leads("chat", "pager")
		time.Sleep(time.Minute)
		third.end()
		if got := w.ears["chat"].told() + w.ears["pager"].told(); strings.Count(got, "d1") != 2 {
			t.Errorf("told again: %s", got)
		}
	})
}

// A leader that dies right after it told tells again: at least once.
func TestToldButNotNoted(t *testing.T) {
	inTown(t, func(w *town) {
		first := w.leads("chat")
		w.consul.Intercept(func(c consultest.Call) consultest.Fault {
			if c.Op == "Txn" && strings.Contains(c.Key, "notices/") && w.ears["chat"].told() != "" {
				return consultest.Fault{Before: consul.ErrUnavailable}
			}
			return consultest.Fault{}
		})
		first.happens("d1")
		time.Sleep(time.Minute)
		first.end()
		w.consul.Intercept(nil)
		if w.ears["chat"].told() != "d1 started" || w.left() != 1 {
			t.Fatalf("told %q, %d left", w.ears["chat"].told(), w.left())
		}
		second := w.leads("chat")
		time.Sleep(time.Minute)
		second.end()
		if got := w.ears["chat"].told(); got != "d1 started, d1 started" || w.left() != 0 {
			t.Errorf("told %q, %d left", got, w.left())
		}
	})
}

// Consul is away when it is to be noted that something was told: it is noted
// later, and not told again.
func TestNotedOnceConsulIsBack(t *testing.T) {
	inTown(t, func(w *town) {
		o := w.leads("chat")
		var away atomic.Bool
		away.Store(true)
		w.consul.Intercept(func(c consultest.Call) consultest.Fault {
			if away.Load() && c.Op == "Txn" && w.ears["chat"].told() != "" {
				return consultest.Fault{Before: consul.ErrUnavailable}
			}
			return consultest.Fault{}
		})
		o.happens("d1")
		time.Sleep(time.Minute)
		away.Store(false)
		time.Sleep(time.Minute)
		if w.ears["chat"].told() != "d1 started" || w.left() != 0 {
			t.Errorf("told %q, %d left", w.ears["chat"].told(), w.left())
		}
		o.end()
	})
}

// A deposed leader notes nothing: what it told, the next one may tell again, but
// it takes nothing away that is still owed.
func TestDeposedLeaderTakesNothingAway(t *testing.T) {
	inTown(t, func(w *town) {
		w.ears["chat"].set(errors.New("away"), false)
		o := w.leads("chat")
		o.happens("d1")
		time.Sleep(time.Second)
		if err := w.client.DestroySession(context.Background(), o.fence.Session); err != nil {
			t.Fatal(err)
		}
		w.ears["chat"].set(nil, false)
		time.Sleep(5 * time.Minute)
		if w.left() != 1 {
			t.Errorf("%d left", w.left())
		}
		o.end()
	})
}

// One that never answers, and one that refuses, delay nobody else.
func TestDeafReceiverDelaysNobody(t *testing.T) {
	inTown(t, func(w *town) {
		w.ears["pager"].set(nil, true)
		w.ears["hook"].set(errors.New("connection refused"), false)
		o := w.leads("pager", "hook", "chat")
		began := time.Now()
		for n := range 20 {
			o.happens(fmt.Sprint("d", n))
		}
		if took := time.Since(began); took != 0 {
			t.Errorf("saving took %s", took)
		}
		time.Sleep(time.Second)
		if n := strings.Count(w.ears["chat"].told(), "started"); n != 20 {
			t.Errorf("chat was told %d of 20", n)
		}
		time.Sleep(10 * time.Minute)
		if n := w.count("pager failed"); n < 3 || n > 15 {
			t.Errorf("%d tries in ten minutes", n)
		}
		if n := strings.Count(w.said(), "could not be told"); n != 2 {
			t.Errorf("said %d times:\n%s", n, w.said())
		}
		o.end()
	})
}

// What cannot be told for an hour, or is refused, is given up and said.
func TestGivenUp(t *testing.T) {
	inTown(t, func(w *town) {
		w.ears["chat"].set(errors.New("away"), false)
		w.ears["hook"].set(fmt.Errorf("%w: answered 400", errRefused), false)
		o := w.leads("chat", "hook")
		o.happens("d1")
		time.Sleep(time.Second)
		if w.count("hook given-up") != 1 || w.count("chat given-up") != 0 || w.left() != 1 {
			t.Errorf("%v, %d left", w.counts, w.left())
		}
		time.Sleep(50 * time.Minute)
		if w.left() != 1 {
			t.Error("given up too early")
		}
		time.Sleep(20 * time.Minute)
		if w.count("chat given-up") != 1 || w.left() != 0 || strings.Count(w.said(), "given up") != 2 {
			t.Errorf("%v, %d left\n%s", w.counts, w.left(), w.said())
		}
		w.ears["chat"].set(nil, false)
		o.happens("d2")
		time.Sleep(5 * time.Minute)
		if got := w.ears["chat"].told(); got != "d2 started" {
			t.Errorf("told %q", got)
		}
		o.end()
	})
}

// A receiver that is away for long does not fill Consul, nor does it fail a save.
func TestNoticesAreBounded(t *testing.T) {
	inTown(t, func(w *town) {
		w.ears["chat"].set(errors.New("away"), false)
		o := w.leads("chat")
		for n := range maxOwed + 100 {
			o.happens(fmt.Sprint("d", maxOwed+100-n))
			time.Sleep(time.Millisecond)
		}
		if n := w.left(); n != maxOwed || w.count("chat dropped") != 100 || strings.Count(w.said(), "is dropped") != 1 {
			t.Errorf("%d in Consul, %v", n, w.counts)
		}
		w.ears["chat"].set(nil, false)
		time.Sleep(10 * time.Minute)
		o.happens("last")
		time.Sleep(time.Second)
		heard := strings.Split(w.ears["chat"].told(), ", ")
		if len(heard) != maxOwed+1 || heard[0] != "d600 started" || heard[maxOwed] != "last started" || w.left() != 0 {
			t.Errorf("%d told, %d left", len(heard), w.left())
		}
		o.end()
	})
}

// A name that this agent does not know may be another's; not for ever.
func TestReceiverThatIsGone(t *testing.T) {
	inTown(t, func(w *town) {
		w.ears["pager"].set(errors.New("away"), false)
		first := w.leads("pager")
		first.happens("d1")
		time.Sleep(time.Second)
		first.end()
		second := w.leads("chat")
		time.Sleep(30 * time.Minute)
		if w.left() != 1 {
			t.Error("another agent may still know it")
		}
		time.Sleep(40 * time.Minute)
		if w.left() != 0 || w.ears["chat"].told() != "" {
			t.Errorf("%d left, chat was told %q", w.left(), w.ears["chat"].told())
		}
		second.end()
	})
}

// What is saved while a term begins may be read from Consul, and told, before the
// save itself is announced. It is told once.
func TestReadBeforeItWasAnnounced(t *testing.T) {
	inTown(t, func(w *town) {
		o := w.leads("chat")
		after := deployment.Service{Name: "api", Deployment: &deployment.Deployment{ID: "d1", State: deployment.Preparing}}
		ops := o.box.Owed(deployment.Service{Name: "api"}, after, deployment.Event{Kind: deployment.Begin, At: time.Now()})
		o.end()
		if err := w.client.Put(context.Background(), ops[0].Key, ops[0].Value); err != nil {
			t.Fatal(err)
		}
		o = w.leads("chat")
		time.Sleep(time.Second)
		o.box.Saved(ops)
		time.Sleep(time.Second)
		if got := w.ears["chat"].told(); got != "d1 started" || w.left() != 0 {
			t.Errorf("told %q, %d left", got, w.left())
		}
		o.end()
	})
}

// One that this agent does know is tried for as long as its block says.
func TestGiveUpIsTheBlocksToSay(t *testing.T) {
	inTown(t, func(w *town) {
		w.ears["chat"].set(errors.New("away"), false)
		o := w.leadsFor(5*time.Hour, "chat")
		o.happens("d1")
		time.Sleep(3 * time.Hour)
		w.ears["chat"].set(nil, false)
		time.Sleep(5 * time.Minute)
		if w.ears["chat"].told() != "d1 started" || w.left() != 0 {
			t.Errorf("told %q, %d left", w.ears["chat"].told(), w.left())
		}
		o.end()
	})
}

// What somebody writes there is left alone, and stops nothing.
func TestStrangeKeys(t *testing.T) {
	inTown(t, func(w *town) {
		for n, value := range []string{"", "nonsense", "{}", `{"id":"x","owed_to":[]}`, `{"id":1}`} {
			if err := w.client.Put(context.Background(), w.keys.Notice("api", fmt.Sprint(n)), []byte(value)); err != nil {
				t.Fatal(err)
			}
		}
		o := w.leads("chat")
		o.happens("d1")
		time.Sleep(time.Second)
		if w.ears["chat"].told() != "d1 started" || w.left() != 5 {
			t.Errorf("told %q, %d left", w.ears["chat"].told(), w.left())
		}
		o.end()
	})
}

// Whoever may write the notices of one service says nothing of another, and a notice
// of a year to come is given up like any other.
func TestNoticesThatNobodyOwes(t *testing.T) {
	inTown(t, func(w *town) {
		put := func(id, service, at string) {
			value := fmt.Sprintf(`{"id":%q,"at":%q,"event":"held","service":%q,"owed_to":["chat"]}`, id, at, service)
			if err := w.client.Put(context.Background(), w.keys.Notice("api", id), []byte(value)); err != nil {
				t.Fatal(err)
			}
		}
		put("other", "shop", time.Now().UTC().Format(time.RFC3339))
		put("late", "api", "9999-01-01T00:00:00Z")
		w.ears["chat"].set(errors.New("away"), false)
		o := w.leads("chat")
		time.Sleep(2 * time.Hour)
		if w.left() != 1 || w.count("chat "+GivenUp) != 1 {
			t.Errorf("%d left, %d given up: %s", w.left(), w.count("chat "+GivenUp), w.said())
		}
		w.ears["chat"].set(nil, false)
		time.Sleep(time.Hour)
		if w.ears["chat"].told() != "" {
			t.Errorf("told %q", w.ears["chat"].told())
		}
		o.end()
	})
}

// Results that metrics have a series for are those that are counted.
func TestResults(t *testing.T) {
	if !slices.Equal(Results, []string{Told, Tried, GivenUp, Dropped}) {
		t.Error(Results)
	}
}
