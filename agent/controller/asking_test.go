package controller

import (
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	consulapi "github.com/hashicorp/consul/api"

	"github.com/tealdeploy/teal/agent/deployment"
	"github.com/tealdeploy/teal/agent/kv"
)

// watchedBy is quick with a longer watch that has a trigger.
func watchedBy(trigger string) string {
	return strings.Replace(quick, `watch  { for = "10s" }`, fmt.Sprintf("watch {\n for = \"1m\"\n trigger %s\n }", trigger), 1)
}

func (w *world) writes(key, value string) {
	w.Helper()
	if _, err := w.people.Txn(w.Context(), consulapi.KVTxnOps{{Verb: consulapi.KVSet, Key: key, Value: []byte(value)}}); err != nil {
		w.Fatal(err)
	}
}

// backFor waits for a rollback and wants its reason.
func (w *world) backFor(reason string) {
	w.Helper()
	rec := w.until(time.Minute, "rolled back", func(r deployment.Service) bool {
		return r.Deployment != nil && r.Deployment.State == deployment.Done
	})
	if d := rec.Deployment; d.Outcome != deployment.RolledBack || !strings.Contains(d.Reason, reason) {
		w.Errorf("%s %q, want it back for %q", d.Outcome, d.Reason, reason)
	}
	w.serves(deployment.Blue)
}

// Another system's word in a key of Consul takes traffic back; one about another
// version does not.
func TestKeyTakesTrafficBack(t *testing.T) {
	inWorld(t, func(w *world) {
		w.adopted()
		w.writes("verdicts/api/1.9.0", "no: of another version")
		w.policy("2.0.0", watchedBy("\"kv\" \"sales\" {\n key = \"verdicts/{service}/{version}\"\n absent = \"fine\"\n }"))
		w.state("2.0.0", deployment.Watching)
		time.Sleep(10 * time.Second)
		synctest.Wait()
		w.serves(deployment.Green)
		w.writes("verdicts/api/2.0.0", "no: orders have halved")
		w.backFor("trigger sales: key verdicts/api/2.0.0 says bad: orders have halved")
	})
}

// A key that nobody writes holds the watch at its end, until a person accepts that, or
// somebody writes it.
func TestKeyThatNobodyWrites(t *testing.T) {
	inWorld(t, func(w *world) {
		w.adopted()
		w.policy("2.0.0", watchedBy("\"kv\" \"sales\" {\n key = \"verdicts/{version}\"\n }"))
		w.held(3 * time.Minute)
		if err := w.people.Put(w.Context(), "verdicts/2.0.0", []byte("ok")); err != nil {
			t.Fatal(err)
		}
		w.state("2.0.0", deployment.Soaking)
	})
	inWorld(t, func(w *world) {
		w.adopted()
		w.policy("2.0.0", watchedBy("\"kv\" \"sales\" {\n key = \"verdicts/{version}\"\n }"))
		rec := w.until(3*time.Minute, "held", func(r deployment.Service) bool { return r.Held != nil })
		if want := "there is no key verdicts/2.0.0 yet"; !strings.Contains(rec.Held.Reason, want) {
			t.Errorf("held for %q, want %q", rec.Held.Reason, want)
		}
		w.serves(deployment.Green)
		w.obeyed(kv.Resume, "")
		w.until(2*time.Minute, "soaking", func(r deployment.Service) bool {
			return r.Deployment != nil && r.Deployment.State == deployment.Soaking
		})
	})
}

// What Nomad sees takes traffic back while Consul still sees enough instances.
func TestNomadTakesTrafficBack(t *testing.T) {
	inWorld(t, func(w *world) {
		w.adopted()
		w.policy("2.0.0", watchedBy("\"nomad\" \"allocations\" {}"))
		w.state("2.0.0", deployment.Watching)
		time.Sleep(5 * time.Second)
		synctest.Wait()
		w.nomad.Fail("", "api-green", 1, "No space left on device")
		w.backFor("1 allocation failed")
	})
}

// A Nomad that is away during the watch sends nothing back, and the watch goes on
// until it is there again.
func TestNomadAwayDuringTheWatch(t *testing.T) {
	inWorld(t, func(w *world) {
		w.adopted()
		w.policy("2.0.0", watchedBy("\"nomad\" \"allocations\" {}"))
		w.state("2.0.0", deployment.Watching)
		time.Sleep(5 * time.Second)
		synctest.Wait()
		w.nomad.SetAway(true)
		if why := w.held(2 * time.Minute).Held.Reason; !strings.Contains(why, "the watch goes on: trigger allocations") || !strings.Contains(why, "Nomad could not be asked") {
			t.Errorf("held: %s", why)
		}
		w.serves(deployment.Green)
		w.nomad.SetAway(false)
		w.state("2.0.0", deployment.Soaking)
	})
}

