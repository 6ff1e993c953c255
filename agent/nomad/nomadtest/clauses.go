package nomadtest

import (
	"context"
	"errors"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/hashicorp/nomad/api"

	"github.com/tealdeploy/teal/agent/nomad"
)

func (x *trial) mistake(t *testing.T) {
	_, err := x.Client.Parse(x.ctx, "job \"x\" {\n  group \"g\" {\n    cout = 1\n  }\n}\n", "")
	x.is(err, nomad.ErrInvalid)
	if !regexp.MustCompile(`input\.hcl:\d+,\d+`).MatchString(err.Error()) {
		t.Errorf("%v: want line and column", err)
	}
}

func (x *trial) variables(t *testing.T) {
	job := x.parse("command = \"/bin/cat\"\nmemory = 32\nundeclared = \"is ignored\"\n")
	task := job.LookupTaskGroup("web").Tasks[0]
	if task.Config["command"] != "/bin/cat" || *task.Resources.MemoryMB != 32 {
		t.Errorf("command %v, memory %d", task.Config["command"], *task.Resources.MemoryMB)
	}
	if job.Type == nil || *job.Type != "service" || job.LookupTaskGroup("web").Update == nil {
		t.Error("defaults are not filled in")
	}
}

func (x *trial) absent(t *testing.T) {
	x.must(x.Client.Ping(x.ctx))
	job, err := x.Client.Job(x.ctx, "default", x.id)
	x.must(err)
	if job != nil {
		t.Fatalf("job %v", job)
	}
	x.must(x.Client.Stop(x.ctx, "default", x.id, false))
	x.must(x.Client.WaitStopped(x.ctx, "default", x.id))
	_, err = x.Client.Submission(x.ctx, "default", x.id)
	x.is(err, nomad.ErrNotFound)
	x.is(x.Client.Scale(x.ctx, "default", x.id, map[string]int{"web": 1}, nil), nomad.ErrNotFound)
	if s := x.until("seen as absent", func(nomad.JobStatus) bool { return true }); s.Exists || s.Dead == "" {
		t.Errorf("status %+v", s)
	}
}

func (x *trial) launch(t *testing.T) {
	job := x.parse("")
	plan, err := x.Client.Plan(x.ctx, job)
	x.must(err)
	if !plan.Changed || !plan.New || plan.Index != 0 || len(plan.Failures) != 0 {
		t.Errorf("before: %+v", plan)
	}
	if len(plan.Groups) != 2 || plan.Groups[0].Place != 2 || plan.Groups[1].Place != 1 {
		t.Errorf("before: groups %+v", plan.Groups)
	}
	index := x.register(job, 0)
	s := x.healthy(3)
	if s.Index != index || s.Stopped || s.Failed != 0 || !s.Whole() || s.Describe() != "" {
		t.Errorf("status %+v: %s", s, s.Describe())
	}
	sub, err := x.Client.Submission(x.ctx, "default", x.id)
	x.must(err)
	if sub != submission {
		t.Errorf("submission %+v", sub)
	}
	if plan, err = x.Client.Plan(x.ctx, job); err != nil || plan.Changed || plan.Index != index {
		t.Errorf("afterwards: %+v, %v", plan, err)
	}
}

func (x *trial) conflicts(t *testing.T) {
	job := x.parse("")
	_, err := x.Client.Register(x.ctx, job, 5, submission)
	x.is(err, nomad.ErrConflict)
	first := x.register(job, 0)
	_, err = x.Client.Register(x.ctx, job, 0, submission)
	x.is(err, nomad.ErrConflict)
	_, err = x.Client.Register(x.ctx, job, first-1, submission)
	x.is(err, nomad.ErrConflict)
	four := 4
	job.LookupTaskGroup("web").Count = &four
	second := x.register(job, first)
	if second <= first {
		t.Errorf("index went from %d to %d", first, second)
	}
	_, err = x.Client.Register(x.ctx, job, first, submission)
	x.is(err, nomad.ErrConflict)
}

// unchanged leaves open whether the job gets a new version and index: Nomad
// compares it with what its server has made of the registered one.
func (x *trial) unchanged(t *testing.T) {
	index := x.register(x.parse(""), 0)
	before := x.healthy(3)
	if again := x.register(x.parse(""), index); again < index {
		t.Errorf("index went from %d to %d", index, again)
	}
	after := x.healthy(3)
	for _, group := range []string{"web", "worker"} {
		if was, is := ids(before, group), ids(after, group); !slices.Equal(was, is) {
			t.Errorf("allocations %v of %s became %v", was, group, is)
		}
	}
}

