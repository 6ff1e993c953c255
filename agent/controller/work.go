package controller

import (
	"context"
	"time"

	"github.com/tealdeploy/teal/agent/deployment"
	"github.com/tealdeploy/teal/agent/policy"
)

// job is one piece of work: it gets a copy of the record, so that it never
// shares memory with its loop.
type job struct {
	l    *loop
	w    *work
	rec  deployment.Service
	d    deployment.Deployment
	pol  *policy.Policy
	feed *feed
}

// ensureWork starts what the record's state asks for, unless it runs already.
func (l *loop) ensureWork(ctx context.Context) {
	if l.work != nil && l.blind && l.policy() != nil {
		// It watches without a policy, and there is one again.
		l.work.stop()
		l.work = nil
	}
	if l.work != nil || !l.rec.InFlight() || l.givesWay() {
		return
	}
	for _, action := range l.rec.Resume() {
		run := l.runner(action)
		if run == nil {
			return
		}
		rec, pol, feed := l.rec, l.policy(), l.feed
		if l.blind, l.source = pol == nil, ""; pol != nil {
			l.source = pol.SourceHash(overridesFor(rec, pol))
		}
		l.work = l.start(ctx, func(ctx context.Context, w *work) {
			run(job{l: l, w: w, rec: rec, d: *rec.Deployment, pol: pol, feed: feed}, ctx)
		})
	}
}

// givesWay says whether the candidate is about to be superseded by a queued one:
// it must not pass its gates meanwhile.
func (l *loop) givesWay() bool {
	return l.rec.Queued != nil && l.rec.Deployment.State.BeforeCutover() && l.errand != nil && l.order == nil
}

// runner picks the work. While paused or held only what protects traffic
// runs: the watch, which may still roll back, and the rollback itself. A cutover
// that was decided is carried through: traffic may have moved already, and must
// not stay where nobody watches it, nor the jobs with nobody.
func (l *loop) runner(a deployment.Action) func(job, context.Context) {
	switch a {
	case deployment.DoRollback:
		return job.rollBack
	case deployment.DoWatch:
		return job.watch
	case deployment.DoSoak:
		return job.soak
	case deployment.DoCutover:
		return job.cutOver
	}
	if l.rec.Blocked() != nil {
		return nil
	}
	if a == deployment.DoRetire {
		return job.retire
	}
	if why := l.otherPolicy(); why != "" {
		if l.looksAtEdit() {
			return nil // what the edit comes to is about to be decided
		}
		return func(j job, _ context.Context) {
			j.say(deployment.Event{Kind: deployment.Hold, Cause: deployment.OtherPolicy, Reason: why})
		}
	}
	return map[deployment.Action]func(job, context.Context){
		deployment.DoPrepare:  job.prepare,
		deployment.DoLaunch:   learning(job.launch),
		deployment.DoGates:    learning(job.gate),
		deployment.DoApproval: learning(job.awaitApproval),
	}[a]
}

// otherPolicy says why this agent cannot prove the candidate: it has no policy,
// or another one than the release began with. After a change of leader, the
// files on its machine may be older or newer.
func (l *loop) otherPolicy() string {
	p, d := l.policy(), l.rec.Deployment
	switch {
	case p == nil:
		return "agent " + l.t.c.cfg.Name + " leads and has no policy for this service: put the policy back, or run teal abort"
	case p.Hash() != d.Candidate.Policy:
		return "agent " + l.t.c.cfg.Name + " leads and its policy is not the one that this release began with: " +
			"give it the same files, run teal deploy to release what it has, or teal abort"
	}
	return ""
}

// looksAtEdit says whether an edit of the policy is being looked at, or is about
// to be.
func (l *loop) looksAtEdit() bool {
	return l.redo || l.errand != nil && l.order == nil || l.t.edited(l)
}

// liftHold lifts a hold for another policy once the right one is there.
func (l *loop) liftHold(ctx context.Context) error {
	held := l.rec.Held
	if held == nil || held.Cause != deployment.OtherPolicy {
		return nil
	}
	if l.rec.InFlight() {
		p := l.policy()
		if p == nil || p.SourceHash(overridesFor(l.rec, p)) != l.rec.Deployment.Candidate.Source {
			return nil
		}
	}
	return l.apply(ctx, nil, deployment.Event{Kind: deployment.Unhold, At: time.Now(), By: self, Reason: "the policy is here"})
}

// now is the record as last saved: flags may have changed since the work began.
func (j job) now() deployment.Service { return *j.l.saved.Load() }

// say reports one event, stamped.
func (j job) say(ev deployment.Event) { j.sayAll(ev) }

func (j job) sayAll(evs ...deployment.Event) {
	for i := range evs {
		if evs[i].At.IsZero() {
			evs[i].At = time.Now()
		}
		if evs[i].By == "" {
			evs[i].By = self
		}
	}
	j.l.report(j.w, evs...)
}

// tell reports one event and returns once it is saved: what is done next may
// rely on it.
func (j job) tell(ctx context.Context, ev deployment.Event) error {
	ev.At, ev.By = time.Now(), self
	done := make(chan error, 1)
	j.l.t.post(j.l.svc, report{from: j.w, events: []deployment.Event{ev}, done: done})
	select {
	case <-ctx.Done():
		return ctx.Err()
	case err := <-done:
		return err
	}
}

// keepUntil is when a candidate that ends badly now is stopped.
func (j job) keepUntil() *time.Time { return keepUntil(j.pol, time.Now()) }

func keepUntil(p *policy.Policy, now time.Time) *time.Time {
	keep := policy.DefaultKeepFailed
	if p != nil {
		keep = p.Launch.KeepFailed
	}
	t := now.Add(keep)
	return &t
}
