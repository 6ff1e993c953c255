package cli

import (
	"fmt"
	"strings"

	"github.com/posener/complete"

	"github.com/tealdeploy/teal/agent/deployment"
	"github.com/tealdeploy/teal/agent/kv"
)

type approveCommand struct {
	meta
	why string
}

func (c *approveCommand) options() *options {
	o := newOptions()
	o.add("Approve options", func(set *flagSet) {
		set.StringVar(&c.why, "why", "", "A `reason`, for the record.")
		c.sending(set, takenWithin)
		c.output(set)
	})
	o.add("Consul options", c.consul.define)
	return o
}

func (c *approveCommand) Synopsis() string { return "Agree to a release that waits for it" }

func (c *approveCommand) Help() string {
	return c.help(`
Usage: teal approve [options] <service> [<hash>]

  Agree that the version whose gates have passed gets the traffic. The consent
  is bound to the exact jobspec and policy that wait now: when either is
  edited meanwhile, the agent refuses it. A hash, or its beginning, makes sure
  that it is the one you have looked at; 'teal status' shows it.

      $ teal approve api
      $ teal approve api 3f2a91c0`, c.options())
}

func (c *approveCommand) AutocompleteArgs() complete.Predictor { return c.predictServices() }
func (c *approveCommand) AutocompleteFlags() complete.Flags    { return c.options().predict() }

func (c *approveCommand) Run(args []string) int {
	args, ok := c.parse("approve", c.options(), args, 1, 2)
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
	asked := ""
	if len(args) == 2 {
		asked = args[1]
	}
	proof, err := c.waiting(s, args[0], asked)
	if err != nil {
		return c.report(ordered{}, err)
	}
	return c.order(order{svc: args[0], verb: kv.Approve, command: kv.Command{Arg: proof, Why: c.why}})
}

// waiting is the proof of what waits for approval now, as the operator sees
// it. It is sent along, so that an edit in between voids the consent.
func (c *approveCommand) waiting(s *store, svc, asked string) (string, error) {
	p, _, err := s.get(c.ctx, s.keys.State(svc), 0)
	if err != nil {
		return "", err
	}
	if p == nil {
		return "", c.unknown(s, svc)
	}
	rec, err := deployment.Decode(svc, p.Value)
	if err != nil {
		return "", err
	}
	d := rec.Deployment
	if d == nil || d.State != deployment.Approving {
		state := "is idle"
		if d != nil {
			state = "is " + string(d.State)
		}
		return "", outcome{fmt.Sprintf("nothing of %s waits for approval: it %s.", svc, state), exitRefused}
	}
	proof := d.Candidate.Proof()
	if asked != "" && (len(asked) < 4 || !strings.HasPrefix(proof, asked)) {
		return "", outcome{fmt.Sprintf("what waits for approval is %s (%s), not %s.", safe(version(d.Candidate)), brief(d.Candidate.Hash), asked), exitRefused}
	}
	return proof, nil
}
