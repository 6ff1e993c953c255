package controller

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/tealdeploy/teal/agent/deployment"
	"github.com/tealdeploy/teal/agent/kv"
	"github.com/tealdeploy/teal/agent/policy"
	"github.com/tealdeploy/teal/agent/traffic"
	"github.com/tealdeploy/teal/gates"
	"github.com/tealdeploy/teal/jobspec"
)

// planFor answers a plan: what a deploy would change in Nomad and in Consul,
// and what would stand in its way. It writes nothing but the answer.
func (l *loop) planFor(ctx context.Context, p *policy.Policy, c command) {
	l.runErrand(ctx, &c, func(ctx context.Context, rec deployment.Service) func(context.Context) error {
		bounded, cancel := context.WithTimeout(ctx, 3*orderWithin)
		defer cancel()
		text, err := l.plan(bounded, p, rec, c)
		result := kv.Result{Accepted: true, Reason: "planned; nothing was changed", Output: text}
		if err != nil {
			result.Accepted, result.Reason = false, sentence(err)
		}
		return func(ctx context.Context) error { return l.conclude(ctx, c, result) }
	})
}

// plan is the text of a plan. With an error, it is what was found before.
func (l *loop) plan(ctx context.Context, p *policy.Policy, rec deployment.Service, c command) (string, error) {
	var b strings.Builder
	line := func(format string, args ...any) { fmt.Fprintf(&b, format+"\n", args...) }

	a := appraisal{pol: p, overrides: overrides(rec, p, varsOf(&c))}
	var err error
	if a.parsed, err = l.parse(ctx, p, values(a.overrides)); err != nil {
		return "", err
	}
	if err := jobspec.Refuse(a.parsed, l.svc); err != nil {
		return "", fmt.Errorf("%s: %w", p.Job.Path, err)
	}
	version := versionIn(p, a.parsed, values(a.overrides))
	a.candidate = deployment.Candidate{Version: version, Hash: jobspec.Hash(a.parsed, version), Policy: p.Hash(),
		Source: p.SourceHash(values(a.overrides)), Job: value(a.parsed.ID), By: who(c), Expected: jobspec.Expected(a.parsed, l.svc)}
	if !rec.Managed {
		if a.found, err = l.running(ctx, rec, a); err != nil {
			return "", err
		}
		if slot, ok := a.found.slots[a.found.active]; ok {
			line("Adopt: job %s (%s) runs and becomes %s as it is, without a restart.", slot.Job, orUnknown(slot.Version), a.found.active)
		} else {
			line("Nothing of %s runs yet: this is its first release, and there is no way back from it.", l.svc)
		}
	}
	k := ask{by: who(c), order: true, at: time.Now(), newID: func() string { return "plan" }}
	in := decide(rec, a, k)
	line("Release: %s.", in.say)
	line("")
	if err := l.planRoute(ctx, rec, a, line); err != nil {
		return b.String(), err
	}
	line("")
	err = l.planJob(ctx, rec, a, in, line)
	l.planGates(rec, a, line)
	l.planTriggers(ctx, rec, a, line)
	return b.String(), err
}

// planRoute tells what becomes of the config entries.
func (l *loop) planRoute(ctx context.Context, rec deployment.Service, a appraisal, line func(string, ...any)) error {
	active, route := rec.Active, rec.Route
	if !rec.Managed {
		active, route = a.found.active, a.found.route
	}
	line("Consul:")
	if !route.Prepared {
		router, err := l.routerFor(a.pol.Cutover.Router)
		if err != nil {
			return err
		}
		route.Namespace, route.Partition = a.pol.Namespace, a.pol.Partition
		changes, err := router.Plan(ctx, traffic.Setup{Target: l.trafficTarget(route), Protocol: a.pol.Cutover.Protocol, Serve: serving(active), Loose: route.Loose, Busy: active.Valid()})
		if err != nil {
			return err
		}
		for _, change := range changes {
			line("  %s", change)
		}
	}
	line("  at cutover: ~ %s %s: %s => %s", a.pol.Cutover.Router, l.svc, active, active.Other())
	return nil
}

// planJob has Nomad plan the job a release would register.
func (l *loop) planJob(ctx context.Context, rec deployment.Service, a appraisal, in intent, line func(string, ...any)) error {
	begins := false
	to := deployment.None
	for _, ev := range in.events {
		begins = begins || ev.Kind == deployment.Begin || ev.Kind == deployment.Queue && ev.Candidate != nil
	}
	line("Nomad:")
	if !begins {
		line("  nothing is registered")
		return nil
	}
	active := rec.Active
	if !rec.Managed {
		active = a.found.active
	}
	to = active.Other()
	if rec.InFlight() && rec.Deployment.State.BeforeCutover() {
		to = rec.Deployment.To
	}
	job, warnings, err := l.render(a.parsed, deployment.Deployment{ID: "plan", To: to, Candidate: a.candidate}, nil)
	if err != nil {
		return err
	}
	plan, err := l.t.c.cfg.Nomad(value(job.Region)).Plan(ctx, job)
	if err != nil {
		return err
	}
	if slot, ok := rec.Slots[to]; ok && !slot.Scaled {
		line("  - job %q (%s) is stopped first: it is the oldest version", slot.Job, orUnknown(slot.Version))
	}
	diff := strings.TrimRight(plan.Diff, "\n")
	if diff == "" {
		diff = fmt.Sprintf("= job %q", *job.ID)
	}
	for _, text := range strings.Split(diff, "\n") {
		line("  %s", text)
	}
	for _, w := range append(warnings, plan.Warnings...) {
		line("  warning: %s", w)
	}
	if len(plan.Failures) > 0 {
		return fmt.Errorf("Nomad cannot place a second full copy beside %s: %s", active, strings.Join(plan.FailureLines(), "; "))
	}
	line("  there is room for a second full copy: %d instances beside those of %s", a.candidate.Expected, active)
	return nil
}

func orUnknown(version string) string {
	if version == "" {
		return "version unknown"
	}
	return version
}

// planGates warns of gates whose questions do not name the candidate: while they are
// asked, what serves is the other colour.
func (l *loop) planGates(rec deployment.Service, a appraisal, line func(string, ...any)) {
	active := rec.Active
	if !rec.Managed {
		active = a.found.active
	}
	said := false
	for _, g := range a.pol.Gates {
		f, ok := g.Gate.(gates.Figures)
		if !ok || f.Aimed() || !active.Valid() {
			continue
		}
		if !said {
			said = true
			line("")
			line("Gates:")
		}
		line("  warning: gate %q names neither {colour} nor {version}: what it is told may be about %s, which serves, and not about the candidate", g.Name, active)
	}
}
