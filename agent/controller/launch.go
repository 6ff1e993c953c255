package controller

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/hashicorp/go-hclog"
	nomadapi "github.com/hashicorp/nomad/api"
	"golang.org/x/sync/errgroup"

	"github.com/tealdeploy/teal/agent/deployment"
	"github.com/tealdeploy/teal/agent/nomad"
	"github.com/tealdeploy/teal/jobspec"
)

// launch empties the idle colour, registers the candidate on it and waits
// until every instance has been healthy long enough, within the deadline.
func (j job) launch(ctx context.Context) {
	deadline := begun(j.d.Since).Add(j.pol.Launch.Deadline)
	ctx, cancel := context.WithDeadline(ctx, deadline)
	defer cancel()

	var latest nomad.JobStatus
	var since uint64
	phase := notEmpty
	err := j.evict(ctx)
	if err == nil {
		phase = "not registered"
		since, err = j.register(ctx)
	}
	if err == nil {
		phase = "not healthy"
		if !j.d.Registered {
			j.say(deployment.Event{Kind: deployment.Registered})
		}
		latest, err = j.awaitHealthy(ctx, since)
	}
	if errors.Is(err, errOtherJobspec) && j.sameSource() {
		err = errRestlessJobspec
	}
	switch {
	case errors.Is(err, errOtherJobspec):
		j.holdOtherJobspec()
	case err == nil:
		j.say(deployment.Event{Kind: deployment.Launched, Reason: fmt.Sprintf("%d instances passed for %s",
			j.rec.Slots[j.d.To].Expected, j.pol.Launch.HealthyFor)})
	case errors.Is(ctx.Err(), context.DeadlineExceeded):
		j.say(deployment.Event{Kind: deployment.LaunchFail, KeepUntil: j.keepUntil(),
			Reason: fmt.Sprintf("%s within the launch deadline of %s: %s", phase, j.pol.Launch.Deadline, j.shortfall(phase, latest))})
	case ctx.Err() != nil:
	default:
		j.say(deployment.Event{Kind: deployment.LaunchFail, KeepUntil: j.keepUntil(), Reason: sentence(err)})
	}
}

// evict empties the idle colour: stops what still occupies it, and waits until
// none of its instances is left in Consul. The gates then see one version only,
// Nomad's canaries and rolling updates have nothing to mix, and nobody takes an
// instance that is slow to go for one of the candidate's. A candidate that is
// registered already, from before a crash, found the colour empty.
func (j job) evict(ctx context.Context) error {
	err := retry(ctx, j.l.log, "empty the idle colour", func(ctx context.Context) error {
		slot := j.rec.Slots[j.d.To]
		candidate, err := j.l.t.c.cfg.Nomad(slot.Region).Job(ctx, slot.Namespace, slot.Job)
		if err != nil {
			return finalUnlessAway(err)
		}
		if candidate != nil && jobspec.DeploymentOf(candidate) == j.d.ID && !stopped(candidate) {
			return nil
		}
		for _, old := range j.occupants(slot) {
			if old.SameJob(slot) && candidate != nil && candidate.Meta[jobspec.MetaService] != j.l.svc && !stopped(candidate) {
				continue // register refuses it, in words
			}
			if err := j.stopSlot(ctx, old); err != nil {
				return err
			}
		}
		j.l.log.Debug("the idle colour runs nothing, waiting for Consul", "job", slot.Job)
		waiting, cancel := context.WithTimeout(ctx, lookAgain)
		defer cancel()
		v, err := j.feed.await(waiting, func(v view) bool { return len(j.left(v)) == 0 })
		if err != nil && ctx.Err() == nil {
			return errors.New(j.lingering(v)) // stopped as it is, by what Nomad said: ask again
		}
		return err
	})
	if err != nil || !j.rec.Route.Loose || j.d.To != deployment.Blue {
		return err
	}
	// The adopted job is gone: from here on an instance without colour is
	// nobody's, and serves nothing.
	return retry(ctx, j.l.log, "tighten the blue subset", func(ctx context.Context) error {
		route, err := j.router().Tighten(ctx, j.l.trafficTarget(j.rec.Route))
		if err == nil {
			j.say(deployment.Event{Kind: deployment.Prepared, Route: &route})
		}
		return finalUnlessAway(err)
	})
}

// lookAgain is after how long Nomad is asked anew whether what was stopped still
// is, where its instances do not go: somebody may have run it again, or Nomad said
// of a job that ran that it did not.
const lookAgain = 30 * time.Second

