package faults

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/tealdeploy/teal/agent/deployment"
	"github.com/tealdeploy/teal/agent/kv"
	"github.com/tealdeploy/teal/testbed/cluster"
	"github.com/tealdeploy/teal/testbed/product"
	"github.com/tealdeploy/teal/testbed/replay"
	"github.com/tealdeploy/teal/testbed/world"
)

// Fenced is a worker that was stopped for longer than its lease and woke up
// when the other colour had written to the database.
type Fenced struct {
	Fence    bool   `json:"fence"` // false: the example without its fence
	Old      int64  `json:"old_token"`
	New      int64  `json:"new_token"`
	Late     int    `json:"late_rows"` // that the old one wrote after the new one's first
	Raised   int64  `json:"fence_token"`
	Said     string `json:"said"` // by the old one when it woke up
	Broken   string `json:"broken,omitempty"`
	Postgres string `json:"postgres"`
}

// withoutFence takes out of the example what refuses an old token.
var withoutFence = replay.Patch{File: "examples/worker/fence.go", Edit: []replay.Edit{
	{Old: "where service = $1 and fence.token <= $2\n", New: "where service = $1 and $2::bigint is not null\n"},
}}

// Overtake stops a worker of examples/worker, and the `teal work` around it,
// hands its jobs over, and lets it go on when the other colour has written: once
// as it is, and once without its fence, which has to be seen to make a
// difference.
func Overtake(ctx context.Context, w *world.World, name string, log io.Writer) (all []Fenced, err error) {
	l, err := newLane(ctx, w, name, world.Service{Jobs: fmt.Sprintf("handover_deadline = %q", time.Second)}, log)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, l.close()) }()
	now, err := l.bothColours(ctx)
	if err != nil {
		return nil, err
	}
	db, err := l.StartPostgres(ctx)
	if err != nil {
		return nil, err
	}
	for _, fence := range []bool{true, false} {
		f := Fenced{Fence: fence, Postgres: db.Version}
		if err := l.overtake(ctx, db, now, &f); err != nil {
			f.Broken = err.Error()
		}
		all = append(all, f)
		if f.Broken != "" {
			fmt.Fprintf(log, "BROKEN: a worker was overtaken, with fence: %t: %s\n", fence, f.Broken)
			l.Site.Logs(log, 40)
			return all, nil
		}
		now = now.Other()
	}
	return all, nil
}

func (l *lane) overtake(ctx context.Context, db *world.Postgres, from deployment.Colour, f *Fenced) error {
	ctx, cancel := context.WithTimeout(ctx, 2*patience)
	defer cancel()
	database := fmt.Sprintf("fence_%t", f.Fence)
	schema, err := l.Example("worker", "schema.sql")
	if err != nil {
		return err
	}
	if err := db.Create(ctx, database, schema); err != nil {
		return err
	}
	binary, err := l.worker(ctx, f.Fence)
	if err != nil {
		return err
	}
	workers := map[deployment.Colour]*cluster.Server{}
	for _, colour := range deployment.Colours {
		workers[colour] = l.Program(cluster.Program{
			Name: fmt.Sprintf("%s-%s-%s", l.service.Name, database, colour), Path: l.World.Teal,
			Args: []string{"work", "-service", l.service.Name, "--", binary, "-every", "50ms"},
			Env:  append(l.Env(), "ENVIRONMENT_NAME="+string(colour), "DATABASE_URL="+db.URL(database)),
		})
		if err := workers[colour].Start(ctx); err != nil {
			return err
		}
	}
	defer func() { _ = errors.Join(workers[from].Kill(), workers[from.Other()].Kill()) }()
	number := func(of *int64, sql string, args ...any) func(context.Context) error {
		sql = fmt.Sprintf(sql, args...)
		return func(ctx context.Context) error {
			out, err := db.Query(ctx, database, sql)
			if err != nil {
				return err
			}
			if *of, err = strconv.ParseInt(out, 10, 64); err != nil {
				return fmt.Errorf("%s: %w", sql, err)
			}
			return nil
		}
	}
	const tokenOf = "select max(token) from reports where colour = '%s'"
	if err := cluster.Await(ctx, number(&f.Old, tokenOf, from)); err != nil {
		return fmt.Errorf("%s writes nothing: %w\n%s", from, err, workers[from].Tail(10))
	}

	// Teal's part first, so that it does not see the other stop.
	old := workers[from]
	var pid, late int64
	if err := number(&pid, "select process from reports where token = %d limit 1", f.Old)(ctx); err != nil {
		return err
	}
	if err := old.Pause(); err != nil {
		return err
	}
	if err := l.stopOutside(ctx, db, database, int(pid)); err != nil {
		return err
	}
	result, err := l.Order(ctx, l.service.Name, kv.Cutover, string(from.Other()))
	if err == nil && !result.Accepted {
		err = errors.New(result.Reason)
	}
	if err != nil {
		return fmt.Errorf("cutover to %s: %w", from.Other(), err)
	}
	if err := cluster.Await(ctx, number(&f.New, tokenOf, from.Other())); err != nil {
		return fmt.Errorf("%s does not get the jobs: %w\n%s", from.Other(), err, workers[from.Other()].Tail(10))
	}

	// The worker wakes up before teal work does, which would end it.
	if err := syscall.Kill(int(pid), syscall.SIGCONT); err != nil {
		return err
	}
	lateRows := number(&late, "select count(*) from reports where token = %d and id > (select min(id) from reports where token = %d)", f.Old, f.New)
	if f.Fence {
		err = cluster.Await(ctx, func(context.Context) error {
			if !ended(int(pid)) {
				return fmt.Errorf("the worker of %s goes on", from)
			}
			return nil
		})
	} else {
		err = cluster.Await(ctx, func(ctx context.Context) error {
			if err := lateRows(ctx); err != nil || late > 0 {
				return err
			}
			return errors.New("nothing was written late")
		})
	}
	if err != nil {
		return errors.Join(err, old.Resume())
	}
	if f.Said = old.Tail(1); !f.Fence {
		f.Said = ""
	}
	if err := errors.Join(lateRows(ctx), number(&f.Raised, "select token from fence where service = '%s'", l.service.Name)(ctx)); err != nil {
		return err
	}
	f.Late = int(late)
	if err := old.Resume(); err != nil {
		return err
	}
	// The new owner goes on, and both end in order.
	var before, more int64
	const rows = "select count(*) from reports where token = %d"
	if err := number(&before, rows, f.New)(ctx); err != nil {
		return err
	}
	err = cluster.Await(ctx, func(ctx context.Context) error {
		if err := number(&more, rows, f.New)(ctx); err != nil || more > before {
			return err
		}
		return fmt.Errorf("the worker of %s writes no more", from.Other())
	})
	if err != nil {
		return err
	}
	for _, w := range workers {
		if w.Running() { // the old one's command ended while its colour owned the jobs, as far as it knew
			if _, err := w.Terminate(ctx); err != nil {
				return err
			}
		}
	}
	return f.wrong(l.service.Name)
}

