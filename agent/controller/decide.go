package controller

import (
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/tealdeploy/teal/agent/deployment"
)

// ask is on whose behalf an appraisal is decided.
type ask struct {
	by     string
	why    string
	order  bool // a deploy command: auto = false does not hold it back
	queued bool // the turn of a queued version has come
	gone   bool // no instance of the previous version passes, as Consul says
	job    bool // the job itself was edited, and not only what judges it
	at     time.Time
	newID  func() string
}

func (a ask) event(kind deployment.Kind) deployment.Event {
	return deployment.Event{Kind: kind, At: a.at, By: a.by, Reason: a.why}
}

// decide says what an edited policy, or a deploy, comes to for a service as it
// stands. It is pure: the appraisal has asked Consul and Nomad before.
func decide(rec deployment.Service, a appraisal, k ask) intent {
	in := intent{}
	add := func(ev deployment.Event) {
		if next, _, err := deployment.Step(rec, ev); err == nil {
			rec = next
		}
		in.events = append(in.events, ev)
	}
	if !rec.Managed {
		for _, ev := range a.found.events(k) {
			add(ev)
		}
	}
	for _, ev := range a.rescaled {
		// Only the counts are news: the rest of the slot may have changed since
		// the appraisal began.
		slot, ok := rec.Slots[ev.Colour]
		if !ok || slot.Job != ev.Slot.Job || slot.Hash != ev.Slot.Hash {
			continue
		}
		slot.Counts, slot.Expected = ev.Slot.Counts, ev.Slot.Expected
		ev.Slot = &slot
		add(ev)
	}
	if !maps.Equal(rec.Overrides, a.overrides) {
		ev := k.event(deployment.SetVars)
		ev.Overrides = a.overrides
		add(ev)
	}
	if rec.Problem != nil {
		add(deployment.Event{Kind: deployment.Trouble, At: k.at, By: k.by})
	}
	if rec.Queued != nil && rec.Queued.Proof() != a.candidate.Proof() && (k.order || k.queued || a.pol.Auto) {
		add(deployment.Event{Kind: deployment.Queue, At: k.at, By: k.by}) // it is not what the policy says any more
	}
	var rest intent
	if rec.InFlight() {
		rest = decideInFlight(rec, a, k)
	} else {
		rest = decideIdle(rec, a, k)
	}
	rest.events = append(in.events, rest.events...)
	rest.events = slices.DeleteFunc(rest.events, func(ev deployment.Event) bool {
		return ev.Kind == deployment.MarkSeen && slices.Contains(rec.Seen, ev.Source) // no news: not worth a write
	})
	return rest
}

// decideIdle is for a service without a release in flight. A version that ran
// before goes the full way again: the soak is over, and with it what was known
// of it (PEERS 6). An operator may still go back to it by hand.
func decideIdle(rec deployment.Service, a appraisal, k ask) intent {
	c := a.candidate
	idle := rec.Active.Other()
	switch {
	case rec.Active.Valid() && rec.Slots[rec.Active].Hash == c.Hash:
		events := []deployment.Event{seen(c, k)}
		if rec.Queued != nil {
			events = append(events, deployment.Event{Kind: deployment.Queue, At: k.at, By: k.by})
		}
		say := fmt.Sprintf("%s serves already on %s: nothing to release", named(c), rec.Active)
		if len(a.rescaled) > 0 {
			say = a.rescaled[0].Reason
		}
		return intent{events: events, say: say}
	case !a.pol.Auto && !k.order && !k.queued:
		return intent{say: fmt.Sprintf("%s waits for teal deploy: the policy says auto = false", named(c))}
	case takenBack(rec, c) && !k.job && !k.order && !k.queued:
		return intent{events: []deployment.Event{seen(c, k)},
			say: fmt.Sprintf("%s was rolled back and its job is as it was: edit the job, or teal deploy releases it all the same", named(c))}
	}
	return begin(c, idle, k)
}

// takenBack says whether the candidate is the job that was last taken back from
// traffic. Another figure in the policy makes it no better.
func takenBack(rec deployment.Service, c deployment.Candidate) bool {
	last := rec.Deployment
	return last != nil && last.Outcome == deployment.RolledBack && last.Candidate.Hash == c.Hash
}

// begin is a release of the candidate to the idle colour.
func begin(c deployment.Candidate, to deployment.Colour, k ask) intent {
	ev := k.event(deployment.Begin)
	ev.ID, ev.Candidate = k.newID(), &c
	return intent{events: []deployment.Event{ev}, id: ev.ID, say: fmt.Sprintf("releasing %s to %s", named(c), to)}
}

