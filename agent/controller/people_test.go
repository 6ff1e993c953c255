package controller

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	consulapi "github.com/hashicorp/consul/api"

	"github.com/tealdeploy/teal/agent/consul/consultest"
	"github.com/tealdeploy/teal/agent/deployment"
	"github.com/tealdeploy/teal/agent/kv"
	"github.com/tealdeploy/teal/agent/nomad/nomadtest"
)

// addRoute is a person who edits the router by hand.
func (w *world) addRoute(path string) {
	w.Helper()
	e, err := w.people.Entry(w.Context(), consulapi.ServiceRouter, "api")
	if err != nil || e == nil {
		w.Fatal(e, err)
	}
	router := *e.(*consulapi.ServiceRouterConfigEntry)
	router.Routes = append([]consulapi.ServiceRoute{{
		Match:       &consulapi.ServiceRouteMatch{HTTP: &consulapi.ServiceRouteHTTPMatch{PathPrefix: path}},
		Destination: &consulapi.ServiceRouteDestination{PrefixRewrite: "/"},
	}}, router.Routes...)
	if ok, err := w.people.SetEntry(w.Context(), &router, router.ModifyIndex); err != nil || !ok {
		w.Fatal(ok, err)
	}
}

func (w *world) hasRoute(path string) bool {
	w.Helper()
	e, err := w.people.Entry(w.Context(), consulapi.ServiceRouter, "api")
	if err != nil || e == nil {
		return false
	}
	for _, r := range e.(*consulapi.ServiceRouterConfigEntry).Routes {
		if r.Match != nil && r.Match.HTTP != nil && r.Match.HTTP.PathPrefix == path {
			return true
		}
	}
	return false
}

// removePolicy takes the service's policy away from every agent.
func (w *world) removePolicy() {
	w.Helper()
	if err := os.Remove(filepath.Join(w.dir, "api.hcl")); err != nil {
		w.Fatal(err)
	}
	for _, a := range w.agents {
		a.reload()
	}
}

// plant writes a record that no agent would.
func (w *world) plant(record string) {
	w.Helper()
	w.witness.mu.Lock()
	w.witness.planted[record] = true
	w.witness.mu.Unlock()
	if err := w.people.Put(w.Context(), w.keys.State("api"), []byte(record)); err != nil {
		w.Fatal(err)
	}
}

func (w *world) hasPolicy() bool {
	_, err := os.Stat(filepath.Join(w.dir, "api.hcl"))
	return err == nil
}

// ill makes a colour's instances critical, well passing again.
func (w *world) ill(c deployment.Colour) { w.health(c, deployment.Critical) }

func (w *world) health(c deployment.Colour, h deployment.Health) {
	w.Helper()
	list, _, err := w.consul.Client("node").Instances(w.Context(), "api", 0)
	if err != nil {
		w.Fatal(err)
	}
	for _, i := range (view{instances: list}).of(c, true) {
		i.Health = h
		w.consul.SetInstance("api", i)
	}
}

// instances counts a colour's passing instances.
func (w *world) instances(c deployment.Colour) int {
	w.Helper()
	list, _, err := w.people.Instances(w.Context(), "api", 0)
	if err != nil {
		w.Fatal(err)
	}
	return passing(view{instances: list}.of(c, false))
}

// put gives a command and does not wait.
func (w *world) put(verb kv.Verb, value string) {
	w.Helper()
	if err := w.people.Put(w.Context(), w.keys.Command("api", verb), []byte(value)); err != nil {
		w.Fatal(err)
	}
}

// touch writes the record as it is, in other words.
func (w *world) touch() {
	w.Helper()
	text, err := json.MarshalIndent(w.record(), "", "  ")
	if err != nil {
		w.Fatal(err)
	}
	w.plant(string(text))
}

// tell has the service's present work report something.
func (w *world) tell(ev deployment.Event) {
	t := w.agents[0].ctl.tenure
	t.mu.Lock()
	work := t.loops["api"].work
	t.mu.Unlock()
	t.post("api", report{from: work, events: []deployment.Event{ev}})
	synctest.Wait()
}

