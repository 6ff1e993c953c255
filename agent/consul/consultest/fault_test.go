package consultest

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hashicorp/consul/api"

	"github.com/tealdeploy/teal/agent/consul"
)

// bench is a fake with two agents and a key.
type bench struct {
	*testing.T
	ctx    context.Context
	server *Server
	a, b   *Client
}

func try(t *testing.T, f func(x *bench)) {
	synctest.Test(t, func(t *testing.T) {
		s := New()
		x := &bench{t, t.Context(), s, s.Client("a"), s.Client("b")}
		x.must(x.a.Put(x.ctx, "k", []byte("old")))
		f(x)
	})
}

func (x *bench) must(err error) {
	x.Helper()
	if err != nil {
		x.Fatal(err)
	}
}

func (x *bench) is(err, kind error) {
	x.Helper()
	if !errors.Is(err, kind) {
		x.Fatalf("error %v, want %v", err, kind)
	}
}

func (x *bench) holds(want string) {
	x.Helper()
	pair, err := x.b.Read(x.ctx, "k")
	x.must(err)
	if got := string(pair.Value); got != want {
		x.Fatalf("k holds %q, want %q", got, want)
	}
}

// once makes the next write of agent a suffer a fault.
func (x *bench) once(f Fault) {
	done := false
	x.server.Intercept(func(c Call) Fault {
		if done || !c.Write || c.Agent != "a" {
			return Fault{}
		}
		done = true
		return f
	})
}

// took runs f and says how long it took.
func took(f func()) time.Duration {
	began := time.Now()
	f()
	return time.Since(began)
}

func TestAWriteThatFailsBeforeOrAfter(t *testing.T) {
	lost := errors.New("connection reset")
	try(t, func(x *bench) {
		x.once(Fault{Before: lost})
		x.is(x.a.Put(x.ctx, "k", []byte("new")), lost)
		x.holds("old")
		x.once(Fault{After: lost})
		x.is(x.a.Put(x.ctx, "k", []byte("new")), lost)
		x.holds("new")
		x.once(Fault{Hang: true})
		if d := took(func() { x.is(x.a.Put(x.ctx, "k", []byte("newer")), consul.ErrUnavailable) }); d != consul.DefaultTimeout {
			x.Errorf("hung for %s", d)
		}
		x.holds("new")
	})
}

func TestAWriteCarriedOutTwiceDeniesItsFirst(t *testing.T) {
	try(t, func(x *bench) {
		pair, err := x.a.Read(x.ctx, "k")
		x.must(err)
		x.once(Fault{Twice: true})
		if ok, err := x.a.CAS(x.ctx, "k", []byte("new"), pair.ModifyIndex); ok || err != nil {
			x.Errorf("answered %v %v", ok, err)
		}
		x.holds("new")
	})
}

func TestADelayedWriteArrivesAfterItsSenderHasGone(t *testing.T) {
	for name, f := range map[string]Fault{"delayed": {Delay: time.Minute}, "stalled": {Stall: time.Minute}} {
		t.Run(name, func(t *testing.T) {
			try(t, func(x *bench) {
				ctx, cancel := context.WithTimeout(x.ctx, time.Second)
				defer cancel()
				x.once(f)
				x.is(x.a.Put(ctx, "k", []byte("new")), context.DeadlineExceeded)
				if f.Delay > 0 {
					x.holds("old")
				}
				<-time.After(time.Minute)
				x.holds("new")
			})
		})
	}
}

func TestAwayRefusesEverybodyAtOnce(t *testing.T) {
	try(t, func(x *bench) {
		_, index, err := x.a.Get(x.ctx, "k", 0)
		x.must(err)
		time.AfterFunc(time.Second, func() { x.server.SetAway(true) })
		if d := took(func() { _, _, err = x.a.Get(x.ctx, "k", index) }); d != time.Second {
			x.Errorf("a query under way was refused after %s", d)
		}
		x.is(err, consul.ErrUnavailable)
		x.is(x.b.Put(x.ctx, "k", []byte("new")), consul.ErrUnavailable)
		x.is(x.b.Ping(x.ctx), consul.ErrUnavailable)
		x.server.SetAway(false)
		x.holds("old")
	})
}

