package controller

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/tealdeploy/teal/agent/consul"
	"github.com/tealdeploy/teal/agent/consul/consultest"
	"github.com/tealdeploy/teal/agent/deployment"
	"github.com/tealdeploy/teal/agent/kv"
)

// watchedFor40s is a policy whose watch goes by errors.
func watchedFor40s(more string) string {
	return strings.Replace(quick, `watch  { for = "10s" }`, "watch {\n for = \"40s\"\n trigger \"errors\" \"http-5xx\" {\n above = 0.05\n }\n"+more+"\n }", 1)
}

// goesBlind has 2.0.0 seen to be well for three seconds of its watch, and then its
// metrics away. It tells when the watch began.
func (w *world) goesBlind(policy string) (began time.Time) {
	w.Helper()
	w.adopted()
	w.seen("green", 0)
	w.policy("2.0.0", policy)
	began = w.state("2.0.0", deployment.Watching).Deployment.Since
	time.Sleep(3 * time.Second)
	w.unseen("green")
	return began
}

// seen makes a colour's metrics readable, with this share of errors.
func (w *world) seen(colour string, share float64) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.errors[colour] = share
}

// unseen takes them away.
func (w *world) unseen(colour string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	delete(w.errors, colour)
}

func (w *world) held(within time.Duration) deployment.Service {
	w.Helper()
	return w.until(within, "held", func(r deployment.Service) bool { return r.Held != nil })
}

// noted says whether the release's log holds these words.
func noted(d *deployment.Deployment, words string) bool {
	return slices.ContainsFunc(d.Log, func(e deployment.Entry) bool { return strings.Contains(e.What, words) })
}

// One fine look, and then none for the rest of the watch, is no good end: the watch
// goes on, says who cannot tell, and ends by itself when they can.
func TestWatchGoesOnWhileATriggerCannotTell(t *testing.T) {
	inWorld(t, func(w *world) {
		began := w.goesBlind(watchedFor40s(""))
		time.Sleep(time.Until(began.Add(45 * time.Second)))
		rec := w.record()
		if rec.Deployment.State != deployment.Watching || rec.Held != nil || !noted(rec.Deployment, "the watch goes on: trigger http-5xx cannot tell any more") {
			t.Errorf("after the time of the watch: %s, held %+v, log %+v", rec.Deployment.State, rec.Held, rec.Deployment.Log)
		}
		rec = w.held(10 * time.Second)
		for _, words := range []string{"the watch goes on: trigger http-5xx", "metrics of 0 of 2 instances could be read", "teal resume accepts 2.0.0 as it is", "teal rollback goes back"} {
			if !strings.Contains(rec.Held.Reason, words) {
				t.Errorf("held: %s; it does not say %q", rec.Held.Reason, words)
			}
		}
		time.Sleep(time.Hour)
		if log := w.logs(); strings.Count(log, "a trigger cannot tell any more") != 1 || strings.Contains(log, "can tell again") {
			t.Errorf("the log does not say once that sight was lost:\n%s", log)
		}
		if rec = w.record(); rec.Deployment.State != deployment.Watching || rec.Held == nil {
			t.Fatalf("an hour later: %s, held %+v", rec.Deployment.State, rec.Held)
		}
		w.serves(deployment.Green)
		w.seen("green", 0)
		rec = w.state("2.0.0", deployment.Soaking)
		if log := w.logs(); !strings.Contains(log, "a trigger can tell again") {
			t.Errorf("the log does not say that there is sight again:\n%s", log)
		}
		if rec.Held != nil || !noted(rec.Deployment, "every trigger can tell again") {
			t.Errorf("soaking, held %+v, log %+v", rec.Held, rec.Deployment.Log)
		}
	})
}

// What comes to light when the source is back counts: the version goes back.
func TestWatchThatWentOnMayEndBadly(t *testing.T) {
	inWorld(t, func(w *world) {
		w.goesBlind(watchedFor40s(""))
		w.held(time.Minute)
		w.seen("green", 0.5)
		rec := w.until(time.Minute, "rolled back", func(r deployment.Service) bool { return !r.InFlight() })
		if rec.Deployment.Outcome != deployment.RolledBack || rec.Held != nil {
			t.Errorf("%s, held %+v", rec.Deployment.Outcome, rec.Held)
		}
		w.serves(deployment.Blue)
	})
}

// An operator may accept what cannot be told; the next agent that leads knows of it.
func TestWatchThatGoesOnIsAccepted(t *testing.T) {
	inWorld(t, func(w *world) {
		w.goesBlind(watchedFor40s(""))
		w.held(time.Minute)
		w.agents[0].stop()
		w.agent("agent-2")
		time.Sleep(time.Minute)
		if rec := w.record(); rec.Held == nil || rec.Held.Cause != deployment.CannotTell {
			t.Errorf("under another leader: held %+v", rec.Held)
		}
		w.obeyed(kv.Resume, "")
		rec := w.state("2.0.0", deployment.Soaking)
		if n := len(rec.Deployment.Verdicts); n == 0 || rec.Deployment.Verdicts[n-1].Verdict != "accepted" {
			t.Errorf("verdicts %+v", rec.Deployment.Verdicts)
		}
	})
}

// The policy bounds how long unknown may last, also beyond the time of the watch.
func TestPatienceGoesBeyondTheWatch(t *testing.T) {
	inWorld(t, func(w *world) {
		began := w.goesBlind(watchedFor40s("unknown {\n for = \"1m\"\n then = \"rollback\"\n }"))
		rec := w.until(2*time.Minute, "rolled back", func(r deployment.Service) bool { return !r.InFlight() })
		d := rec.Deployment
		if d.Outcome != deployment.RolledBack || !strings.Contains(d.Reason, "the policy allows 1m0s") {
			t.Errorf("%s: %s", d.Outcome, d.Reason)
		}
		if took := d.Rollback.Decided.Sub(began); took < time.Minute || took > 70*time.Second {
			t.Errorf("taken back after %s", took)
		}
		w.serves(deployment.Blue)
	})
}

