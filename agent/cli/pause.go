package cli

import (
	"github.com/posener/complete"

	"github.com/tealdeploy/teal/agent/kv"
)

type pauseCommand struct {
	meta
	why string
}

func (c *pauseCommand) options() *options {
	o := newOptions()
	o.add("Pause options", func(set *flagSet) {
		set.StringVar(&c.why, "why", "", "A `reason`, for the record.")
		c.sending(set, takenWithin)
		c.output(set)
	})
	o.add("Consul options", c.consul.define)
	return o
}

func (c *pauseCommand) Synopsis() string { return "Let nothing move forward by itself" }

func (c *pauseCommand) Help() string {
	return c.help(`
Usage: teal pause [options] <service>

  Nothing of the service moves forward by itself until it is resumed: no
  release starts, no traffic moves. What runs goes on running, and a rollback
  works all the same, by command and by trigger.

      $ teal pause api -why "load test until noon"`, c.options())
}

func (c *pauseCommand) AutocompleteArgs() complete.Predictor { return c.predictServices() }
func (c *pauseCommand) AutocompleteFlags() complete.Flags    { return c.options().predict() }

func (c *pauseCommand) Run(args []string) int {
	args, ok := c.parse("pause", c.options(), args, 1, 1)
	if !ok {
		return exitError
	}
	return c.order(order{svc: args[0], verb: kv.Pause, command: kv.Command{Why: c.why}})
}