// decideInFlight is for a service in the middle of a release.
func decideInFlight(rec deployment.Service, a appraisal, k ask) intent {
	c, d := a.candidate, rec.Deployment
	before := d.State.BeforeCutover()
	wanted := a.pol.Auto || k.order || k.queued
	previous, hasPrevious := rec.Slots[d.From]
	switch {
	case c.Proof() == d.Candidate.Proof():
		return intent{events: []deployment.Event{seen(c, k)}, id: d.ID,
			say: fmt.Sprintf("%s is being released already: %s", named(c), d.State)}

	case c.Hash == d.Candidate.Hash && before && d.State != deployment.Preparing:
		// The same job under another policy: what passed, passed for the old.
		ev := k.event(deployment.Void)
		ev.Candidate = &c
		ev.Reason = "the policy was edited: earlier passes and approvals no longer hold"
		return intent{events: []deployment.Event{ev, seen(c, k)}, id: d.ID,
			say: fmt.Sprintf("%s is proven anew: the policy was edited", named(c))}

	case c.Hash == d.Candidate.Hash && !before:
		note := k.event(deployment.Note)
		note.Reason = "the policy was edited: it holds from the next release on"
		return intent{events: []deployment.Event{note, seen(c, k)}, id: d.ID, say: note.Reason}

	case !wanted && before:
		ev := k.event(deployment.Hold)
		ev.Cause, ev.By = deployment.OtherPolicy, self
		ev.Reason = fmt.Sprintf("the jobspec was edited while %s is being released, and the policy says auto = false: teal deploy releases what it says now, teal abort gives this up", named(d.Candidate))
		return intent{events: []deployment.Event{ev}, say: ev.Reason}

	case !wanted:
		return intent{say: fmt.Sprintf("%s waits for teal deploy: the policy says auto = false", named(c))}

	case before && hasPrevious && c.Hash == previous.Hash:
		ev := k.event(deployment.Abort)
		ev.KeepUntil = keepUntil(a.pol, k.at)
		ev.Reason = fmt.Sprintf("the policy says %s again, which serves", named(c))
		return intent{events: []deployment.Event{ev, seen(c, k)}, say: ev.Reason}

	case before:
		end := k.event(deployment.Supersede)
		end.KeepUntil = keepUntil(a.pol, k.at)
		end.Reason = fmt.Sprintf("superseded by %s", named(c))
		next := begin(c, d.To, k)
		next.events = append([]deployment.Event{end}, next.events...)
		next.say += fmt.Sprintf(" in place of %s, which never served", named(d.Candidate))
		return next

	case (protected(d.State) || d.State == deployment.CuttingOver) && hasPrevious && c.Hash == previous.Hash && !k.gone:
		ev := k.event(deployment.Rollback)
		ev.KeepUntil = keepUntil(a.pol, k.at)
		ev.Reason = fmt.Sprintf("the policy says %s again", named(c))
		return intent{events: []deployment.Event{ev, seen(c, k)}, id: d.ID,
			say: fmt.Sprintf("%s is still whole on %s: traffic goes back to it", named(c), d.From)}

	case protected(d.State) && !d.From.Valid():
		return replace(rec, c, k, "a newer version follows the first release: it keeps nobody's way back")
	case protected(d.State) && a.pol.Soak.Newer == "replace":
		return replace(rec, c, k, fmt.Sprintf("%s gives the way back to a newer version, as the policy allows (newer = \"replace\")", named(d.Candidate)))
	}
	ev := k.event(deployment.Queue)
	ev.Candidate = &c
	ev.Reason = fmt.Sprintf("%s waits: %s is %s, and its slot is the way back", named(c), named(d.Candidate), d.State)
	if hasPrevious && c.Hash == previous.Hash && k.gone {
		ev.Reason = fmt.Sprintf("%s waits, to be released anew: it ran before %s, which is %s, but none of its instances passes its checks, and its traffic would get 503; teal rollback -force goes back all the same",
			named(c), named(d.Candidate), d.State)
	}
	return intent{events: []deployment.Event{ev}, say: ev.Reason}
}

// replace ends a watch or soak early: the previous version, if there is one,
// gives its place, and with it the way back, to a newer one.
func replace(rec deployment.Service, c deployment.Candidate, k ask, why string) intent {
	d := rec.Deployment
	next := begin(c, d.To.Other(), k)
	next.events = append(endEarly(d, k.at, k.by, why), next.events...)
	return next
}

// protected says whether the previous colour is the way back.
func protected(s deployment.State) bool {
	return s == deployment.Watching || s == deployment.Soaking
}

// endEarly ends a watch or soak, and with it the way back.
func endEarly(d *deployment.Deployment, at time.Time, by, why string) []deployment.Event {
	var events []deployment.Event
	if d.State == deployment.Watching {
		events = append(events, deployment.Event{Kind: deployment.WatchPass, At: at, By: by, Reason: why})
	}
	return append(events,
		deployment.Event{Kind: deployment.SoakEnd, At: at, By: by, Reason: why},
		deployment.Event{Kind: deployment.Retired, At: at, By: by, Then: "keep", Reason: why})
}

func seen(c deployment.Candidate, k ask) deployment.Event {
	return deployment.Event{Kind: deployment.MarkSeen, At: k.at, By: k.by, Source: c.Source}
}
