package nomadtest

import (
	"context"
	"strings"
	"testing"

	"github.com/hashicorp/nomad/api"

	"github.com/tealdeploy/teal/agent/nomad"
)

// batch is a batch job that runs a line of shell, once.
func (x *trial) batch(line string) *api.Job {
	job := api.NewBatchJob(x.id, x.id, "global", 50)
	job.Datacenters = []string{"*"}
	task := api.NewTask("suite", "raw_exec").SetConfig("command", "/bin/sh").SetConfig("args", []any{"-c", line})
	task.Resources = &api.Resources{CPU: ptr(10), MemoryMB: ptr(10)}
	group := api.NewTaskGroup("suite", 1).AddTask(task)
	group.RestartPolicy = &api.RestartPolicy{Attempts: ptr(0), Mode: ptr("fail")}
	group.ReschedulePolicy = &api.ReschedulePolicy{Attempts: ptr(0), Unlimited: ptr(false)}
	job.AddTaskGroup(group)
	job.Canonicalize()
	return job
}

func (x *trial) over(id string) (last nomad.JobStatus) {
	x.t.Helper()
	x.must(x.Client.WatchJob(x.ctx, "default", id, func(s nomad.JobStatus) bool { last = s; return s.Over }))
	return last
}

// ended is how the one task ended, with what it wrote.
func (x *trial) ended(id string) (nomad.TaskEnd, string) {
	x.t.Helper()
	all, err := x.Client.Ends(x.ctx, "default", id)
	x.must(err)
	if len(all) != 1 {
		x.t.Fatalf("ends: %+v", all)
	}
	log, err := x.Client.LogTail(x.ctx, "default", all[0].Alloc, all[0].Task, "stdout", 5)
	x.must(err)
	return all[0], strings.TrimSpace(log)
}

func (x *trial) goodEnd(t *testing.T) {
	x.register(x.batch("echo tested; exit 0"), 0)
	if s := x.over(x.id); s.Complete != 1 || s.Desired != 1 || s.Failed != 0 || s.Stopped {
		t.Errorf("status %+v", s)
	}
	if end, log := x.ended(x.id); end.Failed || end.Exit != "0" || log != "sted" {
		t.Errorf("end %+v, log %q", end, log)
	}
}

func (x *trial) badEnd(t *testing.T) {
	x.register(x.batch("echo tested; exit 3"), 0)
	if s := x.over(x.id); s.Complete != 0 || s.Failed != 1 || s.Stopped {
		t.Errorf("status %+v", s)
	}
	if end, log := x.ended(x.id); !end.Failed || end.Exit != "3" || end.Words == "" || log != "sted" {
		t.Errorf("end %+v, log %q", end, log)
	}
}

func (x *trial) noEnd(t *testing.T) {
	x.register(x.batch("sleep 600"), 0)
	x.until("it runs", func(s nomad.JobStatus) bool { return s.Running == 1 && !s.Over })
	x.must(x.Client.Stop(x.ctx, "default", x.id, false))
	x.must(x.Client.WaitStopped(x.ctx, "default", x.id))
	if s := x.until("it is stopped", func(s nomad.JobStatus) bool { return s.Stopped }); s.Complete != 0 {
		t.Errorf("status %+v", s)
	}
}

func (x *trial) dispatches(t *testing.T) {
	parent := x.batch("echo tested; exit 0")
	parent.ParameterizedJob = &api.ParameterizedJobConfig{Payload: "forbidden", MetaRequired: []string{"teal_addresses"}}
	x.register(parent, 0)
	if there, err := x.Client.Dispatched(x.ctx, "default", x.id, "one"); err != nil || there != nil {
		t.Fatalf("before the dispatch: %v, %v", there, err)
	}
	meta := map[string]string{"teal_addresses": "127.0.0.1:1"}
	first, err := x.Client.Dispatch(x.ctx, "default", x.id, "one", meta)
	x.must(err)
	t.Cleanup(func() { _ = x.Client.Stop(context.WithoutCancel(t.Context()), "default", first, true) })
	again, err := x.Client.Dispatch(x.ctx, "default", x.id, "one", meta)
	x.must(err)
	if again != first {
		t.Errorf("the same token dispatched %s and %s", first, again)
	}
	x.over(first)
	if again, err = x.Client.Dispatch(x.ctx, "default", x.id, "one", meta); err != nil || again != first {
		t.Errorf("once it was over, the token dispatched %s, %v", again, err)
	}
	there, err := x.Client.Dispatched(x.ctx, "default", x.id, "one")
	x.must(err)
	if there == nil || *there.ID != first || there.Meta["teal_addresses"] != "127.0.0.1:1" {
		t.Errorf("found %v", there)
	}
	if other, err := x.Client.Dispatched(x.ctx, "default", x.id, "another"); err != nil || other != nil {
		t.Errorf("another token finds %v, %v", other, err)
	}
	_, err = x.Client.Dispatch(x.ctx, "default", x.id+"-not-there", "one", meta)
	x.is(err, nomad.ErrNotFound)
}
