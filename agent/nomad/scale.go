package nomad

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"

	"github.com/hashicorp/nomad/api"
)

// Scale sets the counts of task groups in place: no running allocation is
// restarted. Groups that are not named keep theirs. It is idempotent, and
// atomic over all groups: the job is read and registered again at its index,
// with its source, because Nomad's own scale request takes one group at a
// time and obeys the bounds of a scaling block.
//
// A count below a scaling block's minimum, such as zero, sets the minimum
// aside and the block disabled, so that no autoscaler undoes it; they are
// restored from the job's history when the group is scaled up again.
//
// A guard that does not admit the job leaves it as it is; what it said is returned.
// nil admits every job.
func (c *Client) Scale(ctx context.Context, namespace, id string, counts map[string]int, guard Guard) error {
	return c.scale(ctx, namespace, id, guard, func(*api.Job) map[string]int { return counts })
}

// Raise is Scale for groups that have fewer: what has grown stays as it is, also
// if it grows at that very moment.
func (c *Client) Raise(ctx context.Context, namespace, id string, counts map[string]int, guard Guard) error {
	return c.scale(ctx, namespace, id, guard, func(job *api.Job) map[string]int { return AtLeast(job, counts) })
}

// AtLeast are counts, or what a job has where that is more.
func AtLeast(job *api.Job, counts map[string]int) map[string]int {
	out := maps.Clone(counts)
	for name, n := range counts {
		if g := job.LookupTaskGroup(name); g != nil {
			out[name] = max(n, value(g.Count))
		}
	}
	return out
}

// scale sets the counts that are wanted of the job as it is read.
func (c *Client) scale(ctx context.Context, namespace, id string, guard Guard, wanted func(*api.Job) map[string]int) error {
	op := c.ask("scale", namespace, id, "submit-job")
	job, err := c.Job(ctx, namespace, id)
	if err != nil {
		return err
	}
	if job == nil {
		return &Error{Op: op.what, Kind: ErrNotFound, Err: errors.New("there is no such job")}
	}
	counts := wanted(job)
	if !Differ(job, counts) {
		return nil
	}
	limited, cancel := context.WithTimeout(ctx, requestTimeout)
	defer cancel()
	history, _, _, err := c.api.Jobs().Versions(id, false, c.reading(limited, namespace))
	if err != nil {
		return op.failed(ctx, err)
	}
	sub, err := c.Submission(ctx, namespace, id)
	if err != nil && !errors.Is(err, ErrNotFound) {
		return err
	}
	if err := guard.admits(ctx, job); err != nil {
		return err
	}
	if err := Resize(job, counts, history); err != nil {
		return &Error{Op: op.what, Kind: ErrInvalid, Err: err}
	}
	_, err = c.Register(ctx, job, value(job.JobModifyIndex), sub)
	return err
}

// Differ says whether a job's counts are other than those wanted.
func Differ(job *api.Job, counts map[string]int) bool {
	for name, n := range counts {
		if g := job.LookupTaskGroup(name); g == nil || value(g.Count) != n {
			return true
		}
	}
	return false
}

// Resize sets counts in a job, and scaling blocks as Scale says. history is
// the job's versions, newest first.
func Resize(job *api.Job, counts map[string]int, history []*api.Job) error {
	if value(job.Stop) {
		return errors.New("it is stopped; register it to run it again")
	}
	for _, name := range slices.Sorted(maps.Keys(counts)) {
		n := counts[name]
		g := job.LookupTaskGroup(name)
		if g == nil {
			return fmt.Errorf("it has no group %q", name)
		}
		if n < 0 {
			return fmt.Errorf("group %q: count %d is negative", name, n)
		}
		if g.Scaling != nil && value(g.Count) != n {
			if value(g.Count) == 0 {
				restoreBounds(g, history)
			}
			fit(g.Scaling, int64(n))
		}
		g.Count = &n
	}
	return nil
}

// fit makes a scaling block accept a count.
func fit(s *api.ScalingPolicy, n int64) {
	no := false
	if s.Min != nil && n < *s.Min {
		s.Min, s.Enabled = &n, &no
	}
	if s.Max != nil && n > *s.Max {
		s.Max = &n
	}
}

func restoreBounds(g *api.TaskGroup, history []*api.Job) {
	for _, old := range history {
		was := old.LookupTaskGroup(value(g.Name))
		if was != nil && was.Scaling != nil && value(was.Count) > 0 {
			g.Scaling.Min, g.Scaling.Max, g.Scaling.Enabled = was.Scaling.Min, was.Scaling.Max, was.Scaling.Enabled
			return
		}
	}
}
