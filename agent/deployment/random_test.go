package deployment

import (
	"encoding/json"
	"maps"
	"math/rand/v2"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"
)

// TestWhateverHappens lets long random histories happen to a service and holds
// each step against what must be true of any of them.
func TestWhateverHappens(t *testing.T) {
	seen := map[State]int{}
	for seed := range uint64(40) {
		dice := rand.New(rand.NewPCG(seed, 1))
		p := newPlay()
		if dice.IntN(2) == 0 {
			p.play(t, "adopt(1.0.0)")
		} else {
			p.play(t, "enrol")
		}
		for range 150 {
			ev := randomEvent(t, p, dice)
			before := snapshot(t, p.s)
			next, actions, err := Step(p.s, ev)
			if snapshot(t, p.s) != before {
				t.Fatalf("seed %d: %s changed the service it was given\n%s\n%s", seed, ev.Kind, before, snapshot(t, p.s))
			}
			again, actionsAgain, errAgain := Step(p.s, ev)
			if !reflect.DeepEqual(next, again) || !slices.Equal(actions, actionsAgain) || (err == nil) != (errAgain == nil) {
				t.Fatalf("seed %d: %s gives one result, then another", seed, ev.Kind)
			}
			if err != nil {
				continue
			}
			came := snapshot(t, next)
			if _, _, _ = Step(p.s, randomEvent(t, p, dice)); snapshot(t, next) != came {
				t.Fatalf("seed %d: what %s came to was changed by another step from the same service", seed, ev.Kind)
			}
			lawful(t, seed, p.s, ev, next)
			p.s, p.at = next, p.at.Add(time.Duration(dice.IntN(1000))*time.Second)
			seen[State(stand(next))]++
		}
	}
	for _, state := range States {
		if seen[state] < 8 {
			t.Errorf("%s was seen %d times only: the histories prove nothing", state, seen[state])
		}
	}
}

// randomEvent is mostly what may happen next, and sometimes anything.
func randomEvent(t *testing.T, p *play, dice *rand.Rand) Event {
	kind := kinds[dice.IntN(len(kinds))]
	if p.s.InFlight() && dice.IntN(4) > 0 {
		var likely []Kind
		for _, k := range kinds {
			if _, ok := edges[edge{p.s.Deployment.State, k}]; ok {
				likely = append(likely, k)
			}
		}
		if likely = append(likely, Consented, Withdraw); p.s.Deployment.State != Approving {
			likely = likely[:len(likely)-2]
		}
		kind = likely[dice.IntN(len(likely))]
	} else if !p.s.InFlight() && dice.IntN(2) == 0 {
		kind = Begin
	}
	p.n++
	about := ""
	switch kind {
	case Adopt, Enrol, GiveBack: // a service's first and last; see the scenarios
		kind = Note
	case Begin, Queue:
		about = []string{"1.0.0", "2.0.0", "3.0.0", "3.0.0+p2"}[dice.IntN(4)]
	case Void:
		about = []string{"2.0.0+p1", "2.0.0+p2"}[dice.IntN(2)]
	case Switch:
		about = []string{"", "force"}[dice.IntN(2)]
	case JobsMoved:
		if about = string(p.s.Jobs.Target); about == "" { // only a handover under way can end
			kind, about = Note, ""
		}
	case Emptied:
		if about = string(p.s.Active.Other()); p.s.InFlight() {
			kind, about = Note, ""
		}
	case NeedConsent:
		about = []string{"", "1 of alice bob", "2 of alice bob carol"}[dice.IntN(3)]
	case Consented:
		about = []string{"alice", "bob", "carol", "alice|too early", "dave"}[dice.IntN(5)]
	case Withdraw:
		about = []string{"alice", "bob", "carol", "dave"}[dice.IntN(4)]
	case Retired:
		about = []string{"keep", "scale", "stop"}[dice.IntN(3)]
	case Rescaled:
		if !p.s.Active.Valid() {
			kind = Note
		}
	}
	return p.event(t, kind, about)
}

