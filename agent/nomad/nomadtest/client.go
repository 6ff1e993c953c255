package nomadtest

import (
	"context"
	"errors"
	"fmt"
	"reflect"

	"github.com/hashicorp/nomad/api"

	"github.com/tealdeploy/teal/agent/nomad"
)

var _ API = (*Client)(nil)

// Ping is nomad.Client's.
func (c *Client) Ping(ctx context.Context) error {
	return c.read(ctx, "Ping", "", func(uint64) {})
}

// Register is nomad.Client's.
func (c *Client) Register(ctx context.Context, job *api.Job, enforceIndex uint64, sub nomad.Submission) (nomad.Registration, error) {
	sent := received(job)
	return write(ctx, c, "Register", value(job.ID), func(uint64) func() (nomad.Registration, error) {
		return func() (r nomad.Registration, err error) {
			if err := c.s.enforce("register", sent, enforceIndex); err != nil {
				return r, err
			}
			put := c.s.put(sent, sub)
			return nomad.Registration{EvalID: c.s.newID("eval"), Index: value(put.job.JobModifyIndex)}, nil
		}
	})
}

// enforce refuses to write a job that is not at an index any more.
func (s *Server) enforce(verb string, job *api.Job, index uint64) error {
	var is uint64
	if at := s.jobs[named(value(job.Namespace), value(job.ID))]; at != nil {
		is = value(at.job.JobModifyIndex)
	}
	if is != index {
		return refused(verb, value(job.ID), nomad.ErrConflict, fmt.Sprintf("Enforcing job modify index %d: job has %d", index, is))
	}
	return nil
}

// Job is nomad.Client's.
func (c *Client) Job(ctx context.Context, namespace, id string) (job *api.Job, err error) {
	err = c.read(ctx, "Job", id, func(at uint64) { job = clone(c.s.jobAsOf(named(namespace, id), at)) })
	if err != nil {
		return nil, err
	}
	return job, nil
}

// Submission is nomad.Client's.
func (c *Client) Submission(ctx context.Context, namespace, id string) (sub nomad.Submission, err error) {
	found := false
	err = c.read(ctx, "Submission", id, func(at uint64) {
		if job := c.s.jobAsOf(named(namespace, id), at); job != nil {
			sub = c.s.jobs[named(namespace, id)].sources[value(job.Version)]
			found = sub.Source != ""
		}
	})
	if err == nil && !found {
		err = refused("read the source of", id, nomad.ErrNotFound, "there is none")
	}
	return sub, err
}

// done is the answer to a write of which nothing is told.
type done = struct{}

// Stop is nomad.Client's: without purge the job is read, and written at the
// index that it was read at.
func (c *Client) Stop(ctx context.Context, namespace, id string, purge bool) error {
	if !purge {
		return c.StopIf(ctx, namespace, id, nil)
	}
	_, err := write(ctx, c, "Stop", id, func(at uint64) func() (done, error) {
		if c.s.jobAsOf(named(namespace, id), at) == nil {
			return nil
		}
		return func() (none done, err error) {
			c.s.purge(named(namespace, id))
			return none, nil
		}
	})
	return err
}

// StopIf is nomad.Client's.
func (c *Client) StopIf(ctx context.Context, namespace, id string, guard nomad.Guard) error {
	_, err := guarded(ctx, c, "Stop", id, func(at uint64) (func() error, func() (done, error)) {
		was := c.s.jobAsOf(named(namespace, id), at)
		if was == nil || value(was.Stop) {
			return nil, nil
		}
		return asking(ctx, guard, was), func() (none done, err error) {
			return none, c.s.rewrite("stop", was, func(job *api.Job) error { job.Stop = ptr(true); return nil })
		}
	})
	return err
}

// asking is what a guard is asked of a job as it was read.
func asking(ctx context.Context, guard nomad.Guard, was *api.Job) func() error {
	if guard == nil {
		return nil
	}
	job := clone(was)
	return func() error { return guard(ctx, job) }
}

// Scale is nomad.Client's: the job is read, and written at the index that it was
// read at.
func (c *Client) Scale(ctx context.Context, namespace, id string, counts map[string]int, guard nomad.Guard) error {
	return c.scale(ctx, "Scale", namespace, id, guard, func(*api.Job) map[string]int { return counts })
}

// Raise is nomad.Client's.
func (c *Client) Raise(ctx context.Context, namespace, id string, counts map[string]int, guard nomad.Guard) error {
	return c.scale(ctx, "Raise", namespace, id, guard, func(job *api.Job) map[string]int { return nomad.AtLeast(job, counts) })
}

