package controller

import (
	"fmt"
	"time"

	"github.com/tealdeploy/teal/agent/deployment"
	"github.com/tealdeploy/teal/rollback"
)

// firstSight is how long a trigger may take to tell, at the end of a watch or when
// that begins anew under another leader, before the watch is held for want of it.
const firstSight = 10 * time.Second

// doubtAtMost is how much longer than it was to last a watch may go on because
// of what speaks against the version, before a person is asked.
const doubtAtMost = 2 * time.Minute

// mayEnd reports the good end, unless something forbids it: a pause, a hold, a
// trigger that saw what speaks against the version, or one that cannot tell at
// present. Unknown is not a pass, and while a person is asked the watch goes on.
func (j job) mayEnd(w *rollback.Watch, triggers []rollback.Named, verdict rollback.Decision, good deployment.Kind, watched, over time.Duration, said *told) bool {
	rec := j.now()
	blind := rec.Held != nil && rec.Held.Cause == deployment.CannotTell
	if rec.Paused != nil || rec.Held != nil && !blind {
		return false
	}
	unable := w.Unable()
	switch {
	case verdict.Verdict == rollback.Bad:
	case verdict.Doubt:
		j.doubts(verdict, good, over, said)
	case len(unable) > 0:
		wait := over
		if unable[0].Never {
			wait = watched
		}
		j.goesOn(unable, good, wait, blind, said)
	default:
		end := deployment.Event{Kind: good, Reason: verdict.Reason, Figures: figures(verdict.Figures),
			Learned: newLesson(j.d.ID, triggers, w.Learned()).text}
		if !blind {
			j.say(end)
			return true
		}
		j.sayAll(deployment.Event{Kind: deployment.Unhold, Cause: deployment.CannotTell, Reason: "every trigger can tell again"}, end)
		return true
	}
	return false
}

// goesOn says why a watch, or a soak, whose time is up does not end: who cannot tell,
// and how to go on without. It ends once they can; the policy may bound that. A
// stumble is only noted; what lasts is held, so that a person is told. So is, in a
// watch that begins anew at its end, what it has not seen yet.
func (j job) goesOn(unable []rollback.Unable, good deployment.Kind, wait time.Duration, held bool, said *told) {
	what := map[deployment.Kind]string{deployment.WatchPass: "watch", deployment.SoakEnd: "soak"}[good]
	first, lacks := unable[0], "cannot tell any more whether all is well"
	if first.Never {
		lacks = "has not seen enough to say that all is well"
	}
	why := fmt.Sprintf("the %s goes on: trigger %s %s (%s)", what, first.Trigger, lacks, first.Reason)
	if n := len(unable) - 1; n > 0 {
		why += fmt.Sprintf("; %d more cannot tell", n)
	}
	switch {
	case wait >= firstSight:
		if said.anew("held for "+first.Trigger, held) {
			j.say(deployment.Event{Kind: deployment.Hold, Cause: deployment.CannotTell, OnResume: good, Reason: fmt.Sprintf(
				"%s; it ends by itself once that is seen; teal resume accepts %s as it is, teal rollback goes back", why, named(j.d.Candidate))})
		}
	case !first.Never && said.anew("goes on for "+first.Trigger, true):
		j.say(deployment.Event{Kind: deployment.Note, Reason: fmt.Sprintf("%s; if that lasts for %s, a person is asked", why, firstSight)})
	}
}

// patienceEnds holds a watch in which a trigger has not known for longer than the
// policy allows. Before its time is up a person can only have it watched anew.
func (j job) patienceEnds(verdict rollback.Decision, good deployment.Kind, over bool, said *told) {
	ev := deployment.Event{Kind: deployment.Hold, Figures: figures(verdict.Figures)}
	how := "teal resume watches anew"
	if over {
		ev.OnResume, how = good, "the time of the watch is up; teal resume accepts "+named(j.d.Candidate)+" as it is"
	}
	ev.Reason = fmt.Sprintf("trigger %s: %s; %s, teal rollback goes back", verdict.Trigger, verdict.Reason, how)
	if said.anew(verdict.Trigger+how, true) {
		j.say(ev)
	}
}

// doubts says why a watch goes on, and after a while asks a person.
func (j job) doubts(verdict rollback.Decision, good deployment.Kind, over time.Duration, said *told) {
	if over < doubtAtMost {
		if said.anew("doubt", true) {
			j.say(deployment.Event{Kind: deployment.Note, Figures: figures(verdict.Figures), Reason: fmt.Sprintf(
				"the watch goes on for %s at most, for what was seen speaks against %s and is no proof yet: %s", doubtAtMost, named(j.d.Candidate), verdict.Reason)})
		}
		return
	}
	if said.anew("long doubt", j.now().Held != nil) {
		j.say(deployment.Event{Kind: deployment.Hold, OnResume: good, Figures: figures(verdict.Figures), Reason: fmt.Sprintf(
			"the watch is over and what was seen speaks against %s, without being proof: %s; teal resume accepts it as it is, teal rollback goes back",
			named(j.d.Candidate), verdict.Reason)})
	}
}
