package controller

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	nomadapi "github.com/hashicorp/nomad/api"

	"github.com/tealdeploy/teal/agent/deployment"
	"github.com/tealdeploy/teal/agent/kv"
	"github.com/tealdeploy/teal/agent/policy"
	"github.com/tealdeploy/teal/jobspec"
)

// appraisal is what a policy's present text means, as Nomad and Consul told.
type appraisal struct {
	pol       *policy.Policy
	parsed    *nomadapi.Job
	candidate deployment.Candidate
	overrides map[string]deployment.Override // in force if it is released
	found     found                          // for a service that is not managed yet
	// rescaled are the colours that were scaled in place, because only the
	// count had changed.
	rescaled []deployment.Event
}

// orderWithin bounds an errand for a command: whoever gave it waits.
const orderWithin = 8 * time.Second

// policyEdited looks at the policy's present text. Without a policy traffic and
// jobs stay as they are.
func (l *loop) policyEdited(ctx context.Context) error {
	if l.order != nil {
		l.redo = true
		return nil
	}
	p := l.policy()
	if p == nil {
		l.errand.stop() // what it looks at is no policy any more
		l.errand = nil
		return nil
	}
	l.appraiseFor(ctx, p, nil, ask{by: "policy edit"})
	return nil
}

// ensureQueue begins the queued version once it keeps nobody's way back.
func (l *loop) ensureQueue(ctx context.Context) {
	if l.rec.Queued == nil || l.rec.Blocked() != nil || l.errand != nil || l.rec.Problem != nil {
		return
	}
	// A cutover that was not made is before cutover again, and a first release
	// has no way back to keep: then there is nothing to wait for.
	waits := l.rec.Jobs.Moving()
	if l.rec.InFlight() {
		d := l.rec.Deployment
		waits = !d.State.BeforeCutover() && !(protected(d.State) && !d.From.Valid())
	}
	if waits {
		return
	}
	if p := l.policy(); p != nil {
		l.appraiseFor(ctx, p, nil, ask{by: l.rec.Queued.By, queued: true})
	}
}

// errandFor starts what a command needs Nomad, or time, for. A second such
// command waits for its turn.
func (l *loop) errandFor(ctx context.Context, c command) error {
	if l.order != nil {
		l.waiting = append(l.waiting, c)
		return nil
	}
	p := l.policy()
	switch {
	case c.verb == kv.Release && !l.rec.Managed:
		return l.refuse(ctx, c, l.unmanaged())
	case c.verb == kv.Release && l.rec.InFlight() && !protected(l.rec.Deployment.State):
		return l.refuse(ctx, c, fmt.Sprintf("%s is %s: teal abort or teal rollback ends that first", named(l.rec.Deployment.Candidate), l.rec.Deployment.State))
	case c.verb == kv.Release:
		return l.giveBack(ctx, c)
	case p == nil:
		return l.refuse(ctx, c, fmt.Sprintf("agent %s leads and has no policy for %s", l.t.c.cfg.Name, cut(l.svc)))
	}
	for name := range c.Vars {
		if !policy.ValidVariable(name) {
			return l.refuse(ctx, c, fmt.Sprintf("%q cannot be the name of a jobspec's variable", cut(name)))
		}
	}
	if c.verb == kv.Plan {
		l.planFor(ctx, p, c)
		return nil
	}
	l.appraiseFor(ctx, p, &c, ask{by: who(c), why: cut(c.Why), order: true})
	return nil
}