func (x *trial) scaling(t *testing.T) {
	x.register(x.parse(""), 0)
	before := x.healthy(3)
	x.must(x.Client.Scale(x.ctx, "default", x.id, map[string]int{"web": 4}, nil))
	after := x.healthy(5)
	for _, a := range before.Allocs {
		if !slices.Contains(ids(after, a.Group), a.ID) {
			t.Errorf("allocation %s was replaced", a.ID)
		}
	}
	for _, a := range after.Allocs {
		if a.Restarts != 0 {
			t.Errorf("allocation %s was restarted", a.ID)
		}
	}
	x.must(x.Client.Scale(x.ctx, "default", x.id, map[string]int{"web": 4, "worker": 1}, nil))
	x.must(x.Client.Raise(x.ctx, "default", x.id, map[string]int{"web": 2, "worker": 1}, nil))
	job, err := x.Client.Job(x.ctx, "default", x.id)
	x.must(err)
	if *job.JobModifyIndex != after.Index {
		t.Error("scaling to what is there wrote the job")
	}
	sub, err := x.Client.Submission(x.ctx, "default", x.id)
	x.must(err)
	if sub != submission {
		t.Errorf("scaling lost the source: %+v", sub)
	}
	x.is(x.Client.Scale(x.ctx, "default", x.id, map[string]int{"nowhere": 1}, nil), nomad.ErrInvalid)
	x.must(x.Client.Raise(x.ctx, "default", x.id, map[string]int{"web": 3, "worker": 2}, nil))
	if job, err = x.Client.Job(x.ctx, "default", x.id); err != nil || *job.LookupTaskGroup("web").Count != 4 || *job.LookupTaskGroup("worker").Count != 2 {
		t.Errorf("raised: %v", err)
	}
}

func (x *trial) zero(t *testing.T) {
	x.register(x.parse(""), 0)
	x.healthy(3)
	x.must(x.Client.Scale(x.ctx, "default", x.id, map[string]int{"web": 0, "worker": 0}, nil))
	x.must(x.Client.WaitStopped(x.ctx, "default", x.id))
	s := x.until("nothing runs", func(s nomad.JobStatus) bool { return s.Running == 0 && s.Desired == 0 })
	if !s.Exists || s.Stopped || s.Dead != "" {
		t.Errorf("status %+v", s)
	}
	job, err := x.Client.Job(x.ctx, "default", x.id)
	x.must(err)
	if sc := job.LookupTaskGroup("web").Scaling; *sc.Enabled || *sc.Min != 0 {
		t.Errorf("an autoscaler would undo it: %+v", sc)
	}
	x.must(x.Client.Scale(x.ctx, "default", x.id, map[string]int{"web": 2, "worker": 1}, nil))
	x.healthy(3)
	job, err = x.Client.Job(x.ctx, "default", x.id)
	x.must(err)
	if sc := job.LookupTaskGroup("web").Scaling; !*sc.Enabled || *sc.Min != 1 || *sc.Max != 4 {
		t.Errorf("bounds were not restored: enabled %v, %d to %d", *sc.Enabled, *sc.Min, *sc.Max)
	}
}

func (x *trial) stopping(t *testing.T) {
	x.register(x.parse(""), 0)
	x.healthy(3)
	x.must(x.Client.Stop(x.ctx, "default", x.id, false))
	x.must(x.Client.WaitStopped(x.ctx, "default", x.id))
	job, err := x.Client.Job(x.ctx, "default", x.id)
	x.must(err)
	if job == nil || !*job.Stop {
		t.Fatalf("job %v: want it there, stopped", job)
	}
	x.must(x.Client.Stop(x.ctx, "default", x.id, false))
	again, err := x.Client.Job(x.ctx, "default", x.id)
	x.must(err)
	if *again.JobModifyIndex != *job.JobModifyIndex {
		t.Error("stopping a stopped job wrote it")
	}
	if s := x.until("seen as stopped", func(s nomad.JobStatus) bool { return s.Stopped }); !strings.Contains(s.Dead, "stopped") {
		t.Errorf("status %+v", s)
	}
	x.is(x.Client.Scale(x.ctx, "default", x.id, map[string]int{"web": 1}, nil), nomad.ErrInvalid)
}

