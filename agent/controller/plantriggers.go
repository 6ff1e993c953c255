package controller

import (
	"context"
	"fmt"
	"time"

	"github.com/tealdeploy/teal/agent/deployment"
	"github.com/tealdeploy/teal/rollback"
)

// trial is what a plan finds out about a trigger: one of three.
type trial struct {
	what    string // it goes by
	fault   string // why there is nothing to go by
	unknown string // why neither is known: who would say is away
}

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
	if len(triggers) == 0 {
		return
	}
	line("")
	line("Watch:")
	if !active.Valid() {
		line("  whether its triggers have anything to go by is not known: nothing of %s runs yet that could tell", l.svc)
		return
	}
	all, _, err := l.t.c.cfg.Catalog.Instances(ctx, l.svc, 0)
	if err != nil {
		line("  warning: the instances that serve are not known: %s", err)
		return
	}
	serving := view{instances: all}.of(active, route.Loose)
	whom := rollback.Subject{Service: l.svc, Colour: active, Version: version}
	next := rollback.Subject{Service: l.svc, Colour: active.Other(), Version: a.candidate.Version}
	for _, t := range triggers {
		switch found := l.tryTrigger(ctx, t.Trigger, serving, whom, next); {
		case found.fault != "":
			line("  warning: trigger %q can tell nothing of %s: %s", t.Name, active, found.fault)
		case found.unknown != "":
			line("  warning: whether trigger %q can tell anything of %s is not known, for who would say is away or refuses: %s", t.Name, active, found.unknown)
		case found.what != "":
			line("  trigger %q: %s", t.Name, found.what)
		}
	}
}

// tryTrigger says what a trigger would go by, or why there is nothing. Next is whom
// it would judge.
func (l *loop) tryTrigger(ctx context.Context, t rollback.Trigger, serving []deployment.Instance, whom, next rollback.Subject) trial {
	switch t := t.(type) {
	case rollback.Scraping:
		return l.tryScrape(ctx, t, serving, whom)
	case rollback.Figures:
		return l.tryFigures(ctx, t, whom)
	case rollback.KV:
		return l.tryKey(ctx, t, next)
	}
	return trial{}
}

// tryFigures puts a trigger's question.
func (l *loop) tryFigures(ctx context.Context, t rollback.Figures, whom rollback.Subject) trial {
	filled, err := t.Query.Fill(whom.Filling())
	if err != nil {
		return trial{fault: err.Error()}
	}
	asking, cancel := context.WithTimeout(ctx, t.Timeout)
	defer cancel()
	values, err := l.t.c.cfg.Ask(asking, filled, time.Time{})
	if err != nil {
		return trial{unknown: err.Error()}
	}
	if why := t.Lacks(values); why != "" {
		return trial{fault: fmt.Sprintf("the answer of %s %s", filled.Target(), why)}
	}
	return trial{what: fmt.Sprintf("%s answers with %d series", filled.Target(), len(values))}
}

// tryKey says what the key about the next version holds so far.
func (l *loop) tryKey(ctx context.Context, t rollback.KV, next rollback.Subject) trial {
	key, err := next.Filling().Text(t.Key)
	if err != nil {
		return trial{fault: err.Error()}
	}
	pair, _, err := l.t.c.cfg.Store.Get(ctx, key, 0)
	if err != nil {
		return trial{unknown: fmt.Sprintf("the key %s cannot be read: %s", key, err)}
	}
	var value *string
	if pair != nil {
		text := string(pair.Value)
		value = &text
	}
	said := t.Says(key, value)
	if said.Verdict == rollback.Unknown {
		said.Reason += "; unless it says yes or no, the watch is held at its end"
	}
	return trial{what: said.Reason}
}

// tryScrape says who tells what a trigger goes by.
func (l *loop) tryScrape(ctx context.Context, t rollback.Scraping, serving []deployment.Instance, whom rollback.Subject) trial {
	source, families := t.Sources()[0], t.Families() // each kind has one source
	who := string(whom.Colour)
	if source.Callers != "" {
		who = source.Callers
	}
	scrapes, err := l.scrape(ctx, source, families, serving)
	if err != nil {
		return trial{unknown: err.Error()}
	}
	tell, away, lacks := 0, "", ""
	for _, s := range scrapes {
		if s.Err != nil {
			away = fmt.Sprintf("%s: %s", s.Instance, s.Err)
			continue
		}
		why := t.Lacks(s, whom)
		if why == "" {
			tell++
		} else if lacks == "" {
			lacks = why
		}
	}
	switch {
	case len(scrapes) == 0:
		return trial{fault: fmt.Sprintf("there is no instance of %s", who)}
	case tell == 0 && lacks != "":
		return trial{fault: fmt.Sprintf("at %s no instance has %s", source.Path, lacks)}
	case tell == 0:
		return trial{unknown: away}
	}
	return trial{what: fmt.Sprintf("%d of %d instances of %s tell %s", tell, len(scrapes), who, families[0])}
}
