package controller

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/tealdeploy/teal/agent/deployment"
	"github.com/tealdeploy/teal/agent/policy"
)

var noon = time.Date(2026, 11, 25, 12, 0, 0, 0, time.UTC)

// story is a service on its way, told by events.
type story struct {
	*testing.T
	rec deployment.Service
	n   int
}

func candidateOf(version string) deployment.Candidate {
	return deployment.Candidate{Version: version, Hash: "job-" + version, Policy: "pol", Source: "src-" + version, Job: "api", By: "policy edit"}
}

// adopted is a service that serves 1.0.0 on blue, as it ran before Teal.
func adopted(t *testing.T) *story {
	s := &story{T: t, rec: deployment.Service{Name: "api", Active: deployment.None}}
	slot := deployment.Slot{Job: "api", Version: "1.0.0", Hash: "job-1.0.0", Expected: 2, Adopted: true, Proof: adoptedAsItRan}
	s.step(deployment.Event{Kind: deployment.Adopt, Colour: deployment.Blue, Slot: &slot, Route: &deployment.Route{Router: "service-router", Prepared: true, Loose: true}})
	return s
}

func (s *story) step(evs ...deployment.Event) *story {
	s.Helper()
	for _, ev := range evs {
		if ev.At.IsZero() {
			ev.At = noon
		}
		next, _, err := deployment.Step(s.rec, ev)
		if err != nil {
			s.Fatal(err)
		}
		s.rec = next
	}
	return s
}

// to brings a release of a version to a state, by the way a good one takes.
func (s *story) to(version string, state deployment.State) *story {
	s.Helper()
	s.n++
	c := candidateOf(version)
	slot := deployment.Slot{Job: "api-x", Version: version, Hash: c.Hash, Expected: 2}
	for _, ev := range []deployment.Event{
		{Kind: deployment.Begin, ID: fmt.Sprint("d", s.n), Candidate: &c}, {Kind: deployment.Planned, Slot: &slot},
		{Kind: deployment.Launched}, {Kind: deployment.GatesPass}, {Kind: deployment.Routed},
		{Kind: deployment.WatchPass}, {Kind: deployment.SoakEnd}, {Kind: deployment.Retired, Then: "keep"},
	} {
		s.step(ev)
		if s.rec.Deployment.State == state {
			return s
		}
	}
	s.Fatalf("never came to %s", state)
	return s
}

// edit decides on a policy that now says version, and applies it.
func (s *story) edit(version string, change ...func(*appraisal, *ask)) string {
	s.Helper()
	p := policy.Defaults()
	a := appraisal{pol: &p, candidate: candidateOf(version)}
	k := ask{by: "policy edit", at: noon, newID: func() string { return "new" }}
	for _, f := range change {
		f(&a, &k)
	}
	in := decide(s.rec, a, k)
	var kinds []string
	for _, ev := range in.events {
		kinds = append(kinds, string(ev.Kind))
	}
	if !in.refused {
		s.step(in.events...)
	}
	return strings.Join(kinds, " ")
}

func byHand(_ *appraisal, k *ask)    { k.order = true }
func notAuto(a *appraisal, _ *ask)   { a.pol.Auto = false }
func replacing(a *appraisal, _ *ask) { a.pol.Soak.Newer = "replace" }
func ofTheJob(_ *appraisal, k *ask)  { k.job = true }
func otherPolicy(a *appraisal, _ *ask) {
	a.candidate.Policy, a.candidate.Source = "pol-2", a.candidate.Source+"-pol-2"
}

func (s *story) want(got, events string, state deployment.State, version string) {
	s.Helper()
	if got != events {
		s.Errorf("decided %q, want %q", got, events)
	}
	is, candidate := deployment.State("idle"), ""
	if s.rec.InFlight() {
		is, candidate = s.rec.Deployment.State, s.rec.Deployment.Candidate.Version
	}
	if is != state || candidate != version {
		s.Errorf("it is %s of %q, want %s of %q", is, candidate, state, version)
	}
}

