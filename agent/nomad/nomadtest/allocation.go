package nomadtest

import (
	"fmt"
	"strings"
	"time"

	"github.com/hashicorp/nomad/api"
)

// allocation is one allocation and what it will do.
type allocation struct {
	of   name
	job  *api.Job
	stub *api.AllocationListStub
	will Behaviour

	since uint64     // the index of job and stub
	past  []formerly // what they were before, oldest first
}

func (a *allocation) ended() bool { return ended(a.stub) }

func ended(stub *api.AllocationListStub) bool {
	switch stub.ClientStatus {
	case api.AllocClientStatusComplete, api.AllocClientStatusFailed, api.AllocClientStatusLost:
		return true
	}
	return false
}

func (a *allocation) wanted() bool {
	return !a.ended() && a.stub.DesiredStatus == api.AllocDesiredStatusRun
}

func (s *Server) place(job *api.Job, g *api.TaskGroup, n int) {
	a := &allocation{of: named(value(job.Namespace), value(job.ID)), job: job, since: s.index, stub: &api.AllocationListStub{
		ID: s.newID("alloc"), Name: fmt.Sprintf("%s.%s[%d]", *job.ID, *g.Name, n), JobID: *job.ID, Namespace: value(job.Namespace),
		TaskGroup: *g.Name, NodeName: "fake", JobVersion: *job.Version, CreateIndex: s.index,
		DesiredStatus: api.AllocDesiredStatusRun, ClientStatus: api.AllocClientStatusPending,
	}}
	s.allocs = append(s.allocs, a)
	if s.behave != nil {
		a.will = s.behave(Launch{Job: clone(job), Group: *g.Name, Alloc: a.stub.ID})
	}
	for _, t := range g.Tasks {
		// A command that no machine has fails as raw_exec would have it.
		if command, _ := t.Config["command"].(string); strings.HasPrefix(command, "/nonexistent") && a.will.Fail == "" {
			a.will.Fail = fmt.Sprintf("failed to launch command with executor: rpc error: code = Unknown desc = binary %q could not be found", command)
		}
	}
	if value(job.Type) == api.JobTypeBatch && a.will.End == nil {
		a.will.End = scripted(g.Tasks[0])
	}
	if a.will.After == 0 {
		s.start(a)
		return
	}
	time.AfterFunc(a.will.After, func() {
		s.change(func() {
			if a.wanted() && a.stub.ClientStatus == api.AllocClientStatusPending {
				s.index++
				s.start(a)
				s.judge(s.jobs[a.of])
			}
		})
	})
}

func (s *Server) start(a *allocation) {
	if a.will.Fail != "" {
		s.fail(a, a.will.Fail)
		return
	}
	s.alter(a).ClientStatus = api.AllocClientStatusRunning
	if a.will.End != nil {
		s.ends(a)
	}
	a.stub.DeploymentStatus = &api.AllocDeploymentStatus{Healthy: ptr(true)}
	s.pending = append(s.pending, Change{clone(a.job), a.stub.TaskGroup, a.stub.ID, true})
}

func (s *Server) fail(a *allocation, words string) {
	s.end(a, api.AllocClientStatusFailed)
	a.stub.DeploymentStatus = &api.AllocDeploymentStatus{Healthy: ptr(false)}
	task := a.job.LookupTaskGroup(a.stub.TaskGroup).Tasks[0].Name
	a.stub.TaskStates = map[string]*api.TaskState{task: {State: "dead", Failed: true, Events: []*api.TaskEvent{
		{Type: api.TaskDriverFailure, DisplayMessage: words},
		{Type: api.TaskNotRestarting, DisplayMessage: "Error was unrecoverable"},
	}}}
}

func (s *Server) stop(a *allocation) {
	s.alter(a).DesiredStatus = api.AllocDesiredStatusStop
	if a.will.Stop == 0 || a.stub.ClientStatus == api.AllocClientStatusPending {
		s.end(a, api.AllocClientStatusComplete)
		return
	}
	time.AfterFunc(a.will.Stop, func() {
		s.change(func() { s.end(a, api.AllocClientStatusComplete) })
	})
}

func (s *Server) end(a *allocation, status string) {
	if a.ended() {
		return
	}
	s.index++
	if a.stub.ClientStatus == api.AllocClientStatusRunning {
		s.pending = append(s.pending, Change{clone(a.job), a.stub.TaskGroup, a.stub.ID, false})
	}
	s.alter(a).ClientStatus = status
}
