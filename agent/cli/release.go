package cli

import (
	"time"

	"github.com/posener/complete"

	"github.com/tealdeploy/teal/agent/kv"
)

type releaseCommand struct {
	meta
	why string
}

func (c *releaseCommand) options() *options {
	o := newOptions()
	o.add("Release options", func(set *flagSet) {
		set.StringVar(&c.why, "why", "", "A `reason`, for the record.")
		c.sending(set, 2*time.Minute) // the idle colour is stopped first
		c.output(set)
	})
	o.add("Consul options", c.consul.define)
	return o
}

func (c *releaseCommand) Synopsis() string { return "Give a service back to plain Consul and Nomad" }

func (c *releaseCommand) Help() string {
	return c.help(`
Usage: teal release [options] <service>

  End Teal's management of a service: the idle colour is stopped, then the
  entries it found in Consul are restored, so that traffic goes on without
  Teal. The job that serves now stays as it is. While the policy is still
  there, an edit of it or 'teal deploy' takes the service over again.

      $ teal release api`, c.options())
}

func (c *releaseCommand) AutocompleteArgs() complete.Predictor { return c.predictServices() }
func (c *releaseCommand) AutocompleteFlags() complete.Flags    { return c.options().predict() }

func (c *releaseCommand) Run(args []string) int {
	args, ok := c.parse("release", c.options(), args, 1, 1)
	if !ok {
		return exitError
	}
	return c.order(order{svc: args[0], verb: kv.Release, command: kv.Command{Why: c.why}})
}
