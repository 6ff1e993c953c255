package nomadtest

import (
	"context"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/hashicorp/nomad/api"

	"github.com/tealdeploy/teal/agent/nomad"
)

// API is the method set of nomad.Client, which the fake's Client has too.
type API interface {
	Ping(ctx context.Context) error
	Parse(ctx context.Context, source, variables string) (*api.Job, error)
	Plan(ctx context.Context, job *api.Job) (nomad.Plan, error)
	Register(ctx context.Context, job *api.Job, enforceIndex uint64, sub nomad.Submission) (nomad.Registration, error)
	Job(ctx context.Context, namespace, id string) (*api.Job, error)
	Submission(ctx context.Context, namespace, id string) (nomad.Submission, error)
	WatchJob(ctx context.Context, namespace, id string, see func(nomad.JobStatus) (done bool)) error
	Scale(ctx context.Context, namespace, id string, counts map[string]int, guard nomad.Guard) error
	Raise(ctx context.Context, namespace, id string, counts map[string]int, guard nomad.Guard) error
	Stop(ctx context.Context, namespace, id string, purge bool) error
	StopIf(ctx context.Context, namespace, id string, guard nomad.Guard) error
	WaitStopped(ctx context.Context, namespace, id string) error
	Stream(ctx context.Context, index uint64, see func(nomad.Event)) error
	Dispatch(ctx context.Context, namespace, parent, token string, meta map[string]string) (id string, err error)
	Dispatched(ctx context.Context, namespace, parent, token string) (*api.Job, error)
	Ends(ctx context.Context, namespace, id string) ([]nomad.TaskEnd, error)
	LogTail(ctx context.Context, namespace, alloc, task, stream string, most int) (string, error)
}

// Subject is what the contract is held against.
type Subject struct {
	Client API
	// Prefix begins the IDs of the jobs that the contract registers, so that
	// runs against one server do not meet.
	Prefix string
}

// patience bounds what a real server may take.
const patience = time.Minute

// Contract is what Teal relies on of Nomad. It needs a node that can run
// raw_exec, and purges the jobs it registers.
func Contract(t *testing.T, subject func(t *testing.T) Subject) {
	var clauses sync.WaitGroup
	slots := make(chan struct{}, atOnce)
	for _, c := range []struct {
		name string
		test func(x *trial, t *testing.T)
	}{
		{"a jobspec's mistake is told with its line", (*trial).mistake},
		{"variables reach the job", (*trial).variables},
		{"what does not exist", (*trial).absent},
		{"plan, register, healthy, plan again", (*trial).launch},
		{"registering against the index", (*trial).conflicts},
		{"registering what is there already", (*trial).unchanged},
		{"scaling restarts nothing", (*trial).scaling},
		{"scaled to zero and back", (*trial).zero},
		{"stop and its repetition", (*trial).stopping},
		{"what a guard does not admit is neither stopped nor scaled", (*trial).guarded},
		{"what nobody stopped is not waited for", (*trial).notStopped},
		{"a stopped job runs again", (*trial).revive},
		{"purged and registered anew", (*trial).purge},
		{"job meta restarts, service names do not matter", (*trial).meta},
		{"a task that cannot start", (*trial).broken},
		{"no room", (*trial).room},
		{"the stream tells what happens", (*trial).stream},
		{"a watch ends with its context", (*trial).cancelled},
		{"a batch job comes to a good end", (*trial).goodEnd},
		{"a batch job comes to a bad end", (*trial).badEnd},
		{"a batch job that is stopped has no end", (*trial).noEnd},
		{"a token dispatches once", (*trial).dispatches},
	} {
		clauses.Go(func() {
			slots <- struct{}{}
			defer func() { <-slots }()
			t.Run(c.name, func(t *testing.T) { try(t, subject(t), c.name, c.test) })
		})
	}
	clauses.Wait()
}

// atOnce is how many clauses are tried at a time, each with a job of its own:
// most of the time they wait for Nomad.
const atOnce = 6

func try(t *testing.T, s Subject, name string, test func(x *trial, t *testing.T)) {
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	t.Cleanup(cancel)
	x := &trial{Subject: s, t: t, ctx: ctx}
	x.id = s.Prefix + regexp.MustCompile(`\W+`).ReplaceAllString(name, "-")
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		defer cancel()
		// A purged job can no longer be waited for.
		if err := errors.Join(
			s.Client.Stop(ctx, "default", x.id, false),
			s.Client.WaitStopped(ctx, "default", x.id),
			s.Client.Stop(ctx, "default", x.id, true),
		); err != nil {
			t.Errorf("clean up: %v", err)
		}
	})
	test(x, t)
}

// trial is one clause being tried.
type trial struct {
	Subject
	t   *testing.T
	ctx context.Context
	id  string
}

func (x *trial) must(err error) {
	x.t.Helper()
	if err != nil {
		x.t.Fatal(err)
	}
}

func (x *trial) is(err, kind error) {
	x.t.Helper()
	if !errors.Is(err, kind) {
		x.t.Fatalf("error %v, want %v", err, kind)
	}
}

func (x *trial) parse(variables string) *api.Job {
	x.t.Helper()
	job, err := x.Client.Parse(x.ctx, contractSource, variables)
	x.must(err)
	job.ID, job.Name = &x.id, &x.id
	return job
}

var submission = nomad.Submission{Source: contractSource, Format: "hcl2", Variables: `memory = 16`}

func (x *trial) register(job *api.Job, index uint64) uint64 {
	x.t.Helper()
	r, err := x.Client.Register(x.ctx, job, index, submission)
	x.must(err)
	return r.Index
}

// until watches for a state; nothing else ends it but the deadline.
func (x *trial) until(what string, want func(nomad.JobStatus) bool) nomad.JobStatus {
	x.t.Helper()
	var last nomad.JobStatus
	err := x.Client.WatchJob(x.ctx, "default", x.id, func(s nomad.JobStatus) bool {
		last = s
		return want(s)
	})
	if err != nil {
		x.t.Fatalf("%s: %v; last seen %+v", what, err, last)
	}
	return last
}

func (x *trial) healthy(n int) nomad.JobStatus {
	x.t.Helper()
	return x.until(fmt.Sprintf("%d healthy", n), func(s nomad.JobStatus) bool {
		return s.Desired == n && s.Healthy == n && s.Running == n && s.Deployment.Status == api.DeploymentStatusSuccessful
	})
}

func ids(s nomad.JobStatus, group string) []string {
	var all []string
	for _, a := range s.Allocs {
		if a.Group == group && a.Status == api.AllocClientStatusRunning {
			all = append(all, a.ID)
		}
	}
	slices.Sort(all)
	return all
}
