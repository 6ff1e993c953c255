package cli

import (
	"errors"
	"fmt"
	"maps"
	"os"

	"github.com/hashicorp/hcl/v2"
	"github.com/posener/complete"

	"github.com/tealdeploy/teal/agent/policy"
	"github.com/tealdeploy/teal/agent/settings"
)

type validateCommand struct {
	meta
	config string
}

func (c *validateCommand) options() *options {
	o := newOptions()
	o.add("Validate options", func(set *flagSet) {
		set.StringVar(&c.config, "config", "", "Check an agent's config `file`, too, or alone: its settings and notify blocks.")
		c.output(set)
	})
	return o
}

func (c *validateCommand) Synopsis() string { return "Check policy and config files, without a server" }

func (c *validateCommand) Help() string {
	return c.help(`
Usage: teal validate [options] [<path>]

  Check a policy file, or every policy in a directory, and print all mistakes
  at once with the lines they stand in. No server is asked: whether Nomad can
  place the job is what 'teal plan' says. The exit code is 1 when there is any
  mistake.

      $ teal validate policies/
      $ teal validate -json api.hcl
      $ teal validate -config /etc/teal/config.hcl policies/`, c.options())
}

func (c *validateCommand) AutocompleteArgs() complete.Predictor {
	return complete.PredictOr(complete.PredictFiles("*.hcl"), complete.PredictDirs("*"))
}
func (c *validateCommand) AutocompleteFlags() complete.Flags { return c.options().predict() }

func (c *validateCommand) Run(args []string) int {
	args, ok := c.parse("validate", c.options(), args, 0, 1)
	if !ok {
		return exitError
	}
	if len(args) == 0 && c.config == "" {
		return c.complain(errors.New("an argument is missing. 'teal validate -h' shows how"))
	}
	set, diags, where := policy.Empty(), hcl.Diagnostics(nil), c.config
	if len(args) > 0 {
		set, diags = policy.Load(args[0])
		where = args[0]
	}
	sources := maps.Clone(set.Sources)
	if c.config != "" {
		_, file, more := settings.Load(c.config)
		diags = append(diags, more...)
		if sources == nil {
			sources = map[string]*hcl.File{}
		}
		if file != nil {
			sources[c.config] = file
		}
		if len(args) > 0 {
			where += " and " + c.config
		}
	}
	bad := exitOK
	if diags.HasErrors() {
		bad = exitError
	}
	if c.json {
		if err := policy.WriteDiagnosticsJSON(c.term.out, diags, sources); err != nil {
			return c.complain(err)
		}
		return bad
	}
	if len(diags) > 0 {
		columns := 78
		if c.term.tty {
			columns, _ = c.term.size()
		}
		if err := policy.WriteDiagnostics(c.term.err, diags, sources, uint(columns), c.term.colour); err != nil {
			return c.complain(err)
		}
	}
	if bad != exitOK {
		mistakes := fmt.Sprintf("%d mistakes", len(diags.Errs()))
		if len(diags.Errs()) == 1 {
			mistakes = "1 mistake"
		}
		c.term.fail("%s in %s", mistakes, where)
		return bad
	}
	if c.config != "" {
		c.term.print("The config in %s is valid.", c.config)
	}
	if len(args) == 0 {
		return exitOK
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
