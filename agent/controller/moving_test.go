package controller

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	consulapi "github.com/hashicorp/consul/api"

	"github.com/tealdeploy/teal/agent/consul"
	"github.com/tealdeploy/teal/agent/consul/consultest"
	"github.com/tealdeploy/teal/agent/deployment"
	"github.com/tealdeploy/teal/agent/kv"
)

// A newer version came while the cutover was under way, and then the cutover
// was not made: the newer one takes its place.
func TestQueuedVersionSupersedesACutoverNotMade(t *testing.T) {
	inWorld(t, func(w *world) {
		w.adopted()
		w.policy("2.0.0", quick)
		w.state("2.0.0", deployment.Launching)
		w.consul.Intercept(func(c consultest.Call) (f consultest.Fault) {
			if c.Op == "SetEntry" && c.Agent == "agent-1" {
				f.Before = errLost
			}
			return f
		})
		w.state("2.0.0", deployment.CuttingOver)
		w.policy("3.0.0", quick)
		w.until(time.Minute, "queued", func(r deployment.Service) bool { return r.Queued != nil })
		w.addRoute("/admin")
		w.consul.Intercept(nil)
		w.until(time.Minute, "not made", func(r deployment.Service) bool { return r.Held != nil })
		w.obeyed(kv.Resume, "")
		w.until(time.Minute, "3.0.0 begins", func(r deployment.Service) bool {
			return r.InFlight() && r.Deployment.Candidate.Version == "3.0.0"
		})
	})
}

// Consul does not answer at the moment of cutover. When it does again, minutes
// later, the candidate has died: no traffic goes there.
func TestHealthIsLookedAtAtTheMomentOfCutover(t *testing.T) {
	inWorld(t, func(w *world) {
		w.adopted()
		w.policy("2.0.0", quick)
		var refuse atomic.Bool
		w.consul.Intercept(func(c consultest.Call) (f consultest.Fault) {
			if c.Agent == "agent-1" && refuse.Load() && c.Op == "SetEntry" {
				f.Before = errLost
			}
			return f
		})
		w.state("2.0.0", deployment.Launching)
		w.until(time.Minute, "healthy", func(deployment.Service) bool { return w.instances(deployment.Green) == 2 })
		refuse.Store(true)
		w.state("2.0.0", deployment.CuttingOver)
		time.Sleep(10 * time.Second)
		w.ill(deployment.Green)
		refuse.Store(false)
		synctest.Wait()
		w.until(time.Minute, "not made, or taken back", func(r deployment.Service) bool {
			return r.Held != nil || !r.InFlight()
		})
		if n := strings.Count(w.witness.told(), "route to green"); n > 0 {
			t.Errorf("traffic went to dead instances\n%s", w.witness.told())
		}
		w.serves(deployment.Blue)
	})
}

// The leader dies between the route write and the record, and the candidate
// right after it: the next leader sees that traffic is there and takes it back.
func TestNextLeaderSeesThatTrafficHasMoved(t *testing.T) {
	inWorld(t, func(w *world) {
		w.adopted()
		w.agent("agent-2")
		w.policy("2.0.0", quick)
		var dead atomic.Bool
		w.consul.Intercept(func(c consultest.Call) (f consultest.Fault) {
			if c.Agent != "agent-1" {
				return f
			}
			if dead.Load() {
				return consultest.Fault{Hang: true}
			}
			if c.Op == "SetEntry" && c.Key == "service-router/api" && w.record().Deployment.State == deployment.CuttingOver {
				dead.Store(true)
				time.AfterFunc(time.Second, func() { w.consul.SetCheck("agent-1", "alive", consulapi.HealthCritical) })
				return consultest.Fault{After: errKilled}
			}
			return f
		})
		w.until(5*time.Minute, "moved", func(deployment.Service) bool { return w.routed() == deployment.Green })
		w.ill(deployment.Green)
		w.until(2*time.Minute, "back", func(r deployment.Service) bool { return !r.InFlight() })
		w.serves(deployment.Blue)
	})
}

// The probe of a first release sees a wrong answer: there is no way back, and
// traffic has moved all the same.
func TestProbeOfAFirstRelease(t *testing.T) {
	edge := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, "another") }))
	defer edge.Close()
	inWorld(t, func(w *world) {
		text := strings.Replace(quick, "launch", fmt.Sprintf("cutover {\n protocol = \"http\"\n timeout = \"1s\"\n probe {\n url = %q\n expect = \"{version}\"\n }\n }\n launch", edge.URL), 1)
		w.policyWithCutover("1.0.0", text)
		w.agent("agent-1")
		rec := w.until(time.Minute, "routed", func(r deployment.Service) bool { return r.Active == deployment.Blue })
		if rec.Held == nil || !strings.Contains(rec.Held.Reason, "never saw") || rec.Deployment.State != deployment.Watching {
			t.Errorf("%s", gistForPeople(rec))
		}
	})
}

