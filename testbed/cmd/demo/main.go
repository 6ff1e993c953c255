// Command demo shows Teal at work in a few minutes: it starts Consul, Nomad
// and an agent, puts a service under steady load, and lets it be adopted,
// released, rolled back by itself and rolled back by hand. It ends with a
// table and build/demo.json, and with an error if anything but the injected
// faults failed. It leaves nothing running.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"syscall"

	"github.com/tealdeploy/teal/testbed/world"
)

func main() {
	out := flag.String("o", "build/demo.json", "`file` for the figures")
	keep := flag.Bool("keep", false, "leave everything running until interrupted")
	rate := flag.Int("rate", 250, "requests a second")
	faults := flag.Int("faults", 3, "releases that turn bad, at least one")
	flag.Parse()

	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM, syscall.SIGHUP)
	err := run(ctx, *out, *rate, max(1, *faults), *keep)
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "\ndemo:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, out string, rate, faults int, keep bool) (err error) {
	dir, err := os.MkdirTemp("", "teal-demo-")
	if err != nil {
		return err
	}
	s := &story{screen: newScreen(os.Stdout), dir: dir, rate: rate, faults: faults}
	defer world.RemoveBinaries()
	defer func() {
		s.screen.quiet()
		err = errors.Join(err, s.close())
		switch {
		case ctx.Err() != nil && !s.told:
			err = errors.New("interrupted; everything was stopped")
			fallthrough
		case err == nil:
			err = errors.Join(err, os.RemoveAll(dir))
		default:
			fmt.Printf("\nLogs are kept in %s\n", dir)
		}
	}()
	if err := s.tell(ctx); err != nil {
		return err
	}
	s.told = true
	report := s.report()
	report.print(s.screen)
	err = errors.Join(report.save(out), report.verdict(rate))
	if keep && err == nil {
		s.stay(ctx)
	}
	return err
}