// Somebody withdraws a release of the service when its entries are given back
// already: what is done is saved, instead of a hold that nobody can lift.
func TestReleaseWithdrawnHalfWay(t *testing.T) {
	inWorld(t, func(w *world) {
		w.adopted()
		var once sync.Once
		w.consul.Observe(func(c consultest.Change) {
			w.witness.sees(c)
			if c.Of == consultest.Entries && strings.HasPrefix(c.Key, consulapi.ServiceDefaults) && c.Entry == nil {
				once.Do(func() {
					go func() { _ = w.people.Delete(context.Background(), w.keys.Command("api", kv.Release)) }()
				})
			}
		})
		w.consul.Intercept(func(c consultest.Call) (f consultest.Fault) {
			if c.Agent == "agent-1" && c.Op == "Txn" && !w.hasRoute("/") && w.routed() == deployment.None {
				f.Delay = time.Second // it is withdrawn meanwhile
			}
			return f
		})
		w.put(kv.Release, "")
		w.until(time.Minute, "given back", func(r deployment.Service) bool { return !r.Managed })
	})
}

// A policy is removed while its edit is still being looked at: nothing is released
// that no policy asks for any more.
func TestARemovedPolicyReleasesNothing(t *testing.T) {
	inWorld(t, func(w *world) {
		w.adopted()
		w.nomad.Intercept(func(c nomadtest.Call) nomadtest.Fault {
			return nomadtest.Fault{Hang: c.Op == "Parse" && c.Agent == "agent-1"}
		})
		w.policy("2.0.0", quick)
		synctest.Wait()
		w.removePolicy()
		w.nomad.Intercept(nil)
		time.Sleep(5 * time.Minute)
		synctest.Wait()
		if rec := w.record(); rec.Deployment != nil || rec.Held != nil {
			t.Errorf("released %+v, held %v", rec.Deployment, rec.Held)
		}
	})
}

// The agent that leads has no policy, and Consul's health speaks against what
// soaks, with nothing to go back to. A person accepts it as it is.
func TestASoakWithoutAPolicyCanBeAccepted(t *testing.T) {
	inWorld(t, func(w *world) {
		w.adopted()
		w.policy("2.0.0", quick)
		w.state("2.0.0", deployment.Soaking)
		w.removePolicy()
		w.agents[0].stop()
		w.agent("agent-2")
		synctest.Wait()
		w.ill(deployment.Blue)
		w.ill(deployment.Green)
		w.until(time.Minute, "held", func(r deployment.Service) bool { return r.Held != nil })
		w.obeyed(kv.Resume, "")
		w.until(time.Minute, "over", func(r deployment.Service) bool { return !r.InFlight() })
	})
}

// Gates are told who serves, so that none takes the active colour's instances for the
// candidate's: here both have one port on one machine.
func TestGatesKnowWhoServes(t *testing.T) {
	inWorld(t, func(w *world) {
		w.adopted()
		w.policy("2.0.0", quick+"\ngate \"http\" \"smoke\" {\n port = 1\n timeout = \"1s\"\n deadline = \"2s\"\n}")
		rec := w.until(time.Minute, "held", func(r deployment.Service) bool { return r.Held != nil })
		if want := "an instance of blue, which serves: it is not the candidate"; !strings.Contains(rec.Held.Reason, want) {
			t.Errorf("held for %q, want %q", rec.Held.Reason, want)
		}
	})
}

// A release that waits for its window goes on when it opens, and nobody has to ask.
func TestWindowOpens(t *testing.T) {
	inWorld(t, func(w *world) {
		w.adopted()
		opens := time.Now().UTC().Truncate(time.Minute).Add(10 * time.Minute)
		w.policy("2.0.0", quick+fmt.Sprintf("\ngate \"window\" \"hours\" {\n freeze = { fair = \"2000-01-01T00:00/%s\" }\n }", opens.Format("2006-01-02T15:04")))
		w.state("2.0.0", deployment.Gating)
		time.Sleep(time.Until(opens) - time.Second)
		synctest.Wait()
		if d := w.record().Deployment; d.State != deployment.Gating || w.routed() != deployment.Blue {
			t.Errorf("in the freeze it is %s, and %s serves", d.State, w.routed())
		}
		w.until(30*time.Second, "past its window", func(r deployment.Service) bool {
			return r.Deployment != nil && r.Deployment.State == deployment.Watching
		})
		w.serves(deployment.Green)
	})
}
