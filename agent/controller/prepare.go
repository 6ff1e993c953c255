package controller

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	nomadapi "github.com/hashicorp/nomad/api"

	"github.com/tealdeploy/teal/agent/deployment"
	"github.com/tealdeploy/teal/agent/nomad"
	"github.com/tealdeploy/teal/agent/policy"
	"github.com/tealdeploy/teal/agent/traffic"
	"github.com/tealdeploy/teal/jobspec"
)

// prepare asks everything that can be asked before anything is registered:
// does the jobspec have colours, is the route ready, has Nomad room for a
// second full copy.
func (j job) prepare(ctx context.Context) {
	l := j.l
	var events []deployment.Event
	tries := 0
	err := retry(ctx, l.log, "prepare the release", func(ctx context.Context) error {
		events = nil
		counts, grown, err := j.liveCounts(ctx)
		if err != nil {
			return err
		}
		events = append(events, grown...)
		rendered, warnings, err := j.render(ctx, counts)
		if err != nil {
			return err
		}
		for _, w := range warnings {
			events = append(events, deployment.Event{Kind: deployment.Note, Reason: "warning: " + w})
		}
		if !j.rec.Route.Prepared {
			route, err := l.prepareRoute(ctx, j.rec, j.pol)
			if err != nil {
				return err
			}
			events = append(events, deployment.Event{Kind: deployment.Prepared, Route: &route})
		}
		if settled, err := j.settleRoute(ctx, events); err != nil {
			return err
		} else if settled != nil {
			events = append(events, *settled)
		}
		plan, err := l.t.c.cfg.Nomad(value(rendered.Region)).Plan(ctx, rendered)
		if err != nil {
			return finalUnlessAway(err)
		}
		if len(plan.Failures) > 0 && !j.freesRoom(rendered) {
			if tries++; tries < planTries {
				return errNoRoom // what is just ending may make room, and ports are drawn by lot
			}
			return final(fmt.Errorf("Nomad cannot place a second full copy of %s beside %s: %s",
				*rendered.ID, j.d.From, strings.Join(plan.FailureLines(), "; ")))
		}
		for _, w := range plan.Warnings {
			events = append(events, deployment.Event{Kind: deployment.Note, Reason: "Nomad warns: " + w})
		}
		slot := slotFor(rendered, j.l.svc, j.d.Candidate)
		events = append(events, deployment.Event{Kind: deployment.Planned, Slot: &slot})
		return nil
	})
	if ctx.Err() != nil {
		return
	}
	if errors.Is(err, errOtherJobspec) && j.sameSource() {
		err = errRestlessJobspec
	}
	switch {
	case errors.Is(err, errOtherJobspec):
		j.holdOtherJobspec()
		return
	case err != nil:
		events = []deployment.Event{{Kind: deployment.Refused, Reason: sentence(err)}}
	}
	j.sayAll(events...)
}

// settleRoute sends those who do not come through the router to the active
// colour, before a second version exists that they could reach. Proxies must
// have the routes by then (see traffic.Keeper), and Consul tells nobody whether
// they do: hence, for once, a wait for time.
func (j job) settleRoute(ctx context.Context, events []deployment.Event) (*deployment.Event, error) {
	route := j.rec.Route
	for _, ev := range events {
		if ev.Kind == deployment.Prepared {
			route = *ev.Route
		}
	}
	if route.Settled || !j.rec.Active.Valid() {
		return nil, nil
	}
	if !pause(ctx, time.Until(begun(route.PreparedAt).Add(routesArrive))) {
		return nil, ctx.Err()
	}
	if err := j.l.t.term.Check(); err != nil {
		return nil, err
	}
	router, err := j.l.routerFor(route.Router)
	if err != nil {
		return nil, err
	}
	if err := router.Settle(ctx, j.l.trafficTarget(route), j.rec.Active); err != nil {
		return nil, finalUnlessAway(err)
	}
	route.Settled = true
	return &deployment.Event{Kind: deployment.Prepared, Route: &route}, nil
}

// routesArrive is what proxies are given to have new routes: Consul gathers
// changes for 200 ms, and a proxy answers within another few.
const routesArrive = 2 * time.Second

// planTries is how often Nomad is asked for room before it counts as missing.
const planTries = 4

var errNoRoom = errors.New("Nomad finds no room for a second full copy at this moment")

// liveCounts are the active colour's counts as they are now: where an
// autoscaler moves them, the candidate starts as large, and the way back is
// whole only when it is as large again.
func (j job) liveCounts(ctx context.Context) (map[string]int, []deployment.Event, error) {
	slot, ok := j.rec.Slots[j.d.From]
	if !ok {
		return nil, nil, nil
	}
	active, err := j.l.t.c.cfg.Nomad(slot.Region).Job(ctx, slot.Namespace, slot.Job)
	if err != nil || active == nil || stopped(active) {
		return nil, nil, finalUnlessAway(err)
	}
	counts := jobspec.Counts(active)
	if len(autoscaled(active)) == 0 || maps.Equal(counts, slot.Counts) {
		return counts, nil, nil
	}
	slot.Counts, slot.Expected = counts, jobspec.Expected(active, j.l.svc)
	return counts, []deployment.Event{{Kind: deployment.Rescaled, Colour: j.d.From, Slot: &slot,
		Reason: fmt.Sprintf("%s has %d instances: somebody, or an autoscaler, changed the count", slot.Job, slot.Expected)}}, nil
}

