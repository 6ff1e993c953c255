package controller

import (
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"net/http/httptest"
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
	"github.com/tealdeploy/teal/jobspec"
)

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

// touch writes the record as it is, in other words.
func (w *world) touch() {
	w.Helper()
	text, err := json.MarshalIndent(w.record(), "", "  ")
	if err != nil {
		w.Fatal(err)
	}
	w.plant(string(text))
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

// Whatever is in the record, the agent serves other services as well.
func TestHostileRecordsHoldOnlyTheirService(t *testing.T) {
	for _, hostile := range []string{
		`{"format":1,"managed":true,"active":"blue","route":{"router":"what","prepared":true},"deployment":{"state":"watching","from":"blue","to":"green"}}`,
		`{"format":1,"managed":true,"active":"purple","route":{"router":"service-router","prepared":true}}`,
		`{"format":1,"managed":true,"active":"green","route":{"router":"service-router","prepared":true},"deployment":{"state":"cutting-over","to":"purple","from":"green"}}`,
		`{"format":1,"managed":true,"active":"green","route":{"router":"service-router","prepared":true},"deployment":{"state":"rolling-back","to":"green","from":"none"}}`,
		`{"format":1,"managed":true,"active":"green","route":{"prepared":true},"deployment":{"state":"cutting-over","to":"blue","from":"green"}}`,
		`{"format":1,"managed":true,"slots":{"red":{"job":"x","stop_at":"2000-01-01T00:00:00Z"}}}`,
		`{"format":1,"managed":true,"jobs":{"owner":"red","target":"purple"}}`,
		`{"format":1,"managed":true,"deployment":{"state":"what"}}`,
	} {
		inWorld(t, func(w *world) {
			w.plant(hostile)
			w.policy("1.0.0", quick)
			w.agent("agent-1")
			w.refused(kv.Deploy, "", "record of api")
			w.refused(kv.Rollback, "", "record of api")
			time.Sleep(time.Minute)
			if pair, _, _ := w.people.Get(w.Context(), w.keys.State("api"), 0); string(pair.Value) != hostile {
				t.Errorf("overwritten: %s", pair.Value)
			}
		})
	}
}

// The record is lost in the middle of a release. What runs on the idle colour
// has proven nothing, and the jobs go through none.
func TestLostRecordProvesNothing(t *testing.T) {
	inWorld(t, func(w *world) {
		w.adopted()
		w.policy("2.0.0", quick+"\n approval { required = true }")
		w.state("2.0.0", deployment.Approving)
		w.agents[0].stop()
		if err := w.people.Delete(w.Context(), w.keys.State("api")); err != nil {
			t.Fatal(err)
		}
		w.agent("agent-2")
		w.until(time.Minute, "adopted again", func(r deployment.Service) bool { return r.Managed })
		if rec := w.record(); rec.Active != deployment.Blue || !rec.Route.Loose || len(rec.Slots) != 2 {
			t.Errorf("%s; loose %v", gistForPeople(rec), rec.Route.Loose)
		}
		w.serves(deployment.Blue)
		for c, slot := range w.record().Slots {
			if c != w.record().Active && slot.Proof != "" {
				t.Errorf("%s is proven by %q", c, slot.Proof)
			}
		}
	})
}

// The record is lost in the middle of the first release: what runs has not
// passed its gates, and does not serve because it is all there is.
func TestLostRecordOfAFirstRelease(t *testing.T) {
	inWorld(t, func(w *world) {
		body := quick + "\n approval { required = true }"
		w.policy("1.0.0", body)
		w.agent("agent-1")
		w.state("1.0.0", deployment.Approving)
		w.agents[0].stop()
		if err := w.people.Delete(w.Context(), w.keys.State("api")); err != nil {
			t.Fatal(err)
		}
		w.agent("agent-2")
		w.state("1.0.0", deployment.Approving)
		if rec := w.record(); rec.Active.Valid() || w.routed() != deployment.Green {
			t.Errorf("%s; requests go to %s", gistForPeople(rec), w.routed())
		}
		w.obeyed(kv.Approve, "")
		w.state("1.0.0", deployment.Watching)
		w.serves(deployment.Blue)
	})
}

// A record that cannot be understood is looked at anew once it has been deleted.
func TestMendedRecordIsLookedAtAnew(t *testing.T) {
	inWorld(t, func(w *world) {
		w.plant("nonsense")
		w.policy("1.0.0", quick)
		w.agent("agent-1")
		w.refused(kv.Deploy, "", "delete the key")
		if err := w.people.Delete(w.Context(), w.keys.State("api")); err != nil {
			t.Fatal(err)
		}
		w.obeyed(kv.Deploy, "")
		w.state("1.0.0", deployment.Watching)
	})
}

// Given back with green serving, then run as an ordinary job again.
func TestAdoptedAgainOnTheOtherColour(t *testing.T) {
	inWorld(t, func(w *world) {
		w.adopted()
		w.policy("2.0.0", quick)
		w.until(3*time.Minute, "done", func(r deployment.Service) bool { return r.Active == deployment.Green && !r.InFlight() })
		w.obeyed(kv.Release, "")
		if err := w.nomad.Client("people").Stop(w.Context(), "", "api-green", false); err != nil {
			t.Fatal(err)
		}
		w.ordinary("2.0.0")
		w.obeyed(kv.Deploy, "")
		w.until(time.Minute, "adopted", func(r deployment.Service) bool { return r.Managed && !r.Jobs.Moving() })
		w.serves(deployment.Blue)
		w.jobs(deployment.Blue)
	})
}

// The history's bound was lowered: more is to be deleted than one transaction
// takes.
func TestLongHistoryIsTrimmed(t *testing.T) {
	inWorld(t, func(w *world) {
		w.adopted().stop()
		rec := w.record()
		for n := range 200 {
			rec.Finished = append(rec.Finished, fmt.Sprint("d", n))
		}
		text, err := json.Marshal(rec)
		if err != nil {
			t.Fatal(err)
		}
		w.plant(string(text))
		w.agent("agent-2")
		w.obeyed(kv.Pause, "")
		w.obeyed(kv.Resume, "")
		for range 5 {
			w.obeyed(kv.Pause, "")
		}
		if n := len(w.record().Finished); n != 3 {
			t.Errorf("%d finished, want 3", n)
		}
	})
}

// Long reasons, many of them: the record stays within what Consul takes.
func TestRecordStaysWithinConsulsLimit(t *testing.T) {
	inWorld(t, func(w *world) {
		w.adopted()
		w.policy("2.0.0", strings.Replace(quick, `for = "1m"`, `for = "10h"`, 1))
		w.state("2.0.0", deployment.Soaking)
		why := strings.Repeat("x", 100<<10)
		for n := range 300 {
			w.agents[0].ctl.tenure.post("api", report{events: nil})
			w.tell(deployment.Event{Kind: deployment.Weaken, At: time.Now(), By: self, Reason: fmt.Sprint(n, why), Figures: map[string]string{"a": why}})
		}
		synctest.Wait()
		w.obeyed(kv.Rollback, "")
		w.until(time.Minute, "back", func(r deployment.Service) bool { return !r.InFlight() })
	})
}

// tell has the service's present work report something.
func (w *world) tell(ev deployment.Event) {
	t := w.agents[0].ctl.tenure
	t.mu.Lock()
	work := t.loops["api"].work
	t.mu.Unlock()
	t.post("api", report{work, []deployment.Event{ev}})
	synctest.Wait()
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

// An autoscaler has made the serving job larger; then instances die. What is
// restored is what there was, never less.
func TestWayBackIsNeverMadeSmaller(t *testing.T) {
	inWorld(t, func(w *world) {
		w.scaled = true
		w.adopted()
		client := w.nomad.Client("people")
		if err := client.Scale(w.Context(), "", "api", map[string]int{"web": 8}); err != nil {
			t.Fatal(err)
		}
		w.policy("2.0.0", strings.Replace(quick, `for = "1m"`, `for = "10h"`, 1))
		rec := w.state("2.0.0", deployment.Soaking)
		if n := rec.Slots[deployment.Green].Expected; n != 8 {
			t.Errorf("the candidate has %d instances, what served had 8", n)
		}
		// Traffic has gone, and the autoscaler notices.
		if err := client.Scale(w.Context(), "", "api", map[string]int{"web": 3}); err != nil {
			t.Fatal(err)
		}
		time.Sleep(10 * time.Second)
		job, err := client.Job(w.Context(), "", "api")
		if err != nil || jobspec.Counts(job)["web"] != 8 {
			t.Errorf("the way back has %v instances, %v, want 8 again", jobspec.Counts(job), err)
		}
		// It grows again by itself, and then instances of it die.
		if err := client.Scale(w.Context(), "", "api", map[string]int{"web": 12}); err != nil {
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
		w.obeyed(kv.Resume, "")
		w.state("1.0.1", deployment.Watching)
		w.serves(deployment.Green)
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

// A quiet service costs nothing.
func TestIdleServiceLeavesNothingBehind(t *testing.T) {
	inWorld(t, func(w *world) {
		a := w.adopted()
		w.policy("2.0.0", quick)
		w.until(3*time.Minute, "done", func(r deployment.Service) bool { return r.Active == deployment.Green && !r.InFlight() })
		w.refused(kv.Cutover, "green", "serves already")
		w.obeyed(kv.Deploy, "")
		time.Sleep(time.Minute)
		synctest.Wait()
		tenure := a.ctl.tenure
		tenure.mu.Lock()
		defer tenure.mu.Unlock()
		if len(tenure.loops) > 0 {
			t.Errorf("loops %v", slices.Collect(maps.Keys(tenure.loops)))
		}
	})
}
