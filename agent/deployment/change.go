package deployment

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"
)

// These bound the record: Consul refuses values over 512 KiB, and what is
// refused is not done.
const (
	maxSeen     = 32
	maxLog      = 120
	maxReason   = 2000 // bytes of a reason
	maxWords    = 500  // bytes of a line of evidence
	maxFigure   = 100  // bytes of a figure in it
	maxVerdicts = 8
	maxFigures  = 48 // of a verdict
	maxTests    = 32
)

// entering marks the changes that begin a deployment and so enter a state.
var entering = map[Kind]bool{Begin: true, Switch: true, Resume: true, Unhold: true}

// changes are the events that are not edges of the table: they begin a
// deployment, or change the service around it.
var changes map[Kind]func(*Service, Event) error

func init() {
	changes = map[Kind]func(*Service, Event) error{
		Begin:  begin,
		Switch: beginSwitch,
		Adopt:  adopt,
		Enrol: func(s *Service, ev Event) error {
			s.Managed, s.Route, s.Active, s.Slots = true, *ev.Route, None, nil
			s.Jobs = JobOwnership{Owner: None}
			return nil
		},
		Prepared: func(s *Service, ev Event) error { s.Route = *ev.Route; return nil },
		Pause:    func(s *Service, ev Event) error { s.Paused = ev.flag(); s.log(ev); return nil },
		Resume:   resume,
		Hold: func(s *Service, ev Event) error {
			if s.Held != nil && s.Held.Reason == ev.Reason {
				return nil
			}
			s.Held = ev.flag()
			s.log(ev)
			return nil
		},
		Unhold: func(s *Service, ev Event) error {
			if ev.Cause != "" && (s.Held == nil || s.Held.Cause != ev.Cause) {
				return nil // it is about something else by now
			}
			s.Held = nil
			s.log(ev)
			if s.InFlight() && s.Paused == nil && s.Deployment.State.BeforeCutover() {
				s.Deployment.Since = ev.At // nothing moved meanwhile: no deadline has passed for that
			}
			return nil
		},
		Queue: func(s *Service, ev Event) error {
			s.Queued = ev.Candidate
			if s.Queued != nil {
				s.see(s.Queued.Source)
				s.log(ev)
			}
			return nil
		},
		JobsNone: func(s *Service, _ Event) error { s.Jobs.Owner = None; return nil },
		JobsMoved: func(s *Service, ev Event) error {
			if ev.Colour != s.Jobs.Target {
				return fmt.Errorf("%w: the jobs are on their way to %s, not to %s", ErrTransition, s.Jobs.Target, ev.Colour)
			}
			s.Jobs = JobOwnership{Owner: ev.Colour, Since: ev.At, Outcome: ev.Reason}
			s.log(ev)
			return nil
		},
		Progress: func(s *Service, ev Event) error {
			if s.InFlight() {
				s.Deployment.Gates = ev.Gates
			}
			return nil
		},
		Consented: consenting,
		Withdraw:  consenting,
		TestBegin: func(s *Service, ev Event) error {
			if s.Stray(*ev.Test) {
				return fmt.Errorf("%w: the candidate that %s tests is not being proved", ErrTransition, ev.Test.Gate)
			}
			if slices.Contains(s.Tests, *ev.Test) {
				return nil
			}
			if len(s.Tests) >= maxTests {
				return fmt.Errorf("%w: %d test jobs are not over yet", ErrTransition, len(s.Tests))
			}
			s.Tests = append(s.Tests, *ev.Test)
			return nil
		},
		TestOver: func(s *Service, ev Event) error {
			s.Tests = slices.DeleteFunc(s.Tests, func(t Test) bool { return t == *ev.Test })
			s.log(ev)
			return nil
		},
		Note: func(s *Service, ev Event) error { s.log(ev); return nil },
		Weaken: func(s *Service, ev Event) error {
			if s.InFlight() && s.Deployment.Weakened != ev.Reason {
				s.Deployment.Weakened = ev.Reason
				s.log(ev)
			}
			return nil
		},
		Emptied: func(s *Service, ev Event) error {
			if ev.Colour == s.Active || s.InFlight() && ev.Colour == s.Deployment.To {
				return fmt.Errorf("%w: %s is in use", ErrTransition, ev.Colour)
			}
			delete(s.Slots, ev.Colour)
			s.log(ev)
			return nil
		},
		Dismiss: func(s *Service, _ Event) error {
			if !s.InFlight() || s.Deployment.State != Retiring {
				return fmt.Errorf("%w: no previous colour is being retired", ErrTransition)
			}
			s.Deployment.Dismissed = true
			return nil
		},
		Registered: func(s *Service, _ Event) error {
			if !s.InFlight() || s.Deployment.State != Launching {
				return fmt.Errorf("%w: no candidate is being launched", ErrTransition)
			}
			slot := s.Slots[s.Deployment.To]
			slot.Leaving, slot.Unregistered = nil, false
			s.put(s.Deployment.To, slot)
			s.Deployment.Registered = true
			return nil
		},
		Rescaled: func(s *Service, ev Event) error {
			s.put(ev.Colour, *ev.Slot)
			s.log(ev)
			return nil
		},
		Trouble: func(s *Service, ev Event) error {
			s.Problem = nil
			if ev.Reason != "" {
				s.Problem = ev.flag()
			}
			return nil
		},
		MarkSeen: func(s *Service, ev Event) error { s.see(ev.Source); return nil },
		SetVars:  func(s *Service, ev Event) error { s.Overrides = ev.Overrides; return nil },
		GiveBack: func(s *Service, ev Event) error {
			if s.InFlight() {
				return fmt.Errorf("%w: %s is being released", ErrTransition, s.Deployment.Candidate.Version)
			}
			s.Managed, s.Route, s.Held, s.Paused, s.Queued = false, Route{}, nil, nil, nil
			return nil
		},
		MoveWritten: func(s *Service, ev Event) error {
			if m := s.Moving(); m != nil {
				m.Written = ev.Written
			}
			return nil
		},
	}
}

