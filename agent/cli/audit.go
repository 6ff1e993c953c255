package cli

import (
	"github.com/hashicorp/cli"
)

// auditCommand only groups what there is to do with audit files.
type auditCommand struct{ meta }

func (c *auditCommand) Synopsis() string { return "Verify audit files" }

func (c *auditCommand) Help() string {
	return c.help(`
Usage: teal audit <subcommand> [options] [args]

  What there is to do with the files that agents with an audit block in their
  config append every decision to.

      $ teal audit verify /var/log/teal/audit.log*`, newOptions())
}

func (c *auditCommand) Run([]string) int { return cli.RunResultHelp }
