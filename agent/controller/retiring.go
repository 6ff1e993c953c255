package controller

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/tealdeploy/teal/agent/deployment"
	"github.com/tealdeploy/teal/agent/nomad"
)

// retire does with the previous colour what the policy says: keep it, scale it
// to nothing, or stop it. An adopted job that stops takes the loose filter
// with it.
func (j job) retire(ctx context.Context) {
	slot, ok := j.rec.Slots[j.d.From]
	then := "keep"
	if j.pol != nil {
		then = j.pol.Soak.Then
	}
	client := j.l.t.c.cfg.Nomad(slot.Region)
	if !ok || then == "keep" {
		j.say(deployment.Event{Kind: deployment.Retired, Then: "keep", Reason: j.retired("kept")})
		return
	}
	if !followed(ctx, j.rec) {
		return
	}
	if !j.d.Dismissed {
		if err := j.tell(ctx, deployment.Event{Kind: deployment.Dismiss}); err != nil {
			return
		}
	}
	// What was asked before, by this work or another leader's, may still be on its way.
	asking := asking{w: j.w, unsure: j.d.Dismissed}
	err := retry(ctx, j.l.log, "retire "+slot.Job, func(ctx context.Context) error {
		if then == "scale" {
			running, err := runningJob(ctx, client, slot.Namespace, slot.Job)
			if err != nil {
				return err
			}
			if running == nil {
				then = "stop" // somebody did that: nothing is left to scale
			}
		}
		asking.begins()
		var err error
		if then == "scale" {
			none := map[string]int{}
			for group := range slot.Counts {
				none[group] = 0
			}
			err = client.Scale(ctx, slot.Namespace, slot.Job, none, j.l.t.leads)
		} else {
			err = client.StopIf(ctx, slot.Namespace, slot.Job, j.l.t.leads)
		}
		asking.ends(ctx, err)
		return finalUnlessAway(err)
	})
	if ctx.Err() != nil || lost(err) {
		return
	}
	if err != nil {
		j.say(deployment.Event{Kind: deployment.Hold, Reason: fmt.Sprintf("%s is not retired: %s", slot.Job, sentence(err))})
		return
	}
	done := map[string]string{"scale": "scaled to zero", "stop": "stopped"}[then]
	j.say(deployment.Event{Kind: deployment.Retired, Then: then, Reason: j.retired(done)})
}

// asking keeps a work's mark that Nomad was asked for what cannot be taken back.
// It is set while an answer is waited for, and stays set while a request may be on
// its way, whose sender gave up: it would stop what serves by then. Only where
// nothing was sent is it for Consul to say how the colour fares.
type asking struct {
	w      *work
	unsure bool // an earlier request may arrive yet
}

func (a *asking) begins() { a.w.asked.Store(true) }

func (a *asking) ends(ctx context.Context, err error) {
	switch {
	case err == nil || ctx.Err() != nil:
		return
	case nomad.MayArrive(err):
		a.unsure = true
	case errors.Is(err, nomad.ErrConflict): // as it would be with all that were sent before
		a.unsure = false
	}
	a.w.asked.Store(a.unsure)
}

// interruptRetiring ends the retiring under way, for a rollback, and says
// whether Nomad was asked already to scale or stop the previous colour, which
// Consul may not show yet. It goes on by itself if there is no rollback. Where
// nothing is under way, as after a pause, nobody knows what became of the asking.
func (l *loop) interruptRetiring() (asked bool) {
	w := l.work
	w.stop()
	l.work = nil
	if w == nil {
		return l.rec.Deployment.Dismissed
	}
	return w.asked.Load()
}

func (j job) retired(how string) string {
	slot, ok := j.rec.Slots[j.d.From]
	if !ok {
		return j.d.Candidate.Version + " is live; there was nothing before it"
	}
	return fmt.Sprintf("%s is live; %s on %s is %s", j.d.Candidate.Version, slot.Version, j.d.From, how)
}

// nextAlarm is when a candidate that is kept for debugging is to be stopped.
func (l *loop) nextAlarm() (at time.Time, ok bool) {
	if l.chore != nil || l.broken != nil {
		return at, false
	}
	for colour, slot := range l.rec.Slots {
		if l.kept(colour, slot) && (!ok || slot.StopAt.Before(at)) {
			at, ok = *slot.StopAt, true
		}
	}
	return at, ok
}

// kept says whether a colour is only kept for debugging: it neither serves nor
// is being released.
func (l *loop) kept(colour deployment.Colour, slot deployment.Slot) bool {
	return slot.StopAt != nil && keptIn(l.rec, colour)
}

func keptIn(rec deployment.Service, colour deployment.Colour) bool {
	return rec.Slots[colour].StopAt != nil && colour != rec.Active && !(rec.InFlight() && rec.Deployment.To == colour)
}

// going says whether a kept candidate's time is over, and Nomad may have been
// asked to stop it, which Consul may not show yet.
func (l *loop) going(colour deployment.Colour) bool {
	slot := l.rec.Slots[colour]
	if !l.kept(colour, slot) || time.Now().Before(*slot.StopAt) {
		return false
	}
	return l.chore == nil || l.choreOn != colour || l.chore.asked.Load()
}

// stopKept stops candidates that were kept for debugging long enough. It works
// beside the loop: Nomad may be away, and a rollback must not wait for that.
func (l *loop) stopKept(ctx context.Context) {
	if l.chore != nil {
		return
	}
	for colour, slot := range l.rec.Slots {
		if !l.kept(colour, slot) || time.Now().Before(*slot.StopAt) {
			continue
		}
		rec := l.rec
		l.choreOn = colour
		l.chore = l.start(ctx, func(ctx context.Context, w *work) {
			if !followed(ctx, rec) {
				return
			}
			asking := asking{w: w}
			err := retry(ctx, l.log, "stop "+slot.Job, func(ctx context.Context) error {
				asking.begins()
				var err error
				for _, s := range slot.All() {
					if err = l.t.c.cfg.Nomad(s.Region).StopIf(ctx, s.Namespace, s.Job, l.t.leads); err != nil {
						break
					}
				}
				asking.ends(ctx, err)
				return finalUnlessAway(err)
			})
			if ctx.Err() != nil || lost(err) {
				return
			}
			reason := fmt.Sprintf("%s (%s), kept for debugging, was stopped", slot.Job, orUnknown(slot.Version))
			if err != nil {
				reason = fmt.Sprintf("%s (%s), kept for debugging, could not be stopped and is forgotten: %s", slot.Job, orUnknown(slot.Version), sentence(err))
			}
			l.report(w, deployment.Event{Kind: deployment.Emptied, At: time.Now(), By: self, Colour: colour, Reason: reason})
		})
		return
	}
}
