package controller

import (
	"flag"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/tealdeploy/teal/agent/consul/consultest"
	"github.com/tealdeploy/teal/agent/deployment"
	"github.com/tealdeploy/teal/agent/kv"
)

// stands are the ways to bring a service to each state, and to stay there for
// as long as a command takes.
var stands = []struct {
	name string
	come func(w *world)
}{
	{"unmanaged", func(w *world) { w.agent("agent-1") }},
	{"enrolled", func(w *world) {
		w.policy("1.0.0", quick+"\n auto = false")
		w.agent("agent-1")
		w.until(time.Minute, "enrolled", func(r deployment.Service) bool { return r.Managed })
	}},
	{"first-release", func(w *world) {
		w.policy("1.0.0", quick+"\n approval { required = true }")
		w.agent("agent-1")
		w.state("1.0.0", deployment.Approving)
	}},
	{"adopted", func(w *world) { w.adopted() }},
	{"launching", func(w *world) {
		w.adopted()
		w.sick["2.0.0"] = true
		w.policy("2.0.0", quick)
		w.state("2.0.0", deployment.Launching)
	}},
	{"approving", func(w *world) {
		w.adopted()
		w.policy("2.0.0", quick+"\n approval { required = true }")
		w.state("2.0.0", deployment.Approving)
	}},
	{"cutting-over", func(w *world) {
		w.adopted()
		w.policy("2.0.0", quick)
		w.state("2.0.0", deployment.Launching)
		w.refuseEntries()
		w.state("2.0.0", deployment.CuttingOver)
	}},
	{"watching", func(w *world) { w.adopted(); w.policy("2.0.0", quick); w.state("2.0.0", deployment.Watching) }},
	{"soaking", func(w *world) { w.adopted(); w.policy("2.0.0", quick); w.state("2.0.0", deployment.Soaking) }},
	{"queued", func(w *world) {
		w.adopted()
		w.policy("2.0.0", quick)
		w.state("2.0.0", deployment.Soaking)
		w.policy("3.0.0", quick)
		w.until(time.Minute, "queued", func(r deployment.Service) bool { return r.Queued != nil })
	}},
	{"retiring", func(w *world) {
		w.adopted()
		w.policy("2.0.0", body("", "", `then = "stop"`, ""))
		w.state("2.0.0", deployment.Soaking)
		w.nomad.SetAway(true)
		w.state("2.0.0", deployment.Retiring)
	}},
	{"rolling-back", func(w *world) {
		w.adopted()
		w.policy("2.0.0", quick)
		w.state("2.0.0", deployment.Watching)
		w.refuseEntries()
		w.put(kv.Rollback, "")
		w.state("2.0.0", deployment.RollingBack)
	}},
	{"rolled-back", func(w *world) {
		w.adopted()
		w.policy("2.0.0", quick)
		w.state("2.0.0", deployment.Watching)
		w.obeyed(kv.Rollback, "")
		w.until(time.Minute, "back", func(r deployment.Service) bool { return !r.InFlight() })
	}},
	{"scaled", func(w *world) {
		w.adopted()
		w.policy("2.0.0", body("", "", `then = "scale"`, ""))
		w.until(5*time.Minute, "done", func(r deployment.Service) bool { return r.Active == deployment.Green && !r.InFlight() })
	}},
	{"given-back", func(w *world) { w.adopted(); w.obeyed(kv.Release, "") }},
}

// refuseEntries keeps the agents from writing config entries.
func (w *world) refuseEntries() {
	w.consul.Intercept(func(c consultest.Call) (f consultest.Fault) {
		if strings.HasPrefix(c.Agent, "agent-") && c.Op == "SetEntry" {
			f.Before = errLost
		}
		return f
	})
}

// troubles are what else may be the matter.
var troubles = []struct {
	name string
	make func(w *world)
}{
	{"", func(*world) {}},
	{"paused", func(w *world) { w.command(kv.Pause, "") }},
	{"edited router", func(w *world) {
		if w.record().Route.Prepared {
			w.addRoute("/admin")
			synctest.Wait()
		}
	}},
	{"no policy", func(w *world) {
		if w.hasPolicy() {
			w.removePolicy()
			synctest.Wait()
		}
	}},
	{"dead candidate", func(w *world) { w.ill(deployment.Green) }},
	{"Nomad away", func(w *world) { w.nomad.SetAway(true) }},
	{"another leader", func(w *world) {
		w.agent("agent-2")
		w.consul.Intercept(nil) // it claims the entries before anything else
		w.agents[0].stop()
	}},
}

// orders are all commands with the arguments that matter.
var orders = []struct {
	verb  kv.Verb
	value string
}{
	{kv.Deploy, ""}, {kv.Deploy, `{"vars":{"version":"7.0.0"}}`}, {kv.Plan, ""}, {kv.Approve, ""}, {kv.Approve, "other"},
	{kv.Cutover, "blue"}, {kv.Cutover, "green"}, {kv.Cutover, `{"arg":"blue","force":true}`}, {kv.Cutover, `{"arg":"green","force":true}`},
	{kv.Rollback, ""}, {kv.Rollback, `{"force":true}`}, {kv.Abort, ""}, {kv.Pause, ""}, {kv.Resume, ""}, {kv.Release, ""}, {"explode", ""},
}

var everyTrouble = flag.Bool("matrix", false, "TestEveryCommandInEveryState: every trouble, not only none and one in turn")

// TestEveryCommandInEveryState gives every command in every state, without any
// trouble and with one: it is answered once, within the time that whoever gave
// it waits, and the invariants hold then and for as long as a release takes.
func TestEveryCommandInEveryState(t *testing.T) {
	for s, stand := range stands {
		for n, trouble := range troubles {
			for o, order := range orders {
				if n > 0 && !*everyTrouble && (s+o)%(len(troubles)-1) != n-1 {
					continue
				}
				if sampled(s + o) {
					continue
				}
				t.Run(fmt.Sprintf("%s/%s/%s %s", stand.name, trouble.name, order.verb, order.value), func(t *testing.T) {
					t.Parallel()
					inWorld(t, func(w *world) {
						stand.come(w)
						trouble.make(w)
						if order.verb == kv.Release && trouble.name == "Nomad away" {
							w.put(order.verb, order.value) // it waits for Nomad, and says nothing before
						} else {
							w.command(order.verb, order.value)
						}
						time.Sleep(time.Minute)
						w.consul.Intercept(nil)
						w.nomad.SetAway(false)
						time.Sleep(3 * time.Minute)
						synctest.Wait()
						if left, _, err := w.people.List(w.Context(), w.keys.Commands(), 0); err != nil || len(left) > 0 {
							t.Errorf("%d commands unanswered, %v", len(left), err)
						}
					})
				})
			}
		}
	}
}
