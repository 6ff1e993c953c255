package controller

import (
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/tealdeploy/teal/agent/consul"
	"github.com/tealdeploy/teal/agent/consul/consultest"
	"github.com/tealdeploy/teal/agent/deployment"
	"github.com/tealdeploy/teal/agent/kv"
	"github.com/tealdeploy/teal/agent/nomad/nomadtest"
	"github.com/tealdeploy/teal/jobspec"
)

// The watch has ended without enough to go by, and waits for a person. The
// candidate dies meanwhile.
func TestWatchGoesOnWhileItsEndIsHeld(t *testing.T) {
	inWorld(t, func(w *world) {
		w.adopted()
		w.policy("2.0.0", body("", "trigger \"errors\" \"http-5xx\" {}", "", ""))
		w.until(2*time.Minute, "held", func(r deployment.Service) bool { return r.Held != nil })
		time.Sleep(time.Hour)
		w.ill(deployment.Green)
		w.until(time.Minute, "taken back", func(r deployment.Service) bool { return r.Active == deployment.Blue })
	})
}

// A trigger fires and there is nothing to go back to: that is one hold, not one
// each second with the figures of that second.
func TestATriggerWithoutAWayBackHoldsOnce(t *testing.T) {
	inWorld(t, func(w *world) {
		w.adopted()
		w.errors["green"] = 0.3
		w.policy("2.0.0", body("", "trigger \"errors\" \"http-5xx\" {\n above = 0.05\n min_requests = 50\n }", "", ""))
		w.state("2.0.0", deployment.Launching)
		w.ill(deployment.Blue)
		w.until(time.Minute, "held", func(r deployment.Service) bool { return r.Held != nil })
		index := w.consul.Index()
		time.Sleep(time.Minute)
		if wrote := w.consul.Index() - index; wrote > 10 {
			t.Errorf("%d writes in a minute of nothing new", wrote)
		}
	})
}

// A failed candidate's time is up while Nomad is away. The next release goes to
// the same colour: it must not be stopped in the other's place.
func TestKeptCandidateIsNotStoppedInAnothersPlace(t *testing.T) {
	inWorld(t, func(w *world) {
		w.adopted()
		w.sick["2.0.0"] = true
		fails := body("deadline = \"20s\"\n keep_failed = \"1m\"", "", "", "")
		w.policy("2.0.0", fails)
		w.until(time.Minute, "failed", func(r deployment.Service) bool { return r.Deployment != nil && !r.InFlight() })
		var stops atomic.Int64
		w.nomad.Intercept(func(c nomadtest.Call) (f nomadtest.Fault) {
			if c.Op == "Stop" {
				f.Hang = stops.Add(1) == 1 // and is tried again half a minute later
			}
			return f
		})
		w.until(2*time.Minute, "its time is up", func(deployment.Service) bool { return stops.Load() > 0 })
		w.policy("3.0.0", fails)
		rec := w.state("3.0.0", deployment.Watching)
		if rec.Slots[deployment.Green].Version != "3.0.0" {
			t.Errorf("%s", gistForPeople(rec))
		}
		time.Sleep(time.Minute)
		if got := w.nomad.Jobs(); !slices.Equal(got, []string{"api", "api-green"}) {
			t.Errorf("jobs %v", got)
		}
		w.serves(deployment.Green)
	})
}

// An autoscaler has made the serving job larger; then instances die. What is
// restored is what there was, never less.
func TestWayBackIsNeverMadeSmaller(t *testing.T) {
	inWorld(t, func(w *world) {
		w.scaled = true
		w.adopted()
		client := w.nomad.Client("people")
		if err := client.Scale(w.Context(), "", "api", map[string]int{"web": 8}, nil); err != nil {
			t.Fatal(err)
		}
		w.policy("2.0.0", strings.Replace(quick, `for = "1m"`, `for = "10h"`, 1))
		rec := w.state("2.0.0", deployment.Soaking)
		if n := rec.Slots[deployment.Green].Expected; n != 8 {
			t.Errorf("the candidate has %d instances, what served had 8", n)
		}
		// Traffic has gone, and the autoscaler notices.
		if err := client.Scale(w.Context(), "", "api", map[string]int{"web": 3}, nil); err != nil {
			t.Fatal(err)
		}
		time.Sleep(10 * time.Second)
		job, err := client.Job(w.Context(), "", "api")
		if err != nil || jobspec.Counts(job)["web"] != 8 {
			t.Errorf("the way back has %v instances, %v, want 8 again", jobspec.Counts(job), err)
		}
		// It grows again by itself, and then instances of it die.
		if err := client.Scale(w.Context(), "", "api", map[string]int{"web": 12}, nil); err != nil {
			t.Fatal(err)
		}
		w.ill(deployment.Blue)
		time.Sleep(10 * time.Second)
		if job, err = client.Job(w.Context(), "", "api"); err != nil || jobspec.Counts(job)["web"] != 12 {
			t.Errorf("the way back had 12 instances and was scaled to %v, %v", jobspec.Counts(job), err)
		}
		w.policy("2.0.0", strings.Replace(quick, `for = "1m"`, `for = "11h"`, 1))
		time.Sleep(10 * time.Second)
		if job, err = client.Job(w.Context(), "", "api-green"); err != nil || jobspec.Counts(job)["web"] != 8 {
			t.Errorf("an edit that is not of the count scaled what serves to %v, %v", jobspec.Counts(job), err)
		}
	})
}