// appraiseFor appraises beside the loop and then decides on it.
func (l *loop) appraiseFor(ctx context.Context, p *policy.Policy, order *command, k ask) {
	vars := varsOf(order)
	l.runErrand(ctx, order, func(ctx context.Context, rec deployment.Service) func(context.Context) error {
		a, err := l.appraise(ctx, p, rec, vars, k.by)
		return func(ctx context.Context) error {
			k.at = time.Now()
			k.newID = func() string { return newID(k.at) }
			if err != nil {
				return l.unreleasable(ctx, order, k, err)
			}
			if unborn(rec) && stage(rec) != stage(l.rec) {
				return errStale
			}
			k.gone, k.job = l.nobodyBehind(), l.jobEdited
			in := decide(l.rec, a, k)
			if order != nil {
				err = l.carryOut(ctx, *order, in)
			} else {
				if in.idle() {
					l.log.Info("nothing begins", "by", k.by, "reason", in.say)
				}
				if len(in.events) > 0 {
					err = l.apply(ctx, nil, in.events...)
				}
			}
			if err == nil && order == nil {
				l.jobEdited = false
			}
			if err == nil && l.source != a.candidate.Source && l.rec.InFlight() && l.rec.Deployment.State == deployment.Preparing {
				l.work.stop() // it plans by the text as it was
				l.work = nil
			}
			return err
		}
	})
}

// errStale says that the candidate went on while the policy's text was looked at.
var errStale = errors.New("the release went on meanwhile")

// unborn says whether a candidate's job may not be in Nomad yet. How many
// instances it gets is then in the record alone, or not even there: what its text
// comes to depends on how far it is.
func unborn(rec deployment.Service) bool {
	return rec.InFlight() && (rec.Deployment.State == deployment.Preparing || rec.Deployment.State == deployment.Launching)
}

func stage(rec deployment.Service) string {
	if !rec.InFlight() {
		return ""
	}
	return rec.Deployment.ID + string(rec.Deployment.State)
}

// unreleasable tells why the policy's present text cannot be released.
func (l *loop) unreleasable(ctx context.Context, order *command, k ask, err error) error {
	if order != nil {
		return l.refuse(ctx, *order, sentence(err))
	}
	if p := l.rec.Problem; p != nil && p.Reason == sentence(err) {
		return nil
	}
	return l.apply(ctx, nil, deployment.Event{Kind: deployment.Trouble, At: k.at, By: k.by, Reason: sentence(err)})
}

// runErrand runs f beside the loop, and what it returns on the loop. An errand
// for an edited policy gives way to a command's.
func (l *loop) runErrand(ctx context.Context, order *command, f func(ctx context.Context, rec deployment.Service) func(context.Context) error) {
	if l.errand != nil && l.order == nil && order != nil && order.verb != kv.Release {
		l.redo = true // the edit is still to be looked at: not every command does that
	}
	l.errand.stop()
	rec := l.rec
	l.order = order
	l.errand = l.start(ctx, func(ctx context.Context, w *work) {
		select {
		case l.t.asks <- struct{}{}:
			defer func() { <-l.t.asks }()
		case <-ctx.Done():
			return
		}
		then := f(ctx, rec)
		if ctx.Err() == nil {
			l.t.post(l.svc, errandDone{w, then})
		}
	})
}

// appraise asks Nomad what the jobspec means. Where Nomad is away it waits,
// for a command not for long.
func (l *loop) appraise(ctx context.Context, p *policy.Policy, rec deployment.Service, vars map[string]string, by string) (a appraisal, err error) {
	if vars != nil {
		bounded, cancel := context.WithTimeout(ctx, orderWithin)
		defer cancel()
		ctx = bounded
	}
	a.pol, a.overrides = p, overrides(rec, p, vars)
	inForce := values(a.overrides)
	err = l.retryErrand(ctx, "read the jobspec", func(ctx context.Context) error {
		var err error
		a.parsed, err = l.parse(ctx, p, inForce)
		return err
	})
	if err != nil {
		return a, err
	}
	if err := jobspec.Refuse(a.parsed, l.svc); err != nil {
		return a, fmt.Errorf("%s: %w", p.Job.Path, err)
	}
	version := versionIn(p, a.parsed, inForce)
	a.candidate = deployment.Candidate{
		Version: version, Hash: jobspec.Hash(a.parsed, version), Policy: p.Hash(), Source: p.SourceHash(inForce),
		Job: value(a.parsed.ID), Vars: inForce, Expected: jobspec.Expected(a.parsed, l.svc), By: by,
	}
	if !rec.Managed {
		tries := 0
		err = l.retryErrand(ctx, "find what runs", func(ctx context.Context) error {
			var err error
			a.found, err = l.find(ctx, rec, a)
			if tries++; errors.Is(err, errServedElsewhere) && tries >= foundTries {
				return final(err)
			}
			return err
		})
		return a, err
	}
	return a, l.retryErrand(ctx, "scale in place", func(ctx context.Context) error {
		var err error
		a.rescaled, err = l.rescale(ctx, rec, a)
		return err
	})
}

