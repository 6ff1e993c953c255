package cli

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	"github.com/posener/complete"

	"github.com/tealdeploy/teal/agent/deployment"
)

// perService is how many of each service's releases the history of all looks
// at, so that ten thousand services are still a bounded number of reads.
const perService = 5

type historyCommand struct {
	meta
	limit int
}

func (c *historyCommand) options() *options {
	o := newOptions()
	o.add("History options", func(set *flagSet) {
		set.IntVar(&c.limit, "limit", 20, "Show at most this `number`, newest first. Defaults to 20.")
		c.output(set)
	})
	o.add("Consul options", c.consul.define)
	return o
}

func (c *historyCommand) Synopsis() string { return "Show past releases and how they ended" }

func (c *historyCommand) Help() string {
	return c.help(`
Usage: teal history [options] [<service> [<deployment>]]

  Show past releases, newest first: what was released to which colour by whom,
  and how it ended. Without a service those of all services, the last five of
  each at most. With a deployment's ID, or its beginning, everything recorded
  of it.

      $ teal history
      $ teal history api
      $ teal history api 20261124-1`, c.options())
}

func (c *historyCommand) AutocompleteArgs() complete.Predictor { return c.predictServices() }
func (c *historyCommand) AutocompleteFlags() complete.Flags    { return c.options().predict() }

func (c *historyCommand) Run(args []string) int {
	args, ok := c.parse("history", c.options(), args, 0, 2)
	if !ok {
		return exitError
	}
	s, err := c.consul.open()
	if err != nil {
		return c.complain(err)
	}
	var names []string
	if len(args) > 0 {
		names = args[:1]
	} else if names, _, err = s.services(c.ctx, 0); err != nil {
		return c.complain(err)
	}
	most := c.limit
	switch len(args) {
	case 0:
		most = min(most, perService)
	case 2:
		most = -1
	}
	all, known, err := s.history(c.ctx, names, most)
	if err == nil && !known && len(args) > 0 {
		err = c.unknown(s, args[0])
	}
	if err != nil {
		return c.complain(err)
	}
	if len(args) == 2 {
		return c.one(all, args[0], args[1])
	}
	all = all[:max(0, min(c.limit, len(all)))]
	if c.json {
		return c.document(all)
	}
	return c.list(all)
}

// history reads the finished deployments of services and those in flight,
// newest first; most bounds each service's, unless negative.
func (s *store) history(ctx context.Context, names []string, most int) (all []deployment.Deployment, known bool, err error) {
	all = []deployment.Deployment{}
	var states, finished []string
	for _, n := range names {
		states = append(states, s.keys.State(n))
	}
	records, err := s.values(ctx, states)
	if err != nil {
		return nil, false, err
	}
	for i, n := range names {
		value, ok := records[states[i]]
		if !ok {
			continue
		}
		known = true
		rec, err := deployment.Decode(n, value)
		if err != nil {
			if len(names) == 1 {
				return nil, true, err
			}
			continue
		}
		if rec.Deployment != nil && rec.Deployment.State != deployment.Done {
			all = append(all, *rec.Deployment)
		}
		ids := rec.Finished
		if most >= 0 {
			ids = ids[:min(most, len(ids))]
		}
		for _, id := range ids {
			finished = append(finished, s.keys.Deployment(n, id))
		}
	}
	values, err := s.values(ctx, finished)
	if err != nil {
		return nil, known, err
	}
	for _, v := range values {
		var d deployment.Deployment
		if json.Unmarshal(v, &d) == nil {
			all = append(all, d)
		}
	}
	slices.SortFunc(all, func(a, b deployment.Deployment) int {
		if byTime := b.Started.Compare(a.Started); byTime != 0 {
			return byTime
		}
		return strings.Compare(a.Service+a.ID, b.Service+b.ID)
	})
	return all, known, nil
}

func (c *historyCommand) list(all []deployment.Deployment) int {
	if len(all) == 0 {
		c.term.print("No releases yet.")
		return exitOK
	}
	t := c.term
	rows := [][]string{{"Service", "Deployment", "Version", "To", "Started", "Took", "Outcome", "By"}}
	for _, d := range all {
		took, how := "-", t.paint(bold, safe(string(d.State)))
		if !d.Ended.IsZero() {
			took, how = short(d.Ended.Sub(d.Started)), t.verdict(d.Outcome)
		}
		if d.Reason != "" && d.Outcome != deployment.Succeeded {
			how += because(d.Reason)
		}
		rows = append(rows, []string{safe(d.Service), safe(d.ID), safe(version(d.Candidate)), t.tint(d.To.String()), t.moment(d.Started), took, how, dash(safe(d.Candidate.By))})
	}
	t.print("%s", strings.Join(table(rows), "\n"))
	return exitOK
}

func (c *historyCommand) one(all []deployment.Deployment, svc, id string) int {
	var found []deployment.Deployment
	for _, d := range all {
		if d.ID == id {
			found = []deployment.Deployment{d}
			break
		}
		if strings.HasPrefix(d.ID, id) {
			found = append(found, d)
		}
	}
	switch {
	case len(found) == 0:
		return c.complain(fmt.Errorf("no deployment %s of %s. 'teal history %s' lists those that are kept", id, svc, svc))
	case len(found) > 1:
		return c.complain(fmt.Errorf("%d deployments of %s begin with %s; give more of the ID", len(found), svc, id))
	case c.json:
		return c.document(found[0])
	}
	c.term.print("%s", strings.Join(c.term.release(found[0]), "\n"))
	return exitOK
}