// A jobspec that is another job each time it is parsed, as with timestamp().
func TestJobspecThatNeverParsesTheSame(t *testing.T) {
	inWorld(t, func(w *world) {
		w.adopted()
		w.restless = true
		w.policy("2.0.0", quick)
		w.until(time.Minute, "refused", func(r deployment.Service) bool { return r.Deployment != nil && !r.InFlight() })
		if d := w.record().Deployment; d.Outcome != deployment.Failed || !strings.Contains(d.Reason, "timestamp") {
			t.Errorf("%s: %s", d.Outcome, d.Reason)
		}
		index := w.consul.Index()
		time.Sleep(time.Minute)
		if wrote := w.consul.Index() - index; wrote > 20 {
			t.Errorf("%d writes in a quiet minute", wrote)
		}
	})
}

// The first release goes bad. It has no way back, so a newer version has nothing
// to wait for.
func TestFirstReleaseGoneBadIsReplaced(t *testing.T) {
	inWorld(t, func(w *world) {
		w.policy("1.0.0", strings.Replace(quick, `"10s"`, `"1h"`, 1))
		w.agent("agent-1")
		w.state("1.0.0", deployment.Watching)
		w.ill(deployment.Blue)
		w.until(time.Minute, "held", func(r deployment.Service) bool { return r.Held != nil })
		w.policy("1.0.1", quick)
		w.state("1.0.1", deployment.Watching)
		w.serves(deployment.Green)
	})
}

// The entries cannot be given back. What was stopped for it is known to be.
func TestReleaseThatFailsHalfWay(t *testing.T) {
	inWorld(t, func(w *world) {
		w.adopted()
		w.policy("2.0.0", quick)
		w.until(3*time.Minute, "done", func(r deployment.Service) bool { return r.Active == deployment.Green && !r.InFlight() })
		w.consul.Intercept(func(c consultest.Call) (f consultest.Fault) {
			if c.Op == "DeleteEntry" {
				f.Before = &consul.Error{Op: "delete", Kind: consul.ErrInvalid}
			}
			return f
		})
		w.refused(kv.Release, "", "not given back")
		if rec := w.record(); len(rec.Slots) != 1 || rec.Held != nil {
			t.Errorf("%s", gistForPeople(rec))
		}
	})
}

// The previous colour is to be scaled to nothing, and somebody has stopped or
// removed its job meanwhile: nothing is left to do, and no person to be asked.
func TestWhatIsGoneNeedsNoScaling(t *testing.T) {
	for _, purge := range []bool{false, true} {
		inWorld(t, func(w *world) {
			w.scalesDown = true
			w.adopted()
			w.policy("2.0.0", body("", "", `then = "scale"`, ""))
			w.state("2.0.0", deployment.Soaking)
			if err := w.nomad.Client("people").Stop(w.Context(), "", "api", purge); err != nil {
				t.Fatal(err)
			}
			w.until(time.Minute, "held", func(r deployment.Service) bool { return r.Held != nil })
			w.obeyed(kv.Resume, "")
			rec := w.until(5*time.Minute, "done", func(r deployment.Service) bool { return !r.InFlight() })
			if _, there := rec.Slots[deployment.Blue]; there || rec.Held != nil || rec.Deployment.Outcome != deployment.Succeeded {
				t.Errorf("%s, held %v, slots %v", rec.Deployment.Outcome, rec.Held, rec.Slots)
			}
		})
	}
}