// versionIn is the version of a policy's jobspec: what its variables say, or
// else what the parsed job itself does.
func versionIn(p *policy.Policy, parsed *nomadapi.Job, overrides map[string]string) string {
	if v := p.Version(overrides); v != "" {
		return v
	}
	return versionOf(parsed)
}

// retryErrand is retry that, when time is up, says what it waited for.
func (l *loop) retryErrand(ctx context.Context, what string, f func(context.Context) error) error {
	var last error
	err := retry(ctx, l.log, what, func(ctx context.Context) error {
		last = f(ctx)
		return last
	})
	if errors.Is(err, context.DeadlineExceeded) && last != nil {
		return fmt.Errorf("gave up after %s: %w", orderWithin, last)
	}
	return err
}

// rescale scales in place the colours that run the very same job in another
// number. It needs no release: the count is no part of a version. A candidate that
// is being launched is left to the launch: the record tells it how many.
func (l *loop) rescale(ctx context.Context, rec deployment.Service, a appraisal) ([]deployment.Event, error) {
	var events []deployment.Event
	for _, colour := range deployment.Colours {
		slot, ok := rec.Slots[colour]
		serves := colour == rec.Active || rec.InFlight() && colour == rec.Deployment.To && rec.Deployment.Slotted
		if !ok || !serves || slot.Hash != a.candidate.Hash || slot.Scaled {
			continue
		}
		counts := jobspec.Counts(a.parsed)
		if !slices.Equal(groups(counts), groups(slot.Counts)) {
			continue
		}
		for group := range autoscaled(a.parsed) {
			counts[group] = slot.Counts[group] // the autoscaler's to say
		}
		if maps.Equal(counts, slot.Counts) {
			continue
		}
		if !unborn(rec) || colour != rec.Deployment.To {
			if err := l.t.c.cfg.Nomad(slot.Region).Scale(ctx, slot.Namespace, slot.Job, counts, l.t.leads); err != nil {
				return nil, finalUnlessAway(fmt.Errorf("scale in place: %w", err))
			}
		}
		slot.Counts, slot.Expected = counts, a.candidate.Expected
		events = append(events, deployment.Event{Kind: deployment.Rescaled, At: time.Now(), By: a.candidate.By, Colour: colour, Slot: &slot,
			Reason: fmt.Sprintf("%s was scaled in place to %d instances: only the count changed", slot.Job, slot.Expected)})
	}
	return events, nil
}

func groups(counts map[string]int) []string { return slices.Sorted(maps.Keys(counts)) }

// varsOf are a command's variables; nil without a command.
func varsOf(order *command) map[string]string {
	if order == nil {
		return nil
	}
	if order.Vars == nil {
		return map[string]string{}
	}
	return order.Vars
}

// overrides are those in force with a command's variables over them.
func overrides(rec deployment.Service, p *policy.Policy, vars map[string]string) map[string]deployment.Override {
	out := map[string]deployment.Override{}
	for name, value := range overridesFor(rec, p) {
		out[name] = deployment.Override{Value: value, Policy: p.Job.Variables[name]}
	}
	for name, value := range vars {
		out[name] = deployment.Override{Value: value, Policy: p.Job.Variables[name]}
	}
	if len(out) == 0 {
		return nil
	}
	return out
}

func values(overrides map[string]deployment.Override) map[string]string {
	out := map[string]string{}
	for name, o := range overrides {
		out[name] = o.Value
	}
	return out
}
