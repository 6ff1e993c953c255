// Command worker is an example of a background worker that no pause makes
// dangerous. `teal work` runs it while its colour owns the jobs, and it writes
// its reports to PostgreSQL behind a fence:
//
//	psql $DATABASE_URL -f schema.sql
//	DATABASE_URL=postgres://… teal work -service reports -- worker
//
// A worker that was stopped for longer than its lease (SIGSTOP, a suspended
// machine) wakes up in the belief that the jobs are still its own, and no lock
// can tell it otherwise before it writes. The database can: see fence.go.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"strconv"
	"syscall"
	"time"

	"github.com/jackc/pgx/v5"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	every := flag.Duration("every", time.Second, "how long one report takes")
	flag.Parse()
	err := run(ctx, *every)
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "worker:", err)
		os.Exit(1)
	}
}

// run writes reports until ctx ends. The one that is begun then is finished.
func run(ctx context.Context, every time.Duration) error {
	// What teal work gives its command. The token only grows: whoever is given
	// the jobs later has a greater one.
	token, err := strconv.ParseInt(os.Getenv("TEAL_TOKEN"), 10, 64)
	if err != nil {
		return errors.New("no TEAL_TOKEN: run it under teal work")
	}
	service, colour := os.Getenv("TEAL_SERVICE"), os.Getenv("ENVIRONMENT_NAME")

	finish := context.WithoutCancel(ctx)
	store, err := open(finish, os.Getenv("DATABASE_URL"), service, token)
	if err != nil {
		return err
	}
	defer store.close(finish)
	for {
		report := time.NewTimer(every) // the work itself, outside the transaction
		select {
		case <-report.C:
		case <-ctx.Done():
			return nil
		}
		err := store.write(finish, func(tx pgx.Tx) error {
			_, err := tx.Exec(finish, `insert into reports (colour, token, process) values ($1, $2, $3)`, colour, token, os.Getpid())
			return err
		})
		if err != nil {
			return err
		}
	}
}
