package controller

import (
	"slices"
	"strings"
	"testing"
	"time"

	nomadapi "github.com/hashicorp/nomad/api"

	"github.com/tealdeploy/teal/agent/deployment"
	"github.com/tealdeploy/teal/agent/kv"
	"github.com/tealdeploy/teal/agent/nomad"
	"github.com/tealdeploy/teal/agent/nomad/nomadtest"
	"github.com/tealdeploy/teal/jobspec"
)

// late has the first stop that an agent sends arrive long after it was given up;
// until free, nothing more reaches Nomad.
func (w *world) late(op string) (free func()) {
	first := true
	w.nomad.Intercept(func(c nomadtest.Call) (f nomadtest.Fault) {
		if c.Agent != "agent-1" || !c.Write {
			return f
		}
		if first && c.Op == op {
			first, f.Delay = false, time.Minute
			return f
		}
		f.Before = &nomad.Error{Op: "chaos", Kind: nomad.ErrUnavailable} // nobody takes the connection
		return f
	})
	return func() { w.nomad.Intercept(nil) }
}

// The order to stop or to empty the previous colour is on its way for so long that
// its sender gave up. While it may arrive, that colour is no way back, also if
// Consul shows it whole and Nomad is away since.
func TestRollbackWhileAStopIsOnItsWay(t *testing.T) {
	for then, op := range map[string]string{"stop": "Stop", "scale": "Scale"} {
		t.Run(then, func(t *testing.T) {
			inWorld(t, func(w *world) {
				w.adopted()
				w.policy("2.0.0", body("", "", `then = "`+then+`"`, ""))
				w.state("2.0.0", deployment.Soaking)
				free := w.late(op)
				w.state("2.0.0", deployment.Retiring)
				time.Sleep(45 * time.Second) // given up after 30 s
				w.refused(kv.Rollback, "", "is being retired")
				time.Sleep(30 * time.Second) // it has arrived
				free()
				w.until(time.Minute, "done", func(r deployment.Service) bool { return !r.InFlight() })
				w.serves(deployment.Green)
			})
		})
	}
}

// The same of a candidate that was kept for debugging.
func TestCutoverWhileAStopIsOnItsWay(t *testing.T) {
	inWorld(t, func(w *world) {
		w.takenBack()
		free := w.late("Stop")
		time.Sleep(10*time.Minute + 45*time.Second)
		w.refused(kv.Cutover, "green", "is being stopped")
		free()
		w.until(2*time.Minute, "stopped", func(deployment.Service) bool { return slices.Equal(w.nomad.Jobs(), []string{"api"}) })
		w.serves(deployment.Blue)
	})
}

// A leader died right after it had registered the candidate, and what the next one
// first hears of the job is from before. Whatever it then sends to empty the colour
// arrives when the candidate serves, and is not for the candidate.
func TestTheNextLeaderStopsNoCandidate(t *testing.T) {
	inWorld(t, func(w *world) {
		w.adopted()
		registered := make(chan struct{})
		stale, late := uint64(3), time.Minute
		w.nomad.Intercept(func(c nomadtest.Call) (f nomadtest.Fault) {
			switch {
			case c.Agent == "agent-1" && c.Op == "Register":
				f.Lag = time.Hour // it never hears of it
				close(registered)
			case c.Agent == "agent-2" && c.Op == "Job" && c.Job == "api-green":
				f.Stale, stale = stale, 0
			case c.Agent == "agent-2" && c.Op == "Stop" && c.Job == "api-green":
				f.Delay, late = late, 0
			}
			return f
		})
		w.policy("2.0.0", quick)
		<-registered
		w.agents[0].stop()
		w.agent("agent-2")
		w.state("2.0.0", deployment.Soaking)
		time.Sleep(time.Minute)
		if rec := w.record(); stale != 0 || rec.Active != deployment.Green || rec.Held != nil || rec.Deployment.Outcome != deployment.Succeeded {
			w.Errorf("%s", gistForPeople(rec))
		}
		w.serves(deployment.Green)
	})
}