// A pause in the middle of a cutover: traffic has moved, so the release is
// carried to where it is watched.
func TestPauseInTheMiddleOfACutover(t *testing.T) {
	inWorld(t, func(w *world) {
		w.adopted()
		w.policy("2.0.0", quick)
		var slow atomic.Bool
		slow.Store(true)
		w.consul.Intercept(func(c consultest.Call) (f consultest.Fault) {
			if c.Agent == "agent-1" && c.Op == "Chain" && slow.Load() {
				f.Before = errLost
			}
			return f
		})
		w.until(time.Minute, "moved", func(deployment.Service) bool { return w.routed() == deployment.Green })
		w.obeyed(kv.Pause, "")
		slow.Store(false)
		w.until(time.Minute, "watched", func(r deployment.Service) bool { return r.Deployment.State == deployment.Watching })
		w.until(time.Minute, "jobs moved", func(r deployment.Service) bool { return r.Jobs.Owner == deployment.Green })
		w.ill(deployment.Green)
		w.until(time.Minute, "taken back", func(r deployment.Service) bool { return r.Active == deployment.Blue })
	})
}

// Somebody gives the jobs to a colour by hand while they are being handed to
// the other: that colour's workers let go first.
func TestKeyEditedDuringAHandover(t *testing.T) {
	inWorld(t, func(w *world) {
		w.adopted()
		session, err := w.people.NewSession(w.Context(), &consulapi.SessionEntry{Name: "worker", TTL: "1h"})
		if err != nil {
			t.Fatal(err)
		}
		worker := w.keys.Worker("api", deployment.Blue, "1")
		if _, err := w.people.Acquire(w.Context(), worker, nil, session); err != nil {
			t.Fatal(err)
		}
		w.policy("2.0.0", quick)
		w.state("2.0.0", deployment.Watching)
		if err := w.people.Put(w.Context(), w.keys.JobProcessor("api"), []byte("blue")); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Second)
		if err := w.people.DestroySession(w.Context(), session); err != nil {
			t.Fatal(err)
		}
		w.until(time.Minute, "moved", func(r deployment.Service) bool { return !r.Jobs.Moving() })
		w.jobs(deployment.Green)
	})
}

// The same, and a worker obeyed the edit after it was seen that none works any
// more: it is still seen, and waited for.
func TestKeyEditedDuringAHandoverIsObeyed(t *testing.T) {
	inWorld(t, func(w *world) {
		w.adopted()
		begins := func(id string) (ends func()) {
			session, err := w.people.NewSession(w.Context(), &consulapi.SessionEntry{Name: "worker", TTL: "1h"})
			if err != nil {
				t.Fatal(err)
			}
			if _, err := w.people.Acquire(w.Context(), w.keys.Worker("api", deployment.Blue, id), nil, session); err != nil {
				t.Fatal(err)
			}
			return func() {
				if err := w.people.DestroySession(w.Context(), session); err != nil {
					t.Fatal(err)
				}
			}
		}
		first := begins("1")
		w.policy("2.0.0", quick)
		w.state("2.0.0", deployment.Watching)
		if err := w.people.Put(w.Context(), w.keys.JobProcessor("api"), []byte("blue")); err != nil {
			t.Fatal(err)
		}
		var asked int
		var second func()
		w.consul.Intercept(func(c consultest.Call) (f consultest.Fault) {
			if c.Agent != "agent-1" || c.Op != "Txn" && c.Key != w.keys.JobProcessor("api") {
				return f
			}
			if asked++; asked == 2 { // the first saw that the worker has gone
				second = begins("2")
			}
			f.Early = c.Op == "Get"
			return f
		})
		first()
		synctest.Wait()
		time.Sleep(time.Second)
		synctest.Wait()
		if second == nil {
			t.Fatal("nobody looked at the key")
		}
		w.jobs(deployment.None)
		second()
		w.until(time.Minute, "moved", func(r deployment.Service) bool { return !r.Jobs.Moving() })
		w.jobs(deployment.Green)
	})
}

// The router is deleted while no agent leads.
func TestEntryDeletedWhileNobodyLed(t *testing.T) {
	inWorld(t, func(w *world) {
		w.adopted().stop()
		e, err := w.people.Entry(w.Context(), consulapi.ServiceRouter, "api")
		if err != nil {
			t.Fatal(err)
		}
		if ok, err := w.people.DeleteEntry(w.Context(), consulapi.ServiceRouter, "api", e.GetModifyIndex()); err != nil || !ok {
			t.Fatal(ok, err)
		}
		w.agent("agent-2")
		w.until(time.Minute, "held", func(r deployment.Service) bool { return r.Held != nil && r.Held.Cause == deployment.RouteEdited })
	})
}

