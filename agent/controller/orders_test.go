package controller

import (
	"encoding/json"
	"slices"
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
	"github.com/tealdeploy/teal/agent/nomad/nomadtest"
)

// An edit was being looked at, Nomad was away, and somebody asked for a plan.
func TestPlanDoesNotSwallowAnEdit(t *testing.T) {
	inWorld(t, func(w *world) {
		w.adopted()
		w.nomad.SetAway(true)
		w.policy("2.0.0", quick)
		time.Sleep(3 * time.Second)
		w.command(kv.Plan, "")
		w.nomad.SetAway(false)
		w.state("2.0.0", deployment.Watching)
	})
}

// Three commands wait for Nomad; the second one is refused at once.
func TestEveryWaitingCommandIsAnswered(t *testing.T) {
	inWorld(t, func(w *world) {
		w.adopted()
		w.nomad.SetAway(true)
		w.put(kv.Deploy, "")
		time.Sleep(time.Second)
		w.put(kv.Plan, `{"vars":{"a b":"c"}}`)
		time.Sleep(time.Second)
		w.nomad.SetAway(false)
		w.obeyed(kv.Release, "")
		if left, _, _ := w.people.List(w.Context(), w.keys.Commands(), 0); len(left) > 0 {
			t.Errorf("never answered: %s", left[0].Key)
		}
	})
	inWorld(t, func(w *world) {
		w.adopted()
		w.nomad.SetAway(true)
		w.put(kv.Deploy, "")
		time.Sleep(time.Second)
		w.put(kv.Plan, `{"vars":{"a b":"c"}}`)
		synctest.Wait()
		w.put(kv.Deploy, `{"vars":{"version":"2.0.0"}}`)
		synctest.Wait()
		w.nomad.SetAway(false)
		w.state("2.0.0", deployment.Watching)
	})
}

// Somebody writes the record while a deploy asks Nomad.
func TestDeployOutlivesAForeignWrite(t *testing.T) {
	inWorld(t, func(w *world) {
		w.adopted()
		w.nomad.SetAway(true)
		w.put(kv.Deploy, `{"vars":{"version":"2.0.0"}}`)
		time.Sleep(time.Second)
		w.touch()
		w.nomad.SetAway(false)
		w.state("2.0.0", deployment.Watching)
	})
}

// Somebody writes the record in the very moment in which work has something to
// report. The release goes on.
func TestReportOutlivesAForeignWrite(t *testing.T) {
	inWorld(t, func(w *world) {
		w.adopted()
		w.policy("2.0.0", quick)
		w.state("2.0.0", deployment.Watching)
		time.Sleep(time.Second)
		w.touch()
		w.state("2.0.0", deployment.Soaking)
	})
}

// A rollback while the service is given back: the version that it goes back to
// must not be the one that is being stopped.
func TestRollbackWhileGivenBack(t *testing.T) {
	inWorld(t, func(w *world) {
		w.adopted()
		w.policy("2.0.0", quick)
		w.state("2.0.0", deployment.Soaking)
		w.nomad.SetBehaviour(func(nomadtest.Launch) nomadtest.Behaviour { return nomadtest.Behaviour{Stop: 10 * time.Second} })
		w.nomad.SetAway(true)
		w.put(kv.Release, "")
		time.Sleep(time.Second)
		w.refused(kv.Rollback, "", "being given back")
		w.nomad.SetAway(false)
		w.until(time.Minute, "given back", func(r deployment.Service) bool { return !r.Managed })
		if rec := w.record(); rec.Active != deployment.Green || !slices.Equal(w.nomad.Jobs(), []string{"api-green"}) {
			t.Errorf("%s; jobs %v", gistForPeople(rec), w.nomad.Jobs())
		}
	})
}

// The router is deleted before anything was ever released: accepting that must
// not ask Consul for a subset "none".
func TestAcceptedEditBeforeTheFirstRelease(t *testing.T) {
	inWorld(t, func(w *world) {
		w.policy("1.0.0", quick+"\n auto = false")
		w.agent("agent-1")
		w.until(time.Minute, "enrolled", func(r deployment.Service) bool { return r.Managed })
		w.addRoute("/admin")
		w.until(time.Minute, "held", func(r deployment.Service) bool { return r.Held != nil })
		w.obeyed(kv.Resume, "")
		if got := w.routed(); got != deployment.Green || !w.hasRoute("/admin") {
			t.Errorf("requests go to %s, want the empty colour", got)
		}
	})
}

// A first release goes to blue. Nobody can send its traffic to green.
func TestCutoverToTheOtherColourOfAFirstRelease(t *testing.T) {
	inWorld(t, func(w *world) {
		w.policy("1.0.0", quick+"\n approval { required = true }")
		w.agent("agent-1")
		w.state("1.0.0", deployment.Approving)
		w.refused(kv.Cutover, `{"arg":"green","force":true}`, "nothing runs on green")
		w.state("1.0.0", deployment.Approving)
	})
}

