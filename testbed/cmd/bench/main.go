// Command bench measures how long Teal takes from a decision to the route at
// the data plane, and holds it against the floor: a bare compare-and-set of
// the service-router in the same run. Then it cuts over under load and counts
// what was lost, and lets versions that serve turn bad and counts for how long
// their callers suffer. It prints a table and writes build/bench.json.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"

	"github.com/tealdeploy/teal/testbed/cluster"
	"github.com/tealdeploy/teal/testbed/world"
)

func main() {
	out := flag.String("o", "build/bench.json", "`file` for the figures")
	samples := flag.Int("n", 100, "samples of each kind")
	cutovers := flag.Int("cutovers", 50, "cutovers under load")
	requests := flag.Int("requests", 100_000, "requests at least, over those cutovers")
	rate := flag.Int("rate", 500, "requests a second")
	faults := flag.Int("faults", 30, "faults of a version that serves, under load")
	strict := flag.Bool("strict", false, "fail when a goal is missed, not only when requests were")
	flag.Parse()

	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM, syscall.SIGHUP)
	err := run(ctx, *out, *samples, *cutovers, *requests, *rate, *faults, *strict, os.Stdout)
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, out string, samples, cutovers, requests, rate, faults int, strict bool, log io.Writer) (err error) {
	defer world.RemoveBinaries()
	w, err := world.Start(ctx, world.Options{Options: cluster.Options{Log: log}})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, w.Stop()) }()
	b := &bench{world: w, log: log, figures: map[string][]float64{}}
	defer func() { err = errors.Join(b.close(), err) }()
	defer func() {
		if err != nil && b.site != nil {
			b.site.Logs(log, 40) // what the agents were doing
		}
	}()
	if err := b.lay(ctx); err != nil {
		return err
	}
	if err := b.measure(ctx, samples); err != nil {
		return err
	}
	load, err := b.underLoad(ctx, cutovers, requests, rate)
	if err != nil {
		return err
	}
	recovered, err := b.faults(ctx, faults)
	if err != nil {
		return err
	}
	r := b.report(load, cutovers, recovered)
	r.print(log)
	return errors.Join(r.save(out), r.verdict(strict))
}
