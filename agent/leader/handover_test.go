package leader

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hashicorp/consul/api"

	"github.com/tealdeploy/teal/agent/consul"
	"github.com/tealdeploy/teal/agent/consul/consultest"
)

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
