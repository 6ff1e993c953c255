package deployment

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"
)

// after plays words on a new service.
func after(t *testing.T, script string) *play {
	t.Helper()
	p := newPlay()
	for _, word := range words(script) {
		p.play(t, word)
	}
	if strings.Contains(p.out.String(), "refused") {
		t.Fatalf("%s\n%s", script, p.out.String())
	}
	return p
}

// ways lead to each state, with a previous colour and without.
var ways = map[State]string{
	Preparing:   "begin(2.0.0)",
	Launching:   "begin(2.0.0) planned",
	Gating:      "begin(2.0.0) planned launched",
	Approving:   "begin(2.0.0) planned launched need-consent",
	CuttingOver: "begin(2.0.0) planned launched gates-pass",
	Watching:    "begin(2.0.0) planned launched gates-pass routed",
	Soaking:     "begin(2.0.0) planned launched gates-pass routed watch-pass",
	Retiring:    "begin(2.0.0) planned launched gates-pass routed watch-pass soak-end",
	RollingBack: "begin(2.0.0) planned launched gates-pass routed rollback",
	Done:        "begin(2.0.0) planned launched gates-pass routed watch-pass soak-end retired(keep)",
}

// kinds are all there are.
var kinds = func() []Kind {
	all := map[Kind]bool{}
	for e := range edges {
		all[e.ev] = true
	}
	for k := range changes {
		all[k] = true
	}
	return slices.Sorted(maps.Keys(all))
}()

// Every event in every state: either the table says what follows, or nothing
// happens to the release.
func TestNothingOutsideTheTableHappens(t *testing.T) {
	for state, way := range ways {
		for _, kind := range kinds {
			p := after(t, "adopt(1.0.0) "+way)
			if p.s.Deployment.State != state {
				t.Fatalf("%q leads to %s, not to %s", way, p.s.Deployment.State, state)
			}
			about := ""
			switch kind {
			case Begin, Queue:
				about = "3.0.0"
			case Void:
				about = "2.0.0+p2"
			case JobsMoved, Emptied:
				about = "green"
			case Adopt:
				about = "1.0.0"
			}
			next, _, err := Step(p.s, p.event(t, kind, about))
			to, inTable := edges[edge{state, kind}]
			switch {
			case inTable && err != nil:
				t.Errorf("%s while %s: %v", kind, state, err)
			case inTable && next.Deployment.State != to:
				t.Errorf("%s while %s leads to %s, not to %s", kind, state, next.Deployment.State, to)
			case inTable:
			case err != nil:
				if !errors.Is(err, ErrTransition) {
					t.Errorf("%s while %s: %v is not ErrTransition", kind, state, err)
				}
			case changes[kind] == nil:
				t.Errorf("%s while %s is neither in the table nor refused", kind, state)
			case state == Done && (kind == Begin || kind == Switch):
			case next.Deployment.State != state || next.Deployment.ID != p.s.Deployment.ID:
				t.Errorf("%s while %s moved the release to %s", kind, state, next.Deployment.State)
			}
		}
	}
}

// Whatever is known or not, paused or held: once the candidate may have
// traffic and until the previous colour is given up, it can be taken back.
func TestRollbackIsPossibleFromCutoverToTheEndOfTheSoak(t *testing.T) {
	for _, state := range []State{CuttingOver, Watching, Soaking} {
		for _, trouble := range []string{"", "pause", "hold(unknown)", "pause hold(the route was edited)", "weaken(blue is gone)", "queue(3.0.0)"} {
			for _, kind := range []Kind{Rollback, Trigger} {
				p := after(t, "adopt(1.0.0) "+ways[state]+" "+trouble)
				flags := []*Flag{p.s.Paused, p.s.Held}
				next, actions, err := Step(p.s, p.event(t, kind, "bad"))
				if err != nil || next.Deployment.State != RollingBack || !slices.Equal(actions, []Action{DoRollback}) {
					t.Errorf("%s while %s, %q: %v %v", kind, state, trouble, actions, err)
					continue
				}
				if !slices.Equal(flags, []*Flag{next.Paused, next.Held}) {
					t.Errorf("%s while %s: a person's pause or what Teal holds for was lifted", kind, state)
				}
				if m := next.Moving(); m == nil || m.To != Blue {
					t.Errorf("%s while %s: the move is %+v", kind, state, m)
				}
				if next.Active != p.s.Active {
					t.Errorf("%s while %s: the record says that traffic has moved before it has", kind, state)
				}
			}
		}
	}
}