// guarded: whether a job may be stopped or scaled is asked of the job that is
// written, as it was read, and what is done to it after the question makes the
// write fail.
func (x *trial) guarded(t *testing.T) {
	for _, op := range []struct {
		name string
		do   func(guard nomad.Guard) error
		done func(job *api.Job) bool
	}{
		{"raise", func(guard nomad.Guard) error {
			return x.Client.Raise(x.ctx, "default", x.id, map[string]int{"web": 3}, guard)
		}, func(job *api.Job) bool { return *job.LookupTaskGroup("web").Count == 3 }},
		{"scale", func(guard nomad.Guard) error {
			return x.Client.Scale(x.ctx, "default", x.id, map[string]int{"web": 1}, guard)
		}, func(job *api.Job) bool { return *job.LookupTaskGroup("web").Count == 1 }},
		{"stop", func(guard nomad.Guard) error { return x.Client.StopIf(x.ctx, "default", x.id, guard) },
			func(job *api.Job) bool { return *job.Stop }},
	} {
		x.register(x.parse(""), x.index())
		refusal := errors.New("it is not to be")
		changed := x.parse("")
		changed.Meta = map[string]string{"changed": op.name}
		for _, g := range []struct {
			name   string
			answer func() error
			want   error
		}{
			{"refused", func() error { return refusal }, refusal},
			{"changed meanwhile", func() error { x.register(changed, x.index()); return nil }, nomad.ErrConflict},
			{"admitted", func() error { return nil }, nil},
		} {
			asked, was := 0, x.index()
			err := op.do(func(ctx context.Context, job *api.Job) error {
				if asked++; *job.JobModifyIndex != was || op.done(job) {
					t.Errorf("%s %s: asked of the job at %d, it is at %d", op.name, g.name, *job.JobModifyIndex, was)
				}
				return g.answer()
			})
			if asked != 1 || !errors.Is(err, g.want) {
				t.Errorf("%s %s: asked %d times, %v", op.name, g.name, asked, err)
			}
			job, err := x.Client.Job(x.ctx, "default", x.id)
			x.must(err)
			if done := op.done(job); done != (g.want == nil) {
				t.Errorf("%s %s: done %v", op.name, g.name, done)
			}
		}
	}
}

// index is the one that the job is at, 0 if there is none.
func (x *trial) index() uint64 {
	job, err := x.Client.Job(x.ctx, "default", x.id)
	x.must(err)
	if job == nil {
		return 0
	}
	return *job.JobModifyIndex
}

func (x *trial) revive(t *testing.T) {
	job := x.parse("")
	x.register(job, 0)
	first := x.healthy(3)
	x.must(x.Client.Stop(x.ctx, "default", x.id, false))
	x.must(x.Client.WaitStopped(x.ctx, "default", x.id))
	_, err := x.Client.Register(x.ctx, job, 0, submission)
	x.is(err, nomad.ErrConflict)
	is, err := x.Client.Job(x.ctx, "default", x.id)
	x.must(err)
	x.register(job, *is.JobModifyIndex)
	second := x.healthy(3)
	for _, a := range first.Allocs {
		if slices.Contains(ids(second, a.Group), a.ID) {
			t.Errorf("allocation %s of the stopped job counts", a.ID)
		}
	}
}

func (x *trial) purge(t *testing.T) {
	x.register(x.parse(""), 0)
	x.healthy(3)
	x.must(x.Client.Stop(x.ctx, "default", x.id, false))
	x.must(x.Client.WaitStopped(x.ctx, "default", x.id))
	x.must(x.Client.Stop(x.ctx, "default", x.id, true))
	job, err := x.Client.Job(x.ctx, "default", x.id)
	x.must(err)
	if job != nil {
		t.Errorf("job %v is still there", *job.ID)
	}
	x.register(x.parse(""), 0)
	x.healthy(3)
}

func (x *trial) meta(t *testing.T) {
	job := x.parse("")
	index := x.register(job, 0)
	before := x.healthy(3)
	name := x.id + "-other"
	job.Name = &name
	index = x.register(job, index)
	renamed := x.healthy(3)
	if !slices.Equal(ids(before, "web"), ids(renamed, "web")) {
		t.Error("the name replaced allocations")
	}
	job.Meta = map[string]string{"teal_epoch": "2"}
	plan, err := x.Client.Plan(x.ctx, job)
	x.must(err)
	if len(plan.Groups) == 0 || plan.Groups[0].InPlace == 2 {
		t.Errorf("plan keeps the allocations: %+v", plan.Groups)
	}
	x.register(job, index)
	x.until("all replaced", func(s nomad.JobStatus) bool {
		return s.Whole() && !slices.ContainsFunc(ids(renamed, "web"), func(id string) bool { return slices.Contains(ids(s, "web"), id) })
	})
}

