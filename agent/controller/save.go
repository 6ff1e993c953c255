package controller

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"

	consulapi "github.com/hashicorp/consul/api"

	"github.com/tealdeploy/teal/agent/consul"
	"github.com/tealdeploy/teal/agent/deployment"
)

// apply moves the record by events and saves it, with whatever else must
// happen in the same transaction. Only then does anything act on it: the work
// of the old state is stopped, that of the new one is started by ensure.
func (l *loop) apply(ctx context.Context, more consulapi.KVTxnOps, events ...deployment.Event) error {
	next := l.rec
	var ended []deployment.Deployment
	var notices consulapi.KVTxnOps
	steps := make([]deployment.Service, 0, len(events)) // as it was after each event
	for _, ev := range events {
		before := next
		ev = l.taught(before, ev)
		var err error
		if next, _, err = deployment.Step(next, ev); err != nil {
			return err
		}
		if before.InFlight() && !next.InFlight() {
			ended = append(ended, *next.Deployment)
		}
		steps = append(steps, next)
		if teller := l.t.c.cfg.Teller; teller != nil {
			notices = append(notices, teller.Owed(before, next, ev)...)
		}
	}
	dropped := trim(&next, l.t.c.cfg.HistoryKeep)
	if n := len(notices) - maxNotices; n > 0 {
		l.log.Error("notices are dropped: too much happened at once", "dropped", n)
		notices = notices[:maxNotices]
	}
	if err := l.save(ctx, next, ended, dropped, slices.Concat(more, notices)); err != nil {
		return err
	}
	if len(notices) > 0 {
		l.t.c.cfg.Teller.Saved(notices)
	}
	l.measure(next, events, ended)
	l.announce(next, events)
	if c := l.t.c.cfg.Chronicle; c != nil {
		for i, ev := range events {
			c.Saved(steps[i], ev, l.t.term.Epoch)
		}
	}
	if l.work != nil && stateOf(l.rec) != stateOf(next) {
		l.work.stop()
		l.work = nil
	}
	if l.chore != nil && !keptIn(next, l.choreOn) {
		// It is wanted again: while Nomad was away the order to stop it may
		// still be waiting.
		l.chore.stop()
		l.chore = nil
	}
	if l.rec.Held != nil && next.Held == nil {
		l.t.post(l.svc, routeChanged{}) // it may have hidden a hold for the route
	}
	l.rec = next
	l.publish()
	return nil
}

// save writes the record and the keys that follow from it in one fenced
// transaction. A write whose answer was lost is recognised as our own. One that
// the token has no right to waits for the rule: what has come about must not be
// forgotten, and nobody would give a command twice.
func (l *loop) save(ctx context.Context, next deployment.Service, ended []deployment.Deployment, dropped []string, more consulapi.KVTxnOps) error {
	cfg := l.t.c.cfg
	next.Format = deployment.Format
	raw, err := json.Marshal(next)
	if err != nil {
		return err
	}
	ops := consulapi.KVTxnOps{{Verb: consulapi.KVCAS, Key: cfg.Keys.State(l.svc), Value: raw, Index: l.index}}
	if next.Active != l.rec.Active || (l.index == 0 && next.Active.Valid()) {
		ops = append(ops, set(cfg.Keys.Active(l.svc), []byte(next.Active)))
	}
	if next.Jobs.Owner != l.rec.Jobs.Owner || l.index == 0 {
		ops = append(ops, set(cfg.Keys.JobProcessor(l.svc), []byte(next.Jobs.Owner)))
	}
	for _, d := range ended {
		b, err := json.Marshal(d)
		if err != nil {
			return err
		}
		ops = append(ops, set(cfg.Keys.Deployment(l.svc, d.ID), b))
	}
	for _, id := range dropped {
		ops = append(ops, &consulapi.KVTxnOp{Verb: consulapi.KVDelete, Key: cfg.Keys.Deployment(l.svc, id)})
	}
	ops = append(ops, more...)

	return retry(ctx, l.log, "save the record", func(ctx context.Context) error {
		pairs, err := cfg.Store.Commit(ctx, l.t.term.Fence, ops)
		switch {
		case err == nil && len(pairs) > 0:
			l.index = pairs[0].ModifyIndex
			l.t.setRecord(l.svc, stored{raw: raw, index: l.index, gist: gistOf(next, nil)})
			return nil
		case err == nil, errors.Is(err, consul.ErrConflict), errors.Is(err, consul.ErrUnavailable):
			return l.reread(ctx, next, raw, err)
		case errors.Is(err, consul.ErrInvalid):
			return final(err)
		}
		return err
	})
}

