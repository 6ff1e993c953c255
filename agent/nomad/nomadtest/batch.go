package nomadtest

import (
	"context"
	"fmt"
	"regexp"
	"strconv"
	"strings"
	"time"

	"github.com/hashicorp/nomad/api"

	"github.com/tealdeploy/teal/agent/nomad"
)

// Ending is how the task of a batch job ends by itself.
type Ending struct {
	After time.Duration // from its start; more than 0
	Exit  int
	Log   string // what it wrote to stdout
}

// script is what a test's batch job does: it says something and ends, unless it
// is told to run on.
var script = regexp.MustCompile(`^echo (.*); exit (\d+)$`)

func scripted(task *api.Task) *Ending {
	args, _ := task.Config["args"].([]any)
	for _, arg := range args {
		if m := script.FindStringSubmatch(fmt.Sprint(arg)); m != nil {
			code, _ := strconv.Atoi(m[2])
			return &Ending{After: 100 * time.Millisecond, Exit: code, Log: m[1] + "\n"}
		}
	}
	return nil
}

// ends lets an allocation of a batch job come to its end.
func (s *Server) ends(a *allocation) {
	time.AfterFunc(a.will.End.After, func() {
		s.change(func() {
			if !a.wanted() {
				return
			}
			status := api.AllocClientStatusComplete
			if a.will.End.Exit != 0 {
				status = api.AllocClientStatusFailed
			}
			s.end(a, status)
			task := a.job.LookupTaskGroup(a.stub.TaskGroup).Tasks[0].Name
			a.stub.TaskStates = map[string]*api.TaskState{task: {State: "dead", Failed: a.will.End.Exit != 0, Events: []*api.TaskEvent{
				{Type: api.TaskTerminated, DisplayMessage: fmt.Sprintf("Exit Code: %d", a.will.End.Exit), Details: map[string]string{"exit_code": fmt.Sprint(a.will.End.Exit)}},
			}}}
		})
	})
}

// withStatus is a version of a job with the status that Nomad would have given
// it at an index. A stopped job is dead at once: its allocations have been told
// to end by then, and may still be at it.
func (s *Server) withStatus(n name, at *stored, version *api.Job, index uint64) *api.Job {
	job, status := *version, "running"
	_, blocked := at.rolloutAsOf(index)
	left := blocked != nil || job.ParameterizedJob != nil
	for _, stub := range s.allocsAsOf(n, version, index) {
		left = left || !ended(stub)
	}
	if value(job.Stop) || value(job.Type) == api.JobTypeBatch && !left {
		status = "dead"
	}
	job.Status = &status
	return &job
}

// Dispatch is nomad.Client's.
func (c *Client) Dispatch(ctx context.Context, namespace, parent, token string, meta map[string]string) (string, error) {
	dispatch := func() (string, error) {
		at := c.s.jobs[named(namespace, parent)]
		if at == nil || value(at.job.Stop) {
			return "", refused("dispatch", parent, nomad.ErrNotFound, "parameterized job not found")
		}
		if at.job.ParameterizedJob == nil {
			return "", refused("dispatch", parent, nomad.ErrInvalid, fmt.Sprintf("Specified job %q is not a parameterized job", parent))
		}
		if _, there := c.s.dispatched(namespace, parent, token); there != nil {
			return *there.job.ID, nil
		}
		job := clone(at.job)
		id := parent + api.JobDispatchLaunchSuffix + c.s.newID("instance")
		job.ID, job.Dispatched, job.ParameterizedJob, job.DispatchIdempotencyToken, job.ParentID = &id, true, nil, &token, &parent
		if job.Meta == nil {
			job.Meta = map[string]string{}
		}
		for name, text := range meta {
			job.Meta[name] = text
		}
		c.s.put(job, nomad.Submission{})
		return id, nil
	}
	return write(ctx, c, "Dispatch", parent, func(uint64) func() (string, error) { return dispatch })
}

// Dispatched is nomad.Client's.
func (c *Client) Dispatched(ctx context.Context, namespace, parent, token string) (job *api.Job, err error) {
	err = c.read(ctx, "Dispatched", parent, func(at uint64) {
		if of, there := c.s.dispatched(namespace, parent, token); there != nil {
			job = clone(c.s.jobAsOf(of, at))
		}
	})
	return job, err
}

func (s *Server) dispatched(namespace, parent, token string) (name, *stored) {
	for n, at := range s.jobs {
		if n.namespace == named(namespace, "").namespace && strings.HasPrefix(n.id, parent+api.JobDispatchLaunchSuffix) && value(at.job.DispatchIdempotencyToken) == token {
			return n, at
		}
	}
	return name{}, nil
}

// Ends is nomad.Client's.
func (c *Client) Ends(ctx context.Context, namespace, id string) (all []nomad.TaskEnd, err error) {
	err = c.read(ctx, "Ends", id, func(at uint64) {
		for _, a := range c.s.allocs {
			stub := a.asOf(at)
			if stub == nil || a.of != named(namespace, id) {
				continue
			}
			for name, t := range stub.TaskStates {
				end := nomad.TaskEnd{Alloc: stub.ID, Group: stub.TaskGroup, Task: name, Failed: t.Failed, Exit: t.Events[0].Details["exit_code"]}
				if t.Failed {
					end.Words = fmt.Sprintf("task %q: %s: %s", name, t.Events[0].Type, t.Events[0].DisplayMessage)
					all = append([]nomad.TaskEnd{end}, all...)
					continue
				}
				all = append(all, end)
			}
		}
	})
	return all, err
}

// LogTail is nomad.Client's.
func (c *Client) LogTail(ctx context.Context, _, alloc, _, stream string, most int) (text string, err error) {
	err = c.read(ctx, "LogTail", "", func(uint64) {
		for _, a := range c.s.allocs {
			if a.stub.ID == alloc && stream == "stdout" && a.will.End != nil {
				text = a.will.End.Log[max(0, len(a.will.End.Log)-most):]
			}
		}
	})
	return text, err
}
