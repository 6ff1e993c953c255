package cli

import (
	"github.com/posener/complete"

	"github.com/tealdeploy/teal/agent/kv"
)

type resumeCommand struct {
	meta
	why string
}

func (c *resumeCommand) options() *options {
	o := newOptions()
	o.add("Resume options", func(set *flagSet) {
		set.StringVar(&c.why, "why", "", "A `reason`, for the record.")
		c.sending(set, takenWithin)
		c.output(set)
	})
	o.add("Consul options", c.consul.define)
	return o
}

func (c *resumeCommand) Synopsis() string { return "Go on after a pause or a hold" }

func (c *resumeCommand) Help() string {
	return c.help(`
Usage: teal resume [options] <service>

  Lift a pause, or accept what Teal holds the service for: a route edited by
  hand, a gate that could not ask. 'teal status' shows the reason; look first.

      $ teal status api
      $ teal resume api`, c.options())
}

func (c *resumeCommand) AutocompleteArgs() complete.Predictor { return c.predictServices() }
func (c *resumeCommand) AutocompleteFlags() complete.Flags    { return c.options().predict() }

func (c *resumeCommand) Run(args []string) int {
	args, ok := c.parse("resume", c.options(), args, 1, 1)
	if !ok {
		return exitError
	}
	return c.order(order{svc: args[0], verb: kv.Resume, command: kv.Command{Why: c.why}})
}
