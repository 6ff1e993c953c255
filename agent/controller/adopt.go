package controller

import (
	"cmp"
	"context"
	"errors"
	"fmt"

	nomadapi "github.com/hashicorp/nomad/api"

	"github.com/tealdeploy/teal/agent/deployment"
	"github.com/tealdeploy/teal/agent/nomad"
	"github.com/tealdeploy/teal/agent/traffic"
	"github.com/tealdeploy/teal/jobspec"
)

// found is what already runs of a service that is not managed yet.
type found struct {
	active deployment.Colour // None: nothing serves
	slots  map[deployment.Colour]deployment.Slot
	route  deployment.Route
}

// adoptedAsItRan is the proof of what served before Teal came.
const adoptedAsItRan = "adopted as it ran"

// events take over what was found, as it is.
func (f found) events(k ask) []deployment.Event {
	if !f.active.Valid() {
		ev := k.event(deployment.Enrol)
		ev.Route = &f.route
		return []deployment.Event{ev}
	}
	slot := f.slots[f.active]
	ev := k.event(deployment.Adopt)
	ev.Colour, ev.Slot, ev.Route = f.active, &slot, &f.route
	events := []deployment.Event{ev}
	if other, ok := f.slots[f.active.Other()]; ok {
		other.Proof = "" // nothing is known of it: it may have failed its gates
		events = append(events, deployment.Event{Kind: deployment.Rescaled, At: k.at, By: k.by, Colour: f.active.Other(), Slot: &other,
			Reason: fmt.Sprintf("%s was found running", other.Job)})
	}
	return events
}

// find looks for what runs of the service, and makes its route ready around
// it. Neither a job nor a request notices: all traffic stays where it is.
func (l *loop) find(ctx context.Context, rec deployment.Service, a appraisal) (found, error) {
	f, err := l.running(ctx, rec, a)
	if err != nil {
		return f, err
	}
	if len(f.slots) == 0 {
		if err := l.servedElsewhere(ctx, a); err != nil {
			return f, err
		}
	}
	astray, err := l.astray(ctx, f, a)
	if err != nil {
		return f, err
	}
	if err := l.t.term.Check(); err != nil {
		return f, err
	}
	rec.Active = f.active
	rec.Route = f.route
	f.route, err = l.prepareRoute(ctx, rec, a.pol)
	if err != nil || !astray {
		return f, err
	}
	router, err := l.routerFor(f.route.Router)
	if err != nil {
		return f, err
	}
	written, err := router.Shift(ctx, l.trafficTarget(f.route), traffic.Move{To: f.active, Deployment: "adoption", Nonce: fmt.Sprint(l.t.term.Epoch)})
	f.route = written.Route
	return f, finalUnlessAway(err)
}

// astray says whether the route, which is Teal's own from before, leads to a colour
// of which nothing runs, while what is adopted has the other: a leader that was told
// of no job made it ready for a first release, and died of it. Where Consul still
// knows somebody on that colour who serves, it is Nomad that is mistaken.
func (l *loop) astray(ctx context.Context, f found, a appraisal) (bool, error) {
	if !f.active.Valid() {
		return false, nil
	}
	router, err := l.routerFor(f.route.Router)
	if err != nil {
		return false, err
	}
	o, err := router.Observe(ctx, l.trafficTarget(f.route))
	if err != nil {
		return false, finalUnlessAway(err)
	}
	if _, runs := f.slots[o.Colour]; runs || o.Owner == "" || !o.Colour.Valid() {
		return false, nil
	}
	instances, _, err := l.t.c.cfg.Catalog.Instances(ctx, l.svc, 0)
	if err != nil {
		return false, err
	}
	for _, i := range instances {
		if i.Colour == o.Colour && i.Serving() {
			return false, fmt.Errorf("%w: %s %s sends requests to %s, where %s on node %s serves, but Nomad runs no job %s that it could belong to; "+
				"run that job again, or stop those instances to have %s taken over as it runs",
				errServedElsewhere, f.route.Router, l.svc, o.Colour, i.ID, i.Node, jobspec.ColouredID(a.candidate.Job, o.Colour), f.slots[f.active].Job)
		}
	}
	return true, nil
}

