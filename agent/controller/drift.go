package controller

import (
	"context"
	"fmt"
	"maps"
	"time"

	nomadapi "github.com/hashicorp/nomad/api"

	"github.com/tealdeploy/teal/agent/consul"
	"github.com/tealdeploy/teal/agent/deployment"
	"github.com/tealdeploy/teal/agent/nomad"
	"github.com/tealdeploy/teal/jobspec"
)

// lasting is how long a stream must have been open to count as one that worked.
const lasting = time.Minute

// watchJobs follows Nomad's event stream, one connection for all jobs, and
// sends services whose job was written to have a look.
func (t *tenure) watchJobs(ctx context.Context) error {
	cfg := t.c.cfg
	var pause consul.Backoff
	failures := 0
	for ctx.Err() == nil {
		began := time.Now()
		err := cfg.Nomad("").Stream(ctx, 0, func(ev nomad.Event) {
			pause.Reset()
			failures = 0
			t.jobEvent(ev)
		})
		if ctx.Err() != nil {
			break
		}
		if time.Since(began) > lasting {
			failures = 0
		}
		// Nomad ends a stream when its token ends, and nothing is missed by
		// who connects again.
		if failures++; failures == 2 {
			cfg.Log.Warn("jobs changed by others are not noticed: Nomad's events cannot be followed, trying again", "error", err)
		}
		pause.Wait(ctx)
	}
	return nil
}

// jobEvent finds the service a job belongs to. The event itself proves nothing:
// Nomad repeats what is in its buffer to whoever connects.
func (t *tenure) jobEvent(ev nomad.Event) {
	t.mu.Lock()
	svc, ok := t.jobs[jobKey(ev.Namespace, ev.ID)]
	t.mu.Unlock()
	if !ok {
		return
	}
	job := ev.Job
	if job == nil { // purged
		job = absent(ev.Namespace, ev.ID)
	}
	t.post(svc, jobChanged{job})
}

func absent(namespace, id string) *nomadapi.Job {
	yes := true
	return &nomadapi.Job{ID: &id, Namespace: &namespace, Stop: &yes}
}

// jobChanged has the service's jobs looked at when an event does not fit what
// the record says.
func (l *loop) jobChanged(ctx context.Context, job *nomadapi.Job) {
	held := l.rec.Held != nil && l.rec.Held.Cause == deployment.JobEdited
	if !l.rec.Managed || l.drift(job) == "" && !held {
		return
	}
	l.lookAtJobs(ctx)
}

// lookAtJobs reads the service's jobs beside the loop.
func (l *loop) lookAtJobs(ctx context.Context) {
	if l.look4jobs != nil {
		l.lookAgain = true
		return
	}
	rec := l.rec
	l.look4jobs = l.start(ctx, func(ctx context.Context, w *work) {
		if jobs, err := l.presentJobs(ctx, rec); err == nil {
			l.t.post(l.svc, jobsSeen{w, rec, jobs})
		}
	})
}

// sameSlots says whether two records expect the same jobs. A look that began
// under other expectations proves nothing: Teal may have written the job since.
func sameSlots(a, b deployment.Service) bool {
	return maps.EqualFunc(a.Slots, b.Slots, func(x, y deployment.Slot) bool {
		return x.Job == y.Job && x.Hash == y.Hash && x.Found == y.Found && x.Adopted == y.Adopted && x.Scaled == y.Scaled
	})
}

// presentJobs reads every job that may be the service's, as it is now.
func (l *loop) presentJobs(ctx context.Context, rec deployment.Service) ([]*nomadapi.Job, error) {
	var jobs []*nomadapi.Job
	for colour, slot := range rec.Slots {
		ids := []string{slot.Job}
		if plain, ok := plainID(slot.Job, colour); ok && !slot.Adopted {
			ids = append(ids, plain)
		}
		for _, id := range ids {
			var job *nomadapi.Job
			err := retry(ctx, l.log, "look at job "+id, func(ctx context.Context) error {
				var err error
				job, err = l.t.c.cfg.Nomad(slot.Region).Job(ctx, slot.Namespace, id)
				return finalUnlessAway(err)
			})
			if err != nil {
				return nil, err
			}
			if job == nil {
				job = absent(slot.Namespace, id)
			}
			jobs = append(jobs, job)
		}
	}
	return jobs, nil
}

// jobsSeen holds the service when somebody else stopped or replaced a colour's
// job, and lifts the hold when that is mended. What Teal does itself is not
// mistaken for that: the record says beforehand what will be done.
func (l *loop) jobsSeen(ctx context.Context, jobs []*nomadapi.Job) error {
	if !l.rec.Managed || l.order != nil {
		return nil
	}
	what := ""
	for _, job := range jobs {
		if what = l.drift(job); what != "" {
			break
		}
	}
	held := l.rec.Held
	switch {
	case what == "" && held != nil && held.Cause == deployment.JobEdited:
		return l.apply(ctx, nil, deployment.Event{Kind: deployment.Unhold, At: time.Now(), By: self, Reason: "the jobs are as Teal wrote them again"})
	case what == "" || held != nil && held.Reason == what:
		return nil
	}
	return l.apply(ctx, nil, deployment.Event{Kind: deployment.Hold, Cause: deployment.JobEdited, At: time.Now(), By: self, Reason: what})
}

// drift says in what a job is not as Teal left it, or nothing.
func (l *loop) drift(job *nomadapi.Job) string {
	id := value(job.ID)
	for colour, slot := range l.rec.Slots {
		if jobKey(slot.Namespace, slot.Job) != jobKey(value(job.Namespace), id) {
			continue
		}
		if l.changing(colour, slot) {
			return ""
		}
		hash, was := job.Meta[jobspec.MetaHash], slot.Hash
		if slot.Adopted {
			hash, was = jobspec.Hash(job, versionOf(job)), slot.Found
		}
		switch {
		case stopped(job):
			return fmt.Sprintf("job %s (%s, %s) was stopped by somebody else", id, colour, orUnknown(slot.Version))
		case hash != was:
			return fmt.Sprintf("job %s (%s) was registered anew by somebody else: what runs there is not %s any more; "+
				"put the change into the policy's jobspec instead, and teal deploy", id, colour, orUnknown(slot.Version))
		case colour == l.rec.Active && !maps.Equal(jobspec.Counts(job), slot.Counts):
			l.log.Debug("the active colour was scaled by somebody else", "job", id, "counts", jobspec.Counts(job))
		}
		return ""
	}
	if !stopped(job) && !l.leaving(job) {
		return fmt.Sprintf("job %s was run by somebody else: its instances carry no colour and get no traffic; "+
			"put the version into the policy and stop the job (nomad job stop %s)", id, id)
	}
	return ""
}

// leaving says whether a job stood on a colour before, and is still to be stopped.
func (l *loop) leaving(job *nomadapi.Job) bool {
	for _, slot := range l.rec.Slots {
		for _, s := range slot.Leaving {
			if jobKey(s.Namespace, s.Job) == jobKey(value(job.Namespace), value(job.ID)) {
				return true
			}
		}
	}
	return false
}

// changing says whether Teal itself is at work on a colour's job.
func (l *loop) changing(colour deployment.Colour, slot deployment.Slot) bool {
	if slot.StopAt != nil || slot.Scaled {
		return true
	}
	if !l.rec.InFlight() {
		return false
	}
	switch d := l.rec.Deployment; d.State {
	case deployment.Preparing, deployment.Launching:
		return colour == d.To
	case deployment.Retiring:
		return colour == d.From
	}
	return false
}
