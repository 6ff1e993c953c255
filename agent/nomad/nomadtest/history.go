package nomadtest

import (
	"github.com/hashicorp/nomad/api"

	"github.com/tealdeploy/teal/agent/nomad"
)

// A leader that was suspended and deposed meanwhile answers what waited for it
// with the state of before (see Fault.Stale). Hence each allocation, and each
// job's deployment, remembers what it was and from which index on. Versions of
// a job are in its history anyway. A job that was purged never was.

// formerly is an allocation as it was from an index on.
type formerly struct {
	since uint64
	job   *api.Job
	stub  api.AllocationListStub
}

// alter gives an allocation's state to be changed at the present index.
func (s *Server) alter(a *allocation) *api.AllocationListStub {
	if a.since < s.index {
		a.past = append(a.past, formerly{a.since, a.job, *a.stub})
		a.since = s.index
	}
	return a.stub
}

// asOf is an allocation as it was at an index, nil when it was not there yet.
func (a *allocation) asOf(index uint64) *api.AllocationListStub {
	if a.since <= index {
		return a.stub
	}
	for n := len(a.past) - 1; n >= 0; n-- {
		if a.past[n].since <= index {
			return &a.past[n].stub
		}
	}
	return nil
}

// scheduled is what Nomad made of a job's version, from an index on.
type scheduled struct {
	since   uint64
	rollout api.Deployment
	blocked *api.Evaluation
}

// alterRollout gives a job's deployment to be changed at the present index.
func (s *Server) alterRollout(at *stored) *api.Deployment {
	if at.since < s.index {
		if at.rollout != nil {
			at.past = append(at.past, scheduled{at.since, *at.rollout, at.blocked})
		}
		at.since = s.index
	}
	return at.rollout
}

// rolloutAsOf is a job's deployment as it was, and what waited for a place.
func (at *stored) rolloutAsOf(index uint64) (*api.Deployment, *api.Evaluation) {
	if at.since <= index {
		return at.rollout, at.blocked
	}
	for n := len(at.past) - 1; n >= 0; n-- {
		if at.past[n].since <= index {
			return &at.past[n].rollout, at.past[n].blocked
		}
	}
	return nil, nil
}

// jobAsOf is a job as it was at an index, with the status that Nomad gave it
// then; nil when there was none. It is not to be changed.
func (s *Server) jobAsOf(n name, index uint64) *api.Job {
	at := s.jobs[n]
	if at == nil {
		return nil
	}
	for _, job := range at.history {
		if value(job.JobModifyIndex) <= index {
			return s.withStatus(n, at, job, index)
		}
	}
	return nil
}

// allocsAsOf are a job's allocations as they were at an index.
func (s *Server) allocsAsOf(n name, job *api.Job, index uint64) (all []*api.AllocationListStub) {
	for _, a := range s.allocs {
		if a.of != n || a.stub.CreateIndex < value(job.CreateIndex) {
			continue
		}
		if stub := a.asOf(index); stub != nil {
			all = append(all, stub)
		}
	}
	return all
}

// moments are the indexes at which the parts of a status were answered.
type moments struct{ job, allocs, rollout, evals uint64 }

func allAt(index uint64) moments { return moments{index, index, index, index} }

// until are the steps in which what is known becomes what is: at once, or the job
// first and then the other parts in one of six orders. The first answer is whole.
func (m moments) until(now uint64, apart int) []moments {
	if apart == 0 || m == (moments{}) || m.job == now {
		return []moments{allAt(now)}
	}
	m.job = now
	steps := make([]moments, 0, 3)
	for _, part := range orders[(apart-1)%len(orders)] {
		*[]*uint64{&m.allocs, &m.rollout, &m.evals}[part] = now
		steps = append(steps, m)
	}
	return steps
}

// orders in which three answers may arrive.
var orders = [][3]int{{0, 1, 2}, {0, 2, 1}, {1, 0, 2}, {1, 2, 0}, {2, 0, 1}, {2, 1, 0}}

// status puts a job's status together as nomad.Client does. That reads the
// allocations of a job that is over after it has seen that it is.
func (s *Server) status(n name, at moments) nomad.JobStatus {
	job := s.jobAsOf(n, at.job)
	if job == nil {
		return nomad.Status(nil, nil, nil, nil)
	}
	if value(job.Status) == "dead" {
		at.allocs = max(at.allocs, at.job)
	}
	rollout, _ := s.jobs[n].rolloutAsOf(at.rollout)
	_, blocked := s.jobs[n].rolloutAsOf(at.evals)
	var evals []*api.Evaluation
	if blocked != nil {
		evals = append(evals, blocked)
	}
	return nomad.Status(job, s.allocsAsOf(n, job, at.allocs), rollout, evals)
}
