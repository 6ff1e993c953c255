package nomad

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/hashicorp/nomad/api"
)

// A Guard says whether a job may be written, given as it was just read: nil, or why
// not. The write is at the index of that very reading, so that whatever the guard
// finds to be true when it is asked, after the reading, is still true of all that
// was done to the job by others until then: what they do later makes the write fail.
type Guard func(ctx context.Context, job *api.Job) error

// admits asks a guard; none admits everything.
func (g Guard) admits(ctx context.Context, job *api.Job) error {
	if g == nil {
		return nil
	}
	return g(ctx, job)
}

// Job is a job as Nomad has it, nil when there is none. A stopped job that
// was not purged is there, with Stop set.
func (c *Client) Job(ctx context.Context, namespace, id string) (*api.Job, error) {
	limited, cancel := context.WithTimeout(ctx, requestTimeout)
	defer cancel()
	job, _, err := c.api.Jobs().Info(id, c.reading(limited, namespace))
	if err = c.ask("read", namespace, id, "read-job").failed(ctx, err); errors.Is(err, ErrNotFound) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	return job, nil
}

// Stop stops a job; purge also forgets it. A job that is absent or, without
// purge, already stopped is not written again: Nomad would raise its index
// and make an evaluation each time.
//
// Without purge the job is registered as a stopped one, at the index that it
// was just read at, and not deregistered: a deregistration has no index, and
// one that arrives late, from a leader that was frozen, would stop whatever
// runs by then. ErrConflict: it was changed in between; look again, if it still
// is one's to stop.
//
// Without purge, every allocation has been told to stop when Stop returns;
// WaitStopped waits for their end. Nomad forgets a purged job's allocations at
// once, while their tasks are still being killed, so that nobody can wait for
// them: stop, wait, then purge.
func (c *Client) Stop(ctx context.Context, namespace, id string, purge bool) error {
	if !purge {
		return c.StopIf(ctx, namespace, id, nil)
	}
	op := c.ask("stop", namespace, id, "submit-job")
	job, err := c.Job(ctx, namespace, id)
	if err != nil || job == nil {
		return err
	}
	limited, cancel := context.WithTimeout(ctx, requestTimeout)
	defer cancel()
	_, _, err = c.api.Jobs().Deregister(id, true, c.writing(limited, namespace))
	if err = op.failed(ctx, err); errors.Is(err, ErrNotFound) {
		return nil
	}
	return sent(err)
}

// StopIf is Stop without purge of a job that its guard admits; what that says
// otherwise is returned as it is. It is asked of the very answer whose index the
// stop is written at: what another answer, of a moment before or of a deposed
// server, said of the job is not what is stopped. A job that is stopped already is
// nothing to ask about.
func (c *Client) StopIf(ctx context.Context, namespace, id string, guard Guard) error {
	op := c.ask("stop", namespace, id, "submit-job")
	job, err := c.Job(ctx, namespace, id)
	if err != nil || job == nil {
		return err
	}
	if value(job.Stop) {
		return carriedOut(op.failed(ctx, c.stopGroups(ctx, namespace, id, "")))
	}
	sub, err := c.Submission(ctx, namespace, id)
	if err != nil && !errors.Is(err, ErrNotFound) {
		return err
	}
	if err := guard.admits(ctx, job); err != nil {
		return err
	}
	stop := true
	job.Stop = &stop
	r, err := c.Register(ctx, job, value(job.JobModifyIndex), sub)
	if err != nil {
		return err
	}
	return carriedOut(op.failed(ctx, c.stopGroups(ctx, namespace, id, r.EvalID)))
}

// stopGroups has a stopped job evaluated until Nomad has told all its
// allocations to stop. One evaluation ought to do, and does for a job of one
// group. Nomad 1.11.0 stops the allocations of one group only, whichever its
// scheduler happens to look at last (AllocReconciler.handleStop overwrites the
// list for each group); every further evaluation draws again.
func (c *Client) stopGroups(ctx context.Context, namespace, id, eval string) error {
	for {
		if eval != "" {
			if err := c.evaluated(ctx, namespace, eval); err != nil {
				return err
			}
		}
		limited, cancel := context.WithTimeout(ctx, requestTimeout)
		list, _, err := c.api.Jobs().Allocations(id, true, c.reading(limited, namespace))
		cancel()
		if err != nil {
			return err
		}
		if !slices.ContainsFunc(list, wanted) {
			return nil
		}
		limited, cancel = context.WithTimeout(ctx, requestTimeout)
		eval, _, err = c.api.Jobs().ForceEvaluate(id, c.writing(limited, namespace))
		cancel()
		if err != nil {
			return err
		}
	}
}

// evaluated waits for the end of an evaluation, though not for ever: a scheduler
// may be stuck, or the end of a held query lost, and whoever waits is to hear of it.
func (c *Client) evaluated(ctx context.Context, namespace, id string) error {
	ctx, done := context.WithTimeoutCause(ctx, requestTimeout,
		fmt.Errorf("its evaluation %s is not dealt with after %s; nomad eval status %s says more", id, requestTimeout, id))
	defer done()
	var index uint64
	for {
		q, cancel := c.blocking(ctx, namespace, index)
		e, meta, err := c.api.Evaluations().Info(id, q)
		cancel()
		if errors.Is(ctx.Err(), context.DeadlineExceeded) {
			return context.Cause(ctx)
		}
		if err != nil {
			return err
		}
		if e.Status != api.EvalStatusPending {
			return nil
		}
		index = advance(index, meta.LastIndex)
	}
}

// WaitStopped returns once no allocation of the job runs or may still run on
// a client. An unreachable client's allocation counts as running for as long
// as Nomad does not give it up. One that is not to end is ErrConflict: the job was
// run again, or nobody stopped it; look again. One that was purged is not waited
// for.
func (c *Client) WaitStopped(ctx context.Context, namespace, id string) error {
	op := c.ask("wait for the end of", namespace, id, "read-job")
	var index uint64
	for {
		q, cancel := c.blocking(ctx, namespace, index)
		list, meta, err := c.api.Jobs().Allocations(id, true, q)
		cancel()
		if err != nil {
			return op.failed(ctx, err)
		}
		if slices.ContainsFunc(list, wanted) { // or what was written is not evaluated yet
			job, err := c.Job(ctx, namespace, id)
			if err != nil {
				return err
			}
			if job != nil && ToRun(job) {
				return &Error{Op: op.what, Kind: ErrConflict, Err: errors.New("it runs, and Nomad was not told to end it, or was told to run it again")}
			}
		}
		if !slices.ContainsFunc(list, alive) {
			return nil
		}
		index = advance(index, meta.LastIndex)
	}
}

// ToRun says whether anything of a job is to run: it is neither stopped nor scaled
// to nothing.
func ToRun(job *api.Job) bool {
	return !value(job.Stop) && slices.ContainsFunc(job.TaskGroups, func(g *api.TaskGroup) bool { return value(g.Count) > 0 })
}

// alive says whether an allocation's tasks may still run.
func alive(a *api.AllocationListStub) bool {
	switch a.ClientStatus {
	case api.AllocClientStatusComplete, api.AllocClientStatusFailed, api.AllocClientStatusLost:
		return false
	}
	return true
}

// wanted says whether Nomad wants an allocation to run on.
func wanted(a *api.AllocationListStub) bool {
	return a.DesiredStatus == api.AllocDesiredStatusRun && alive(a)
}

// advance is the next index to block on: after Nomad restored older state it
// may fall, and then everything is read anew.
func advance(index, next uint64) uint64 {
	if next < index {
		return 0
	}
	return max(next, 1)
}
