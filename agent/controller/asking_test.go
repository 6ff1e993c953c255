package controller

import (
	"fmt"
	"math"
	"regexp"
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

// Callers are whatever they are: where they were registered by hand, under one ID on
// each node, they are told apart by their nodes.
func TestCallersOfOneID(t *testing.T) {
	inWorld(t, func(w *world) {
		w.errors["blue"], w.errors["green"] = 0, 0.3
		for _, node := range []string{"one", "two"} {
			w.consul.SetInstance("web", deployment.Instance{ID: "web", Node: node, Address: "127.0.0.9", Port: 80, Health: deployment.Passing})
		}
		w.adopted()
		w.policy("2.0.0", watchedBy("\"errors\" \"seen-by-callers\" {\n above = 0.05\n callers = [\"web\"]\n port = 9102\n where = { subset = \"{colour}\" }\n }"))
		w.backFor("trigger seen-by-callers: 30 % of requests failed")
	})
}

// After the cutover callers are read for the colour that serves: of the previous one
// they have told already.
func TestCallersAreReadOnceALook(t *testing.T) {
	inWorld(t, func(w *world) {
		w.errors["blue"], w.errors["green"] = 0, 0
		w.consul.SetInstance("web", deployment.Instance{ID: "web", Node: "one", Address: "127.0.0.9", Port: 80, Health: deployment.Passing})
		w.adopted()
		w.policy("2.0.0", watchedBy("\"errors\" \"seen-by-callers\" {\n callers = [\"web\"]\n port = 9102\n where = { subset = \"{colour}\" }\n }"))
		looks := func() int {
			w.mu.Lock()
			defer w.mu.Unlock()
			return w.looks
		}
		w.state("2.0.0", deployment.Watching)
		before := looks()
		w.state("2.0.0", deployment.Soaking)
		if n := looks() - before; n < 50 || n > 65 {
			t.Errorf("in a watch of a minute callers were read %d times, want once a second", n)
		}
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

// A plan tells of triggers that have nothing to go by, and of those of which that
// cannot be found out.
func TestPlanTellsOfTriggersThatCannotFire(t *testing.T) {
	const can, cannot, unsure = "  trigger %q: %s", "  warning: trigger %q can tell nothing of blue: %s",
		"  warning: whether trigger %q can tell anything of blue is not known, for who would say is away or refuses: %s"
	triggers := []struct{ trigger, says, what string }{
		{"\"errors\" \"there\" {}", can, "2 of 2 instances of blue tell http_requests_total"},
		{"\"errors\" \"mistyped\" {\n metric = \"http_request_total\"\n }", cannot, "at /metrics no instance has a metric http_request_total"},
		{"\"errors\" \"wrong-label\" {\n label = \"outcome\"\n }", cannot, "at /metrics no instance has a label outcome in http_requests_total; it has code"},
		{"\"errors\" \"wrong-where\" {\n where = { code = \"5OO\" }\n }", cannot, `at /metrics no instance has a series of http_requests_total with code="5OO"; there are "200", "500"`},
		{"\"volume\" \"where-of-colour\" {\n where = { subset = \"{colour}\" }\n }", cannot, "at /metrics no instance has a label subset in http_requests_total; it has code"},
		{"\"errors\" \"away\" {\n path = \"/away\"\n }", unsure, "an instance: connection refused"},
		{"\"prometheus\" \"asked\" {\n url = \"http://p\"\n query = \"known\"\n above = 1\n }", can, "Prometheus at http://p answers with 1 series"},
		{"\"prometheus\" \"nan\" {\n url = \"http://p\"\n query = \"nan\"\n above = 1\n }", cannot,
			"the answer of Prometheus at http://p holds 1 series, and 1 of them are NaN or infinite, which is no figure to go by (0/0 makes one such)"},
		{"\"prometheus\" \"gone\" {\n url = \"http://p\"\n query = \"unknown_{version}\"\n above = 1\n }", unsure, "Prometheus at nowhere: connection refused"},
		{"\"http-json\" \"empty\" {\n url = \"http://j\"\n path = \"nothing\"\n above = 1\n }", cannot, "the answer of http://j holds no series"},
		{"\"http-json\" \"empty-fine\" {\n url = \"http://j\"\n path = \"nothing\"\n above = 1\n empty = \"fine\"\n }", cannot,
			"the answer of http://j holds no series, which the policy takes for fine"},
		{"\"kv\" \"word\" {\n key = \"verdicts/{colour}/{version}\"\n }", can,
			"there is no key verdicts/green/1.0.1 yet; unless it says yes or no, the watch is held at its end"},
		{"\"kv\" \"said\" {\n key = \"said/{version}\"\n }", can, "key said/1.0.1 says bad: too many holes"},
	}
	inWorld(t, func(w *world) {
		w.errors["none"] = 0 // instances of an adopted job have no colour
		w.adopted()
		w.says("known", 3)
		w.says("nan", math.NaN())
		w.writes("said/1.0.1", "no: too many holes")
		var all []string
		for _, c := range triggers {
			all = append(all, c.trigger)
		}
		w.policy("1.0.1", "auto = false\n"+watchedBy(strings.Join(all, "\n trigger ")))
		out := regexp.MustCompile(`\d+-alloc:`).ReplaceAllString(w.obeyed(kv.Plan, "").Output, "an instance:")
		for _, c := range triggers {
			name := strings.Split(c.trigger, `"`)[3]
			if want := fmt.Sprintf(c.says, name, c.what) + "\n"; !strings.Contains(out, want) {
				t.Errorf("the plan does not say %q:\n%s", want, out)
			}
		}
	})
}

// A gate whose question names nobody is told of what serves, which a plan says; before
// the first release there is nobody else.
func TestPlanTellsOfGatesThatAskOfAnybody(t *testing.T) {
	const gates = `auto = false
gate "prometheus" "of-anybody" {
  url   = "http://p"
  query = "rate(failed[1m])"
  above = 1
}
gate "http-json" "of-blue" {
  url   = "http://j/blue"
  path  = "n"
  above = 1
}
gate "prometheus" "of-the-candidate" {
  url   = "http://p"
  query = "failed{colour=\"{colour}\"}"
  above = 1
}
gate "http-json" "of-its-version" {
  url   = "http://j/{version}"
  path  = "n"
  above = 1
}`
	const warning = "  warning: gate %q names neither {colour} nor {version}: what it is told may be about blue, which serves, and not about the candidate\n"
	inWorld(t, func(w *world) {
		w.adopted()
		w.policy("1.0.1", gates)
		out := w.obeyed(kv.Plan, "").Output
		if want := "Gates:\n" + fmt.Sprintf(warning+warning, "of-anybody", "of-blue"); !strings.Contains(out, want) || strings.Count(out, "names neither") != 2 {
			t.Errorf("the plan does not say %q:\n%s", want, out)
		}
	})
	inWorld(t, func(w *world) {
		w.agent("one")
		w.policy("1.0.0", gates)
		if out := w.obeyed(kv.Plan, "").Output; strings.Contains(out, "names neither") {
			t.Errorf("nothing serves yet:\n%s", out)
		}
	})
}

// Before the first release nothing runs that could tell, and a plan says so.
func TestPlanOfAFirstReleaseKnowsOfNoTrigger(t *testing.T) {
	inWorld(t, func(w *world) {
		w.agent("one")
		w.policy("1.0.0", "auto = false\n"+watchedBy(`"errors" "http-5xx" {}`))
		out := w.obeyed(kv.Plan, "").Output
		if want := "Watch:\n  whether its triggers have anything to go by is not known: nothing of api runs yet that could tell\n"; !strings.Contains(out, want) {
			t.Errorf("the plan does not say %q:\n%s", want, out)
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