// A figure of a metrics service takes traffic back when it is more than so many
// times what it was at the cutover; a service that is away does not.
func TestFigureTakesTrafficBack(t *testing.T) {
	inWorld(t, func(w *world) {
		w.adopted()
		w.policy("2.0.0", watchedBy("\"prometheus\" \"refunds\" {\n url = \"http://p\"\n query = \"refunds_{colour}_{version}\"\n ratio = 2\n }"))
		w.state("2.0.0", deployment.Watching)
		w.serves(deployment.Green)
		w.says("refunds_green_2.0.0", 99)
		time.Sleep(10 * time.Second)
		synctest.Wait()
		w.serves(deployment.Green) // nobody knows yet what it was before
		w.says("refunds_blue_1.0.0 at the cutover", 50)
		time.Sleep(10 * time.Second)
		synctest.Wait()
		w.serves(deployment.Green)
		w.says("refunds_green_2.0.0", 101)
		w.backFor("trigger refunds: it is 101, and at most 100 is expected; before the cutover it was 50")
	})
}

// The policy may say how long a trigger may not know, and what then.
func TestPatienceEnds(t *testing.T) {
	const trigger = "\"prometheus\" \"refunds\" {\n url = \"http://p\"\n query = \"refunds\"\n above = 1\n }\n unknown {\n for = \"20s\"\n then = %q\n }"
	inWorld(t, func(w *world) {
		w.adopted()
		w.policy("2.0.0", watchedBy(fmt.Sprintf(trigger, "rollback")))
		w.state("2.0.0", deployment.Watching)
		time.Sleep(15 * time.Second)
		synctest.Wait()
		w.serves(deployment.Green)
		w.backFor("trigger refunds: nothing has been known for 20s, and the policy allows 20s: Prometheus at nowhere: connection refused")
	})
	inWorld(t, func(w *world) {
		w.adopted()
		w.policy("2.0.0", watchedBy(fmt.Sprintf(trigger, "hold")))
		rec := w.until(time.Minute, "held", func(r deployment.Service) bool { return r.Held != nil })
		if took := rec.Held.At.Sub(rec.Deployment.Since); took < 20*time.Second || took > 30*time.Second {
			t.Errorf("held after %s", took)
		}
		w.serves(deployment.Green)
		// It goes on watching, and what it then sees still sends traffic back.
		w.says("refunds", 2)
		w.backFor("trigger refunds: it is 2, and at most 1 is expected")
	})
}

// A plan tells of triggers that have nothing to go by.
func TestPlanTellsOfTriggersThatCannotFire(t *testing.T) {
	inWorld(t, func(w *world) {
		w.errors["none"] = 0 // instances of an adopted job have no colour
		w.adopted()
		w.says("known", 3)
		w.policy("1.0.0", watchedBy(`"errors" "there" {}
 trigger "errors" "mistyped" {
  metric = "http_request_total"
 }
 trigger "prometheus" "asked" {
  url   = "http://p"
  query = "known"
  above = 1
 }
 trigger "prometheus" "away" {
  url   = "http://p"
  query = "unknown_{version}"
  above = 1
 }`))
		out := w.obeyed(kv.Plan, "").Output
		for _, want := range []string{
			`  trigger "there": 2 of 2 instances of blue tell http_requests_total`,
			`  warning: trigger "mistyped" can tell nothing of blue: no instance has a metric http_request_total at /metrics`,
			`  trigger "asked": Prometheus at http://p answers with 1 series`,
			`  warning: trigger "away" can tell nothing of blue: Prometheus at nowhere: connection refused`,
		} {
			if !strings.Contains(out, want+"\n") {
				t.Errorf("the plan does not say %q:\n%s", want, out)
			}
		}
	})
}

// A watch ends early where the policy says what suffices, and only then.
func TestWatchEndsEarly(t *testing.T) {
	for body, want := range map[string]time.Duration{
		"\"errors\" \"http-5xx\" {}": time.Minute,
		"\"errors\" \"http-5xx\" {}\n early {\n after = \"20s\"\n requests = 1000\n }":    20 * time.Second,
		"\"errors\" \"http-5xx\" {}\n early {\n after = \"20s\"\n requests = 1000000\n }": time.Minute,
	} {
		inWorld(t, func(w *world) {
			w.errors["none"], w.errors["green"] = 0, 0
			w.adopted()
			w.policy("2.0.0", watchedBy(body))
			began := w.state("2.0.0", deployment.Watching).Deployment.Since
			rec := w.state("2.0.0", deployment.Soaking)
			took := rec.Deployment.Since.Sub(began)
			if took < want || took > want+5*time.Second {
				t.Errorf("%s: the watch took %s, want %s", body, took, want)
			}
		})
	}
}