// An edit back to what serves, in the middle of the cutover away from it.
func TestRevertedDuringTheCutover(t *testing.T) {
	inWorld(t, func(w *world) {
		w.adopted()
		w.policy("2.0.0", quick)
		var refuse atomic.Bool
		w.consul.Intercept(func(c consultest.Call) (f consultest.Fault) {
			if refuse.Load() && c.Agent == "agent-1" && c.Op == "SetEntry" {
				f.Before = errLost
			}
			return f
		})
		w.state("2.0.0", deployment.Launching)
		refuse.Store(true)
		w.state("2.0.0", deployment.CuttingOver)
		w.policy("1.0.0", quick)
		w.until(10*time.Second, "decided", func(r deployment.Service) bool { return r.Deployment.State == deployment.RollingBack })
		refuse.Store(false)
		rec := w.until(time.Minute, "back", func(r deployment.Service) bool { return !r.InFlight() })
		if d := rec.Deployment; d.Outcome != deployment.RolledBack || !strings.Contains(d.Reason, "1.0.0 again") {
			t.Errorf("%s: %s", d.Outcome, d.Reason)
		}
		w.serves(deployment.Blue)
	})
}

// A cutover is on its way to Consul, slowly, and is given up. It must not arrive
// after the rollback.
func TestCutoverThatArrivesAfterItsRollback(t *testing.T) {
	inWorld(t, func(w *world) {
		w.adopted()
		w.policy("2.0.0", quick)
		var slow atomic.Bool
		slow.Store(true)
		w.consul.Intercept(func(c consultest.Call) (f consultest.Fault) {
			if c.Agent == "agent-1" && c.Op == "SetEntry" && c.Key == "service-router/api" && slow.Load() && w.record().Deployment.State == deployment.CuttingOver {
				slow.Store(false)
				f.Delay = 5 * time.Second
			}
			return f
		})
		w.state("2.0.0", deployment.CuttingOver)
		w.obeyed(kv.Rollback, "")
		w.until(time.Minute, "back", func(r deployment.Service) bool { return !r.InFlight() })
		time.Sleep(10 * time.Second)
		w.serves(deployment.Blue)
	})
}

// The cutover's write is still on its way when the candidate falls ill and the
// cutover is given up: it must not arrive after that, with traffic for a dead
// candidate under a record that says that nothing was moved.
func TestCutoverThatArrivesAfterItWasGivenUp(t *testing.T) {
	inWorld(t, func(w *world) {
		w.adopted()
		var late atomic.Bool
		w.consul.Intercept(func(c consultest.Call) (f consultest.Fault) {
			if c.Agent == "agent-1" && c.Op == "SetEntry" && c.Key == "service-router/api" && w.record().Deployment.State == deployment.CuttingOver && !late.Swap(true) {
				f.Delay = 2 * time.Minute
			}
			return f
		})
		w.policy("2.0.0", quick)
		w.until(time.Minute, "sent", func(deployment.Service) bool { return late.Load() })
		w.ill(deployment.Green)
		w.until(2*time.Minute, "given up", func(r deployment.Service) bool { return r.Held != nil && r.Deployment.State == deployment.Gating })
		time.Sleep(3 * time.Minute)
		synctest.Wait()
		if strings.Contains(w.witness.told(), "route to green") {
			t.Errorf("it arrived\n%s", w.witness.told())
		}
		w.serves(deployment.Blue)
	})
}

// Consul refuses the rollback's write, as it does while a token is being replaced.
// It is told, and made as soon as it can be: nobody has to ask for it again.
func TestARefusedRollbackIsTriedAgain(t *testing.T) {
	inWorld(t, func(w *world) {
		w.adopted()
		w.policy("2.0.0", quick)
		w.state("2.0.0", deployment.Watching)
		w.consul.Intercept(func(c consultest.Call) (f consultest.Fault) {
			if c.Agent == "agent-1" && c.Op == "SetEntry" {
				f.Before = fmt.Errorf("set: %w", consul.ErrForbidden)
			}
			return f
		})
		w.obeyed(kv.Rollback, "")
		w.until(time.Minute, "held", func(r deployment.Service) bool { return r.Held != nil })
		index := w.consul.Index()
		time.Sleep(10 * time.Minute)
		if wrote := w.consul.Index() - index; wrote > 5 {
			t.Errorf("%d writes in ten minutes of nothing new", wrote)
		}
		w.serves(deployment.Green)
		w.consul.Intercept(nil)
		rec := w.until(time.Minute, "back", func(r deployment.Service) bool { return !r.InFlight() })
		w.serves(deployment.Blue)
		if rec.Held != nil {
			t.Errorf("held: %s", rec.Held.Reason)
		}
	})
}
