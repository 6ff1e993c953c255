package deployment

import (
	"encoding/json"
	"errors"
	"fmt"
	"time"
)

// ErrTransition says that an event has no place in the present state.
var ErrTransition = errors.New("not possible in this state")

// ErrNoWayBack says that there is no previous colour to return to.
var ErrNoWayBack = errors.New("there is no previous version to go back to: this is the service's first release")

// Action is what a state asks the controller to do on entry, and again after
// a restart. Every action is idempotent.
type Action string

// The actions.
const (
	DoPrepare  Action = "plan"
	DoLaunch   Action = "launch"
	DoGates    Action = "run-gates"
	DoApproval Action = "await-approval"
	DoCutover  Action = "route-to-candidate"
	DoWatch    Action = "watch"
	DoSoak     Action = "soak"
	DoRetire   Action = "retire"
	DoRollback Action = "route-to-previous"
)

// onEntry is what each state does. Resuming after a crash is the same lookup.
var onEntry = map[State]Action{
	Preparing:   DoPrepare,
	Launching:   DoLaunch,
	Gating:      DoGates,
	Approving:   DoApproval,
	CuttingOver: DoCutover,
	Watching:    DoWatch,
	Soaking:     DoSoak,
	Retiring:    DoRetire,
	RollingBack: DoRollback,
}

type edge struct {
	from State
	ev   Kind
}

// edges is the whole life of a deployment. What is not in it cannot happen.
var edges = map[edge]State{
	{Preparing, Planned}:   Launching,
	{Preparing, Refused}:   Done,
	{Preparing, Abort}:     Done,
	{Preparing, Supersede}: Done,

	{Launching, Launched}:   Gating,
	{Launching, LaunchFail}: Done,
	{Launching, Force}:      CuttingOver,
	{Launching, Void}:       Launching,
	{Launching, Abort}:      Done,
	{Launching, Supersede}:  Done,

	{Gating, GatesPass}:   CuttingOver,
	{Gating, NeedConsent}: Approving,
	{Gating, GateFail}:    Done,
	{Gating, Force}:       CuttingOver,
	{Gating, Void}:        Gating,
	{Gating, Abort}:       Done,
	{Gating, Supersede}:   Done,

	{Approving, Approve}:   CuttingOver,
	{Approving, Expire}:    Done,
	{Approving, Force}:     CuttingOver,
	{Approving, Void}:      Gating,
	{Approving, Unready}:   Gating,
	{Approving, Abort}:     Done,
	{Approving, Supersede}: Done,

	{CuttingOver, Routed}:   Watching,
	{CuttingOver, Unready}:  Gating,
	{CuttingOver, Trigger}:  RollingBack,
	{CuttingOver, Rollback}: RollingBack,
	{CuttingOver, Abort}:    RollingBack,

	{Watching, WatchPass}: Soaking,
	{Watching, Trigger}:   RollingBack,
	{Watching, Rollback}:  RollingBack,

	{Soaking, SoakEnd}:  Retiring,
	{Soaking, Trigger}:  RollingBack,
	{Soaking, Rollback}: RollingBack,

	{Retiring, Retired}:  Done,
	{Retiring, Rollback}: RollingBack, // as long as nothing was done to the previous colour yet

	{RollingBack, RoutedBack}: Done,
}

// outcomes says how a deployment ended, by the event that ended it.
var outcomes = map[Kind]Outcome{
	Refused:    Failed,
	LaunchFail: Failed,
	GateFail:   Failed,
	Expire:     Aborted,
	Abort:      Aborted,
	Supersede:  Superseded,
	RoutedBack: RolledBack,
	Retired:    Succeeded,
}

