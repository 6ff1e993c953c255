package cli

import (
	"fmt"

	"github.com/posener/complete"

	"github.com/tealdeploy/teal/agent/deployment"
	"github.com/tealdeploy/teal/agent/kv"
)

type rollbackCommand struct {
	meta
	force bool
	why   string
}

func (c *rollbackCommand) options() *options {
	o := newOptions()
	o.add("Rollback options", func(set *flagSet) {
		set.BoolVar(&c.force, "force", false, "Go back even if no instance of the previous colour passes its checks, or it was found bad before.")
		set.StringVar(&c.why, "why", "", "A `reason`, for the record.")
		c.following(set)
		c.output(set)
	})
	o.add("Consul options", c.consul.define)
	return o
}

func (c *rollbackCommand) Synopsis() string { return "Send traffic back to the previous colour" }

func (c *rollbackCommand) Help() string {
	return c.help(`
Usage: teal rollback [options] <service>

  Send all traffic back to the previous colour, which is still whole until the
  soak ends. It is one write to Consul; it needs no approval, no gate and no
  Nomad, and works while the release is paused or held. Before cutover there
  is nothing to take back: 'teal abort' gives a release up.

      $ teal rollback api -why "checkout is slow"`, c.options())
}

func (c *rollbackCommand) AutocompleteArgs() complete.Predictor { return c.predictServices() }
func (c *rollbackCommand) AutocompleteFlags() complete.Flags    { return c.options().predict() }

func (c *rollbackCommand) Run(args []string) int {
	args, ok := c.parse("rollback", c.options(), args, 1, 1)
	if !ok {
		return exitError
	}
	return c.order(order{
		svc: args[0], verb: kv.Rollback, command: kv.Command{Force: c.force, Why: c.why}, reached: back,
		success: func(d deployment.Deployment) string {
			to, version := d.From, d.FromVersion
			if d.Rollback == nil { // after the soak it is a move of its own
				to, version = d.To, d.Candidate.Version
			}
			return fmt.Sprintf("%s is back on %s.", d.Service, c.term.tint(to.String())+when(version != "", " "+safe(version)))
		},
	})
}

func when(yes bool, text string) string {
	if yes {
		return text
	}
	return ""
}