func TestEditOfAnIdleService(t *testing.T) {
	s := adopted(t)
	s.want(s.edit("1.0.0"), "mark-seen", "idle", "")
	s.want(s.edit("2.0.0", notAuto), "", "idle", "")
	s.want(s.edit("2.0.0", notAuto, byHand), "begin", deployment.Preparing, "2.0.0")
}

// PEERS 7: version 3 supersedes 2 before cutover; 2 never serves.
func TestNewerVersionBeforeCutoverSupersedes(t *testing.T) {
	for _, state := range []deployment.State{deployment.Preparing, deployment.Launching, deployment.Gating} {
		s := adopted(t).to("2.0.0", state)
		s.want(s.edit("3.0.0"), "supersede begin", deployment.Preparing, "3.0.0")
		if s.rec.Active != deployment.Blue || s.rec.Deployment.To != deployment.Green {
			t.Errorf("from %s: active %s, to %s", state, s.rec.Active, s.rec.Deployment.To)
		}
	}
}

// The slot of the previous version is the way back until the soak ends.
func TestNewerVersionDuringWatchAndSoakQueues(t *testing.T) {
	for _, state := range []deployment.State{deployment.CuttingOver, deployment.Watching, deployment.Soaking, deployment.Retiring} {
		s := adopted(t).to("2.0.0", state)
		s.want(s.edit("3.0.0"), "queue", state, "2.0.0")
		s.want(s.edit("3.0.1"), "queue queue", state, "2.0.0")
		if s.rec.Queued == nil || s.rec.Queued.Version != "3.0.1" {
			t.Errorf("in %s: queued %+v, want 3.0.1 only", state, s.rec.Queued)
		}
		s.want(s.edit("2.0.0"), "queue", state, "2.0.0")
		if s.rec.Queued != nil {
			t.Errorf("in %s: the policy went back to what is released, and %+v is still queued", state, s.rec.Queued)
		}
	}
}

func TestNewerVersionReplacesWhereThePolicyAllows(t *testing.T) {
	s := adopted(t).to("2.0.0", deployment.Watching)
	s.want(s.edit("3.0.0", replacing), "watch-pass soak-end retired begin", deployment.Preparing, "3.0.0")
	if s.rec.Active != deployment.Green || s.rec.Deployment.To != deployment.Blue {
		t.Errorf("active %s, to %s: want the newest two versions on the two colours", s.rec.Active, s.rec.Deployment.To)
	}
}

// PEERS 6: the previous version within the soak is one write, without gates.
func TestPreviousVersionAgain(t *testing.T) {
	s := adopted(t).to("2.0.0", deployment.Soaking)
	s.want(s.edit("1.0.0"), "rollback mark-seen", deployment.RollingBack, "2.0.0")

	s = adopted(t).to("2.0.0", deployment.Done) // after the soak: the full way
	s.want(s.edit("1.0.0"), "begin", deployment.Preparing, "1.0.0")

	s = adopted(t).to("2.0.0", deployment.Gating)
	s.want(s.edit("1.0.0"), "abort mark-seen", "idle", "")
}

// What was taken back comes again only if somebody means it: by an edit of its
// job or by a command, and through its gates. Another limit in the policy, or a
// change of leader, is not meant.
func TestBadVersionIsProvenAnew(t *testing.T) {
	bad := func() *story {
		return adopted(t).to("2.0.0", deployment.Watching).step(
			deployment.Event{Kind: deployment.Trigger, Detected: noon}, deployment.Event{Kind: deployment.RoutedBack})
	}
	s := bad()
	s.want(s.edit("2.0.0", otherPolicy), "mark-seen", "idle", "")
	s.want(s.edit("3.0.0", otherPolicy), "begin", deployment.Preparing, "3.0.0")
	s = bad()
	s.want(s.edit("2.0.0", ofTheJob), "begin", deployment.Preparing, "2.0.0")
	s = bad()
	s.want(s.edit("2.0.0", byHand), "begin", deployment.Preparing, "2.0.0")
}

