package controller

import (
	"context"
	"fmt"
	"time"

	"github.com/tealdeploy/teal/agent/deployment"
	"github.com/tealdeploy/teal/rollback"
)

// planTriggers asks for what the policy's triggers go by, as it is now, and warns
// of those that have nothing to go by: a mistyped metric would otherwise come to
// light at the end of a watch. What the new version will tell nobody knows; the
// one that serves is the best guess.
func (l *loop) planTriggers(ctx context.Context, rec deployment.Service, a appraisal, line func(string, ...any)) {
	active, route := rec.Active, rec.Route
	version := rec.Slots[active].Version
	if !rec.Managed {
		active, route = a.found.active, a.found.route
		version = a.found.slots[active].Version
	}
	triggers := a.pol.Watch.Triggers
	if len(triggers) == 0 || !active.Valid() {
		return
	}
	line("")
	line("Watch:")
	all, _, err := l.t.c.cfg.Catalog.Instances(ctx, l.svc, 0)
	if err != nil {
		line("  warning: the instances that serve are not known: %s", err)
		return
	}
	serving := view{instances: all}.of(active, route.Loose)
	whom := rollback.Subject{Service: l.svc, Colour: active, Version: version}
	for _, t := range triggers {
		what, fault := l.tryTrigger(ctx, t.Trigger, serving, whom)
		switch {
		case fault != "":
			line("  warning: trigger %q can tell nothing of %s: %s", t.Name, active, fault)
		case what != "":
			line("  trigger %q: %s", t.Name, what)
		}
	}
}

// tryTrigger says what a trigger would go by, or why there is nothing.
func (l *loop) tryTrigger(ctx context.Context, t rollback.Trigger, serving []deployment.Instance, whom rollback.Subject) (what, fault string) {
	if sources := t.Sources(); len(sources) > 0 { // each kind has one
		return l.tryScrape(ctx, sources[0], t.Families(), serving, whom)
	}
	asking, ok := t.(rollback.Asking)
	if !ok {
		return "", ""
	}
	switch q := asking.Question().(type) {
	case rollback.FiguresOf:
		filled, err := q.Query.Fill(whom.Filling())
		if err != nil {
			return "", err.Error()
		}
		asking, cancel := context.WithTimeout(ctx, q.Timeout)
		defer cancel()
		values, err := l.t.c.cfg.Ask(asking, filled, time.Time{})
		switch {
		case err != nil:
			return "", err.Error()
		case len(values) == 0:
			return "", fmt.Sprintf("the answer of %s holds no series", filled.Target())
		}
		return fmt.Sprintf("%s answers with %d series", filled.Target(), len(values)), ""
	case rollback.KVKey:
		key, err := whom.Filling().Text(q.Key)
		if err != nil {
			return "", err.Error()
		}
		if _, _, err := l.t.c.cfg.Store.Get(ctx, key, 0); err != nil {
			return "", fmt.Sprintf("the key %s cannot be read: %s", key, err)
		}
		return "", ""
	}
	return "", ""
}

// tryScrape says who tells the metric that a trigger goes by.
func (l *loop) tryScrape(ctx context.Context, source rollback.ScrapeSource, families []string, serving []deployment.Instance, whom rollback.Subject) (what, fault string) {
	metric, who := families[0], string(whom.Colour)
	if source.Callers != "" {
		who = source.Callers
	}
	read, has := 0, 0
	scrapes, err := l.scrape(ctx, source, families, serving)
	if err != nil {
		return "", err.Error()
	}
	for _, s := range scrapes {
		switch {
		case s.Err != nil:
			fault = fmt.Sprintf("%s: %s", s.Instance, s.Err)
		default:
			read++
			if len(s.Families[metric]) > 0 {
				has++
			}
		}
	}
	switch {
	case read == 0 && fault != "":
		return "", fault
	case len(scrapes) == 0:
		return "", fmt.Sprintf("there is no instance of %s", who)
	case has == 0 && read > 0:
		return "", fmt.Sprintf("no instance has a metric %s at %s", metric, source.Path)
	}
	return fmt.Sprintf("%d of %d instances of %s tell %s", has, len(scrapes), who, metric), ""
}