// Step moves a service by one event. It is pure: the same service and event
// give the same result, and the service passed in is not changed. The actions
// are those of the state entered; none when the state did not change.
func Step(s Service, ev Event) (Service, []Action, error) {
	s = s.clone()
	ev.Reason = cut(ev.Reason, maxReason)
	if change, ok := changes[ev.Kind]; ok {
		if err := change(&s, ev); err != nil {
			return s, nil, fmt.Errorf("%s: %s: %w", s.Name, ev.Kind, err)
		}
		if s.InFlight() && entering[ev.Kind] {
			return s, s.Resume(), nil
		}
		return s, nil, nil
	}
	d := s.Deployment
	if !s.InFlight() {
		return s, nil, fmt.Errorf("%s: %s: %w: nothing is being released", s.Name, ev.Kind, ErrTransition)
	}
	next, ok := edges[edge{d.State, ev.Kind}]
	if !ok {
		return s, nil, fmt.Errorf("%s: %s while %s: %w", s.Name, ev.Kind, d.State, ErrTransition)
	}
	if err := passesHold(*d, ev); err != nil {
		return s, nil, fmt.Errorf("%s: %w", s.Name, err)
	}
	if next == RollingBack && !d.From.Valid() {
		return s, nil, fmt.Errorf("%s: %w", s.Name, ErrNoWayBack)
	}
	leave(&s, ev)
	d.State, d.Since = next, ev.At
	enter(&s, ev)
	d.log(ev)
	return s, s.Resume(), nil
}

// passesHold checks that passes were given for the very candidate in flight,
// and that no less than the quorum approves.
func passesHold(d Deployment, ev Event) error {
	if ev.Kind == Approve && d.Ask != nil && !d.Ask.Met() {
		return fmt.Errorf("%s: %w", d.Ask.Words(), ErrTransition)
	}
	if ev.Kind != GatesPass && ev.Kind != NeedConsent {
		return nil
	}
	for _, g := range ev.Gates {
		if g.Proof != d.Candidate.Proof() {
			return fmt.Errorf("gate %s passed for %s and the candidate is %s: %w", g.Name, g.Proof, d.Candidate.Proof(), ErrTransition)
		}
	}
	return nil
}

// Resume is what the present state asks for: on entry, and after a restart.
func (s Service) Resume() []Action {
	if !s.InFlight() {
		return nil
	}
	if a, ok := onEntry[s.Deployment.State]; ok {
		return []Action{a}
	}
	return nil
}

// InFlight says whether a release is under way.
func (s Service) InFlight() bool {
	return s.Deployment != nil && s.Deployment.State != Done
}

// Blocked says why nothing may move forward by itself, or nil. Rollback does
// not ask.
func (s Service) Blocked() *Flag {
	if s.Paused != nil {
		return s.Paused
	}
	return s.Held
}

// leave records what an event proves about the state it ends.
func leave(s *Service, ev Event) {
	d := s.Deployment
	if len(ev.Baseline) > 0 {
		d.Baseline = ev.Baseline
	}
	if word, ok := verdicts[ev.Kind]; ok {
		d.judge(word, ev)
	}
	switch ev.Kind {
	case Planned:
		slot := *ev.Slot
		if old, ok := s.Slots[d.To]; ok {
			d.Evict = &old
			slot = slot.inPlaceOf(old)
		}
		slot.Unregistered = true
		s.put(d.To, slot)
		d.Slotted = true
	case Launched:
		slot := s.Slots[d.To]
		slot.Unregistered = false
		s.put(d.To, slot)
	case Void:
		d.Candidate = *ev.Candidate
	case GatesPass:
		d.Gates = ev.Gates
	case NeedConsent:
		d.Gates, d.Ask = ev.Gates, ev.Ask
	case GateFail:
		if ev.Gates != nil {
			d.Gates = ev.Gates
		}
	case Approve:
		d.Approval = &Approval{By: ev.By, At: ev.At, Proof: d.Candidate.Proof()}
		if d.Ask != nil {
			d.Approval.Consents, d.Ask = d.Ask.Counted(), nil
		}
	case Force:
		d.Forced = &Flag{By: ev.By, Reason: ev.Reason, At: ev.At}
	case WatchPass:
		s.learn(d.To, ev.Learned)
	case Routed:
		s.serve(d.To, ev)
		s.Route.Digest = ev.Digest
		d.Cutover = made(d.Cutover, d.To, ev)
	case RoutedBack:
		s.serve(d.From, ev)
		s.Route.Digest = ev.Digest
		d.Rollback = made(d.Rollback, d.From, ev)
	case Retired:
		retire(s, d.From, ev.Then)
	}
}

