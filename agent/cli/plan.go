package cli

import (
	"time"

	"github.com/posener/complete"

	"github.com/tealdeploy/teal/agent/kv"
)

type planCommand struct {
	meta
	vars varFlags
}

func (c *planCommand) options() *options {
	o := newOptions()
	o.add("Plan options", func(set *flagSet) {
		set.Var(&c.vars, "var", "A jobspec variable, as `name=value`, as with deploy. May be given again.")
		c.sending(set, 30*time.Second) // Nomad plans a whole job for it
		c.output(set)
	})
	o.add("Consul options", c.consul.define)
	return o
}

func (c *planCommand) Synopsis() string { return "Show what deploy would change, and change nothing" }

func (c *planCommand) Help() string {
	return c.help(`
Usage: teal plan [options] <service>

  Show what a deploy would change in Nomad and in Consul, and what would stand
  in its way: placements that fail, missing capacity for a second copy,
  volumes that only one colour can mount. Nothing is registered or written.
  The leading agent makes the plan, with its own policies and rights.

      $ teal plan api -var version=1.4.0`, c.options())
}

func (c *planCommand) AutocompleteArgs() complete.Predictor { return c.predictServices() }
func (c *planCommand) AutocompleteFlags() complete.Flags    { return c.options().predict() }

func (c *planCommand) Run(args []string) int {
	args, ok := c.parse("plan", c.options(), args, 1, 1)
	if !ok {
		return exitError
	}
	if err := serviceName(args[0]); err != nil {
		return c.complain(err)
	}
	s, err := c.consul.open()
	if err != nil {
		return c.complain(err)
	}
	result, err := c.send(s, args[0], kv.Plan, kv.Command{Vars: c.vars})
	if err == nil && !result.Accepted {
		if result.Output != "" && !c.json {
			c.term.print("%s", lineByLine(result.Output))
		}
		err = outcome{"refused: " + text(result.Reason), exitRefused}
	}
	if err == nil && !c.json {
		output := result.Output
		if output == "" {
			output = result.Reason
		}
		c.term.print("%s", lineByLine(output))
	}
	return c.report(ordered{Result: result}, err)
}
