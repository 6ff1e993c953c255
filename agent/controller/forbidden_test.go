package controller

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/tealdeploy/teal/agent/consul"
	"github.com/tealdeploy/teal/agent/consul/consultest"
	"github.com/tealdeploy/teal/agent/deployment"
	"github.com/tealdeploy/teal/agent/kv"
)

// forbids has Consul refuse an agent's requests of a kind, as it does to a token
// that lacks a rule.
func (w *world) forbids(op string) {
	w.consul.Intercept(func(c consultest.Call) (f consultest.Fault) {
		if c.Op == op && c.Agent == "agent-1" {
			f.Before = fmt.Errorf("%s: %w", op, consul.ErrForbidden)
		}
		return f
	})
}

// logged wants words in the log.
func (w *world) logged(words string) {
	w.Helper()
	if !strings.Contains(w.logs(), words) {
		w.Errorf("nothing says %q", words)
	}
}

// What may not be saved is not forgotten: a command, a refusal and what a
// state's work came to are saved once the rule is there, without being asked for
// again.
func TestWhatMayNotBeSavedIsSavedLater(t *testing.T) {
	for name, c := range map[string]struct {
		verb  kv.Verb
		value string
		want  bool
	}{
		"a command":             {kv.Pause, "", true},
		"one that is an errand": {kv.Plan, "", true},
		"a refusal":             {kv.Cutover, "purple", false},
	} {
		t.Run(name, func(t *testing.T) {
			inWorld(t, func(w *world) {
				w.adopted()
				w.forbids("Txn")
				w.put(c.verb, c.value)
				time.Sleep(30 * time.Second)
				if pair, err := w.people.Read(w.Context(), w.keys.Result("api", c.verb)); err != nil || pair != nil {
					t.Fatalf("answered without the right to: %v, %v", pair, err)
				}
				w.logged(consul.ErrForbidden.Error())
				w.consul.Intercept(nil)
				time.Sleep(10 * time.Second)
				pair, err := w.people.Read(w.Context(), w.keys.Result("api", c.verb))
				if err != nil || pair == nil || !strings.Contains(string(pair.Value), fmt.Sprintf(`"accepted":%t`, c.want)) {
					t.Errorf("the answer is %v, %v", pair, err)
				}
			})
		})
	}
	t.Run("a launch", func(t *testing.T) {
		inWorld(t, func(w *world) {
			w.adopted()
			w.policy("2.0.0", quick)
			w.state("2.0.0", deployment.Launching)
			w.forbids("Txn")
			time.Sleep(30 * time.Second)
			w.consul.Intercept(nil)
			w.state("2.0.0", deployment.Soaking)
			w.serves(deployment.Green)
		})
	})
}

// Whoever gives a service back waits for its instances to be gone. While
// Consul does not let the agent see them, the log says so.
func TestGivingBackSaysWhyItWaits(t *testing.T) {
	inWorld(t, func(w *world) {
		w.adopted()
		w.policy("2.0.0", quick)
		w.until(5*time.Minute, "2.0.0 is live", func(r deployment.Service) bool { return r.Active == deployment.Green && !r.InFlight() })
		w.forbids("Instances")
		w.put(kv.Release, "")
		time.Sleep(30 * time.Second)
		if !w.record().Managed {
			t.Error("given back although nobody knows whether the idle colour has gone")
		}
		w.logged("Consul cannot be asked for the instances")
		w.consul.Intercept(nil)
		w.until(time.Minute, "given back", func(r deployment.Service) bool { return !r.Managed })
	})
}
