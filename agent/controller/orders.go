package controller

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/tealdeploy/teal/agent/deployment"
	"github.com/tealdeploy/teal/agent/kv"
)

// intent is what a command or an edited policy comes to: what happens to the
// record, and what to say to whoever asked.
type intent struct {
	events  []deployment.Event
	say     string
	id      string // of the deployment it begins or touches
	refused bool
}

// idle says whether an intent changes nothing but what was looked at.
func (in intent) idle() bool {
	return !slices.ContainsFunc(in.events, func(ev deployment.Event) bool { return ev.Kind != deployment.MarkSeen })
}

func refusal(format string, args ...any) intent {
	return intent{refused: true, say: fmt.Sprintf(format, args...)}
}

// answer decides what a command that needs no Nomad comes to.
func (l *loop) answer(ctx context.Context, c command) intent {
	ev := deployment.Event{At: time.Now(), By: who(c), Reason: cut(c.Why)}
	switch c.verb {
	case kv.Approve:
		return l.approve(c, ev)
	case kv.Cutover:
		return l.cutover(ctx, c, ev)
	case kv.Rollback:
		return l.rollback(ctx, c, ev)
	case kv.Abort:
		return l.abort(ev)
	case kv.Pause:
		ev.Kind = deployment.Pause
		say := l.svc + " is paused: nothing moves forward by itself; rollback still works"
		if l.rec.Moving() != nil {
			say += "; the move of traffic under way is finished first"
		}
		return intent{events: []deployment.Event{ev}, say: say}
	case kv.Resume:
		return l.resume(ctx, ev)
	}
	return refusal("%s is not understood", c.verb)
}

// approve consents to the exact candidate that waits.
func (l *loop) approve(c command, ev deployment.Event) intent {
	if !l.rec.InFlight() || l.rec.Deployment.State != deployment.Approving {
		return refusal("nothing of %s waits for approval: it is %s", l.svc, l.doing())
	}
	if b := l.rec.Blocked(); b != nil {
		// Until it moves on, nobody would process jobs.
		return refusal("%s is stopped by %s (%s): teal resume %s, then approve", l.svc, b.By, b.Reason, l.svc)
	}
	candidate := l.rec.Deployment.Candidate
	if ask := l.rec.Deployment.Ask; ask != nil {
		return refusal("%s takes the approval of %s, and this command says of itself only who gives it: each of them runs teal approve -as <name> %s, which writes %s",
			named(candidate), ask.Wanted(), l.svc, l.t.c.cfg.Keys.Approval("<name>", l.svc))
	}
	if c.Arg != "" && c.Arg != candidate.Proof() && c.Arg != candidate.Hash {
		return refusal("the approval is for %s, but what waits now is %s (%s): the jobspec or the policy was edited meanwhile; look at it again, then approve that",
			cut(c.Arg), candidate.Proof(), candidate.Version)
	}
	ev.Kind = deployment.Approve
	return intent{events: []deployment.Event{ev}, say: fmt.Sprintf("%s %s is approved", l.svc, named(candidate))}
}

// cutover sends traffic to a colour by hand.
func (l *loop) cutover(ctx context.Context, c command, ev deployment.Event) intent {
	to, err := deployment.ParseColour(c.Arg)
	if err != nil {
		return refusal("%s", cut(err.Error()))
	}
	if !l.rec.InFlight() {
		return l.switchTo(ctx, to, c.Force, ev)
	}
	d := l.rec.Deployment
	switch {
	case to != d.From && to != d.To:
		return refusal("nothing runs on %s: this is the first release, and it goes to %s", to, d.To)
	case to == d.From && d.State.BeforeCutover(), to == d.To && (d.State == deployment.Watching || d.State == deployment.Soaking || d.State == deployment.Retiring):
		return refusal("%s serves already", to)
	case to == d.From:
		return l.rollback(ctx, c, ev)
	case d.State == deployment.CuttingOver:
		return intent{say: fmt.Sprintf("the cutover to %s is under way", to)}
	case !d.State.BeforeCutover():
		return refusal("%s is %s: wait for its end", named(d.Candidate), d.State)
	case !c.Force:
		return refusal("%s (%s) has not passed its gates: it is %s%s; teal cutover -force -why … sends traffic all the same, and records who did",
			to, named(d.Candidate), d.State, hint(d.State == deployment.Approving, " (teal approve consents)"))
	case !d.Slotted, d.State == deployment.Launching && !d.Registered, l.known() && len(l.viewOf(to)) == 0:
		return refusal("nothing of %s runs on %s yet", named(d.Candidate), to)
	}
	l.interruptLaunching()
	ev.Kind = deployment.Force
	events := []deployment.Event{ev}
	if l.rec.Blocked() != nil {
		lift := ev
		lift.Kind = deployment.Resume
		events = append([]deployment.Event{lift}, events...)
	}
	return intent{events: events, say: fmt.Sprintf("traffic is forced to %s (%s)", to, named(d.Candidate))}
}

