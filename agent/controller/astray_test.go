package controller

import (
	"strings"
	"testing"
	"time"

	"github.com/tealdeploy/teal/agent/consul"
	"github.com/tealdeploy/teal/agent/consul/consultest"
	"github.com/tealdeploy/teal/agent/deployment"
	"github.com/tealdeploy/teal/agent/kv"
	"github.com/tealdeploy/teal/agent/nomad/nomadtest"
)

// A service was given back, none of its instances passes, and a server of Nomad's
// that was deposed says that there is no job: the leader makes the route ready for a
// first release, and dies right after that write. The next one finds the job that
// runs, and leads the route to it.
func TestARouteThatLeadsToNobodyIsTurnedToWhatRuns(t *testing.T) {
	inWorld(t, func(w *world) {
		w.adopted()
		w.obeyed(kv.Release, "")
		w.ill(deployment.Blue)
		w.astray()
		w.agent("agent-2")
		w.state("2.0.0", deployment.Launching)
		w.serves(deployment.Blue)
		w.health(deployment.Blue, deployment.Passing)
		w.state("2.0.0", deployment.Watching)
		w.serves(deployment.Green)
	})
}

// The record is lost, green serves, and the server of Nomad's knows only the job that
// ran before: it is not green that is empty. The route stays where it is, and the
// service is taken over as it runs once Nomad knows again.
func TestARouteIsNotTurnedAwayFromWhoServes(t *testing.T) {
	inWorld(t, func(w *world) {
		w.adopted()
		w.policy("2.0.0", quick)
		w.until(5*time.Minute, "2.0.0 is live", func(r deployment.Service) bool { return r.Active == deployment.Green && !r.InFlight() })
		w.agents[0].stop()
		if err := w.people.Delete(w.Context(), w.keys.State("api")); err != nil {
			t.Fatal(err)
		}
		w.nomad.Intercept(func(c nomadtest.Call) (f nomadtest.Fault) {
			if c.Op == "Job" && c.Job == "api-green" {
				f.Stale = 1 << 20
			}
			return f
		})
		w.agent("agent-2")
		rec := w.until(time.Minute, "refused", func(r deployment.Service) bool { return r.Problem != nil })
		if rec.Managed || !strings.Contains(rec.Problem.Reason, "sends requests to green, where ") {
			t.Errorf("%s", gistForPeople(rec))
		}
		if got := w.routed(); got != deployment.Green {
			t.Errorf("requests go to %s", got)
		}
		w.nomad.Intercept(nil)
		w.obeyed(kv.Deploy, "")
		w.serves(deployment.Green)
	})
}

// astray has agent-1 die when it has pointed the route at green.
func (w *world) astray() {
	w.Helper()
	w.nomad.Intercept(func(c nomadtest.Call) (f nomadtest.Fault) {
		if c.Agent == "agent-1" && c.Op == "Job" {
			f.Stale = 1 << 20
		}
		return f
	})
	dead := make(chan struct{})
	w.consul.Intercept(func(c consultest.Call) (f consultest.Fault) {
		if c.Agent != "agent-1" || !c.Write {
			return f
		}
		select {
		case <-dead:
			f.Before = &consul.Error{Op: "chaos", Kind: consul.ErrUnavailable}
			return f
		default:
		}
		if w.routed() == deployment.Green {
			close(dead)
			f.Before = &consul.Error{Op: "chaos", Kind: consul.ErrUnavailable}
		}
		return f
	})
	w.policy("2.0.0", quick)
	<-dead
	w.agents[0].stop()
	time.Sleep(time.Second)
	w.nomad.Intercept(nil)
	w.consul.Intercept(nil)
}