// begin starts a release of a candidate to the idle colour.
func begin(s *Service, ev Event) error {
	if s.InFlight() {
		return fmt.Errorf("%w: %s is being released", ErrTransition, s.Deployment.ID)
	}
	s.begin(ev, *ev.Candidate, Preparing)
	s.see(ev.Candidate.Source)
	s.Queued, s.Problem = nil, nil
	s.Deployment.log(ev)
	return nil
}

// beginSwitch sends traffic to what already runs on the idle colour.
func beginSwitch(s *Service, ev Event) error {
	if s.InFlight() {
		return fmt.Errorf("%w: %s is being released", ErrTransition, s.Deployment.ID)
	}
	to := s.Active.Other()
	slot, ok := s.Slots[to]
	if !ok || slot.Scaled || slot.Unregistered {
		return fmt.Errorf("%w: nothing runs on %s", ErrTransition, to)
	}
	c := Candidate{Version: slot.Version, Hash: slot.Hash, Job: slot.Job, Expected: slot.Expected, By: ev.By}
	proof := slot.Proof
	if ev.Candidate != nil {
		c = *ev.Candidate
	}
	s.begin(ev, c, CuttingOver)
	d := s.Deployment
	d.Slotted = true
	if proof == "" {
		if !ev.Force {
			return fmt.Errorf("%w: %s on %s is not proven", ErrTransition, slot.Version, to)
		}
		proof = "forced by " + ev.By
	}
	if ev.Force {
		d.Forced = ev.flag()
	}
	slot.Proof, slot.StopAt = proof, nil
	s.Slots[to] = slot
	d.Cutover = &Move{To: to, By: ev.By, Reason: ev.Reason, Decided: ev.At}
	s.moveJobs(to, ev.At)
	d.log(ev)
	return nil
}

func (s *Service) begin(ev Event, c Candidate, in State) {
	s.Deployment = &Deployment{
		ID: ev.ID, Service: s.Name, State: in, Since: ev.At, Started: ev.At,
		Candidate: c, From: s.Active, To: s.Active.Other(),
		FromVersion: s.Slots[s.Active].Version,
	}
	s.settleHold()
}

// settleHold lifts a hold that was about one deployment when that ends or
// another begins. What somebody changed behind Teal's back is still changed.
func (s *Service) settleHold() {
	if s.Held != nil && s.Held.Cause != RouteEdited && s.Held.Cause != JobEdited {
		s.Held = nil
	}
}

// adopt takes a running job as the active colour, as it is.
func adopt(s *Service, ev Event) error {
	s.Managed, s.Active, s.Route = true, ev.Colour, *ev.Route
	s.Slots = map[Colour]Slot{ev.Colour: *ev.Slot}
	if s.Jobs.Owner != ev.Colour || s.Jobs.Moving() {
		// Whoever the key names, and whoever processes still, lets go first.
		s.Jobs = JobOwnership{Owner: None, Target: ev.Colour, Since: ev.At}
	}
	return nil
}

