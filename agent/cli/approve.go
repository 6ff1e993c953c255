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
	why      string
	as       string
	withdraw bool
}

func (c *approveCommand) options() *options {
	o := newOptions()
	o.add("Approve options", func(set *flagSet) {
		set.StringVar(&c.as, "as", "", "The `approver` to consent as, where the policy names who may. Your token has to be allowed to write that name's key.")
		set.BoolVar(&c.withdraw, "withdraw", false, "Take back what was consented to with -as, which works until enough have consented.")
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
      $ teal approve api 3f2a91c0

  Where the policy names approvers, each of them consents under their own name,
  by a key that Consul's ACLs let nobody else write. The release goes on once
  as many have consented as the policy says.

      $ teal approve -as alice api -why "looks good"
      $ teal approve -as alice -withdraw api`, c.options())
}

func (c *approveCommand) AutocompleteArgs() complete.Predictor { return c.predictServices() }
func (c *approveCommand) AutocompleteFlags() complete.Flags {
	f := c.options().predict()
	f["-as"] = c.predictApprovers()
	return f
}

func (c *approveCommand) Run(args []string) int {
	args, ok := c.parse("approve", c.options(), args, 1, 2)
	if !ok {
		return exitError
	}
	if err := serviceName(args[0]); err != nil {
		return c.complain(err)
	}
	if c.as == "" && c.withdraw {
		c.term.fail("-withdraw needs -as: whose consent is taken back? A release that one command has approved is stopped by teal rollback %s.", args[0])
		return exitError
	}
	if err := kv.ApproverName(c.as); c.as != "" && err != nil {
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
	rec, err := c.waiting(s, args[0], asked)
	if err != nil {
		return c.report(ordered{}, err)
	}
	if c.as != "" {
		return c.consents(s, rec)
	}
	if ask := rec.Deployment.Ask; ask != nil {
		return c.report(ordered{}, outcome{fmt.Sprintf("refused: it takes the approval of %s, each under their own name: teal approve -as <name> %s", safe(ask.Wanted()), args[0]), exitRefused})
	}
	return c.order(order{svc: args[0], verb: kv.Approve, command: kv.Command{Arg: rec.Deployment.Candidate.Proof(), Why: c.why}})
}

// waiting is what waits for approval now, as the operator sees it. Its proof is
// sent along, so that an edit in between voids the consent.
func (c *approveCommand) waiting(s *store, svc, asked string) (deployment.Service, error) {
	p, _, err := s.get(c.ctx, s.keys.State(svc), 0)
	if err != nil {
		return deployment.Service{}, err
	}
	if p == nil {
		return deployment.Service{}, c.unknown(s, svc)
	}
	rec, err := deployment.Decode(svc, p.Value)
	if err != nil {
		return deployment.Service{}, err
	}
	d := rec.Deployment
	if d == nil || d.State != deployment.Approving {
		state := "is idle"
		if d != nil {
			state = "is " + string(d.State)
		}
		return deployment.Service{}, outcome{fmt.Sprintf("nothing of %s waits for approval: it %s.", svc, state), exitRefused}
	}
	proof := d.Candidate.Proof()
	if asked != "" && (len(asked) < 4 || !strings.HasPrefix(proof, asked)) {
		return deployment.Service{}, outcome{fmt.Sprintf("what waits for approval is %s (%s), not %s.", safe(version(d.Candidate)), brief(d.Candidate.Hash), asked), exitRefused}
	}
	return rec, nil
}
