package controller

import (
	"context"
	"time"

	consulapi "github.com/hashicorp/consul/api"

	"github.com/tealdeploy/teal/agent/deployment"
	"github.com/tealdeploy/teal/agent/joblock"
	"github.com/tealdeploy/teal/agent/policy"
)

// ensureHandover hands the jobs to their new owner once traffic has moved. The
// key already says none; what remains is to see the old colour's workers let
// go. It runs beside everything else: triggers do not wait for workers.
func (l *loop) ensureHandover(ctx context.Context) {
	if l.handover != nil {
		if l.rec.Jobs.Moving() && l.rec.Jobs.Target == l.handoverFor.Target && l.rec.Jobs.Since.Equal(l.handoverFor.Since) {
			return
		}
		l.handover.stop()
		l.handover = nil
	}
	if !l.rec.Jobs.Moving() || l.rec.Moving() != nil {
		return
	}
	jobs := l.rec.Jobs
	l.handoverFor = jobs
	deadline := policy.DefaultHandoverDeadline
	if p := l.policy(); p != nil {
		deadline = p.Jobs.HandoverDeadline
	}
	l.handover = l.start(ctx, func(ctx context.Context, w *work) {
		var events []deployment.Event
		for taken := true; taken; {
			outcome, err := l.drain(ctx, jobs.Target, begun(jobs.Since).Add(deadline))
			if err != nil {
				return
			}
			var what string
			if what, taken, err = l.takeKey(ctx, jobs.Target); err != nil {
				return
			}
			if what != "" {
				events = append(events, deployment.Event{Kind: deployment.Note, At: time.Now(), By: self, Reason: what})
			}
			if !taken {
				events = append(events, deployment.Event{Kind: deployment.JobsMoved, At: time.Now(), By: self, Colour: jobs.Target, Reason: string(outcome)})
			}
		}
		l.report(w, events...)
	})
}

// takeKey says what somebody else wrote into the key during the handover. If
// that is another colour than the new owner's, its workers have begun again:
// the key is taken from them, and they must be seen to let go once more.
func (l *loop) takeKey(ctx context.Context, to deployment.Colour) (what string, taken bool, err error) {
	cfg := l.t.c.cfg
	err = retry(ctx, l.log, "look who owns the jobs", func(ctx context.Context) error {
		key, err := l.jobLock(to).Owner(ctx)
		if err != nil {
			return err
		}
		what, taken = key.Edited(deployment.None), key.Owner.Valid() && key.Owner != to
		if !taken {
			return nil
		}
		_, err = cfg.Store.Commit(ctx, l.t.term.Fence, consulapi.KVTxnOps{
			{Verb: consulapi.KVCAS, Key: cfg.Keys.JobProcessor(l.svc), Value: []byte(deployment.None), Index: key.Index}})
		return err
	})
	return what, taken, err
}

// drain returns once no worker of another colour than the new owner's can
// still be processing.
func (l *loop) drain(ctx context.Context, to deployment.Colour, deadline time.Time) (outcome joblock.Outcome, err error) {
	h := l.jobLock(to)
	h.Deadline = deadline
	err = retry(ctx, l.log, "see the old colour's workers let go", func(ctx context.Context) error {
		outcome, err = h.Drain(ctx)
		return err
	})
	return outcome, err
}

// jobLock is the service's job-processing lock, under this term.
func (l *loop) jobLock(to deployment.Colour) joblock.Handover {
	cfg := l.t.c.cfg
	return joblock.Handover{
		Store: cfg.Store, Keys: cfg.Keys, Service: l.svc, To: to,
		Commit: func(ctx context.Context, ops consulapi.KVTxnOps) (consulapi.KVPairs, error) {
			return cfg.Store.Commit(ctx, l.t.term.Fence, ops)
		},
	}
}