// lawful holds one step against DESIGN's invariants.
func lawful(t *testing.T, seed uint64, old Service, ev Event, now Service) {
	t.Helper()
	wrong := func(format string, args ...any) {
		t.Helper()
		t.Errorf("seed %d, %s while %s: "+format, append([]any{seed, ev.Kind, stand(old)}, args...)...)
	}
	if !slices.Contains(append(States, "idle"), State(stand(now))) {
		wrong("the state is %s", stand(now))
	}
	// 1. Only proven code serves, and only the acknowledged write moves traffic.
	if old.Active != now.Active && ev.Kind != Routed && ev.Kind != RoutedBack {
		wrong("active went from %s to %s", old.Active, now.Active)
	}
	if d := now.Deployment; d != nil && d.State == CuttingOver && stand(old) != string(CuttingOver) {
		switch ev.Kind {
		case GatesPass, Force, Switch:
		case Approve:
			if d.Approval == nil || d.Approval.Proof != d.Candidate.Proof() {
				wrong("cutover of %s with the approval %+v", d.Candidate.Proof(), d.Approval)
			}
			if ask := old.Deployment.Ask; ask != nil {
				had := map[string]bool{}
				for _, c := range d.Approval.Consents {
					had[c.By] = c.Void == "" && c.Proof == d.Candidate.Proof() && slices.Contains(ask.Approvers, c.By)
				}
				if len(had) < ask.Quorum || slices.Contains(slices.Collect(maps.Values(had)), false) {
					wrong("it takes %s, and there are %+v", ask.Wanted(), d.Approval.Consents)
				}
			}
		default:
			wrong("cutover without gates, approval or force")
		}
		if proof := now.Slots[d.To].Proof; proof == "" || ev.Kind == GatesPass && proof != d.Candidate.Proof() {
			wrong("cutover to a slot with proof %q", proof)
		}
		if ev.Kind == Force && (d.Forced == nil || d.Forced.By != ev.By) {
			wrong("forced, and nobody was named")
		}
	}
	if d := now.Deployment; d != nil && d.State == Gating && (stand(old) != string(Gating) || ev.Kind == Void) {
		if d.Gates != nil || d.Ask != nil || d.Approval != nil || d.Forced != nil || d.Cutover != nil {
			wrong("gates begin with earlier passes, approvals or force: %+v", d)
		}
	}
	// 3. and 4. The way back.
	if old.InFlight() && now.InFlight() && old.Deployment.ID == now.Deployment.ID && old.Deployment.From.Valid() && ev.Kind != Rescaled {
		if from := old.Deployment.From; !reflect.DeepEqual(old.Slots[from], now.Slots[from]) {
			wrong("the previous colour went from %+v to %+v", old.Slots[from], now.Slots[from])
		}
	}
	if d := now.Deployment; d != nil && d.From.Valid() {
		switch d.State {
		case CuttingOver, Watching, Soaking:
			if back, _, err := Step(now, Event{Kind: Rollback, At: ev.At, By: "alice"}); err != nil || back.Deployment.State != RollingBack {
				wrong("no way back: %v", err)
			}
		}
	}
	// 5. One owner of jobs, a handover goes through none.
	if old.Jobs.Owner.Valid() && now.Jobs.Owner.Valid() && old.Jobs.Owner != now.Jobs.Owner {
		wrong("jobs went from %s to %s at once", old.Jobs.Owner, now.Jobs.Owner)
	}
	// 10. Evidence, and its bounds.
	if old.InFlight() && now.Deployment.State != old.Deployment.State {
		log := now.Deployment.Log
		if len(log) == 0 || log[len(log)-1].At != ev.At || log[len(log)-1].By != ev.By {
			wrong("no evidence of it")
		}
		if now.Deployment.Since != ev.At {
			wrong("the state began %s", now.Deployment.Since)
		}
	}
	if d := now.Deployment; d != nil {
		if len(d.Log) > maxLog {
			wrong("%d log entries", len(d.Log))
		}
		if (d.State == Done) != (d.Outcome != "") || (d.State == Done) == d.Ended.IsZero() {
			wrong("state %s with outcome %q, ended %s", d.State, d.Outcome, d.Ended)
		}
	}
	if len(now.Seen) > maxSeen {
		wrong("%d sources", len(now.Seen))
	}
}

