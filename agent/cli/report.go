package cli

import (
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"strings"

	"github.com/posener/complete"

	"github.com/tealdeploy/teal/agent/deployment"
)

// mostKnown is how many IDs a message about an unknown one lists.
const mostKnown = 10

type reportCommand struct {
	meta
	format string
}

func (c *reportCommand) options() *options {
	o := newOptions()
	o.add("Report options", func(set *flag.FlagSet) {
		set.StringVar(&c.format, "format", "text", "Write text for a terminal, JSON for a program, or Markdown for an issue or a wiki: this `form`. Defaults to text.")
		set.BoolVar(&c.noColor, "no-color", false, "Print without colour. NO_COLOR does the same.")
	})
	o.add("Consul options", c.consul.define)
	return o
}

func (c *reportCommand) Synopsis() string { return "Report on a release, to keep or to hand on" }

func (c *reportCommand) Help() string {
	return c.help(`
Usage: teal report [options] <service> [<deployment>]

  Report on one release: what was deployed by whom, the gates with their
  figures, when traffic moved and came back, what the watch came to, requests
  lost if anybody counted them, and everything that was noted. Without an ID,
  or its beginning, the release in flight, else the last one. Times are UTC.

      $ teal report api
      $ teal report api 20261124-1 -format markdown > release.md
      $ teal report api -format json | jq .rollback`, c.options())
}

func (c *reportCommand) AutocompleteArgs() complete.Predictor { return c.predictServiceThenRelease() }
func (c *reportCommand) AutocompleteFlags() complete.Flags    { return c.options().predict() }

// forms are how a report may be written.
var forms = []string{"text", "json", "markdown"}

func (c *reportCommand) Run(args []string) int {
	args, ok := c.parse("report", c.options(), args, 1, 2)
	if !ok {
		return exitError
	}
	switch c.format {
	case "text", "json", "markdown":
	default:
		return c.complain(fmt.Errorf("unknown form %q: expected %s", c.format, strings.Join(forms, ", ")))
	}
	if err := serviceName(args[0]); err != nil {
		return c.complain(err)
	}
	s, err := c.consul.open()
	if err != nil {
		return c.complain(err)
	}
	id := ""
	if len(args) == 2 {
		id = args[1]
	}
	d, waits, err := c.find(s, args[0], id)
	switch {
	case err != nil:
		return c.complain(err)
	case d == nil && c.format == "json":
		return c.document(nil)
	case d == nil:
		c.term.print("No releases of %s yet.", args[0])
		return exitOK
	}
	r := newReport(*d, c.term.now())
	r.Waits = waits
	switch c.format {
	case "json":
		return c.document(r)
	case "markdown":
		c.term.print("%s", markdown(r.pages()))
	default:
		c.term.print("%s", strings.Join(c.term.sheet(r.pages()), "\n"))
	}
	return exitOK
}

// find reads the release that is asked for; nil when there is none at all. Of
// one in flight it also says what that waits for, if a person is to look.
func (c *reportCommand) find(s *store, svc, id string) (d *deployment.Deployment, waits *deployment.Flag, err error) {
	pair, _, err := s.get(c.ctx, s.keys.State(svc), 0)
	if err != nil {
		return nil, nil, err
	}
	if pair == nil {
		return nil, nil, c.unknown(s, svc)
	}
	rec, err := deployment.Decode(svc, pair.Value)
	if err != nil {
		return nil, nil, err
	}
	known := releases(rec)
	if len(known) == 0 && id == "" {
		return nil, nil, nil
	}
	if id == "" {
		id = known[0]
	}
	if id, err = pick(svc, id, known); err != nil {
		return nil, nil, err
	}
	if d := rec.Deployment; d != nil && d.ID == id {
		if rec.InFlight() {
			waits = rec.Blocked()
		}
		return d, waits, nil
	}
	d, err = s.finished(c.ctx, svc, id)
	return d, nil, err
}

// finished reads a release that has ended.
func (s *store) finished(ctx context.Context, svc, id string) (*deployment.Deployment, error) {
	pair, _, err := s.get(ctx, s.keys.Deployment(svc, id), 0)
	if err != nil {
		return nil, err
	}
	if pair == nil {
		return nil, fmt.Errorf("the record of deployment %s of %s is not in Consul any more: somebody deleted it, or it was removed as too old this moment", safe(id), svc)
	}
	var d deployment.Deployment
	if err := json.Unmarshal(pair.Value, &d); err != nil {
		return nil, fmt.Errorf("the record of deployment %s of %s cannot be read: %w", safe(id), svc, err)
	}
	return &d, nil
}

// releases are the IDs of the kept releases, the newest first.
func releases(rec deployment.Service) []string {
	ids := rec.Finished
	if rec.Deployment != nil && rec.InFlight() {
		ids = append([]string{rec.Deployment.ID}, ids...)
	}
	return ids
}

// pick finds the one ID that is meant by itself or by its beginning.
func pick(svc, id string, known []string) (string, error) {
	var found []string
	for _, k := range known {
		if k == id {
			return k, nil
		}
		if strings.HasPrefix(k, id) {
			found = append(found, k)
		}
	}
	switch {
	case len(found) == 1:
		return found[0], nil
	case len(found) > 1:
		return "", fmt.Errorf("%d deployments of %s begin with %s; give more of the ID: %s", len(found), svc, id, some(found))
	case len(known) == 0:
		return "", fmt.Errorf("no deployment %s of %s: it has no releases yet", id, svc)
	}
	return "", fmt.Errorf("no deployment %s of %s. Known are %s", id, svc, some(known))
}

// some lists the first of many.
func some(ids []string) string {
	out := safe(strings.Join(ids[:min(mostKnown, len(ids))], ", "))
	if more := len(ids) - mostKnown; more > 0 {
		out += fmt.Sprintf(" and %d older", more)
	}
	return out
}