// Rollback beats pause, also when the release has long ended.
func TestRollbackOfAnEndedReleaseBeatsPause(t *testing.T) {
	inWorld(t, func(w *world) {
		w.adopted()
		w.policy("2.0.0", quick)
		w.until(3*time.Minute, "done", func(r deployment.Service) bool { return r.Active == deployment.Green && !r.InFlight() })
		w.obeyed(kv.Pause, "")
		w.obeyed(kv.Rollback, "")
		w.until(time.Minute, "back", func(r deployment.Service) bool { return r.Active == deployment.Blue })
		w.serves(deployment.Blue)
	})
}

// An approval during a pause would leave the jobs with nobody for as long as
// the pause lasts.
func TestApprovalDuringAPauseIsRefused(t *testing.T) {
	inWorld(t, func(w *world) {
		w.adopted()
		w.policy("2.0.0", quick+"\n approval { required = true }")
		w.state("2.0.0", deployment.Approving)
		w.obeyed(kv.Pause, "")
		w.refused(kv.Approve, "", "teal resume")
		w.jobs(deployment.Blue)
		w.obeyed(kv.Resume, "")
		w.obeyed(kv.Approve, "")
		w.state("2.0.0", deployment.Watching)
	})
}

// Consul refuses an answer for its size, and the loop goes on.
func TestRefusedAnswerBlocksNobody(t *testing.T) {
	inWorld(t, func(w *world) {
		w.adopted()
		w.consul.Intercept(func(c consultest.Call) (f consultest.Fault) {
			if c.Op == "Txn" && c.Key == w.keys.Command("api", kv.Plan) && c.Agent == "agent-1" {
				f.Before = &consul.Error{Op: "transaction", Kind: consul.ErrInvalid}
			}
			return f
		})
		w.put(kv.Plan, "")
		time.Sleep(time.Minute)
		w.obeyed(kv.Pause, "")
	})
}

// The answer to a command that changes nothing is lost before it was written.
func TestCommandThatChangesNothingIsAnswered(t *testing.T) {
	inWorld(t, func(w *world) {
		w.adopted()
		lost := 0
		w.consul.Intercept(func(c consultest.Call) (f consultest.Fault) {
			if c.Op == "Txn" && c.Agent == "agent-1" && lost < 1 {
				lost++
				f.Before = errLost
			}
			return f
		})
		w.obeyed(kv.Deploy, "")
	})
}

// Two things are the matter, and the second hides the first: that comes up again
// when the second is accepted.
func TestResumeLooksAtTheRouteAgain(t *testing.T) {
	inWorld(t, func(w *world) {
		w.adopted()
		w.policy("2.0.0", strings.Replace(quick, `"1m"`, `"10h"`, 1))
		w.state("2.0.0", deployment.Soaking)
		w.addRoute("/admin")
		w.until(time.Minute, "held", func(r deployment.Service) bool { return r.Held != nil })
		w.ordinary("9.9.9")
		w.until(time.Minute, "held for the job", func(r deployment.Service) bool { return r.Held.Cause == deployment.JobEdited })
		w.obeyed(kv.Resume, "")
		w.until(time.Minute, "held for the route", func(r deployment.Service) bool { return r.Held != nil && r.Held.Cause == deployment.RouteEdited })
	})
}

// Nomad takes its time to register the candidate, and somebody forces traffic to
// where nothing is.
func TestForceToWhereNothingRuns(t *testing.T) {
	inWorld(t, func(w *world) {
		w.adopted()
		w.nomad.Intercept(func(c nomadtest.Call) (f nomadtest.Fault) { f.Hang = c.Op == "Register"; return f })
		w.policy("2.0.0", quick)
		w.state("2.0.0", deployment.Launching)
		w.refused(kv.Cutover, `{"arg":"green","force":true}`, "runs on green yet")
		w.serves(deployment.Blue)
	})
}

// Whoever types rollback twice, or finds the command of somebody who did, does
// not send traffic forward to what was taken back a moment ago.
func TestSecondRollbackDoesNotGoForwardAgain(t *testing.T) {
	inWorld(t, func(w *world) {
		w.adopted()
		w.policy("2.0.0", quick)
		w.state("2.0.0", deployment.Watching)
		w.obeyed(kv.Rollback, "")
		w.until(time.Minute, "back", func(r deployment.Service) bool { return !r.InFlight() })
		w.refused(kv.Rollback, "", "teal cutover api green does")
		w.serves(deployment.Blue)
		w.obeyed(kv.Cutover, "green") // as the refusal says
		w.until(time.Minute, "forward", func(r deployment.Service) bool { return r.Active == deployment.Green })
		w.serves(deployment.Green)
	})
}