// What never served is tried again when what judged it is mended.
func TestFailedVersionIsTriedAgainUnderAnotherPolicy(t *testing.T) {
	s := adopted(t).to("2.0.0", deployment.Gating).step(deployment.Event{Kind: deployment.GateFail})
	s.want(s.edit("2.0.0", otherPolicy), "begin", deployment.Preparing, "2.0.0")
}

// Invariant 1: an edit voids earlier passes and approvals.
func TestPolicyEditVoidsPasses(t *testing.T) {
	s := adopted(t).to("2.0.0", deployment.Gating)
	s.step(deployment.Event{Kind: deployment.NeedConsent, Gates: []deployment.GateRecord{{Kind: "http", Verdict: "pass", Proof: "job-2.0.0+pol"}}})
	s.want(s.edit("2.0.0", otherPolicy), "void mark-seen", deployment.Gating, "2.0.0")
	if d := s.rec.Deployment; len(d.Gates) > 0 || d.Approval != nil || d.Candidate.Policy != "pol-2" {
		t.Errorf("gates %v, approval %v, candidate %+v: want none, and the new policy", d.Gates, d.Approval, d.Candidate)
	}
	s = adopted(t).to("2.0.0", deployment.Watching)
	s.want(s.edit("2.0.0", otherPolicy), "note mark-seen", deployment.Watching, "2.0.0")
}

func TestEditedJobspecWithoutAutoHoldsWhatIsInFlight(t *testing.T) {
	s := adopted(t).to("2.0.0", deployment.Gating)
	s.want(s.edit("3.0.0", notAuto), "hold", deployment.Gating, "2.0.0")
	if s.rec.Held == nil || s.rec.Held.Cause != deployment.OtherPolicy {
		t.Errorf("held %+v", s.rec.Held)
	}
	s.want(s.edit("3.0.0", notAuto, byHand), "supersede begin", deployment.Preparing, "3.0.0")
	if s.rec.Held != nil {
		t.Errorf("a deploy leaves the hold: %+v", s.rec.Held)
	}
}

// PEERS 1: the first release has no way back, and says so when asked.
func TestFirstRelease(t *testing.T) {
	s := &story{T: t, rec: deployment.Service{Name: "api", Active: deployment.None}}
	enrol := func(a *appraisal, _ *ask) {
		a.found = found{active: deployment.None, route: deployment.Route{Router: "service-router", Prepared: true}}
	}
	s.want(s.edit("1.0.0", enrol), "enrol begin", deployment.Preparing, "1.0.0")
	if s.rec.Active != deployment.None || s.rec.Deployment.To != deployment.Blue || s.rec.Deployment.From != deployment.None {
		t.Errorf("%+v", s.rec.Deployment)
	}
}

func TestQueuedVersionTakesItsTurn(t *testing.T) {
	s := adopted(t).to("2.0.0", deployment.Soaking)
	s.edit("3.0.0")
	s.step(deployment.Event{Kind: deployment.SoakEnd}, deployment.Event{Kind: deployment.Retired, Then: "keep"})
	got := s.edit("3.0.0", notAuto, func(_ *appraisal, k *ask) { k.queued = true })
	s.want(got, "begin", deployment.Preparing, "3.0.0")
	if s.rec.Queued != nil {
		t.Errorf("still queued: %+v", s.rec.Queued)
	}
}

// A colour was scaled while its gates still ran; by the time that is known they
// have passed.
func TestRescalingKeepsWhatTheSlotHasProvenMeanwhile(t *testing.T) {
	s := adopted(t).to("2.0.0", deployment.Gating)
	stale := s.rec.Slots[deployment.Green]
	stale.Expected, stale.Counts = 5, map[string]int{"web": 5}
	s.step(deployment.Event{Kind: deployment.GatesPass}, deployment.Event{Kind: deployment.Routed})
	s.edit("2.0.0", func(a *appraisal, _ *ask) {
		a.rescaled = []deployment.Event{{Kind: deployment.Rescaled, At: noon, Colour: deployment.Green, Slot: &stale}}
	})
	if slot := s.rec.Slots[deployment.Green]; slot.Proof == "" || slot.Expected != 5 {
		t.Errorf("%+v: want its proof, and 5 instances", slot)
	}
}