// Nomad has just elected another leader, and one of its servers tells of the job
// as it was before its registration: not there, or stopped. That says nothing of
// the candidate.
func TestLaunchBelievesNothingOlderThanItsRegistration(t *testing.T) {
	stale := func(w *world) {
		n := 0
		w.nomad.Intercept(func(c nomadtest.Call) (f nomadtest.Fault) {
			if c.Op == "WatchJob" && n < 2 {
				n, f.Stale = n+1, 3
			}
			return f
		})
	}
	for _, c := range []struct {
		name string
		was  func(w *world)
	}{
		{"not there", func(*world) {}},
		{"stopped", func(w *world) {
			w.policy("1.1.0", body("", "", `then = "stop"`, ""))
			w.until(5*time.Minute, "1.1.0 is live", func(r deployment.Service) bool { return r.Active == deployment.Green && !r.InFlight() })
			w.policy("1.2.0", body("", "", `then = "stop"`, ""))
			w.until(5*time.Minute, "1.2.0 is live", func(r deployment.Service) bool { return r.Active == deployment.Blue && !r.InFlight() })
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			inWorld(t, func(w *world) {
				w.adopted()
				c.was(w)
				stale(w)
				w.policy("2.0.0", quick)
				w.state("2.0.0", deployment.Watching)
			})
		})
	}
}

// Somebody removes the candidate's job from Nomad while it is launched: Nomad says
// so for long, and there is nothing to wait for.
func TestCandidateIsPurgedDuringItsLaunch(t *testing.T) {
	inWorld(t, func(w *world) {
		w.adopted()
		w.sick["2.0.0"] = true
		w.policy("2.0.0", quick)
		w.state("2.0.0", deployment.Launching)
		w.until(time.Minute, "registered", func(r deployment.Service) bool { return r.Deployment.Registered })
		if err := w.nomad.Client("people").Stop(w.Context(), "", "api-green", true); err != nil {
			t.Fatal(err)
		}
		rec := w.until(time.Minute, "given up", func(r deployment.Service) bool { return !r.InFlight() })
		if !strings.Contains(rec.Deployment.Reason, "the job does not exist") {
			t.Errorf("given up for: %s", rec.Deployment.Reason)
		}
	})
}

// An autoscaler makes the previous colour larger while Teal, which has seen it
// smaller, is about to give it its counts back.
func TestWhatGrowsMeanwhileIsNotMadeSmaller(t *testing.T) {
	inWorld(t, func(w *world) {
		w.scalesDown = true
		w.adopted()
		w.policy("2.0.0", strings.Replace(quick, `watch  { for = "10s" }`, `watch  { for = "1h" }`, 1))
		w.state("2.0.0", deployment.Watching)
		people := w.nomad.Client("people")
		w.nomad.Intercept(func(c nomadtest.Call) (f nomadtest.Fault) {
			if c.Agent != "agent-1" || c.Job != "api" {
				return f
			}
			if c.Write {
				_ = people.Scale(w.Context(), "", "api", map[string]int{"web": 9}, nil)
			}
			return f
		})
		if err := people.Scale(w.Context(), "", "api", map[string]int{"web": 1}, nil); err != nil {
			t.Fatal(err)
		}
		time.Sleep(10 * time.Second)
		w.until(time.Minute, "whole again", func(r deployment.Service) bool { return r.Deployment.Weakened == "" })
		if job, err := people.Job(w.Context(), "", "api"); err != nil || jobspec.Counts(job)["web"] != 9 {
			t.Errorf("%v %v", jobspec.Counts(job), err)
		}
	})
}

