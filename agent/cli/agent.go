package cli

import (
	"context"
	"errors"
	"os"
	"os/signal"
	"runtime/debug"
	"syscall"

	"github.com/posener/complete"

	"github.com/tealdeploy/teal/agent"
)

// runAgent is agent.Run; tests replace it.
var runAgent = agent.Run

type agentCommand struct {
	meta
	o agent.Options
}

func (c *agentCommand) options() *options {
	o := newOptions()
	o.add("Agent options", func(set *flagSet) {
		set.StringVar(&c.o.Config, "config", "", "The agent's config `file`. Without one everything is at its default.")
		set.StringVar(&c.o.Policies, "policies", "", "A policy file, or a `directory` of them.")
		set.StringVar(&c.o.Name, "name", "", "This agent's `name` among the others; defaults to the host's.")
		set.StringVar(&c.o.HTTPAddr, "bind", "", "The `address` that health, metrics and status are served on.")
		set.StringVar(&c.o.LogLevel, "log-level", "", "The log's `level`: trace, debug, info, warn or error.")
		set.BoolVar(&c.o.LogJSON, "log-json", false, "Log JSON, one object a line.")
		set.StringVar(&c.o.Prefix, "prefix", "", "The `prefix` of Teal's keys in Consul KV.")
		set.StringVar(&c.o.ConsulAddr, "http-addr", "", "The `address` of Consul's HTTP API; also CONSUL_HTTP_ADDR.")
		set.StringVar(&c.o.ConsulToken, "token", "", "Consul's ACL `token`; also CONSUL_HTTP_TOKEN. A file is better: a command line stays in the shell's history, and others can see it until teal has begun.")
		set.StringVar(&c.o.ConsulTokenFile, "token-file", "", "A `file` that holds Consul's ACL token; also CONSUL_HTTP_TOKEN_FILE.")
		set.StringVar(&c.o.NomadAddr, "nomad-addr", "", "The `address` of Nomad's HTTP API; also NOMAD_ADDR.")
	})
	return o
}

func (c *agentCommand) Synopsis() string { return "Run the agent" }

func (c *agentCommand) Help() string {
	return c.help(`
Usage: teal agent [options]

  Run the agent. Any number of agents may run; one leads and the others stand
  by. A flag goes before the config file, the config file before the
  environment. SIGHUP reads config and policies again; a mistake in them is
  reported and leaves what is in force as it is. SIGTERM and SIGINT hand the
  lead over and stop; releases go on where they stood under the next leader.

      $ teal agent -config config.hcl
      $ teal agent -policies ./policies -log-level debug`, c.options())
}

// heapGrowth is by how many percent the heap grows between two collections.
// Most of what an agent holds, policies and records, it holds for good; Go's
// own 100 would double it for nothing.
const heapGrowth = 20

func (c *agentCommand) AutocompleteArgs() complete.Predictor { return complete.PredictNothing }
func (c *agentCommand) AutocompleteFlags() complete.Flags    { return c.options().predict() }

func (c *agentCommand) Run(args []string) int {
	if _, ok := c.parse("agent", c.options(), args, 0, 0); !ok {
		return exitError
	}
	if os.Getenv("GOGC") == "" {
		debug.SetGCPercent(heapGrowth)
	}
	reload := make(chan os.Signal, 1)
	signal.Notify(reload, syscall.SIGHUP)
	defer signal.Stop(reload)
	c.o.Reload, c.o.Stderr, c.o.Version = reload, c.term.err, BuildVersion()
	if err := runAgent(c.ctx, c.o); err != nil && !errors.Is(err, context.Canceled) {
		c.term.fail("%v", err)
		return exitError
	}
	return exitOK
}