func snapshot(t *testing.T, s Service) string {
	t.Helper()
	raw, err := json.Marshal(s)
	if err != nil {
		t.Fatal(err)
	}
	return string(raw)
}

// A record is read from a place where anybody with the right may write
// anything. Whatever it is, no step may take the agent down with it: it serves
// other services as well.
func FuzzRecord(f *testing.F) {
	for _, way := range ways {
		p := newPlay()
		for _, word := range words("adopt(1.0.0) " + way + " pause") {
			kind, about, _ := strings.Cut(strings.TrimSuffix(word, ")"), "(")
			s, _, err := Step(p.s, p.event(f, Kind(kind), about))
			if err != nil {
				f.Fatal(err)
			}
			p.s = s
		}
		raw, err := json.Marshal(p.s)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(raw, []byte{0, 1, 2, 3, 4, 5, 6, 7, 8, 9})
	}
	for _, state := range States {
		f.Add([]byte(`{"name":"api","active":"blue","deployment":{"state":"`+string(state)+`","from":"blue","to":"green"}}`), []byte{0, 10, 20, 30, 40})
		f.Add([]byte(`{"deployment":{"state":"`+string(state)+`"},"held":{"on_resume":"routed-back"}}`), []byte{25, 26, 27, 28, 29})
	}
	f.Add([]byte(`{}`), []byte{1})
	f.Add([]byte(`null`), []byte{1})
	f.Add([]byte(`{"deployment":{"state":"what","to":"purple"},"slots":null,"held":{},"queued":{}}`), []byte{1, 2, 3})
	f.Fuzz(func(t *testing.T, raw, happens []byte) {
		var s Service
		if json.Unmarshal(raw, &s) != nil {
			return
		}
		p := newPlay()
		p.s = s
		for _, b := range happens[:min(len(happens), 50)] {
			about := map[Kind]string{Begin: "2.0.0", Void: "2.0.0", Queue: "3.0.0", Retired: "stop", JobsMoved: "blue", Emptied: "blue", Switch: "force"}
			kind := kinds[int(b)%len(kinds)]
			next, actions, err := Step(p.s, p.event(t, kind, about[kind]))
			if err == nil {
				p.s = next
			}
			if len(actions) > 1 {
				t.Fatalf("%d actions", len(actions))
			}
			_, _, _ = p.s.Resume(), p.s.Blocked(), p.s.Moving()
			if d := p.s.Deployment; d != nil && err == nil && len(d.Log) > maxLog && !reflect.DeepEqual(d.Log, s.Deployment.Log) {
				t.Fatalf("%d log entries", len(d.Log))
			}
		}
		if _, err := json.Marshal(p.s); err != nil {
			t.Fatal(err)
		}
	})
}

// The same by hand: every event in every state of a record that lacks all that
// may be missing.
func TestARecordThatLacksEverything(t *testing.T) {
	for _, state := range append(States, "unheard-of") {
		for _, from := range []Colour{"", Blue, "purple"} {
			for _, kind := range kinds {
				p := newPlay()
				p.s = Service{Active: from, Deployment: &Deployment{State: state, From: from, To: Green}, Held: &Flag{OnResume: kind}}
				about := map[Kind]string{Begin: "2.0.0", Void: "2.0.0", JobsMoved: "blue", Emptied: "blue", Switch: "force"}[kind]
				for _, kind := range []Kind{kind, Resume} {
					if next, _, err := Step(p.s, p.event(t, kind, about)); err == nil && next.Deployment == nil {
						t.Errorf("%s while %s lost the release", kind, state)
					}
				}
			}
		}
	}
}