// errServedElsewhere is that of a service which serves, but from no job of the
// policy. As a first release its route would lead to a colour that is empty yet.
var errServedElsewhere = errors.New("it serves already")

// foundTries is how often what runs is looked for before instances of no known
// job count as somebody else's: those of a job just stopped are still leaving.
const foundTries = 5

// servedElsewhere refuses a service that Nomad knows no job for, and that has
// instances nevertheless.
func (l *loop) servedElsewhere(ctx context.Context, a appraisal) error {
	instances, _, err := l.t.c.cfg.Catalog.Instances(ctx, l.svc, 0)
	if err != nil {
		return err
	}
	serving, example := 0, ""
	for _, i := range instances {
		if i.Serving() {
			serving++
			example = fmt.Sprintf("%s on node %s", i.ID, i.Node)
		}
	}
	if serving == 0 {
		return nil
	}
	return fmt.Errorf("%w: %d instances of %s serve traffic (%s), but Nomad runs no job %s in namespace %s that they could belong to; "+
		"let the policy name the job, its namespace and its region as they run, or stop those instances, if the service may start anew",
		errServedElsewhere, serving, l.svc, example, a.candidate.Job, cmp.Or(value(a.parsed.Namespace), "default"))
}

// running asks Nomad for the service's jobs: the ordinary one that ran before
// Teal came, or colours of its own whose record was lost or given back.
func (l *loop) running(ctx context.Context, rec deployment.Service, a appraisal) (found, error) {
	f := found{active: deployment.None, slots: map[deployment.Colour]deployment.Slot{}}
	f.route.Router = a.pol.Cutover.Router
	client := l.t.c.cfg.Nomad(value(a.parsed.Region))
	for _, colour := range deployment.Colours {
		job, err := runningJob(ctx, client, value(a.parsed.Namespace), jobspec.ColouredID(a.candidate.Job, colour))
		if err != nil {
			return f, err
		}
		if job != nil && job.Meta[jobspec.MetaService] == l.svc {
			f.slots[colour] = l.slotOf(job, job.Meta[jobspec.MetaHash])
		}
	}
	plain, err := runningJob(ctx, client, value(a.parsed.Namespace), a.candidate.Job)
	if err != nil {
		return f, err
	}
	if len(f.slots) > 0 {
		var adopted bool
		if f.active, adopted, err = l.servingOf(ctx, rec, f, plain != nil); err != nil || !adopted {
			return f, err
		}
	}
	if plain == nil {
		return f, nil
	}
	if err := jobspec.Refuse(plain, l.svc); err != nil {
		return f, final(fmt.Errorf("the running job %s cannot be adopted: %w", a.candidate.Job, err))
	}
	hash, err := adoptedHash(ctx, client, plain, a)
	if err != nil {
		return f, err
	}
	slot := l.slotOf(plain, hash)
	slot.Adopted, slot.Found = true, jobspec.Hash(plain, versionOf(plain))
	if hash == a.candidate.Hash {
		slot.Version = a.candidate.Version
	}
	f.active, f.slots[deployment.Blue] = deployment.Blue, slot
	f.route.Loose = true
	return f, nil
}