// occupants are all who may stand on the idle colour: what had it before the
// candidate, what an earlier release left there under another ID before it came
// to stop it, and whoever runs under the candidate's.
func (j job) occupants(slot deployment.Slot) []deployment.Slot {
	all := slot.All()
	if old := j.d.Evict; old != nil && !slices.ContainsFunc(all, old.SameJob) {
		all = append([]deployment.Slot{*old}, all...)
	}
	return all
}

// left are the instances that have to go before the candidate comes. Those without
// colour are the adopted job's; where that is gone already they are somebody
// else's, and may stay.
func (j job) left(v view) []deployment.Instance {
	adopted := func(s deployment.Slot) bool { return s.Adopted }
	return v.of(j.d.To, j.rec.Route.Loose && slices.ContainsFunc(j.occupants(j.rec.Slots[j.d.To]), adopted))
}

// stopSlot stops a slot's job if it runs, and waits for its end. It never stops
// the candidate, which stands there already where an earlier leader registered it
// and died, or where a deposed server of Nomad's has only now said that it does
// not: the stop could arrive when it serves.
func (j job) stopSlot(ctx context.Context, slot deployment.Slot) error {
	client := j.l.t.c.cfg.Nomad(slot.Region)
	running, err := client.Job(ctx, slot.Namespace, slot.Job)
	if err != nil {
		return finalUnlessAway(err)
	}
	if running == nil {
		return nil
	}
	if !stopped(running) {
		if !followed(ctx, j.rec) {
			return ctx.Err()
		}
		j.l.log.Info("stopping what ran on the idle colour", "job", slot.Job, "version", slot.Version)
		err := client.StopIf(ctx, slot.Namespace, slot.Job, func(ctx context.Context, job *nomadapi.Job) error {
			if jobspec.DeploymentOf(job) == j.d.ID {
				return fmt.Errorf("stop %s: it is the candidate: %w", slot.Job, nomad.ErrConflict)
			}
			return j.l.t.leads(ctx, job)
		})
		if err != nil {
			return finalUnlessAway(err)
		}
	}
	return finalUnlessAway(ended(ctx, j.l.log, client, slot))
}

// ended waits until nothing of a stopped job runs. It tells of one that is slow to
// end, once, and asks Nomad anew every so often: a release that stands still is to say
// what it waits for, and news that was lost is not to be waited for until Nomad's
// held query is over.
func ended(ctx context.Context, log hclog.Logger, client Nomad, slot deployment.Slot) error {
	for said := false; ; said = true {
		waiting, cancel := context.WithCancel(ctx)
		timer := time.AfterFunc(lookAgain, cancel)
		err := client.WaitStopped(waiting, slot.Namespace, slot.Job)
		timer.Stop()
		cancel()
		if ctx.Err() != nil || !errors.Is(err, context.Canceled) {
			return err
		}
		if !said {
			log.Warn("it was told to end and runs on; waiting", "job", slot.Job, "for", lookAgain, "see", "nomad job status "+slot.Job)
		}
	}
}

// register submits the candidate. A registration that is already ours, from
// before a crash, is left as it is. since is the index of either.
func (j job) register(ctx context.Context) (since uint64, err error) {
	slot := j.rec.Slots[j.d.To]
	client := j.l.t.c.cfg.Nomad(slot.Region)
	err = retry(ctx, j.l.log, "register the candidate", func(ctx context.Context) error {
		running, err := client.Job(ctx, slot.Namespace, slot.Job)
		if err != nil {
			return finalUnlessAway(err)
		}
		var index uint64
		if running != nil {
			if jobspec.DeploymentOf(running) == j.d.ID && !stopped(running) {
				since = value(running.JobModifyIndex)
				return j.resize(ctx, client, slot, running)
			}
			if owner := running.Meta[jobspec.MetaService]; owner != j.l.svc && !stopped(running) {
				return final(fmt.Errorf("job %s runs already and is not this service's%s: stop it, or give the jobspec another name",
					slot.Job, hint(owner != "", " but that of "+owner)))
			}
			index = value(running.JobModifyIndex)
		}
		rendered, _, err := j.render(ctx, slot.Counts)
		if err != nil {
			return err
		}
		for _, g := range rendered.TaskGroups {
			// The record says how many are waited for, whatever the text has come to.
			if n, ok := slot.Counts[value(g.Name)]; ok {
				g.Count = &n
			}
		}
		if err := j.l.t.term.Check(); err != nil {
			return err
		}
		reg, err := client.Register(ctx, rendered, index, nomad.Submission{
			Source: j.pol.Job.Source(), Format: "hcl2", Variables: j.pol.Job.VariablesHCL(overridesFor(j.rec, j.pol)),
		})
		if err != nil {
			return finalUnlessAway(err)
		}
		since = reg.Index
		j.l.log.Info("registered", "job", *rendered.ID, "version", j.d.Candidate.Version, "evaluation", reg.EvalID)
		return nil
	})
	return since, err
}

