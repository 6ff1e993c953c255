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
func (c *Client) Ping(ctx context.Context) error { return c.read(ctx, "Ping", "", func() {}) }

// Register is nomad.Client's.
func (c *Client) Register(ctx context.Context, job *api.Job, enforceIndex uint64, sub nomad.Submission) (r nomad.Registration, err error) {
	err = c.write(ctx, "Register", value(job.ID), func() error {
		at := c.s.jobs[named(value(job.Namespace), value(job.ID))]
		var is uint64
		if at != nil {
			is = value(at.job.JobModifyIndex)
		}
		if is != enforceIndex {
			return refused("register", value(job.ID), nomad.ErrConflict, fmt.Sprintf("Enforcing job modify index %d: job has %d", enforceIndex, is))
		}
		put := c.s.put(received(job), sub)
		r = nomad.Registration{EvalID: c.s.newID("eval"), Index: value(put.job.JobModifyIndex)}
		return nil
	})
	return r, err
}

// Job is nomad.Client's.
func (c *Client) Job(ctx context.Context, namespace, id string) (job *api.Job, err error) {
	err = c.read(ctx, "Job", id, func() {
		if at := c.s.jobs[named(namespace, id)]; at != nil {
			job = clone(c.s.withStatus(at))
		}
	})
	if err != nil {
		return nil, err
	}
	return job, nil
}

// Submission is nomad.Client's.
func (c *Client) Submission(ctx context.Context, namespace, id string) (sub nomad.Submission, err error) {
	found := false
	err = c.read(ctx, "Submission", id, func() {
		if at := c.s.jobs[named(namespace, id)]; at != nil {
			sub = at.sources[value(at.job.Version)]
			found = sub.Source != ""
		}
	})
	if err == nil && !found {
		err = refused("read the source of", id, nomad.ErrNotFound, "there is none")
	}
	return sub, err
}

// Stop is nomad.Client's.
func (c *Client) Stop(ctx context.Context, namespace, id string, purge bool) error {
	return c.write(ctx, "Stop", id, func() error {
		at := c.s.jobs[named(namespace, id)]
		if at == nil || value(at.job.Stop) && !purge {
			return nil
		}
		job := clone(at.job)
		job.Stop = ptr(true)
		at = c.s.put(job, at.sources[value(at.job.Version)])
		if purge {
			delete(c.s.jobs, named(namespace, id))
		}
		c.s.event("JobDeregistered", at.job)
		return nil
	})
}

// Scale is nomad.Client's.
func (c *Client) Scale(ctx context.Context, namespace, id string, counts map[string]int) error {
	return c.write(ctx, "Scale", id, func() error {
		at := c.s.jobs[named(namespace, id)]
		if at == nil {
			return refused("scale", id, nomad.ErrNotFound, "there is no such job")
		}
		if !nomad.Differ(at.job, counts) {
			return nil
		}
		job := clone(at.job)
		if err := nomad.Resize(job, counts, at.history); err != nil {
			return refused("scale", id, nomad.ErrInvalid, err.Error())
		}
		c.s.put(job, at.sources[value(at.job.Version)])
		return nil
	})
}

// Plan is nomad.Client's, without the text of the difference.
func (c *Client) Plan(ctx context.Context, job *api.Job) (p nomad.Plan, err error) {
	err = c.read(ctx, "Plan", value(job.ID), func() { p = c.s.plan(job) })
	return p, err
}

// WatchJob is nomad.Client's.
func (c *Client) WatchJob(ctx context.Context, namespace, id string, see func(nomad.JobStatus) (done bool)) error {
	var last *nomad.JobStatus
	return c.follow(ctx, "WatchJob", id, func() func() bool {
		status := c.s.status(named(namespace, id))
		return func() bool {
			if last != nil && reflect.DeepEqual(*last, status) {
				return false
			}
			last = &status
			return see(status)
		}
	})
}

// WaitStopped is nomad.Client's.
func (c *Client) WaitStopped(ctx context.Context, namespace, id string) error {
	return c.follow(ctx, "WaitStopped", id, func() func() bool {
		left := 0
		for _, a := range c.s.allocs {
			if a.of == named(namespace, id) && !a.ended() {
				left++
			}
		}
		return func() bool { return left == 0 }
	})
}

// Stream is nomad.Client's.
func (c *Client) Stream(ctx context.Context, index uint64, see func(nomad.Event)) error {
	next := -1
	return c.follow(ctx, "Stream", "", func() func() bool {
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