// Nothing in a release touches the colour that is the way back.
func TestThePreviousColourIsLeftAlone(t *testing.T) {
	p := newPlay()
	for _, word := range words("adopt(1.0.0) begin(2.0.0) planned launched void(2.0.0+p2) need-consent approve move-written routed jobs-moved(green) queue(3.0.0) watch-pass soak-end") {
		p.play(t, word)
		if want := (Slot{Job: "api", Version: "1.0.0", Hash: "h1.0.0", Expected: 2, Adopted: true, Proof: "adopted"}); !reflect.DeepEqual(p.s.Slots[Blue], want) {
			t.Fatalf("after %s blue is %+v", word, p.s.Slots[Blue])
		}
	}
}

// A release is stored as JSON and goes on from there as if nothing had been.
func TestARecordSurvivesItsStore(t *testing.T) {
	for state, way := range ways {
		for _, more := range []string{"", " pause(lunch)", " hold(odd|watch-pass) pause", " queue(3.0.0) prepared progress"} {
			p := after(t, "adopt(1.0.0) "+way+more)
			raw, err := json.Marshal(p.s)
			if err != nil {
				t.Fatal(err)
			}
			var read Service
			if err := json.Unmarshal(raw, &read); err != nil {
				t.Fatal(err)
			}
			if !reflect.DeepEqual(read, p.s) {
				t.Errorf("%s%s: read back\n%+v\nwritten\n%+v", state, more, read, p.s)
			}
			if !slices.Equal(read.Resume(), p.s.Resume()) || (len(read.Resume()) == 0) != (state == Done) {
				t.Errorf("%s%s resumes with %v, was %v", state, more, read.Resume(), p.s.Resume())
			}
		}
	}
}

// A restart in a state does what entering it did.
func TestEveryStateResumesWithWhatItBeganWith(t *testing.T) {
	for _, state := range States {
		p := newPlay()
		var last []Action
		for _, word := range words("adopt(1.0.0) " + ways[state]) {
			kind, about, _ := strings.Cut(strings.TrimSuffix(word, ")"), "(")
			next, actions, err := Step(p.s, p.event(t, Kind(kind), about))
			if err != nil {
				t.Fatal(err)
			}
			p.s, last = next, actions
		}
		if got := p.s.Resume(); !slices.Equal(got, last) {
			t.Errorf("%s resumes with %v, began with %v", state, got, last)
		}
		if state != Done && len(last) != 1 {
			t.Errorf("%s asks for %v", state, last)
		}
	}
}

func TestAPauseStartsTheStatesClockAgain(t *testing.T) {
	p := after(t, "adopt(1.0.0) "+ways[Soaking]+" pause resume")
	if !p.s.Deployment.Since.Equal(p.at) {
		t.Errorf("soaks since %s, resumed at %s", p.s.Deployment.Since, p.at)
	}
	if p.s.Paused != nil || p.s.Blocked() != nil {
		t.Error("still paused")
	}
}

func TestAHoldEndsWithWhatItWasAbout(t *testing.T) {
	for _, c := range []struct {
		cause Cause
		kept  bool
	}{{"", false}, {OtherPolicy, false}, {RouteEdited, true}, {JobEdited, true}} {
		p := after(t, "adopt(1.0.0) "+ways[Gating])
		held := Event{Kind: Hold, At: p.at, By: "teal", Reason: "look", Cause: c.cause}
		next, _, err := Step(p.s, held)
		if err != nil {
			t.Fatal(err)
		}
		if next, _, err = Step(next, p.event(t, Abort, "")); err != nil {
			t.Fatal(err)
		}
		if (next.Held != nil) != c.kept {
			t.Errorf("a hold for %q after the release: %v", c.cause, next.Held)
		}
	}
}

// What says that its cause has gone lifts no hold for another one.
func TestAHoldIsLiftedByItsOwnCause(t *testing.T) {
	for held, lifted := range map[Cause]bool{CannotTell: true, JobEdited: false, "": false} {
		p := after(t, "adopt(1.0.0) "+ways[Watching])
		next, _, err := Step(p.s, Event{Kind: Hold, At: p.at, By: "teal", Reason: "look", Cause: held})
		if err != nil {
			t.Fatal(err)
		}
		if next, _, err = Step(next, Event{Kind: Unhold, At: p.at, By: "teal", Cause: CannotTell}); err != nil {
			t.Fatal(err)
		}
		if (next.Held == nil) != lifted {
			t.Errorf("a hold for %q: %+v", held, next.Held)
		}
	}
}