// enter sets up the state just entered.
func enter(s *Service, ev Event) {
	d := s.Deployment
	switch d.State {
	case Gating:
		// Passes and approvals never outlive what they were given for.
		d.Gates, d.Ask, d.Approval, d.Forced, d.Cutover = nil, nil, nil, nil, nil
		s.moveJobs(d.From, ev.At)
	case CuttingOver:
		s.prove(d, ev)
		d.Cutover = &Move{To: d.To, By: ev.By, Reason: ev.Reason, Decided: ev.At}
		s.moveJobs(d.To, ev.At)
	case RollingBack:
		d.Rollback = &Move{To: d.From, By: ev.By, Reason: ev.Reason, Decided: ev.At, Detected: ev.Detected}
		s.moveJobs(d.From, ev.At)
	case Done:
		d.Outcome, d.Reason, d.Ended = outcomes[ev.Kind], ev.Reason, ev.At
		if ev.Kind == RoutedBack && d.Rollback != nil {
			d.Reason = d.Rollback.Reason
		}
		s.finish(d, ev)
	}
}

// prove writes down why the candidate may serve.
func (s *Service) prove(d *Deployment, ev Event) {
	slot := s.Slots[d.To]
	slot.Proof, slot.StopAt = d.Candidate.Proof(), nil
	if ev.Kind == Force {
		slot.Proof = "forced by " + ev.By
	}
	s.put(d.To, slot)
}

// made completes a move. A record that says a move is under way but has lost
// it is no reason to stop: traffic was moved.
func made(m *Move, to Colour, ev Event) *Move {
	if m == nil {
		m = &Move{To: to, By: ev.By, Decided: ev.Written}
	}
	m.Written, m.Verified = ev.Written, ev.At
	return m
}

// put says what runs on a colour.
func (s *Service) put(c Colour, slot Slot) {
	if s.Slots == nil {
		s.Slots = map[Colour]Slot{}
	}
	s.Slots[c] = slot
}

// serve notes that a colour has the traffic, and since when.
func (s *Service) serve(c Colour, ev Event) {
	s.Active = c
	if slot, ok := s.Slots[c]; ok {
		if slot.Serves = ev.Written; ev.Written.IsZero() {
			slot.Serves = ev.At
		}
		s.Slots[c] = slot
	}
}

// learn keeps what was learned of a colour in its watch.
func (s *Service) learn(c Colour, what json.RawMessage) {
	if slot, ok := s.Slots[c]; ok && len(what) > 0 {
		slot.Learned = what
		s.Slots[c] = slot
	}
}

// finish puts an ended deployment's slot and hold in order.
func (s *Service) finish(d *Deployment, ev Event) {
	if slot, ok := s.Slots[d.To]; ok && d.Slotted && d.Outcome != Succeeded {
		// An operator may change their mind and cut over again by hand; what a
		// gate or a trigger found bad must prove itself anew.
		// Nor does it carry over that somebody forced it.
		if d.Rollback == nil || !d.Rollback.Detected.IsZero() || d.Forced != nil {
			slot.Proof = ""
		}
		slot.StopAt = ev.KeepUntil
		s.Slots[d.To] = slot
	}
	s.settleHold()
	d.Weakened, d.Baseline = "", nil
	s.Finished = append([]string{d.ID}, s.Finished...)
}

// moveJobs asks for the jobs to be handed to a colour. None means that nobody
// had them before a first release, and nobody gets them when it is undone.
func (s *Service) moveJobs(to Colour, at time.Time) {
	if !to.Valid() {
		s.Jobs = JobOwnership{Owner: None}
		return
	}
	if s.Jobs.Target == to || (s.Jobs.Target == "" && s.Jobs.Owner == to) {
		return
	}
	s.Jobs.Target, s.Jobs.Since, s.Jobs.Outcome = to, at, ""
	s.Jobs.Owner = None
}

// retire empties, scales or keeps the colour that no longer serves.
func retire(s *Service, c Colour, then string) {
	slot, ok := s.Slots[c]
	if !ok {
		return
	}
	switch then {
	case "stop":
		delete(s.Slots, c)
	case "scale":
		slot.Scaled = true
		s.Slots[c] = slot
	}
}