// Where the policy wants a person to look, resume watches anew as long as the time of
// the watch is not up, and accepts what cannot be told after that.
func TestPatienceThatHolds(t *testing.T) {
	inWorld(t, func(w *world) {
		began := w.goesBlind(watchedFor40s("unknown {\n for = \"10s\"\n }"))
		if why := w.held(20 * time.Second).Held.Reason; !strings.Contains(why, "the policy allows 10s") || !strings.Contains(why, "teal resume watches anew") {
			t.Errorf("held: %s", why)
		}
		w.obeyed(kv.Resume, "")
		rec := w.held(30 * time.Second)
		if rec.Deployment.State != deployment.Watching || rec.Deployment.Since.Equal(began) {
			t.Errorf("%s since %s", rec.Deployment.State, rec.Deployment.Since.Sub(began))
		}
		w.seen("green", 0) // a person was to look: sight alone lifts nothing
		rec = w.until(time.Minute, "the time of the watch is up", func(r deployment.Service) bool { return time.Since(r.Deployment.Since) > 45*time.Second })
		if rec.Held == nil || rec.Deployment.State != deployment.Watching {
			t.Errorf("%s, held %+v", rec.Deployment.State, rec.Held)
		}
		w.unseen("green")
		w.until(time.Minute, "held for its end", func(r deployment.Service) bool {
			return r.Held != nil && strings.Contains(r.Held.Reason, "the time of the watch is up; teal resume accepts 2.0.0 as it is")
		})
		w.obeyed(kv.Resume, "")
		w.state("2.0.0", deployment.Soaking)
	})
}

// A service that falls idle at night, after enough was seen of it, passes its watch
// on time.
func TestWatchOfAServiceThatFallsIdle(t *testing.T) {
	for _, way := range []string{"", "above = 0.05", "ratio = 2"} {
		inWorld(t, func(w *world) {
			w.seen("none", 0)
			w.seen("green", 0)
			w.adopted()
			w.policy("2.0.0", strings.Replace(watchedFor40s(""), "above = 0.05", way, 1))
			began := w.state("2.0.0", deployment.Watching).Deployment.Since
			time.Sleep(5 * time.Second)
			w.mu.Lock()
			w.idle = true
			w.mu.Unlock()
			rec := w.state("2.0.0", deployment.Soaking)
			if took := rec.Deployment.Since.Sub(began); took > 41*time.Second {
				t.Errorf("%s: the watch took %s", way, took)
			}
			if v := rec.Deployment.Verdicts; len(v) == 0 || !strings.Contains(v[len(v)-1].Reason, "within 30s") {
				t.Errorf("%s: verdicts %+v", way, v)
			}
		})
	}
}

// An instance that only warns, at the end of a watch that saw all of them pass, is
// no want of sight: the policy says how many have to serve.
func TestAWarningAtTheEndHoldsNothing(t *testing.T) {
	inWorld(t, func(w *world) {
		w.adopted()
		w.policy("2.0.0", quick)
		began := w.state("2.0.0", deployment.Watching).Deployment.Since
		time.Sleep(5 * time.Second)
		list, _, err := w.people.Instances(w.Context(), "api", 0)
		if err != nil {
			t.Fatal(err)
		}
		for _, i := range list {
			if i.Colour == deployment.Green {
				i.Health = deployment.Warning
				w.consul.SetInstance("api", i)
			}
		}
		rec := w.state("2.0.0", deployment.Soaking)
		if took := rec.Deployment.Since.Sub(began); took > 11*time.Second {
			t.Errorf("the watch took %s", took)
		}
	})
}

// At the end of the soak it is the same with Consul's health: while nobody knows how the
// instances fare, the previous colour stays as it is.
func TestSoakGoesOnWhileConsulDoesNotTell(t *testing.T) {
	inWorld(t, func(w *world) {
		w.adopted()
		w.policy("2.0.0", strings.Replace(quick, `soak   { for = "1m" }`, "soak {\n for = \"1m\"\n then = \"stop\"\n }", 1))
		began := w.state("2.0.0", deployment.Soaking).Deployment.Since
		time.Sleep(5 * time.Second)
		w.consul.Intercept(func(call consultest.Call) (f consultest.Fault) {
			if call.Op == "Instances" && call.Agent != "people" {
				f.Before = fmt.Errorf("Permission denied: %w", consul.ErrForbidden)
			}
			return f
		})
		time.Sleep(time.Until(began.Add(2 * time.Minute)))
		rec := w.held(time.Minute)
		if why := rec.Held.Reason; rec.Deployment.State != deployment.Soaking || !strings.Contains(why, "the soak goes on: trigger consul-health cannot tell any more") || !strings.Contains(why, "Permission denied") {
			t.Errorf("%s, held: %s", rec.Deployment.State, why)
		}
		if got := w.nomad.Jobs(); !slices.Contains(got, "api") {
			t.Errorf("jobs %v: the previous colour was stopped", got)
		}
		w.consul.Intercept(nil)
		if rec = w.until(time.Minute, "done", func(r deployment.Service) bool { return !r.InFlight() }); rec.Deployment.Outcome != deployment.Succeeded || rec.Held != nil {
			t.Errorf("%s, held %+v", rec.Deployment.Outcome, rec.Held)
		}
	})
}
