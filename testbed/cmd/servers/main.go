// Command servers makes sure that a Consul, a Nomad and a Prometheus are there to
// run tests and the demo with, building them when they are not on PATH, and prints
// their paths.
package main

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"syscall"

	"github.com/tealdeploy/teal/testbed/servers"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := run(ctx)
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func run(ctx context.Context) error {
	consul, err := servers.Consul(ctx, os.Stderr)
	if err != nil {
		return err
	}
	nomad, err := servers.Nomad(ctx, os.Stderr)
	if err != nil {
		return err
	}
	prometheus, err := servers.Prometheus(ctx, os.Stderr)
	if err != nil {
		return err
	}
	fmt.Println(consul.Path)
	fmt.Println(nomad.Path)
	fmt.Println(prometheus.Path)
	return nil
}