// autoscaled are the task groups whose count an autoscaler moves: what the
// jobspec says of it is only where it begins.
func autoscaled(job *nomadapi.Job) map[string]bool {
	groups := map[string]bool{}
	for _, g := range job.TaskGroups {
		if g.Scaling != nil && (g.Scaling.Enabled == nil || *g.Scaling.Enabled) {
			groups[value(g.Name)] = true
		}
	}
	return groups
}

// freesRoom says whether stopping what occupies the idle colour may make the
// room that the plan misses: a job with another ID, such as an adopted one, is
// not replaced in the eyes of Nomad's plan.
func (j job) freesRoom(rendered *nomadapi.Job) bool {
	candidate := slotFor(rendered, j.l.svc, j.d.Candidate)
	slot, ok := j.rec.Slots[j.d.To]
	return ok && slices.ContainsFunc(slot.All(), func(s deployment.Slot) bool {
		return s.Region == candidate.Region && !s.SameJob(candidate)
	})
}

// errOtherJobspec says that this agent's files are not those the release began
// with.
var errOtherJobspec = errors.New("the jobspec is not the one that this release began with")

// errRestlessJobspec says that the very same text gave another job.
var errRestlessJobspec = errors.New("the jobspec is another job each time Nomad parses it: functions like timestamp() and uuidv4() have no place in it; give the value as a variable")

// sameSource says whether this agent's files are those the release began with.
func (j job) sameSource() bool {
	return j.pol.SourceHash(overridesFor(j.rec, j.pol)) == j.d.Candidate.Source
}

// holdOtherJobspec waits for the right files, or for an operator.
func (j job) holdOtherJobspec() {
	j.say(deployment.Event{Kind: deployment.Hold, Cause: deployment.OtherPolicy, Reason: "on agent " + j.l.t.c.cfg.Name + ", which leads, " +
		errOtherJobspec.Error() + ": give it the same files, run teal deploy to release what it has, or teal abort"})
}

// render is the candidate's job in the idle colour, as Nomad will get it.
func (j job) render(ctx context.Context, counts map[string]int) (*nomadapi.Job, []string, error) {
	parsed, err := j.l.parse(ctx, j.pol, overridesFor(j.rec, j.pol))
	if err != nil {
		return nil, nil, err
	}
	if jobspec.Hash(parsed, j.d.Candidate.Version) != j.d.Candidate.Hash {
		return nil, nil, final(errOtherJobspec)
	}
	return j.l.render(parsed, j.d, counts)
}

// render gives a parsed jobspec a deployment's colour.
func (l *loop) render(parsed *nomadapi.Job, d deployment.Deployment, counts map[string]int) (*nomadapi.Job, []string, error) {
	r, err := jobspec.Render(parsed, jobspec.Identity{
		Service: l.svc, Colour: d.To, Version: d.Candidate.Version,
		Epoch: l.t.term.Epoch, Deployment: d.ID, Hash: d.Candidate.Hash, Counts: counts,
	})
	if err != nil {
		return nil, nil, final(err)
	}
	return r.Job, r.Warnings, nil
}

// parse has Nomad itself read the policy's jobspec with its variables.
func (l *loop) parse(ctx context.Context, p *policy.Policy, overrides map[string]string) (*nomadapi.Job, error) {
	parsed, err := l.t.c.cfg.Nomad("").Parse(ctx, p.Job.Source(), p.Job.VariablesHCL(overrides))
	if err != nil {
		if errors.Is(err, nomad.ErrUnavailable) {
			return nil, err
		}
		return nil, final(fmt.Errorf("%s: %w", p.Job.Path, err))
	}
	return parsed, nil
}

// prepareRoute defines and routes both subsets. Before the first release it
// points at the empty colour, so that nothing serves ungated.
func (l *loop) prepareRoute(ctx context.Context, rec deployment.Service, p *policy.Policy) (deployment.Route, error) {
	if rec.Route.Router == "" {
		rec.Route.Router = p.Cutover.Router
	}
	router, err := l.routerFor(rec.Route.Router)
	if err != nil {
		return rec.Route, err
	}
	rec.Route.Namespace, rec.Route.Partition = p.Namespace, p.Partition
	busy := rec.Active.Valid()
	route, err := router.Prepare(ctx, traffic.Setup{
		Target: l.trafficTarget(rec.Route), Protocol: p.Cutover.Protocol, Serve: serving(rec.Active), Loose: rec.Route.Loose, Busy: busy,
	})
	route.PreparedAt, route.Settled = time.Now(), !busy
	return route, finalUnlessAway(err)
}

// overridesFor are the command line's variables that are still in force: the
// policy wins again once it changes its own value.
func overridesFor(rec deployment.Service, p *policy.Policy) map[string]string {
	out := map[string]string{}
	for name, o := range rec.Overrides {
		if p.Job.Variables[name] == o.Policy {
			out[name] = o.Value
		}
	}
	return out
}

// slotFor describes what a rendered job puts on a colour.
func slotFor(rendered *nomadapi.Job, service string, c deployment.Candidate) deployment.Slot {
	return deployment.Slot{
		Job: *rendered.ID, Namespace: value(rendered.Namespace), Region: nomad.Region(rendered),
		Version: c.Version, Hash: c.Hash,
		Expected: jobspec.Expected(rendered, service), Counts: jobspec.Counts(rendered),
	}
}

func value[T any](p *T) (v T) {
	if p != nil {
		v = *p
	}
	return v
}
