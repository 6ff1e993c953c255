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
		select {
		case <-l.handover.done:
			l.handover = nil
		default:
			if l.rec.Jobs.Moving() && l.rec.Jobs.Since.Equal(l.handoverFor) {
				return
			}
			l.handover.stop()
			l.handover = nil
		}
	}
	if !l.rec.Jobs.Moving() || l.rec.Moving() != nil {
		return
	}
	jobs := l.rec.Jobs
	l.handoverFor = jobs.Since
	deadline := policy.DefaultHandoverDeadline
	if p := l.policy(); p != nil {
		deadline = p.Jobs.HandoverDeadline
	}
	l.handover = l.start(ctx, func(ctx context.Context, w *work) {
		outcome, err := l.drain(ctx, jobs.Target, jobs.Since.Add(deadline))
		if err == nil {
			l.report(w, append(l.keyEdited(ctx), deployment.Event{Kind: deployment.JobsMoved, At: time.Now(), By: self, Colour: jobs.Target, Reason: string(outcome)})...)
		}
	})
}

// keyEdited is a note of what somebody else wrote into the key during the
// handover, before it is written over.
func (l *loop) keyEdited(ctx context.Context) []deployment.Event {
	pair, _, err := l.t.c.cfg.Store.Get(ctx, l.t.c.cfg.Keys.JobProcessor(l.svc), 0)
	if err != nil {
		return nil // it is only a note
	}
	what := joblock.Parse(pair).Edited(deployment.None)
	if what == "" {
		return nil
	}
	return []deployment.Event{{Kind: deployment.Note, At: time.Now(), By: self, Reason: what}}
}

// drain returns once no worker of another colour than the new owner's can
// still be processing.
func (l *loop) drain(ctx context.Context, to deployment.Colour, deadline time.Time) (outcome joblock.Outcome, err error) {
	cfg := l.t.c.cfg
	h := joblock.Handover{
		Store: cfg.Store, Keys: cfg.Keys, Service: l.svc, To: to, Deadline: deadline,
		Commit: func(ctx context.Context, ops consulapi.KVTxnOps) (consulapi.KVPairs, error) {
			return cfg.Store.Commit(ctx, l.t.term.Fence, ops)
		},
	}
	err = retry(ctx, l.log, "see the old colour's workers let go", func(ctx context.Context) error {
		outcome, err = h.Drain(ctx)
		return err
	})
	return outcome, err
}