// A server of Nomad's that has only just come to lead does not know of the test
// job yet. It was not removed: it is followed to its end, and no other is run.
func TestATestJobThatIsNotKnownYet(t *testing.T) {
	inWorld(t, func(w *world) {
		w.adopted()
		n := 0
		w.nomad.Intercept(func(c nomadtest.Call) (f nomadtest.Fault) {
			if c.Op == "WatchJob" && strings.HasPrefix(c.Job, "suite") && n == 0 {
				n, f.Stale = 1, 1
			}
			return f
		})
		w.tested("2.0.0", "echo fine; exit 0", 10, "")
		w.state("2.0.0", deployment.Watching)
		if all := w.suites(false); n != 1 || len(all) != 1 {
			t.Errorf("test jobs %v", all)
		}
	})
}

// Somebody runs again what is being stopped for a release, or for giving a service
// back; or a leader of Nomad's that was deposed says that it does not run at all.
// It is stopped all the same, and nobody waits for ever.
func TestWhatIsRunAgainIsStoppedAgain(t *testing.T) {
	again := func(w *world) { // once it was stopped
		stops := 0
		w.nomad.SetBehaviour(func(nomadtest.Launch) nomadtest.Behaviour { return nomadtest.Behaviour{Stop: time.Second} })
		w.nomad.Intercept(func(c nomadtest.Call) (f nomadtest.Fault) {
			if c.Agent == "agent-1" && c.Op == "WaitStopped" && c.Job == "api-green" {
				if stops++; stops == 1 {
					no := false
					if err := w.nomad.Edit("", c.Job, func(j *nomadapi.Job) { j.Stop = &no }); err != nil {
						w.Error(err)
					}
				}
			}
			return f
		})
	}
	deposed := func(w *world) {
		until := time.Now().Add(10 * time.Second)
		w.nomad.Intercept(func(c nomadtest.Call) (f nomadtest.Fault) {
			if c.Job == "api-green" && time.Now().Before(until) && !c.Watch {
				f.Stale = 1 << 20
			}
			return f
		})
	}
	for name, trouble := range map[string]func(*world){"run again": again, "said not to be there": deposed} {
		for _, what := range []string{"release", "give back"} {
			t.Run(what+", "+name, func(t *testing.T) {
				inWorld(t, func(w *world) {
					w.adopted()
					w.sick["2.0.0"] = true
					w.policy("2.0.0", quick)
					w.state("2.0.0", deployment.Launching)
					w.until(time.Minute, "registered", func(r deployment.Service) bool { return r.Deployment.Registered })
					w.obeyed(kv.Abort, "")
					trouble(w)
					if what == "give back" {
						w.obeyed(kv.Release, "")
						if got := w.nomad.Jobs(); !slices.Equal(got, []string{"api"}) {
							t.Errorf("jobs %v", got)
						}
						return
					}
					w.policy("3.0.0", quick)
					rec := w.until(4*time.Minute, "live", func(r deployment.Service) bool { return r.Active == deployment.Green })
					if job, err := w.nomad.Client("people").Job(w.Context(), "", "api-green"); err != nil || job.TaskGroups[0].Tasks[0].Env["APP_VERSION"] != "3.0.0" {
						t.Errorf("%s: %v", gistForPeople(rec), err)
					}
				})
			})
		}
	}
}

// The release that a test is for is given up while the order to start the test is
// on its way. It is stopped when it has arrived.
func TestATestJobThatArrivesLate(t *testing.T) {
	inWorld(t, func(w *world) {
		w.adopted()
		w.nomad.Intercept(func(c nomadtest.Call) (f nomadtest.Fault) {
			if c.Op == "Register" && strings.HasPrefix(c.Job, "suite") {
				f.Delay = 40 * time.Second
			}
			return f
		})
		w.tested("2.0.0", "sleep", 10, "")
		w.until(time.Minute, "noted", func(r deployment.Service) bool { return len(r.Tests) > 0 })
		w.obeyed(kv.Abort, "")
		w.until(3*time.Minute, "forgotten", func(r deployment.Service) bool { return len(r.Tests) == 0 })
		if all, running := w.suites(false), w.suites(true); len(running) > 0 {
			t.Errorf("of %v, %v still run", all, running)
		}
		time.Sleep(time.Minute)
		if running := w.suites(true); len(running) > 0 {
			t.Errorf("%v still run", running)
		}
	})
}
