// Teal releases services blue-green on Nomad and Consul: the agent, and the
// commands that talk to it.
package main

import (
	"context"
	"os"
	"os/signal"
	"syscall"

	"github.com/tealdeploy/teal/agent/cli"
)

func main() {
	args := cli.HideTokens(os.Args)
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	code := cli.Run(ctx, args[1:], os.Stdout, os.Stderr)
	stop()
	os.Exit(code)
}
