package leader

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hashicorp/consul/api"

	"github.com/tealdeploy/teal/agent/consul"
)

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
				if n := w.count(); n < 5 || n > 40 {
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
		if n := w.count(); n < 5 || n > 40 {
			t.Errorf("%d terms in a minute", n)
		}
		w.settle()
	})
}