// reread finds out whether a commit that did not answer, or found another
// index, was our own.
func (l *loop) reread(ctx context.Context, next deployment.Service, wrote []byte, commit error) error {
	pair, err := l.t.c.cfg.Store.Read(ctx, l.t.c.cfg.Keys.State(l.svc))
	if err != nil {
		return errors.Join(commit, err)
	}
	st := stored{}
	if pair != nil {
		st = stored{raw: pair.Value, index: pair.ModifyIndex}
	}
	if bytes.Equal(st.raw, wrote) {
		l.index = st.index
		st.gist = gistOf(next, nil)
		l.t.setRecord(l.svc, st)
		return nil
	}
	if !errors.Is(commit, consul.ErrConflict) {
		return commit
	}
	// Somebody else wrote the record, or a command was withdrawn. Start over
	// from what is there.
	l.index = st.index
	rec, derr := decodeRecord(l.svc, st)
	st.gist = gistOf(rec, derr)
	l.t.setRecord(l.svc, st)
	if l.broken = derr; derr != nil {
		l.stopAll()
	} else {
		if stateOf(l.rec) != stateOf(rec) {
			l.work.stop()
			l.work = nil
		}
		l.rec = rec
		l.publish()
	}
	return final(fmt.Errorf("%s: the record or the command changed meanwhile; going on from what is there now: %w", l.svc, commit))
}

// measure tells the metrics what was saved.
func (l *loop) measure(next deployment.Service, events []deployment.Event, ended []deployment.Deployment) {
	meter := l.t.c.cfg.Meter
	for _, ev := range events {
		switch d := next.Deployment; {
		case d == nil:
		case ev.Kind == deployment.Routed && d.Cutover != nil:
			meter.Cutover(*d.Cutover)
		case ev.Kind == deployment.RoutedBack && d.Rollback != nil:
			meter.Rollback(*d.Rollback)
		}
	}
	for _, d := range ended {
		meter.Ended(d.Outcome)
	}
}

func set(key string, value []byte) *consulapi.KVTxnOp {
	return &consulapi.KVTxnOp{Verb: consulapi.KVSet, Key: key, Value: value}
}

// maxDropped is how many records one save deletes: a transaction takes no more
// than consul.MaxOps operations. The rest go with the next ones.
const maxDropped = 32

// maxNotices is how many notices one save may leave, for the same reason.
const maxNotices = 16

// trim keeps the newest finished deployments and names those to delete.
func trim(s *deployment.Service, keep int) []string {
	if keep <= 0 || len(s.Finished) <= keep {
		return nil
	}
	keep = max(keep, len(s.Finished)-maxDropped)
	dropped := s.Finished[keep:]
	s.Finished = s.Finished[:keep:keep]
	return dropped
}

// announce logs what changed in an operator's words.
func (l *loop) announce(next deployment.Service, events []deployment.Event) {
	for _, ev := range events {
		switch ev.Kind {
		case deployment.Progress, deployment.TestBegin, deployment.TestOver:
			continue
		case deployment.Hold, deployment.Trouble, deployment.Weaken:
			if ev.Reason != "" {
				l.log.Warn(string(ev.Kind), "reason", ev.Reason)
			}
			continue
		}
		args := []any{"by", ev.By}
		if next.Deployment != nil {
			args = append(args, "deployment", next.Deployment.ID, "version", next.Deployment.Candidate.Version, "state", string(next.Deployment.State))
		}
		if ev.Reason != "" {
			args = append(args, "reason", ev.Reason)
		}
		l.log.Info(string(ev.Kind), args...)
	}
}

// stateOf tells work apart: a new state, or the same state entered again for
// another candidate, in another number or after a pause, means other work. What moves and protects
// traffic goes on undisturbed by pauses and holds.
func stateOf(s deployment.Service) string {
	if !s.InFlight() {
		return "idle"
	}
	d := s.Deployment
	blocked := s.Blocked() != nil
	switch d.State {
	case deployment.CuttingOver, deployment.Watching, deployment.Soaking, deployment.RollingBack:
		blocked = false
	}
	counts := map[string]int(nil)
	if d.State == deployment.Launching {
		counts = s.Slots[d.To].Counts // which the launch brings about
	}
	return fmt.Sprint(d.ID, d.State, d.Since.UnixNano(), d.Candidate.Proof(), blocked, counts)
}

// finalError marks an error that trying again cannot mend.
type finalError struct{ error }

func (e finalError) Unwrap() error { return e.error }

func final(err error) error { return finalError{err} }

func isFinal(err error) bool {
	var f finalError
	return errors.As(err, &f)
}