// resume lifts a pause and a hold; the state's clock starts again, since
// nothing moved meanwhile.
func resume(s *Service, ev Event) error {
	if s.Paused == nil && s.Held == nil {
		return fmt.Errorf("%w: neither paused nor held", ErrTransition)
	}
	then := Kind("")
	if s.Held != nil {
		then = s.Held.OnResume
	}
	s.Paused, s.Held = nil, nil
	s.log(ev)
	if !s.InFlight() {
		return nil
	}
	if to, ok := edges[edge{s.Deployment.State, then}]; ok && (then == WatchPass || then == SoakEnd) {
		ev.Kind = then
		s.Deployment.judge("accepted", ev)
		s.Deployment.State, s.Deployment.Since = to, ev.At
		enter(s, ev)
		s.log(ev)
		return nil
	}
	s.Deployment.Since = ev.At
	return nil
}

// see remembers a source, newest last.
func (s *Service) see(source string) {
	if source == "" {
		return
	}
	s.Seen = slices.DeleteFunc(s.Seen, func(x string) bool { return x == source })
	s.Seen = append(s.Seen, source)
	if n := len(s.Seen) - maxSeen; n > 0 {
		s.Seen = s.Seen[n:]
	}
}

// Moving is the shift of traffic under way, or nil.
func (s *Service) Moving() *Move {
	if !s.InFlight() {
		return nil
	}
	switch s.Deployment.State {
	case CuttingOver:
		return s.Deployment.Cutover
	case RollingBack:
		return s.Deployment.Rollback
	}
	return nil
}

func (s *Service) log(ev Event) {
	if s.Deployment != nil {
		s.Deployment.log(ev)
	}
}

// log appends evidence. When it grows too long the middle goes: how it began
// and how it ended matter most.
func (d *Deployment) log(ev Event) {
	what := string(ev.Kind)
	if ev.Reason != "" {
		what += ": " + ev.Reason
	}
	entry := Entry{At: ev.At, By: ev.By, What: cut(what, maxWords)}
	for name, figure := range ev.Figures {
		if entry.Figures == nil {
			entry.Figures = make(map[string]string, len(ev.Figures))
		}
		entry.Figures[cut(name, maxFigure)] = cut(figure, maxFigure)
	}
	d.Log = append(slices.Clip(d.Log), entry)
	if len(d.Log) > maxLog {
		d.Log = append(slices.Clone(d.Log[:maxLog/4]), d.Log[len(d.Log)-maxLog*3/4:]...)
	}
}

// verdicts are the words for the events that end a watch or a soak.
var verdicts = map[Kind]string{WatchPass: "passed", SoakEnd: "passed", Trigger: "bad"}

// judge notes what the state that is being left came to. A report needs it when
// the log has long lost its middle.
func (d *Deployment) judge(word string, ev Event) {
	v := Verdict{At: ev.At, State: d.State, Verdict: word, By: ev.By, Reason: cut(ev.Reason, maxWords)}
	names := slices.Sorted(maps.Keys(ev.Figures))
	for _, name := range names[:min(len(names), maxFigures)] {
		if v.Figures == nil {
			v.Figures = map[string]string{}
		}
		v.Figures[cut(name, maxFigure)] = cut(ev.Figures[name], maxFigure)
	}
	d.Verdicts = append(slices.Clip(d.Verdicts), v)
	d.Verdicts = d.Verdicts[max(0, len(d.Verdicts)-maxVerdicts):]
}

// cut shortens what others wrote to what a record has room for.
func cut(s string, most int) string {
	if len(s) <= most {
		return s
	}
	return strings.ToValidUTF8(s[:most], "") + "…"
}

func (ev Event) flag() *Flag {
	return &Flag{By: ev.By, Reason: ev.Reason, At: ev.At, OnResume: ev.OnResume, Cause: ev.Cause}
}

// clone copies what Step changes in place.
func (s Service) clone() Service {
	s.Slots = maps.Clone(s.Slots)
	s.Seen = slices.Clone(s.Seen)
	s.Tests = slices.Clone(s.Tests)
	s.Finished = slices.Clone(s.Finished)
	if s.Deployment != nil {
		d := *s.Deployment
		d.Cutover, d.Rollback = copied(d.Cutover), copied(d.Rollback)
		s.Deployment = &d
	}
	return s
}

func copied[T any](p *T) *T {
	if p == nil {
		return nil
	}
	v := *p
	return &v
}

// NewID names a deployment by the time it began: IDs sort by age. The suffix
// keeps two services' deployments of one second apart.
func NewID(at time.Time, suffix string) string {
	return at.UTC().Format("20060102-150405.000") + "-" + suffix
}
