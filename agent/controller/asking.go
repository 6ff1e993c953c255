package controller

import (
	"context"
	"errors"
	"maps"
	"strings"
	"sync"
	"time"

	"github.com/tealdeploy/teal/agent/consul"
	"github.com/tealdeploy/teal/agent/deployment"
	"github.com/tealdeploy/teal/agent/measure"
	"github.com/tealdeploy/teal/agent/nomad"
	"github.com/tealdeploy/teal/rollback"
)

// heard is what somebody answered to a trigger.
type heard struct {
	trigger string
	answer  rollback.Answer
}

// askOthers puts the questions of triggers, each for itself, so that one who
// hangs delays nobody, and hands on what is answered.
func (j job) askOthers(ctx context.Context, beside *sync.WaitGroup, triggers []rollback.Named, out chan<- heard) {
	for _, t := range triggers {
		asking, ok := t.Trigger.(rollback.Asking)
		if !ok {
			continue
		}
		tell := func(a rollback.Answer) {
			a.At = time.Now()
			select {
			case out <- heard{t.Name, a}:
			case <-ctx.Done():
			}
		}
		switch q := asking.Question().(type) {
		case rollback.Allocations:
			beside.Go(func() { j.followAllocations(ctx, tell) })
		case rollback.KVKey:
			beside.Go(func() { j.followKey(ctx, q.Key, tell) })
		case rollback.FiguresOf:
			beside.Go(func() { j.followFigures(ctx, q, tell) })
		}
	}
}

func (j job) subject(colour deployment.Colour, version string) rollback.Subject {
	return rollback.Subject{Service: j.l.svc, Colour: colour, Version: version}
}

// followFigures asks a metrics service at every interval, and, if that is wanted,
// until it has an answer, what was before the cutover.
func (j job) followFigures(ctx context.Context, q rollback.FiguresOf, tell func(rollback.Answer)) {
	ask := func(query measure.Query, at time.Time, whom rollback.Subject) ([]measure.Value, error) {
		filled, err := query.Fill(whom.Filling())
		if err != nil {
			return nil, err
		}
		ctx, cancel := context.WithTimeout(ctx, q.Timeout)
		defer cancel()
		return j.l.t.c.cfg.Ask(ctx, filled, at)
	}
	h, historic := q.Query.(measure.Historic)
	past, asks := q.Query, q.Before && historic
	if historic && q.Baseline > 0 && j.d.Cutover != nil {
		past, asks = h.Over(j.servedFor(q.Baseline, q.Interval), q.Interval), true
	}
	var before []measure.Value
	beforeErr := rollback.ErrNoPrevious
	if j.d.From.Valid() && j.d.Cutover != nil {
		if beforeErr = errors.New("it was not asked yet"); !asks {
			beforeErr = nil // who cannot be asked about the past was asked before the cutover
		}
	}
	tick := time.NewTicker(q.Interval)
	defer tick.Stop()
	for {
		if asks && beforeErr != nil && !errors.Is(beforeErr, rollback.ErrNoPrevious) {
			before, beforeErr = ask(past, j.d.Cutover.Decided, j.subject(j.d.From, j.d.FromVersion))
		}
		values, err := ask(q.Query, time.Time{}, j.subject(j.d.To, j.d.Candidate.Version))
		if ctx.Err() != nil {
			return
		}
		tell(rollback.Answer{Values: values, Err: err, Before: before, BeforeErr: beforeErr})
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

// servedFor is for how long before the cutover the previous colour had the traffic,
// and most at most: what was before is not its own.
func (j job) servedFor(most, least time.Duration) time.Duration {
	if since := j.rec.Slots[j.d.From].Serves; !since.IsZero() {
		return max(least, min(most, j.d.Cutover.Decided.Sub(since)))
	}
	return most
}

// askBefore asks, until the cutover, how figures fare that can only be asked about
// the present. It says how many there are.
func (j job) askBefore(ctx context.Context, beside *sync.WaitGroup, triggers []rollback.Named, out chan<- heard) (asked int) {
	for _, t := range triggers {
		a, ok := t.Trigger.(rollback.Asking)
		if !ok {
			continue
		}
		q, ok := a.Question().(rollback.FiguresOf)
		if _, historic := q.Query.(measure.Historic); !ok || q.Baseline == 0 && !q.Before || historic {
			continue
		}
		asked++
		beside.Go(func() { j.followPast(ctx, t.Name, q, out) })
	}
	return asked
}

// followPast asks about the colour that serves, at every interval.
func (j job) followPast(ctx context.Context, trigger string, q rollback.FiguresOf, out chan<- heard) {
	tick := time.NewTicker(q.Interval)
	defer tick.Stop()
	for {
		if filled, err := q.Query.Fill(j.subject(j.d.From, j.d.FromVersion).Filling()); err == nil {
			asking, cancel := context.WithTimeout(ctx, q.Timeout)
			values, err := j.l.t.c.cfg.Ask(asking, filled, time.Time{})
			cancel()
			if err == nil {
				select {
				case out <- heard{trigger, rollback.Answer{At: time.Now(), Values: values}}:
				case <-ctx.Done():
				}
			}
		}
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

// followKey tells what a key says, at once and after each change.
func (j job) followKey(ctx context.Context, template string, tell func(rollback.Answer)) {
	key, err := j.subject(j.d.To, j.d.Candidate.Version).Filling().Text(template)
	if err != nil {
		tell(rollback.Answer{Err: err})
		return
	}
	_ = consul.Watch(ctx, func(ctx context.Context, index uint64) (uint64, error) {
		asking, cancel := context.WithTimeout(ctx, freshEvery)
		defer cancel()
		pair, next, err := j.l.t.c.cfg.Store.Get(asking, key, index)
		if ctx.Err() == nil && index > 0 && errors.Is(err, context.DeadlineExceeded) {
			return 0, nil // nothing new was told for long: look
		}
		a := rollback.Answer{Key: key, Err: err}
		if err == nil && pair != nil {
			text := string(pair.Value)
			a.Text = &text
		}
		tell(a)
		return next, err
	})
}

// followAllocations tells how the candidate's allocations fare, at once and after
// each change. While Nomad is away it says so, and asks again.
func (j job) followAllocations(ctx context.Context, tell func(rollback.Answer)) {
	slot := j.rec.Slots[j.d.To]
	client := j.l.t.c.cfg.Nomad(slot.Region)
	var pause consul.Backoff
	for ctx.Err() == nil {
		err := client.WatchJob(ctx, slot.Namespace, slot.Job, func(s nomad.JobStatus) bool {
			pause.Reset()
			tell(rollback.Answer{Allocations: allocations(s)})
			return false
		})
		if ctx.Err() != nil {
			return
		}
		tell(rollback.Answer{Err: err})
		pause.Wait(ctx)
	}
}

// allocations are those of a job as triggers know them.
func allocations(s nomad.JobStatus) []rollback.Allocation {
	var out []rollback.Allocation
	for _, a := range s.Allocs {
		out = append(out, rollback.Allocation{
			ID: a.ID, Node: a.Node, Failed: a.Failed(), Restarts: a.Restarts, OOM: a.OOM,
			Words: strings.Join(a.Failures, ", "),
		})
	}
	return out
}

// gathered keeps answers until they can be looked at.
func gathered(before map[string]rollback.Answer, h heard) map[string]rollback.Answer {
	out := maps.Clone(before)
	if out == nil {
		out = map[string]rollback.Answer{}
	}
	out[h.trigger] = h.answer
	return out
}
