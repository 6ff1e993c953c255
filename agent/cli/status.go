package cli

import (
	"context"
	"fmt"
	"strings"

	"github.com/posener/complete"
)

type statusCommand struct {
	meta
	watch bool
}

func (c *statusCommand) options() *options {
	o := newOptions()
	o.add("Status options", func(set *flagSet) {
		set.BoolVar(&c.watch, "watch", false, "Show it again with every change, until interrupted.")
		c.output(set)
	})
	o.add("Consul options", c.consul.define)
	return o
}

func (c *statusCommand) Synopsis() string { return "Show how services and agents stand" }

func (c *statusCommand) Help() string {
	return c.help(`
Usage: teal status [options] [<service>]

  Without a service: who leads, the agents whose policies differ from the
  leader's, and one line a service. With a service: both colours, the route,
  job processing, and the release in flight with its gates and last events.

      $ teal status
      $ teal status api -watch
      $ teal status -json | jq '.services[] | select(.held)'`, c.options())
}

func (c *statusCommand) AutocompleteArgs() complete.Predictor { return c.predictServices() }
func (c *statusCommand) AutocompleteFlags() complete.Flags    { return c.options().predict() }

func (c *statusCommand) Run(args []string) int {
	args, ok := c.parse("status", c.options(), args, 0, 1)
	if !ok {
		return exitError
	}
	s, err := c.consul.open()
	if err != nil {
		return c.complain(err)
	}
	if len(args) == 1 {
		return c.one(s, args[0])
	}
	return c.all(s)
}

func (c *statusCommand) all(s *store) int {
	wait := func(ctx context.Context, index uint64) (uint64, error) {
		_, next, err := s.services(ctx, index)
		return next, err
	}
	return c.repeat(wait, func() ([]string, any, error) {
		st, err := s.status(c.ctx)
		if err != nil {
			return nil, nil, err
		}
		return c.term.overview(st), st, nil
	})
}

func (c *statusCommand) one(s *store, svc string) int {
	if err := serviceName(svc); err != nil {
		return c.complain(err)
	}
	wait := func(ctx context.Context, index uint64) (uint64, error) {
		_, next, err := s.get(ctx, s.keys.State(svc), index)
		return next, err
	}
	return c.repeat(wait, func() ([]string, any, error) {
		d, err := s.detail(c.ctx, svc)
		if err == nil && d == nil {
			err = c.unknown(s, svc)
		}
		if err != nil {
			return nil, nil, err
		}
		return c.term.portrait(*d), d, nil
	})
}

// unknown says that there is no such service, and which ones are like it.
func (m *meta) unknown(s *store, svc string) error {
	names, _, err := s.services(m.ctx, 0)
	if err != nil {
		return err
	}
	if len(names) == 0 {
		return outcome{fmt.Sprintf("no service %s: Teal knows no services yet. An agent with a policy for it takes it over.", svc), exitError}
	}
	return outcome{fmt.Sprintf("no service %s%s 'teal status' lists them all.", svc, didYouMean(svc, names)), exitError}
}

// repeat shows something once, or with -watch again after every change: in
// place on a terminal, one after another elsewhere, one JSON document a line.
func (c *statusCommand) repeat(wait func(context.Context, uint64) (uint64, error), look func() ([]string, any, error)) int {
	picture := redraw{term: c.term}
	var index uint64
	for first := true; ; first = false {
		if c.watch {
			next, err := wait(c.ctx, index)
			if c.ctx.Err() != nil {
				return exitOK
			}
			if err != nil && (first || !passing(err)) {
				return c.complain(err)
			}
			if err != nil {
				c.term.note("%s Trying again.", safe(err.Error()))
				index = 0
				if !pauseFor(c.ctx, watchBackoff) {
					return exitOK
				}
				continue
			}
			index = next
		}
		lines, document, err := look()
		switch {
		case c.watch && c.ctx.Err() != nil:
			return exitOK
		case err != nil && c.watch && !first && passing(err):
			index = 0
			if !pauseFor(c.ctx, watchBackoff) {
				return exitOK
			}
			continue
		case err != nil:
			return c.complain(err)
		case c.json && c.watch:
			body, err := asJSON(document, "")
			if err != nil {
				return c.complain(err)
			}
			c.term.print("%s", body)
		case c.json:
			return c.document(document)
		case c.watch && c.term.tty:
			picture.paint(lines)
		default:
			if !first {
				c.term.print("")
			}
			if c.watch {
				c.term.print("%s", c.term.stamp(c.term.now()))
			}
			c.term.print("%s", strings.Join(lines, "\n"))
		}
		if !c.watch {
			return exitOK
		}
	}
}
