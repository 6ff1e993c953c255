package leader

import (
	"context"
	"errors"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/tealdeploy/teal/agent/consul"
	"github.com/tealdeploy/teal/agent/consul/consultest"
)

func TestPartitionBeyondTheLease(t *testing.T) {
	for name, expiry := range map[string]func(time.Duration) time.Duration{
		"as Consul does":     nil,
		"as early as it may": func(ttl time.Duration) time.Duration { return ttl },
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

// A write that was refused because the lease had run out is not tried again in the
// same term. So the term is over, also when a renewal that arrives late is
// answered before anybody has ended it: a release would stand still in a term that
// goes on.
func TestALeaseThatHasRunOutDoesNotComeBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLease("s", time.Now(), ttl)
		time.Sleep(holds - time.Second)
		l.extend(time.Now())
		time.Sleep(holds - time.Nanosecond)
		if err := l.check(); err != nil {
			t.Errorf("a lease that was extended: %v", err)
		}
		time.Sleep(time.Nanosecond)
		if err := l.check(); !errors.Is(err, consul.ErrDeposed) {
			t.Errorf("a lease that has run out: %v", err)
		}
		l.extend(time.Now())
		if err := l.check(); !errors.Is(err, consul.ErrDeposed) {
			t.Errorf("it came back: %v", err)
		}
		if err := l.expire(t.Context()); !errors.Is(err, consul.ErrDeposed) {
			t.Errorf("its term goes on: %v", err)
		}
	})
}

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