// adoptedHash is the hash that the running job's jobspec has. The job itself
// does not tell: Nomad has filled much in that a parsed jobspec leaves out.
// Therefore Nomad is asked whether the policy's jobspec would change anything,
// and if it would, for the text that the job was submitted with.
func adoptedHash(ctx context.Context, client Nomad, plain *nomadapi.Job, a appraisal) (string, error) {
	same, err := jobspec.Copy(a.parsed)
	if err != nil {
		return "", final(err)
	}
	counts := jobspec.Counts(plain)
	for _, g := range same.TaskGroups { // a count is no part of a version
		if n, ok := counts[value(g.Name)]; ok {
			g.Count = &n
		}
	}
	plan, err := client.Plan(ctx, same)
	if err != nil {
		return "", finalUnlessAway(err)
	}
	if !plan.Changed {
		return a.candidate.Hash, nil
	}
	sub, err := client.Submission(ctx, value(plain.Namespace), value(plain.ID))
	switch {
	case errors.Is(err, nomad.ErrNotFound) || err == nil && sub.Format == "json":
		return jobspec.Hash(plain, versionOf(plain)), nil // equals no jobspec: it is a version of its own
	case err != nil:
		return "", finalUnlessAway(err)
	}
	parsed, err := client.Parse(ctx, sub.Source, sub.Variables)
	if err != nil {
		if isAway(err) {
			return "", err
		}
		return jobspec.Hash(plain, versionOf(plain)), nil
	}
	return jobspec.Hash(parsed, versionOf(parsed)), nil
}

// servingOf says which of Teal's own colours serves: what the router says,
// else the record that was kept, else the only one that runs. adopted says that
// it is the ordinary job, which was blue when the record was lost.
func (l *loop) servingOf(ctx context.Context, rec deployment.Service, f found, plain bool) (c deployment.Colour, adopted bool, err error) {
	router, err := l.routerFor(f.route.Router)
	if err != nil {
		return deployment.None, false, err
	}
	o, err := router.Observe(ctx, l.trafficTarget(f.route))
	if err != nil {
		return deployment.None, false, finalUnlessAway(err)
	}
	_, runs := f.slots[o.Colour]
	switch {
	case runs:
		return o.Colour, false, nil
	case o.Owner == "":
	case o.Colour == deployment.Blue && plain:
		return deployment.Blue, true, nil
	case o.Colour == deployment.Green:
		return deployment.None, false, nil // the empty colour, before a first release
	case o.Colour == deployment.Blue:
		return deployment.None, false, final(fmt.Errorf("%s %s sends requests to blue, of which nothing runs, and green has proven nothing: run blue's job again, or delete the entry (consul config delete -kind %s -name %s) to take green as what serves; then teal deploy %s",
			f.route.Router, l.svc, f.route.Router, l.svc, l.svc))
	}
	if _, ok := f.slots[rec.Active]; ok {
		return rec.Active, false, nil
	}
	if len(f.slots) == 1 {
		for c := range f.slots {
			return c, false, nil
		}
	}
	return deployment.None, false, final(fmt.Errorf("both colours of %s run and nothing says which one serves: stop the one that is not wanted (nomad job stop), then teal deploy %s", l.svc, l.svc))
}

// runningJob is a job that runs, nil when there is none or it was stopped.
func runningJob(ctx context.Context, client Nomad, namespace, id string) (*nomadapi.Job, error) {
	job, err := client.Job(ctx, namespace, id)
	if err != nil || job == nil || stopped(job) {
		return nil, finalUnlessAway(err)
	}
	return job, nil
}

// slotOf describes a job that runs already.
func (l *loop) slotOf(job *nomadapi.Job, hash string) deployment.Slot {
	return deployment.Slot{
		Job: value(job.ID), Namespace: value(job.Namespace), Region: nomad.Region(job),
		Version: versionOf(job), Hash: hash, Proof: adoptedAsItRan,
		Expected: jobspec.Expected(job, l.svc), Counts: jobspec.Counts(job),
	}
}

// versionOf is the version a running job says it has, by the environment
// variable that Teal itself sets and many people do, too.
func versionOf(job *nomadapi.Job) string {
	for _, g := range job.TaskGroups {
		if g == nil {
			continue
		}
		for _, t := range g.Tasks {
			if t != nil && t.Env[jobspec.EnvVersion] != "" {
				return t.Env[jobspec.EnvVersion]
			}
		}
	}
	return ""
}