// interruptLaunching ends the launch under way, for a cutover by force. Once the
// record says that traffic goes there, nothing may stop or register anything
// there any more, also while Consul's answer to the save is still on its way.
func (l *loop) interruptLaunching() {
	if l.rec.Deployment.State == deployment.Launching && l.work != nil {
		l.work.stop()
		l.work = nil
	}
}

// switchTo sends traffic to what already runs on the idle colour.
func (l *loop) switchTo(ctx context.Context, to deployment.Colour, force bool, ev deployment.Event) intent {
	slot, ok := l.rec.Slots[to]
	switch {
	case to == l.rec.Active:
		return refusal("%s serves already", to)
	case !ok:
		return refusal("nothing runs on %s", to)
	case slot.Scaled:
		return refusal("%s (%s) was scaled to zero when it was retired: teal deploy brings it back", to, slot.Version)
	case slot.Unregistered:
		return refusal("nothing of %s is known to have been registered on %s, because its release ended before that: there is nothing to send traffic to, not even by force; teal deploy releases what the policy says",
			orUnknown(slot.Version), to)
	case slot.Proof == "" && !force:
		return refusal("%s (%s) is not proven: its gates have not passed, or it was found bad after its last cutover; -force -why … sends traffic all the same, and records who did", to, slot.Version)
	}
	if l.going(to) && !force {
		return refusal("%s (%s) was kept for debugging and is being stopped; -force -why … sends traffic all the same, and records who did", to, slot.Version)
	}
	v := l.look(ctx)
	if have := passing(v.of(to, l.rec.Route.Loose)); !force && v.known && (have == 0 || have < slot.Expected) {
		return refusal("%s (%s) is not healthy: %d of %d instances pass their checks; -force -why … sends traffic all the same, and records who did",
			to, slot.Version, have, slot.Expected)
	}
	ev.Kind, ev.ID, ev.Force = deployment.Switch, newID(ev.At), force
	if p := l.policy(); p != nil {
		ev.Candidate = &deployment.Candidate{Version: slot.Version, Hash: slot.Hash, Policy: p.Hash(), Job: slot.Job, Expected: slot.Expected, By: ev.By}
	}
	return intent{events: []deployment.Event{ev}, id: ev.ID, say: fmt.Sprintf("traffic goes to %s (%s)", to, slot.Version)}
}

// rollback sends traffic back to the previous colour, as long as it is there.
func (l *loop) rollback(ctx context.Context, c command, ev deployment.Event) intent {
	if ev.Reason == "" {
		ev.Reason = "asked for by " + ev.By
	}
	if !l.rec.InFlight() {
		to := l.rec.Active.Other()
		if _, ok := l.rec.Slots[to]; !l.rec.Active.Valid() || !ok {
			return refusal("there is no previous version of %s to go back to", l.svc)
		}
		if d := l.rec.Deployment; d != nil && d.Outcome == deployment.RolledBack && d.To == to && !c.Force {
			return refusal("%s (%s) was taken back last: rollback does not go forward to it again; teal cutover %s %s does",
				to, d.Candidate.Version, l.svc, to)
		}
		return l.switchTo(ctx, to, c.Force, ev)
	}
	d := l.rec.Deployment
	switch {
	case d.State.BeforeCutover():
		return refusal("%s has no traffic yet, so there is nothing to take back; teal abort %s gives the release up", named(d.Candidate), l.svc)
	case d.State == deployment.RollingBack:
		return intent{say: "the rollback is under way"}
	case !d.From.Valid():
		return refusal("%s", deployment.ErrNoWayBack)
	}
	if d.State == deployment.Retiring && l.interruptRetiring() && !c.Force {
		return refusal("%s (%s) is being retired; teal rollback -force goes back all the same", d.From, d.FromVersion)
	}
	// What Consul says of the way back matters only if it says so: a rollback
	// waits for nobody.
	if !c.Force && l.nobodyBehind() {
		return refusal("no instance of %s (%s) passes its checks, so its traffic would get 503; teal rollback -force goes back all the same", d.From, d.FromVersion)
	}
	if d.State == deployment.Retiring && !c.Force && passing(l.viewOf(d.From)) < l.rec.Slots[d.From].Expected {
		return refusal("%s (%s) is being retired and is not whole any more; teal rollback -force goes back all the same", d.From, d.FromVersion)
	}
	ev.Kind, ev.KeepUntil = deployment.Rollback, keepUntil(l.policy(), ev.At)
	return intent{events: []deployment.Event{ev}, say: fmt.Sprintf("traffic goes back to %s (%s)", d.From, d.FromVersion)}
}

