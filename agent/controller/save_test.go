package controller

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/tealdeploy/teal/agent/deployment"
	"github.com/tealdeploy/teal/agent/kv"
)

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
