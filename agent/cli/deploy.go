package cli

import (
	"fmt"

	"github.com/posener/complete"

	"github.com/tealdeploy/teal/agent/deployment"
	"github.com/tealdeploy/teal/agent/kv"
)

type deployCommand struct {
	meta
	vars  varFlags
	why   string
	until string
}

func (c *deployCommand) options() *options {
	o := newOptions()
	o.add("Deploy options", func(set *flagSet) {
		set.Var(&c.vars, "var", "A jobspec variable, as `name=value`, in force until the policy changes its own value of it. May be given again.")
		set.StringVar(&c.why, "why", "", "A `reason`, for the record.")
		set.StringVar(&c.until, "until", "live", "Follow to this `point`: cutover (all traffic is there, verified), live (the watch has passed; only the soak remains) or done (the previous colour is retired). Defaults to live.")
		c.following(set)
		c.output(set)
	})
	o.add("Consul options", c.consul.define)
	return o
}

func (c *deployCommand) Synopsis() string { return "Release what the policy says now" }

func (c *deployCommand) Help() string {
	return c.help(`
Usage: teal deploy [options] <service>

  Release a service's present policy and jobspec to the idle colour, and
  follow the release until it is live: gates, approval, cutover, watch. Only
  the agent acts; this command asks it to and looks on. Interrupting it does
  not interrupt the release.

  The exit code is 0 when the version is live and 3 when it failed, was
  rolled back, aborted or superseded; the last line says why.

  Release a version from CI:

      $ teal deploy api -var version=$CI_COMMIT_SHA

  Hand over and go on, and look later:

      $ teal deploy -detach api
      $ teal status -watch api`, c.options())
}

func (c *deployCommand) AutocompleteArgs() complete.Predictor { return c.predictServices() }
func (c *deployCommand) AutocompleteFlags() complete.Flags {
	f := c.options().predict()
	f["-until"] = complete.PredictSet("cutover", "live", "done")
	return f
}

func (c *deployCommand) Run(args []string) int {
	args, ok := c.parse("deploy", c.options(), args, 1, 1)
	if !ok {
		return exitError
	}
	reached, ok := map[string]goal{"cutover": moved, "live": live, "done": finished}[c.until]
	if !ok {
		c.term.fail("-until %s is not known: expected cutover, live or done.", c.until)
		return exitError
	}
	return c.order(order{
		svc: args[0], verb: kv.Deploy,
		command: kv.Command{Vars: c.vars, Why: c.why},
		reached: reached, queued: true,
		success: func(d deployment.Deployment) string {
			return fmt.Sprintf("%s %s %s on %s.", d.Service, safe(version(d.Candidate)), map[string]string{"cutover": "has all traffic", "live": "is live", "done": "is live and the previous colour retired"}[c.until], c.term.tint(d.To.String()))
		},
	})
}