// resize gives a candidate that is registered already the counts that the record
// has by now. Those that an autoscaler moves are its to say.
func (j job) resize(ctx context.Context, client Nomad, slot deployment.Slot, running *nomadapi.Job) error {
	counts := maps.Clone(slot.Counts)
	for group := range autoscaled(running) {
		delete(counts, group)
	}
	if !nomad.Differ(running, counts) {
		return nil
	}
	return finalUnlessAway(client.Scale(ctx, slot.Namespace, slot.Job, counts, j.l.t.leads))
}

// awaitHealthy watches Nomad and Consul side by side. Nomad tells what went
// wrong in its own words; Consul decides what is healthy. A server of Nomad's that
// leads no more, or only just, may tell of the job as it was before its
// registration: that it was stopped, failed or not there says nothing.
func (j job) awaitHealthy(ctx context.Context, since uint64) (latest nomad.JobStatus, err error) {
	slot := j.rec.Slots[j.d.To]
	watching, stop := context.WithCancel(ctx)
	defer stop()
	g, ctx := errgroup.WithContext(watching)
	g.Go(func() error {
		var missing time.Time // since when
		err := retry(ctx, j.l.log, "watch the job", func(ctx context.Context) error {
			err := j.l.t.c.cfg.Nomad(slot.Region).WatchJob(ctx, slot.Namespace, slot.Job, func(s nomad.JobStatus) bool {
				if s.Exists && s.Index < since {
					return false
				}
				if latest = s; s.Exists {
					missing = time.Time{}
				}
				return s.Dead != ""
			})
			if err == nil && !latest.Exists {
				if missing.IsZero() {
					missing = time.Now()
				}
				if time.Since(missing) < reallyGone {
					return fmt.Errorf("Nomad says of %s: %s", slot.Job, latest.Dead)
				}
			}
			return finalUnlessAway(err)
		})
		if ctx.Err() != nil {
			return nil
		}
		if err == nil && latest.Dead != "" {
			err = fmt.Errorf("Nomad gave up on %s: %s", slot.Job, latest.Describe())
		}
		return err
	})
	g.Go(func() error {
		defer stop()
		return j.steady(ctx, slot.Expected)
	})
	err = g.Wait()
	return latest, err
}

// reallyGone is for how long Nomad has to say, asked again and again, that a job
// that was registered is not there. It forgets none by itself.
const reallyGone = 10 * time.Second

// steady returns once all instances have passed without a break for as long
// as the policy asks.
func (j job) steady(ctx context.Context, expected int) error {
	healthy := func(v view) bool {
		list := v.of(j.d.To, false)
		return v.err == nil && len(list) >= expected && passing(list) == len(list)
	}
	for {
		if _, err := j.feed.await(ctx, healthy); err != nil {
			return err
		}
		hold, cancel := context.WithTimeout(ctx, j.pol.Launch.HealthyFor)
		_, err := j.feed.await(hold, func(v view) bool { return !healthy(v) })
		cancel()
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if errors.Is(err, context.DeadlineExceeded) {
			return nil
		}
	}
}

// lingering names who still has the colour. Those of a machine that died stay in
// Consul for three days, unless somebody says that it is gone.
func (j job) lingering(v view) string {
	list := j.left(v)
	if len(list) == 0 {
		return "Consul knows no instance of it any more"
	}
	i := list[0]
	return fmt.Sprintf("Consul still has %d instances of %s, such as %s on node %s, which is %s; if that machine is gone for good, consul force-leave -prune %s takes its instances away",
		len(list), j.d.To, i.ID, i.Node, i.Health, i.Node)
}

// notEmpty is the first phase of a launch.
const notEmpty = "the idle colour is not empty yet"

// shortfall says what was missing when the deadline passed.
func (j job) shortfall(phase string, s nomad.JobStatus) string {
	v, _ := j.feed.now()
	list := v.of(j.d.To, false)
	parts := []string{fmt.Sprintf("Consul knows %d of %d instances, %d passing",
		len(list), j.rec.Slots[j.d.To].Expected, passing(list))}
	if phase == notEmpty {
		parts = []string{j.lingering(v)}
	}
	if v.err != nil {
		parts = append(parts, "Consul cannot be asked: "+v.err.Error())
	}
	if d := s.Describe(); d != "" {
		parts = append(parts, "Nomad says: "+d)
	}
	return strings.Join(parts, "; ")
}

func stopped(job *nomadapi.Job) bool { return job.Stop != nil && *job.Stop }
