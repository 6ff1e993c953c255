package cli

import (
	"fmt"
	"os"

	"github.com/posener/complete"

	"github.com/tealdeploy/teal/agent/policy"
)

type validateCommand struct{ meta }

func (c *validateCommand) options() *options {
	o := newOptions()
	o.add("Validate options", c.output)
	return o
}

func (c *validateCommand) Synopsis() string { return "Check policy files, without any server" }

func (c *validateCommand) Help() string {
	return c.help(`
Usage: teal validate [options] <path>

  Check a policy file, or every policy in a directory, and print all mistakes
  at once with the lines they stand in. No server is asked: whether Nomad can
  place the job is what 'teal plan' says. The exit code is 1 when there is any
  mistake.

      $ teal validate policies/
      $ teal validate -json api.hcl`, c.options())
}

func (c *validateCommand) AutocompleteArgs() complete.Predictor {
	return complete.PredictOr(complete.PredictFiles("*.hcl"), complete.PredictDirs("*"))
}
func (c *validateCommand) AutocompleteFlags() complete.Flags { return c.options().predict() }

func (c *validateCommand) Run(args []string) int {
	args, ok := c.parse("validate", c.options(), args, 1, 1)
	if !ok {
		return exitError
	}
	set, diags := policy.Load(args[0])
	bad := exitOK
	if diags.HasErrors() {
		bad = exitError
	}
	if c.json {
		if err := policy.WriteDiagnosticsJSON(c.term.out, diags, set.Sources); err != nil {
			return c.complain(err)
		}
		return bad
	}
	if len(diags) > 0 {
		columns := 78
		if c.term.tty {
			columns, _ = c.term.size()
		}
		if err := policy.WriteDiagnostics(c.term.err, diags, set.Sources, uint(columns), c.term.colour); err != nil {
			return c.complain(err)
		}
	}
	if bad != exitOK {
		mistakes := fmt.Sprintf("%d mistakes", len(diags.Errs()))
		if len(diags.Errs()) == 1 {
			mistakes = "1 mistake"
		}
		c.term.fail("%s in %s", mistakes, args[0])
		return bad
	}
	if set.Len() == 0 {
		c.term.print("There is no policy in %s.", args[0])
		return c.emptiness(args[0])
	}
	rows := [][]string{}
	for _, p := range set.Policies() {
		rows = append(rows, []string{p.Service, fmt.Sprintf("%s:%d", p.File, p.Line)})
	}
	for _, line := range table(rows) {
		c.term.print("%s", line)
	}
	c.term.print("%s valid.", plural(set.Len(), "policy is", "policies are"))
	return exitOK
}

// emptiness is a mistake for a file, which was named to be checked, and none
// for a directory, where policies may still come.
func (c *validateCommand) emptiness(path string) int {
	if info, err := os.Stat(path); err == nil && info.IsDir() {
		return exitOK
	}
	return exitError
}

func plural(n int, one, many string) string {
	if n == 1 {
		return "1 " + one
	}
	return fmt.Sprintf("%d %s", n, many)
}