// wrong holds what was seen against what has to be.
func (f *Fenced) wrong(service string) error {
	refusal := fmt.Sprintf("worker: token %d is refused: %s has been written with a greater one since", f.Old, service)
	switch {
	case f.New <= f.Old:
		return fmt.Errorf("token %d follows %d", f.New, f.Old)
	case f.Raised != f.New:
		return fmt.Errorf("the fence is at %d, want %d", f.Raised, f.New)
	case f.Fence && f.Late > 0:
		return fmt.Errorf("%d rows of token %d were written after those of %d", f.Late, f.Old, f.New)
	case f.Fence && f.Said != refusal:
		return fmt.Errorf("the worker said %q, want %q", f.Said, refusal)
	case !f.Fence && f.Late == 0:
		return errors.New("without the fence nothing was written late either: this shows nothing")
	}
	return nil
}

// worker builds the example, with or without its fence.
func (l *lane) worker(ctx context.Context, fence bool) (string, error) {
	dir := filepath.Join(l.Dir, fmt.Sprintf("worker-%t", fence))
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return "", err
	}
	if fence {
		return product.Worker(ctx, dir, "")
	}
	replaced := map[string]string{}
	if err := replay.Overlay(dir, l.Root, []replay.Patch{withoutFence}, replaced); err != nil {
		return "", err
	}
	overlay, err := replay.Write(dir, replaced)
	if err != nil {
		return "", err
	}
	return product.Worker(ctx, dir, overlay)
}

// stopOutside freezes a worker while it has no transaction open: PostgreSQL
// would end that. It is asked twice, so that it has seen all that the worker
// sent before it stood still.
func (l *lane) stopOutside(ctx context.Context, db *world.Postgres, database string, pid int) error {
	sql := fmt.Sprintf("select count(*) from pg_stat_activity where datname = '%s' and pid <> pg_backend_pid() and state <> 'idle'", database)
	return cluster.Await(ctx, func(ctx context.Context) error {
		if err := syscall.Kill(pid, syscall.SIGSTOP); err != nil {
			return err
		}
		if !stopped(pid) {
			return fmt.Errorf("process %d does not stand still", pid)
		}
		for range 2 {
			busy, err := db.Query(ctx, database, sql)
			if err == nil && busy != "0" {
				err = errors.New("the worker was stopped within a transaction")
			}
			if err != nil {
				return errors.Join(err, syscall.Kill(pid, syscall.SIGCONT)) // once more
			}
		}
		return nil
	})
}

func stopped(pid int) bool { return processState(pid) == "T" }
func ended(pid int) bool   { return strings.Contains("ZX", processState(pid)) }

// processState is the letter that the kernel gives a process's state; empty
// when there is no such process.
func processState(pid int) string {
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return ""
	}
	_, rest, _ := strings.Cut(string(stat), ") ")
	state, _, _ := strings.Cut(rest, " ")
	return state
}
