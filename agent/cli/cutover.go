package cli

import (
	"fmt"

	"github.com/posener/complete"

	"github.com/tealdeploy/teal/agent/deployment"
	"github.com/tealdeploy/teal/agent/kv"
)

type cutoverCommand struct {
	meta
	force bool
	why   string
}

func (c *cutoverCommand) options() *options {
	o := newOptions()
	o.add("Cutover options", func(set *flagSet) {
		set.BoolVar(&c.force, "force", false, "Move traffic even if gates have not passed or the colour is not healthy. Needs -why; both are recorded with your name.")
		set.StringVar(&c.why, "why", "", "A `reason`, for the record.")
		c.following(set)
		c.output(set)
	})
	o.add("Consul options", c.consul.define)
	return o
}

func (c *cutoverCommand) Synopsis() string { return "Send all traffic to a colour by hand" }

func (c *cutoverCommand) Help() string {
	return c.help(`
Usage: teal cutover [options] <service> <blue|green>

  Send all of a service's traffic to a colour. The colour must have passed its
  gates and be healthy, unless it is forced. This is what

      $ consul kv put teal/commands/api/cutover green

  does too; the command also waits until the route is verified.

      $ teal cutover api green
      $ teal cutover api green -force -why "gate's own test server is down"`, c.options())
}

func (c *cutoverCommand) AutocompleteArgs() complete.Predictor { return c.predictServiceThenColour() }
func (c *cutoverCommand) AutocompleteFlags() complete.Flags    { return c.options().predict() }

func (c *cutoverCommand) Run(args []string) int {
	args, ok := c.parse("cutover", c.options(), args, 2, 2)
	if !ok {
		return exitError
	}
	to, err := deployment.ParseColour(args[1])
	if err == nil && c.force && c.why == "" {
		err = fmt.Errorf("-force needs -why: it is recorded why traffic went to what is not proven")
	}
	if err != nil {
		c.term.fail("%v.", err)
		return exitError
	}
	return c.order(order{
		svc: args[0], verb: kv.Cutover,
		command: kv.Command{Arg: string(to), Force: c.force, Why: c.why},
		reached: moved,
		success: func(d deployment.Deployment) string {
			return fmt.Sprintf("All traffic of %s goes to %s.", d.Service, c.term.tint(to.String()))
		},
	})
}