// nobodyBehind says whether Consul knows of no passing instance to go back to.
func (l *loop) nobodyBehind() bool {
	if !l.rec.InFlight() || l.feed == nil {
		return false
	}
	v, _ := l.feed.now()
	return v.known && v.err == nil && passing(v.of(l.rec.Deployment.From, l.rec.Route.Loose)) == 0
}

// abort gives up what has no traffic yet.
func (l *loop) abort(ev deployment.Event) intent {
	if ev.Reason == "" {
		ev.Reason = "given up by " + ev.By
	}
	d := l.rec.Deployment
	switch {
	case !l.rec.InFlight() && l.rec.Queued == nil:
		return refusal("nothing of %s is being released", l.svc)
	case !l.rec.InFlight() || !d.State.BeforeCutover() && d.State != deployment.CuttingOver:
		if l.rec.Queued == nil {
			return refusal("%s has the traffic already; teal rollback %s takes it back", named(d.Candidate), l.svc)
		}
		queued := *l.rec.Queued
		ev.Kind = deployment.Queue
		return intent{events: []deployment.Event{ev}, say: fmt.Sprintf("%s is taken out of the queue", named(queued))}
	}
	ev.Kind, ev.KeepUntil = deployment.Abort, keepUntil(l.policy(), ev.At)
	return intent{events: []deployment.Event{ev}, say: fmt.Sprintf("the release of %s is given up", named(d.Candidate))}
}

// resume lifts a pause and a hold, accepting what Teal held for: an edited
// route becomes the service's own.
func (l *loop) resume(ctx context.Context, ev deployment.Event) intent {
	if l.rec.Paused == nil && l.rec.Held == nil {
		if l.rec.Problem != nil && l.policy() != nil {
			l.t.post(l.svc, policyEdited{job: true}) // whoever resumes wants it released
			return intent{say: l.svc + " is looked at again"}
		}
		return refusal("%s is neither paused nor held", l.svc)
	}
	var events []deployment.Event
	if held := l.rec.Held; held != nil && held.Cause == deployment.RouteEdited {
		accepting, cancel := context.WithTimeout(ctx, acceptWithin)
		defer cancel()
		route, notes, err := l.router().Accept(accepting, l.setup())
		if err != nil {
			return refusal("the edited route cannot be accepted: %v", err)
		}
		events = append(events, deployment.Event{Kind: deployment.Prepared, At: ev.At, By: ev.By, Route: &route})
		for _, n := range notes {
			events = append(events, deployment.Event{Kind: deployment.Note, At: ev.At, By: ev.By, Reason: "accepted edit of the route: " + n})
		}
	}
	ev.Kind = deployment.Resume
	return intent{events: append(events, ev), say: l.svc + " goes on"}
}

// acceptWithin bounds the write that accepts a route: the loop waits for it.
const acceptWithin = 5 * time.Second

// known says whether Consul has told of the service's instances.
func (l *loop) known() bool {
	v, _ := l.feed.now()
	return v.known
}

// viewOf are a colour's instances as last seen.
func (l *loop) viewOf(c deployment.Colour) []deployment.Instance {
	v, _ := l.feed.now()
	return v.of(c, l.rec.Route.Loose)
}

// look is what Consul knows of the service's instances. It waits a moment for
// the first answer; the feed goes on for the move that follows.
func (l *loop) look(ctx context.Context) view {
	if l.feed == nil {
		l.feed = l.startFeed(ctx)
	}
	waiting, cancel := context.WithTimeout(ctx, firstView)
	defer cancel()
	v, _ := l.feed.await(waiting, func(view) bool { return true })
	return v
}

// doing is what happens to the service, in a word.
func (l *loop) doing() string {
	if l.rec.InFlight() {
		return string(l.rec.Deployment.State)
	}
	return "idle"
}

// named is a candidate as people know it.
func named(c deployment.Candidate) string {
	if c.Version != "" {
		return c.Version
	}
	return fmt.Sprintf("%.12s", c.Hash)
}

func hint(yes bool, text string) string {
	if yes {
		return text
	}
	return ""
}