// The order to stop the previous colour is on its way, and Consul still shows
// it whole: it is no way back any more, unless somebody insists.
func TestRollbackWhileThePreviousColourIsBeingStopped(t *testing.T) {
	inWorld(t, func(w *world) {
		w.adopted()
		w.policy("2.0.0", strings.Replace(quick, `soak   { for = "1m" }`, "soak {\n for = \"1m\"\n then = \"stop\"\n }", 1))
		w.state("2.0.0", deployment.Soaking)
		w.nomad.Intercept(func(c nomadtest.Call) nomadtest.Fault { return nomadtest.Fault{Hang: c.Op == "Stop"} })
		w.state("2.0.0", deployment.Retiring)
		w.refused(kv.Rollback, "", "is being retired")
		w.serves(deployment.Green)
		w.obeyed(kv.Rollback, `{"force":true}`)
		w.until(time.Minute, "back", func(r deployment.Service) bool { return r.Active == deployment.Blue })
		w.serves(deployment.Blue)
	})
}

// The leader died in the middle of giving a service back, and whoever asked for
// it gave up: the entries are gone, with the protocol that Teal had added, and
// the record does not know. Giving it back again and resume are both ways out.
func TestGivenBackByHalf(t *testing.T) {
	for verb, after := range map[kv.Verb]func(w *world){
		kv.Release: func(w *world) {
			if rec := w.record(); rec.Managed || rec.Held != nil {
				w.Errorf("not given back: %s", gistForPeople(rec))
			}
		},
		kv.Resume: func(w *world) {
			w.serves(deployment.Blue)
			if rec := w.record(); !rec.Managed || rec.Held != nil {
				w.Errorf("not taken on: %s", gistForPeople(rec))
			}
		},
	} {
		t.Run(string(verb), func(t *testing.T) {
			inWorld(t, func(w *world) {
				w.adopted()
				for _, kind := range []string{consulapi.ServiceRouter, consulapi.ServiceResolver, consulapi.ServiceDefaults} {
					e, err := w.people.Entry(w.Context(), kind, "api")
					if err != nil || e == nil {
						w.Fatal(e, err)
					}
					if ok, err := w.people.DeleteEntry(w.Context(), kind, "api", e.GetModifyIndex()); !ok || err != nil {
						w.Fatal(ok, err)
					}
				}
				w.until(time.Minute, "held", func(r deployment.Service) bool { return r.Held != nil })
				w.obeyed(verb, "")
				after(w)
				w.policy("2.0.0", quick)
				w.state("2.0.0", deployment.Watching)
				w.serves(deployment.Green)
			})
		})
	}
}

// While what ran on the candidate's colour before is still being stopped, its
// instances are not the candidate: force does not send traffic to them.
func TestForceIsNotForWhatRanThereBefore(t *testing.T) {
	inWorld(t, func(w *world) {
		w.adopted()
		w.policy("2.0.0", quick)
		w.until(3*time.Minute, "2.0.0 is live", func(r deployment.Service) bool { return r.Active == deployment.Green && !r.InFlight() })
		var away atomic.Bool
		away.Store(true)
		w.nomad.Intercept(func(c nomadtest.Call) nomadtest.Fault {
			return nomadtest.Fault{Hang: c.Op == "Stop" && away.Load()}
		})
		w.sick["3.0.0"] = true
		w.policy("3.0.0", quick)
		w.state("3.0.0", deployment.Launching)
		const force = `{"arg":"blue","force":true,"why":"it must be now"}`
		w.refused(kv.Cutover, force, "nothing of 3.0.0 runs on blue yet")
		w.serves(deployment.Green)
		away.Store(false)
		for !w.command(kv.Cutover, force).Accepted {
			if rec := w.record(); rec.Deployment.State != deployment.Launching {
				t.Fatalf("never accepted: %s", gistForPeople(rec))
			}
			time.Sleep(time.Second)
		}
		w.state("3.0.0", deployment.Watching)
		w.serves(deployment.Blue)
	})
}