// Consul refuses values over 512 KiB, and a record is read by people.
func TestARecordIsBounded(t *testing.T) {
	p := after(t, "adopt(1.0.0) "+ways[Watching])
	for i := range 1000 {
		var err error
		if p.s, _, err = Step(p.s, Event{Kind: Note, At: p.at, By: "teal", Reason: fmt.Sprint("note ", i)}); err != nil {
			t.Fatal(err)
		}
		if p.s, _, err = Step(p.s, Event{Kind: MarkSeen, At: p.at, Source: fmt.Sprint("source ", i)}); err != nil {
			t.Fatal(err)
		}
	}
	log := p.s.Deployment.Log
	if len(log) > maxLog || log[0].What != "begin" || log[len(log)-1].What != "note: note 999" {
		t.Errorf("%d entries, from %q to %q: want its beginning and its end", len(log), log[0].What, log[len(log)-1].What)
	}
	if n := len(p.s.Seen); n > maxSeen || p.s.Seen[n-1] != "source 999" {
		t.Errorf("%d sources, the last %q", n, p.s.Seen[n-1])
	}
	before := slices.Clone(p.s.Seen)
	s, _, err := Step(p.s, Event{Kind: MarkSeen, Source: before[0]})
	if err != nil || len(s.Seen) != len(before) || s.Seen[len(before)-1] != before[0] {
		t.Errorf("a source seen again is the newest, once: %v, %v", s.Seen, err)
	}
}

func TestEvidenceSaysWhoWhatWhenAndWhichFigures(t *testing.T) {
	p := after(t, "adopt(1.0.0) "+ways[Watching])
	ev := Event{Kind: Trigger, At: p.at, By: "teal", Reason: "5xx", Figures: map[string]string{"rate": "0.2"}}
	s, _, err := Step(p.s, ev)
	if err != nil {
		t.Fatal(err)
	}
	got := s.Deployment.Log[len(s.Deployment.Log)-1]
	if want := (Entry{At: p.at, By: "teal", What: "trigger: 5xx", Figures: ev.Figures}); !reflect.DeepEqual(got, want) {
		t.Errorf("%+v, want %+v", got, want)
	}
}

func TestColours(t *testing.T) {
	for text, want := range map[string]Colour{"blue": Blue, "green": Green} {
		if got, err := ParseColour(text); got != want || err != nil {
			t.Errorf("%s is %s, %v", text, got, err)
		}
	}
	for _, text := range []string{"", "none", "Blue", "blue ", "red"} {
		if got, err := ParseColour(text); err == nil || got != None || !strings.Contains(err.Error(), "blue or green") {
			t.Errorf("%q is %s, %v", text, got, err)
		}
	}
	if Blue.Other() != Green || Green.Other() != Blue || None.Other() != Blue || Colour("").Other() != Blue {
		t.Error("the first release goes to blue, every other to the other colour")
	}
	if None.Valid() || Colour("").Valid() || Colour("").String() != "none" {
		t.Error("none is no colour")
	}
}

func TestIDsSortByAge(t *testing.T) {
	a, b := NewID(dawn.In(time.FixedZone("x", 3600)), "ff"), NewID(dawn.Add(time.Millisecond), "00")
	if a >= b || a != "20260301-060000.000-ff" {
		t.Errorf("%s, %s", a, b)
	}
}

// A handover that was overtaken by another one has nothing to say any more.
func TestJobsGoOnlyWhereTheyAreOnTheirWayTo(t *testing.T) {
	p := newPlay()
	for _, word := range words("adopt(1.0.0) begin(2.0.0) planned launched gates-pass") {
		p.play(t, word)
	}
	for _, stale := range []Colour{Blue, None, ""} {
		if next, _, err := Step(p.s, Event{Kind: JobsMoved, Colour: stale, At: p.at}); !errors.Is(err, ErrTransition) {
			t.Errorf("jobs on their way to %s went to %s: %v", p.s.Jobs.Target, next.Jobs.Owner, err)
		}
	}
}
