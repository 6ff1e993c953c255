package nomad

import (
	"context"
	"reflect"
	"sync"

	"github.com/hashicorp/nomad/api"
)

// WatchJob calls see with the job's status now and after each change, from
// one goroutine, until see says that it is done, ctx ends, or Nomad cannot be
// asked. A job that does not exist has the status Exists false: it may be
// registered while being watched. It holds three blocking queries.
func (c *Client) WatchJob(ctx context.Context, namespace, id string, see func(JobStatus) (done bool)) error {
	op := c.ask("watch", namespace, id, "read-job")
	watching, stop := context.WithCancel(ctx)
	w := &jobWatch{c: c, namespace: namespace, id: id, changed: make(chan struct{}, 1)}
	var running sync.WaitGroup
	defer running.Wait()
	defer stop()
	for _, follow := range []func(context.Context) error{w.allocations, w.rollouts, w.evaluations} {
		running.Go(func() {
			if err := follow(watching); err != nil {
				w.set(func() { w.err = err })
			}
		})
	}

	var last *JobStatus
	for {
		select {
		case <-ctx.Done():
			return op.failed(ctx, ctx.Err())
		case <-w.changed:
		}
		status, ready, err := w.status(watching)
		if err != nil {
			return op.failed(ctx, err)
		}
		if !ready || last != nil && reflect.DeepEqual(*last, status) {
			continue
		}
		last = &status
		if see(status) {
			return nil
		}
	}
}

// jobWatch is what the blocking queries have found so far.
type jobWatch struct {
	c             *Client
	namespace, id string
	changed       chan struct{} // holds one note that something was set

	mu      sync.Mutex
	err     error
	known   int // how many of the three were answered once
	allocs  []*api.AllocationListStub
	rollout *api.Deployment
	evals   []*api.Evaluation
}

func (w *jobWatch) set(f func()) {
	w.mu.Lock()
	f()
	w.mu.Unlock()
	select {
	case w.changed <- struct{}{}:
	default:
	}
}

// status reads the job itself anew: whatever happens to a job makes an
// evaluation, and so ends a blocking query.
func (w *jobWatch) status(ctx context.Context) (s JobStatus, ready bool, err error) {
	w.mu.Lock()
	err, ready = w.err, w.known == 3
	w.mu.Unlock()
	if err != nil || !ready {
		return s, false, err
	}
	job, err := w.c.Job(ctx, w.namespace, w.id)
	if err != nil {
		return s, false, err
	}
	if job != nil && value(job.Status) == jobDead {
		return w.ended(ctx, job)
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	return Status(job, w.allocs, w.rollout, w.evals), true, nil
}

// ended is the status of a job that nothing is left to do of. How its
// allocations came to their end is read after that was seen: what the blocking
// query last found may still say that they run, and a test that passed would be
// told from that as one that never came to a good end.
func (w *jobWatch) ended(ctx context.Context, job *api.Job) (JobStatus, bool, error) {
	limited, cancel := context.WithTimeout(ctx, requestTimeout)
	defer cancel()
	allocs, _, err := w.c.api.Jobs().Allocations(w.id, false, w.c.reading(limited, w.namespace))
	if err != nil {
		return JobStatus{}, false, err
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	return Status(job, allocs, w.rollout, w.evals), true, nil
}

func (w *jobWatch) allocations(ctx context.Context) error {
	return follow(ctx, w, func(q *api.QueryOptions) (*api.QueryMeta, func(), error) {
		list, meta, err := w.c.api.Jobs().Allocations(w.id, false, q)
		return meta, func() { w.allocs = list }, err
	})
}

func (w *jobWatch) rollouts(ctx context.Context) error {
	return follow(ctx, w, func(q *api.QueryOptions) (*api.QueryMeta, func(), error) {
		d, meta, err := w.c.api.Jobs().LatestDeployment(w.id, q)
		return meta, func() { w.rollout = d }, err
	})
}

func (w *jobWatch) evaluations(ctx context.Context) error {
	return follow(ctx, w, func(q *api.QueryOptions) (*api.QueryMeta, func(), error) {
		list, meta, err := w.c.api.Jobs().Evaluations(w.id, q)
		return meta, func() { w.evals = list }, err
	})
}

// follow repeats one blocking query and keeps its answers.
func follow(ctx context.Context, w *jobWatch, read func(*api.QueryOptions) (*api.QueryMeta, func(), error)) error {
	var index uint64
	for first := true; ; first = false {
		q, cancel := w.c.blocking(ctx, w.namespace, index)
		meta, keep, err := read(q)
		cancel()
		if err != nil {
			return err
		}
		index = advance(index, meta.LastIndex)
		w.set(func() {
			keep()
			if first {
				w.known++
			}
		})
	}
}