// A leader died between tightening blue's filter, once the adopted job was
// gone, and saving that; then somebody ran that job again. Its instances have no
// colour and are nobody's: the next release does not wait for them to go.
func TestInstancesOfNobodyHoldUpNothing(t *testing.T) {
	inWorld(t, func(w *world) {
		a := w.adopted()
		for n, version := range []string{"2.0.0", "3.0.0", "4.0.0"} {
			w.policy(version, quick)
			colour := []deployment.Colour{deployment.Green, deployment.Blue}[n%2]
			w.until(5*time.Minute, version+" is live", func(r deployment.Service) bool {
				return r.Active == colour && !r.InFlight() && r.Slots[colour].Version == version
			})
		}
		a.stop()
		rec := w.record()
		rec.Route.Loose = true
		text, err := json.Marshal(rec)
		if err != nil {
			t.Fatal(err)
		}
		w.plant(string(text))
		w.ordinary("9.9.9")
		w.policy("5.0.0", quick)
		w.agent("agent-2")
		w.state("5.0.0", deployment.Watching)
		w.serves(deployment.Blue)
	})
}

// The same, and the order was given before somebody paused the service: that
// nobody waits for its answer any more does not take it back.
func TestRollbackAfterThePreviousColourWasToBeStopped(t *testing.T) {
	for _, c := range []struct {
		name string
		then func(w *world)
	}{
		{"paused", func(w *world) { w.obeyed(kv.Pause, "") }},
		{"paused, and another leader", func(w *world) {
			w.obeyed(kv.Pause, "")
			w.agent("agent-2")
			w.agents[0].stop()
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			inWorld(t, func(w *world) {
				w.adopted()
				w.policy("2.0.0", body("", "", `then = "stop"`, ""))
				w.state("2.0.0", deployment.Soaking)
				w.nomad.Intercept(func(c nomadtest.Call) nomadtest.Fault { return nomadtest.Fault{Hang: c.Op == "Stop"} })
				w.state("2.0.0", deployment.Retiring)
				c.then(w)
				w.refused(kv.Rollback, "", "is being retired")
				w.serves(deployment.Green)
			})
		})
	}
}

// A candidate that was taken back is being stopped, its time for debugging over.
// Consul still shows it whole: it gets no traffic for that, unless somebody
// insists.
func TestCutoverToWhatIsBeingStopped(t *testing.T) {
	inWorld(t, func(w *world) {
		w.takenBack()
		w.nomad.Intercept(func(c nomadtest.Call) nomadtest.Fault { return nomadtest.Fault{Hang: c.Op == "Stop"} })
		time.Sleep(10*time.Minute + 5*time.Second)
		w.refused(kv.Cutover, "green", "is being stopped")
		w.serves(deployment.Blue)
		w.obeyed(kv.Cutover, `{"arg":"green","force":true}`)
		w.until(time.Minute, "forced", func(r deployment.Service) bool { return r.Active == deployment.Green })
	})
}

// The policy says the previous version again, of which nothing runs any more:
// its job was removed from Nomad. Traffic does not go where nobody is; the
// version waits, and is released anew.
func TestPolicyGoesBackToWhatIsGone(t *testing.T) {
	for _, c := range []struct{ name, body string }{{"queue", quick}, {"replace", body("", "", `newer = "replace"`, "")}} {
		t.Run(c.name, func(t *testing.T) {
			inWorld(t, func(w *world) {
				w.scalesDown = true
				w.adopted()
				w.policy("2.0.0", c.body)
				w.state("2.0.0", deployment.Soaking)
				if err := w.nomad.Client("people").Stop(w.Context(), "", "api", true); err != nil {
					t.Fatal(err)
				}
				w.until(time.Minute, "held", func(r deployment.Service) bool { return r.Held != nil })
				w.policy("1.0.0", c.body)
				if c.name == "queue" {
					rec := w.until(time.Minute, "queued", func(r deployment.Service) bool { return r.Queued != nil })
					if last := rec.Deployment.Log[len(rec.Deployment.Log)-1].What; !strings.Contains(last, "none of its instances passes") {
						t.Errorf("does not say why: %s", last)
					}
				}
				w.serves(deployment.Green)
				w.obeyed(kv.Resume, "")
				w.state("1.0.0", deployment.Watching)
				w.serves(deployment.Blue)
			})
		})
	}
}

// A first release failed, and its candidate is kept for debugging. Given back, the
// service has plain entries, with which it would serve.
func TestGivenBackWithAFailedFirstRelease(t *testing.T) {
	inWorld(t, func(w *world) {
		w.sick["1.0.0"] = true
		w.policy("1.0.0", body("deadline = \"30s\"", "", "", ""))
		w.agent("agent-1")
		w.until(2*time.Minute, "failed", func(r deployment.Service) bool { return r.Deployment != nil && !r.InFlight() })
		if r := w.command(kv.Release, ""); !r.Accepted {
			t.Fatal(r.Reason)
		}
		if got := w.nomad.Jobs(); len(got) > 0 {
			t.Errorf("jobs %v: what failed would serve", got)
		}
		if rec := w.record(); len(rec.Slots) > 0 {
			t.Errorf("slots %v", rec.Slots)
		}
	})
}