func (x *trial) broken(t *testing.T) {
	x.register(x.parse(`command = "/nonexistent/teal-contract"`), 0)
	s := x.until("a failure told", func(s nomad.JobStatus) bool {
		return s.Failed > 0 && strings.Contains(s.Describe(), "could not be found")
	})
	if !strings.Contains(s.Describe(), api.TaskDriverFailure) || !strings.Contains(s.Describe(), "/nonexistent/teal-contract") {
		t.Errorf("says %q", s.Describe())
	}
	if s.Whole() {
		t.Error("counts as whole")
	}
}

func (x *trial) room(t *testing.T) {
	job := x.parse(`memory = 90000000`)
	plan, err := x.Client.Plan(x.ctx, job)
	x.must(err)
	if len(plan.Failures) != 1 || plan.Failures[0].Group != "web" || plan.Failures[0].Missing != 2 || plan.Failures[0].Exhausted["memory"] == 0 {
		t.Errorf("plan failures %+v", plan.Failures)
	}
	if lines := strings.Join(plan.FailureLines(), "\n"); !strings.Contains(lines, `group "web": 2 allocations cannot be placed`) || !strings.Contains(lines, "memory exhausted on") {
		t.Errorf("says %q", lines)
	}
	x.register(job, 0)
	s := x.until("waiting for a place", func(s nomad.JobStatus) bool { return len(s.Placement) > 0 })
	if !strings.Contains(s.Describe(), "memory exhausted") {
		t.Errorf("says %q", s.Describe())
	}
}

func (x *trial) stream(t *testing.T) {
	ctx, cancel := context.WithCancel(x.ctx)
	defer cancel()
	events, done := make(chan nomad.Event, 1000), make(chan error, 1)
	// From the index of a job written before: nothing is missed between
	// connecting and writing.
	index := x.register(x.parse(""), 0)
	go func() { done <- x.Client.Stream(ctx, index, func(e nomad.Event) { events <- e }) }()
	expect := func(what string, want func(nomad.Event) bool) {
		t.Helper()
		for {
			select {
			case e := <-events:
				if e.ID == x.id && e.Namespace == "default" && want(e) {
					return
				}
			case err := <-done:
				t.Fatalf("%s: the stream ended: %v", what, err)
			case <-x.ctx.Done():
				t.Fatalf("%s was not told", what)
			}
		}
	}
	expect("the registration", func(e nomad.Event) bool { return e.Type == "JobRegistered" && e.Index >= index })
	x.must(x.Client.Scale(x.ctx, "default", x.id, map[string]int{"web": 3}, nil))
	expect("the new count", func(e nomad.Event) bool { return e.Job != nil && *e.Job.LookupTaskGroup("web").Count == 3 })
	x.must(x.Client.Stop(x.ctx, "default", x.id, false))
	expect("the stop", func(e nomad.Event) bool { return e.Job != nil && e.Job.Stop != nil && *e.Job.Stop })
	x.must(x.Client.WaitStopped(x.ctx, "default", x.id))
	x.must(x.Client.Stop(x.ctx, "default", x.id, true))
	expect("the purge", func(e nomad.Event) bool { return e.Type == "JobDeregistered" && e.Index > index })
	cancel()
	x.is(<-done, context.Canceled)
}

func (x *trial) cancelled(t *testing.T) {
	x.register(x.parse(""), 0)
	ctx, cancel := context.WithCancel(x.ctx)
	defer cancel()
	err := x.Client.WatchJob(ctx, "default", x.id, func(nomad.JobStatus) bool { cancel(); return false })
	if !errors.Is(err, context.Canceled) {
		t.Errorf("it ended with %v", err)
	}
	if err := x.Client.WaitStopped(ctx, "default", x.id); !errors.Is(err, context.Canceled) {
		t.Errorf("the wait for its stop ended with %v", err)
	}
}

// notStopped: what nobody stopped is not waited for.
func (x *trial) notStopped(*testing.T) {
	x.register(x.parse(""), 0)
	x.healthy(3)
	x.is(x.Client.WaitStopped(x.ctx, "default", x.id), nomad.ErrConflict)
	x.must(x.Client.Scale(x.ctx, "default", x.id, map[string]int{"web": 0}, nil))
	x.is(x.Client.WaitStopped(x.ctx, "default", x.id), nomad.ErrConflict)
}
