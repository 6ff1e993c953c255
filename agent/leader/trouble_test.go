package leader

import (
	"context"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hashicorp/consul/api"

	"github.com/tealdeploy/teal/agent/consul"
	"github.com/tealdeploy/teal/agent/consul/consultest"
)

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

func TestConsulAway(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.server.SetAway(true)
		var calls atomic.Int64
		w.server.Intercept(func(consultest.Call) consultest.Fault { calls.Add(1); return consultest.Fault{} })
		one := w.agent("one").run()
		time.Sleep(10 * time.Minute)
		if n := calls.Load(); n > 400 {
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
		if n := one.refused.Load(); n > 40 {
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

func TestStaleRead(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.server.Intercept(func(c consultest.Call) consultest.Fault {
			if c.Op == "Get" && c.Index > 0 {
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
