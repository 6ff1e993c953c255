// Package cli is teal's command line. Its commands read and write Consul KV
// and nothing else (init also reads Nomad, agent and work are the programs
// that run for long), so that Consul's ACLs decide who may do what. The keys
// are those of package kv.
package cli

import (
	"context"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/hashicorp/cli"
)

// Run executes one command line, args without the program's name, and returns
// the exit code. When ctx ends a command stops waiting; it does not undo what
// an agent has taken.
func Run(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	return run(ctx, args, newTerminal(stdout, stderr))
}

func run(ctx context.Context, args []string, term *terminal) int {
	c := cli.NewCLI("teal", versionText())
	c.Args = args
	c.HelpWriter = term.out
	c.ErrorWriter = term.err
	c.HelpFunc = overview
	c.Commands = commands(ctx, term)

	if name := c.Subcommand(); name != "" && c.Commands[name] == nil {
		term.fail("there is no command %q%s 'teal -h' lists them.", name, didYouMean(name, names(c.Commands)))
		return exitError
	}
	code, err := c.Run()
	if err != nil {
		term.fail("%v", err)
		return exitError
	}
	if code == 127 { // no command at all: the overview was printed
		return exitError
	}
	return code
}

// commands lists every command. The factories are cheap: help and completion
// make all of them.
func commands(ctx context.Context, term *terminal) map[string]cli.CommandFactory {
	m := meta{ctx: ctx, term: term}
	made := func(c cli.Command) cli.CommandFactory {
		return func() (cli.Command, error) { return c, nil }
	}
	return map[string]cli.CommandFactory{
		"abort":        made(&abortCommand{meta: m}),
		"agent":        made(&agentCommand{meta: m}),
		"approve":      made(&approveCommand{meta: m}),
		"audit":        made(&auditCommand{meta: m}),
		"audit verify": made(&auditVerifyCommand{meta: m}),
		"cutover":      made(&cutoverCommand{meta: m}),
		"deploy":       made(&deployCommand{meta: m}),
		"history":      made(&historyCommand{meta: m}),
		"init":         made(&initCommand{meta: m}),
		"pause":        made(&pauseCommand{meta: m}),
		"plan":         made(&planCommand{meta: m}),
		"release":      made(&releaseCommand{meta: m}),
		"report":       made(&reportCommand{meta: m}),
		"resume":       made(&resumeCommand{meta: m}),
		"rollback":     made(&rollbackCommand{meta: m}),
		"status":       made(&statusCommand{meta: m}),
		"validate":     made(&validateCommand{meta: m}),
		"version":      made(&versionCommand{meta: m}),
		"work":         made(&workCommand{meta: m}),
	}
}

func names(m map[string]cli.CommandFactory) []string {
	var out []string
	for n := range m {
		out = append(out, n)
	}
	slices.Sort(out)
	return out
}

// overview is `teal -h`: the commands in the order in which people meet them.
func overview(all map[string]cli.CommandFactory) string {
	var b strings.Builder
	b.WriteString(`Usage: teal [-version] [-help] [-autocomplete-(un)install] <command> [args]

  Teal releases services blue-green on Nomad and Consul.
`)
	for _, group := range []struct {
		title string
		names []string
	}{
		{"Release", []string{"deploy", "plan", "approve", "cutover", "rollback", "abort", "pause", "resume"}},
		{"Look", []string{"status", "history", "report", "audit"}},
		{"Set up", []string{"init", "validate", "release"}},
		{"Run", []string{"agent", "work", "version"}},
	} {
		fmt.Fprintf(&b, "\n%s:\n", group.title)
		for _, name := range group.names {
			if made, ok := all[name]; ok {
				c, _ := made()
				fmt.Fprintf(&b, "    %-10s%s\n", name, c.Synopsis())
			}
		}
	}
	b.WriteString("\n" + exitCodes)
	return strings.TrimRight(b.String(), "\n")
}