func (c *Client) scale(ctx context.Context, op, namespace, id string, guard nomad.Guard, wanted func(*api.Job) map[string]int) error {
	_, err := guarded(ctx, c, op, id, func(at uint64) (func() error, func() (done, error)) {
		was := c.s.jobAsOf(named(namespace, id), at)
		if was == nil {
			return nil, func() (none done, err error) {
				return none, refused("scale", id, nomad.ErrNotFound, "there is no such job")
			}
		}
		counts := wanted(was)
		if !nomad.Differ(was, counts) {
			return nil, nil
		}
		return asking(ctx, guard, was), func() (none done, err error) {
			return none, c.s.rewrite("scale", was, func(job *api.Job) error {
				return nomad.Resize(job, counts, c.s.jobs[named(namespace, id)].history)
			})
		}
	})
	return err
}

// rewrite changes a job that still is as it was read, and keeps its source.
func (s *Server) rewrite(verb string, was *api.Job, edit func(*api.Job) error) error {
	if err := s.enforce(verb, was, value(was.JobModifyIndex)); err != nil {
		return err
	}
	at := s.jobs[named(value(was.Namespace), value(was.ID))]
	job := clone(at.job)
	if err := edit(job); err != nil {
		return refused(verb, value(was.ID), nomad.ErrInvalid, err.Error())
	}
	s.put(job, at.sources[value(at.job.Version)])
	return nil
}

// purge stops a job and forgets it. A deregistration has no index.
func (s *Server) purge(n name) {
	at := s.jobs[n]
	if at == nil {
		return
	}
	job := clone(at.job)
	job.Stop = ptr(true)
	at = s.put(job, nomad.Submission{})
	delete(s.jobs, n)
	s.event("JobDeregistered", at.job)
}

// Plan is nomad.Client's, without the text of the difference.
func (c *Client) Plan(ctx context.Context, job *api.Job) (p nomad.Plan, err error) {
	err = c.read(ctx, "Plan", value(job.ID), func(uint64) { p = c.s.plan(job) })
	return p, err
}

// WatchJob is nomad.Client's.
func (c *Client) WatchJob(ctx context.Context, namespace, id string, see func(nomad.JobStatus) (done bool)) error {
	var last *nomad.JobStatus
	var known moments
	return c.follow(ctx, "WatchJob", id, silence, func(at uint64, f Fault) func() bool {
		var all []nomad.JobStatus
		for _, then := range known.until(at, f.Apart) {
			all = append(all, c.s.status(named(namespace, id), then))
		}
		known = allAt(at)
		return func() bool {
			for _, status := range all {
				if last != nil && reflect.DeepEqual(*last, status) {
					continue
				}
				last = &status
				if see(status) {
					return true
				}
			}
			return false
		}
	})
}

// WaitStopped is nomad.Client's.
func (c *Client) WaitStopped(ctx context.Context, namespace, id string) error {
	var wanted error
	err := c.follow(ctx, "WaitStopped", id, silence, func(at uint64, _ Fault) func() bool {
		left := 0
		for _, a := range c.s.allocs {
			stub := a.asOf(at)
			if a.of != named(namespace, id) || stub == nil || ended(stub) {
				continue
			}
			left++
			if job := c.s.jobAsOf(a.of, at); stub.DesiredStatus == api.AllocDesiredStatusRun && job != nil && nomad.ToRun(job) {
				wanted = refused("wait for the end of", id, nomad.ErrConflict, "it is to run")
			}
		}
		return func() bool { return left == 0 || wanted != nil }
	})
	if err != nil {
		return err
	}
	return wanted
}

// Stream is nomad.Client's.
func (c *Client) Stream(ctx context.Context, index uint64, see func(nomad.Event)) error {
	next := -1
	return c.follow(ctx, "Stream", "", keepalive, func(uint64, Fault) func() bool {
		if next < 0 {
			next = len(c.s.events)
			for index > 0 && next > 0 && c.s.events[next-1].Index >= index {
				next--
			}
		}
		fresh := c.s.events[next:]
		next = len(c.s.events)
		return func() bool {
			for _, e := range fresh {
				see(e)
			}
			return false
		}
	})
}

func refused(verb, id string, kind error, words string) error {
	return &nomad.Error{Op: fmt.Sprintf("%s job %q", verb, id), Kind: kind, Err: errors.New(words)}
}

func value[T any](p *T) T {
	if p == nil {
		var zero T
		return zero
	}
	return *p
}

func ptr[T any](v T) *T { return &v }
