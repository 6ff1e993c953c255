package cli

import (
	"fmt"

	"github.com/posener/complete"

	"github.com/tealdeploy/teal/agent/deployment"
	"github.com/tealdeploy/teal/agent/kv"
)

type abortCommand struct {
	meta
	why string
}

func (c *abortCommand) options() *options {
	o := newOptions()
	o.add("Abort options", func(set *flagSet) {
		set.StringVar(&c.why, "why", "", "A `reason`, for the record.")
		c.following(set)
		c.output(set)
	})
	o.add("Consul options", c.consul.define)
	return o
}

func (c *abortCommand) Synopsis() string { return "Give a release up before it has traffic" }

func (c *abortCommand) Help() string {
	return c.help(`
Usage: teal abort [options] <service>

  Give up the release in flight, before cutover. Traffic is not touched; the
  candidate is kept for a while for debugging and then stopped. After cutover
  use 'teal rollback'.

      $ teal abort api -why "wrong version"`, c.options())
}

func (c *abortCommand) AutocompleteArgs() complete.Predictor { return c.predictServices() }
func (c *abortCommand) AutocompleteFlags() complete.Flags    { return c.options().predict() }

func (c *abortCommand) Run(args []string) int {
	args, ok := c.parse("abort", c.options(), args, 1, 1)
	if !ok {
		return exitError
	}
	return c.order(order{
		svc: args[0], verb: kv.Abort, command: kv.Command{Why: c.why}, reached: aborted,
		success: func(d deployment.Deployment) string {
			return fmt.Sprintf("The release of %s %s was given up.", d.Service, safe(version(d.Candidate)))
		},
	})
}
