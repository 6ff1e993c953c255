package nomadtest

import (
	"fmt"
	"time"

	"github.com/hashicorp/nomad/api"

	"github.com/tealdeploy/teal/agent/nomad"
)

// put registers a job's next version and has it scheduled.
func (s *Server) put(job *api.Job, sub nomad.Submission) *stored {
	s.index++
	at := s.jobs[named(value(job.Namespace), value(job.ID))]
	var before *api.Job
	job.JobModifyIndex, job.ModifyIndex, job.CreateIndex, job.Version = ptr(s.index), ptr(s.index), ptr(s.index), ptr(uint64(0))
	if at == nil {
		at = &stored{sources: map[uint64]nomad.Submission{}}
		s.jobs[named(value(job.Namespace), value(job.ID))] = at
	} else {
		before = at.job
		job.CreateIndex, job.Version = at.job.CreateIndex, ptr(value(at.job.Version)+1)
	}
	at.job = job
	at.history = append([]*api.Job{job}, at.history...)
	if sub.Source != "" {
		at.sources[*job.Version] = sub
	}
	s.event("JobRegistered", job)
	if s.writing != nil && s.observe != nil {
		w := *s.writing
		w.Before, w.Now = before, job
		s.observe(w)
	}
	s.schedule(at)
	return at
}

func (s *Server) event(kind string, job *api.Job) {
	s.events = append(s.events, nomad.Event{Index: s.index, Type: kind, Namespace: value(job.Namespace), ID: value(job.ID), Job: clone(job)})
}

// schedule makes a job's allocations what its present version asks for: what
// still fits is taken over, the rest is stopped, what is missing is placed
// where there is memory.
func (s *Server) schedule(at *stored) {
	job, failed := at.job, map[string]*api.AllocationMetric{}
	rollout := &api.Deployment{
		ID: s.newID("deployment"), JobID: value(job.ID), Namespace: value(job.Namespace), JobVersion: *job.Version,
		JobCreateIndex: *job.CreateIndex, Status: api.DeploymentStatusRunning, StatusDescription: "Deployment is running",
	}
	s.alterRollout(at)
	at.rollout, at.blocked = rollout, nil
	have := map[string]int{}
	for _, a := range s.allocs {
		if a.of != named(value(job.Namespace), value(job.ID)) || !a.wanted() {
			continue
		}
		g := job.LookupTaskGroup(a.stub.TaskGroup)
		if value(job.Stop) || g == nil || have[a.stub.TaskGroup] >= value(g.Count) || destructive(a.job, job, g) {
			s.stop(a)
			continue
		}
		have[a.stub.TaskGroup]++
		s.alter(a).JobVersion = *job.Version // in place
		a.job = job
	}
	for _, g := range job.TaskGroups {
		if job.ParameterizedJob != nil {
			break // only its instances run
		}
		for n := have[*g.Name]; n < value(g.Count) && !value(job.Stop); n++ {
			if s.used()+memory(g) > s.memory {
				failed[*g.Name] = exhausted(value(g.Count) - n)
				break
			}
			s.place(job, g, n)
		}
	}
	if len(failed) > 0 {
		at.blocked = &api.Evaluation{ID: s.newID("eval"), JobID: *job.ID, Status: api.EvalStatusBlocked, FailedTGAllocs: failed, CreateIndex: s.index}
	}
	s.judge(at)
	if deadline := progressDeadline(job); deadline > 0 && rollout.Status == api.DeploymentStatusRunning && !value(job.Stop) {
		time.AfterFunc(deadline, func() {
			s.change(func() {
				if at.rollout == rollout && rollout.Status == api.DeploymentStatusRunning {
					s.index++
					s.alterRollout(at)
					rollout.Status, rollout.StatusDescription = api.DeploymentStatusFailed, "Failed due to progress deadline"
				}
			})
		})
	}
}

func progressDeadline(job *api.Job) (longest time.Duration) {
	for _, g := range job.TaskGroups {
		if g.Update != nil {
			longest = max(longest, value(g.Update.ProgressDeadline))
		}
	}
	return longest
}

// judge ends a deployment once all its allocations are healthy.
func (s *Server) judge(at *stored) {
	if at == nil || at.rollout.Status != api.DeploymentStatusRunning {
		return
	}
	if value(at.job.Stop) {
		s.alterRollout(at)
		at.rollout.Status, at.rollout.StatusDescription = api.DeploymentStatusCancelled, "Cancelled because job is stopped"
		return
	}
	if st := s.status(named(value(at.job.Namespace), value(at.job.ID)), allAt(s.index)); st.Healthy >= st.Desired {
		s.alterRollout(at)
		at.rollout.Status, at.rollout.StatusDescription = api.DeploymentStatusSuccessful, "Deployment completed successfully"
	}
}

// destructive says whether a group's allocations must be replaced. Meta of
// the job reaches every task, so a change of it restarts all of them; the
// meta of services, counts and names do not.
func destructive(old, now *api.Job, g *api.TaskGroup) bool {
	was := old.LookupTaskGroup(*g.Name)
	shape := func(job *api.Job, g *api.TaskGroup) string {
		c := job.LookupTaskGroup(*g.Name)
		var tasks []api.Task
		for _, t := range c.Tasks {
			task := *t
			task.Services = nil
			tasks = append(tasks, task)
		}
		return text([]any{job.Meta, c.Meta, tasks, c.Networks, c.Volumes, c.EphemeralDisk})
	}
	return was == nil || shape(old, was) != shape(now, g)
}

// essence is the job as its author knows it.
func essence(job *api.Job) string {
	c := *job
	c.Stop = ptr(value(c.Stop))
	c.Version, c.JobModifyIndex, c.ModifyIndex, c.CreateIndex = nil, nil, nil, nil
	c.Status, c.StatusDescription, c.Stable, c.SubmitTime = nil, nil, nil, nil
	return text(&c)
}

func (s *Server) newID(kind string) string {
	s.ids++
	return fmt.Sprintf("%08d-%s", s.ids, kind)
}