func TestOneAgentIsCutOff(t *testing.T) {
	try(t, func(x *bench) {
		_, index, err := x.a.Get(x.ctx, "k", 0)
		x.must(err)
		x.server.Cut("a")
		if d := took(func() { x.is(x.a.Put(x.ctx, "k", []byte("a")), consul.ErrUnavailable) }); d != consul.DefaultTimeout {
			x.Errorf("no answer for %s", d)
		}
		if d := took(func() { _, _, err = x.a.Get(x.ctx, "k", index) }); d < consul.DefaultWait || d > 2*consul.DefaultWait {
			x.Errorf("a query waited for %s", d)
		}
		x.is(err, consul.ErrUnavailable)
		x.must(x.b.Put(x.ctx, "k", []byte("b")))
		time.AfterFunc(time.Second, func() { x.server.Heal("a") })
		pair, _, err := x.a.Get(x.ctx, "k", index)
		x.must(err)
		if string(pair.Value) != "b" {
			x.Errorf("after the cut %s", pair.Value)
		}
		x.holds("b")
	})
}

// A held query may be answered as it was a while ago, but with nothing older than
// what its caller knows; what is not held is never stale.
func TestAStaleAndAnEarlyAnswer(t *testing.T) {
	try(t, func(x *bench) {
		_, old, err := x.a.Get(x.ctx, "k", 0)
		x.must(err)
		x.must(x.a.Put(x.ctx, "k", []byte("new")))
		_, index, err := x.a.Get(x.ctx, "k", 0)
		x.must(err)
		x.must(x.a.Put(x.ctx, "k", []byte("newer")))
		x.server.Intercept(func(Call) Fault { return Fault{Stale: 1, Early: true} })
		for asked, want := range map[uint64]string{old: "new", index: "new", index + 1: "newer", 0: "newer"} {
			var pair *api.KVPair
			var next uint64
			if d := took(func() { pair, next, err = x.a.Get(x.ctx, "k", asked) }); d != 0 {
				x.Errorf("after %s", d)
			}
			x.must(err)
			if string(pair.Value) != want || next != pair.ModifyIndex {
				x.Errorf("asked for what is newer than %d: %s at %d, want %s", asked, pair.Value, next, want)
			}
		}
	})
}

func TestACheckPassesAtItsFirstRun(t *testing.T) {
	reg := &api.AgentServiceRegistration{Name: "teal", Check: &api.AgentServiceCheck{TCP: "127.0.0.1:1", Interval: "1s"}}
	health := func(x *bench) string {
		list, _, err := x.a.PlainInstances(x.ctx, "teal", 0)
		x.must(err)
		if len(list) == 0 {
			return "none"
		}
		return string(list[0].Health)
	}
	try(t, func(x *bench) {
		x.must(x.a.RegisterService(x.ctx, reg))
		<-time.After(5 * time.Millisecond)
		if h := health(x); h != "none" {
			x.Errorf("in the catalog at once: %s", h)
		}
		<-time.After(500 * time.Millisecond)
		if h := health(x); h != api.HealthCritical {
			x.Errorf("before its first run: %s", h)
		}
		<-time.After(time.Second)
		if h := health(x); h != api.HealthPassing {
			x.Errorf("after it: %s", h)
		}
		x.server.SetCheck("a", "serfHealth", api.HealthCritical)
		if h := health(x); h != api.HealthCritical {
			x.Errorf("on a dead node: %s", h)
		}
		x.server.SetCheck("a", "serfHealth", api.HealthPassing)
		// Killed, then started again.
		x.server.SetCheck("a", "service:teal", api.HealthCritical)
		x.must(x.a.RegisterService(x.ctx, reg))
		<-time.After(500 * time.Millisecond)
		x.server.SetCheck("a", "service:teal", api.HealthCritical) // and killed again
		<-time.After(time.Minute)
		if h := health(x); h != api.HealthCritical {
			x.Errorf("a dead service: %s", h)
		}
	})
}
