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
		binary, err := l.worker(ctx, fence)
		if err != nil {
			return all, err
		}
		f := Fenced{Fence: fence, Postgres: db.Version}
		if err := l.overtake(ctx, db, binary, now, &f); err != nil {
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

// bout is one worker that is overtaken by the other colour's.
type bout struct {
	*lane
	db       *world.Postgres
	database string
	from     deployment.Colour // has the jobs first
	workers  map[deployment.Colour]*cluster.Server
}

func (l *lane) overtake(ctx context.Context, db *world.Postgres, binary string, from deployment.Colour, f *Fenced) error {
	ctx, cancel := context.WithTimeout(ctx, 2*patience)
	defer cancel()
	b := &bout{lane: l, db: db, database: fmt.Sprintf("fence_%t", f.Fence), from: from, workers: map[deployment.Colour]*cluster.Server{}}
	defer func() {
		for _, w := range b.workers {
			_ = w.Kill() // those that have not ended in order
		}
	}()
	if err := b.begin(ctx, binary); err != nil {
		return err
	}
	var err error
	if f.Old, err = b.token(ctx, from); err != nil {
		return fmt.Errorf("%s writes nothing: %w", from, err)
	}
	pid, err := b.number(ctx, "select process from reports where token = %d limit 1", f.Old)
	if err != nil {
		return err
	}
	if err := b.stop(ctx, int(pid)); err != nil {
		return err
	}
	result, err := l.Order(ctx, l.service.Name, kv.Cutover, string(from.Other()))
	if err == nil && !result.Accepted {
		err = errors.New(result.Reason)
	}
	if err != nil {
		return fmt.Errorf("cutover to %s: %w", from.Other(), err)
	}
	if f.New, err = b.token(ctx, from.Other()); err != nil {
		return fmt.Errorf("%s does not get the jobs: %w", from.Other(), err)
	}
	if err := b.wake(ctx, int(pid), f); err != nil {
		return err
	}
	if f.Raised, err = b.number(ctx, "select token from fence where service = '%s'", l.service.Name); err != nil {
		return err
	}
	if err := b.goesOn(ctx, f.New); err != nil {
		return err
	}
	return f.wrong(l.service.Name)
}

// begin makes the tables and starts a worker a colour.
func (b *bout) begin(ctx context.Context, binary string) error {
	schema, err := b.Example("worker", "schema.sql")
	if err != nil {
		return err
	}
	if err := b.db.Create(ctx, b.database, schema); err != nil {
		return err
	}
	for _, colour := range deployment.Colours {
		w := b.Program(cluster.Program{
			Name: fmt.Sprintf("%s-%s-%s", b.service.Name, b.database, colour), Path: b.World.Teal,
			Args: []string{"work", "-service", b.service.Name, "--", binary, "-every", "50ms"},
			Env:  append(b.Env(), "ENVIRONMENT_NAME="+string(colour), "DATABASE_URL="+b.db.URL(b.database)),
		})
		if err := w.Start(ctx); err != nil {
			return err
		}
		b.workers[colour] = w
	}
	return nil
}

// number asks for one.
func (b *bout) number(ctx context.Context, sql string, args ...any) (int64, error) {
	sql = fmt.Sprintf(sql, args...)
	out, err := b.db.Query(ctx, b.database, sql)
	if err != nil {
		return 0, err
	}
	n, err := strconv.ParseInt(out, 10, 64)
	if err != nil {
		err = fmt.Errorf("%s: %w", sql, err)
	}
	return n, err
}

// token waits until a colour has written, and gives the token that it has.
func (b *bout) token(ctx context.Context, colour deployment.Colour) (token int64, err error) {
	err = cluster.Await(ctx, func(ctx context.Context) (err error) {
		token, err = b.number(ctx, "select max(token) from reports where colour = '%s'", colour)
		return err
	})
	if err != nil {
		err = fmt.Errorf("%w\n%s", err, b.workers[colour].Tail(10))
	}
	return token, err
}

// stop freezes the worker and the `teal work` around it: that one first, so
// that it does not see the other stop. The worker has no transaction open then,
// for PostgreSQL would end that; it is asked twice, so that it has seen all that
// the worker sent before it stood still.
func (b *bout) stop(ctx context.Context, pid int) error {
	if err := b.workers[b.from].Pause(); err != nil {
		return err
	}
	return cluster.Await(ctx, func(ctx context.Context) error {
		if err := syscall.Kill(pid, syscall.SIGSTOP); err != nil {
			return err
		}
		if !stopped(pid) {
			return fmt.Errorf("process %d does not stand still", pid)
		}
		for range 2 {
			busy, err := b.number(ctx, "select count(*) from pg_stat_activity where datname = '%s' and pid <> pg_backend_pid() and state <> 'idle'", b.database)
			if err == nil && busy > 0 {
				err = errors.New("the worker was stopped within a transaction")
			}
			if err != nil {
				return errors.Join(err, syscall.Kill(pid, syscall.SIGCONT)) // once more
			}
		}
		return nil
	})
}

// wake lets the worker go on before `teal work`, which would end it. With its
// fence it has to end by itself; without it, to write.
func (b *bout) wake(ctx context.Context, pid int, f *Fenced) error {
	old := b.workers[b.from]
	if err := syscall.Kill(pid, syscall.SIGCONT); err != nil {
		return err
	}
	err := cluster.Await(ctx, func(ctx context.Context) error {
		over := ended(pid)
		late, err := b.number(ctx, "select count(*) from reports where token = %d and id > (select min(id) from reports where token = %d)", f.Old, f.New)
		if err != nil {
			return err
		}
		f.Late = int(late)
		switch {
		case f.Fence && !over:
			return fmt.Errorf("the worker of %s goes on, and has written %d rows", b.from, late)
		case !f.Fence && late == 0:
			return errors.New("without the fence nothing was written late either: this shows nothing")
		}
		return nil
	})
	if f.Fence {
		f.Said = old.Tail(1)
	}
	return errors.Join(err, old.Resume())
}

// goesOn waits until the new owner has written more, and ends both in order.
func (b *bout) goesOn(ctx context.Context, token int64) error {
	const rows = "select count(*) from reports where token = %d"
	before, err := b.number(ctx, rows, token)
	if err != nil {
		return err
	}
	err = cluster.Await(ctx, func(ctx context.Context) error {
		more, err := b.number(ctx, rows, token)
		if err == nil && more <= before {
			err = fmt.Errorf("the worker of %s writes no more", b.from.Other())
		}
		return err
	})
	for _, w := range b.workers {
		if w.Running() { // the old one's command ended while its colour owned the jobs, as far as it knew
			_, ended := w.Terminate(ctx)
			err = errors.Join(err, ended)
		}
	}
	return err
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
