package controller

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/tealdeploy/teal/agent/consul"
	"github.com/tealdeploy/teal/agent/deployment"
	"github.com/tealdeploy/teal/agent/kv"
)

// giveBack ends Teal's management of a service: the idle colour is stopped,
// then the entries are made plain again. In this order, because with plain
// entries every passing instance serves. The command is consumed at the end,
// so that another leader would begin again; every step may be repeated.
//
// A watch or soak is ended first, and saved: what is about to be stopped is the
// way back no more.
func (l *loop) giveBack(ctx context.Context, c command) error {
	if l.rec.InFlight() {
		if err := l.apply(ctx, nil, endEarly(l.rec.Deployment, time.Now(), who(c), "the service is given back")...); err != nil {
			return err
		}
	}
	l.runErrand(ctx, &c, func(ctx context.Context, rec deployment.Service) func(context.Context) error {
		idle := rec.Active.Other()
		err := l.emptyIdle(ctx, rec)
		emptied := err == nil
		if err == nil {
			err = retry(ctx, l.log, "give the route back", func(ctx context.Context) error {
				if err := l.t.term.Check(); err != nil {
					return err
				}
				router, err := l.routerFor(rec.Route.Router)
				if err != nil {
					return err
				}
				return finalUnlessAway(router.Release(ctx, l.trafficTarget(rec.Route)))
			})
		}
		return func(ctx context.Context) error {
			at := time.Now()
			var events []deployment.Event
			if slot, ok := rec.Slots[idle]; ok && emptied {
				events = append(events, deployment.Event{Kind: deployment.Emptied, At: at, By: who(c), Colour: idle, Reason: slot.Job + " was stopped"})
			}
			if err != nil {
				return l.apply(ctx, l.consume(c, kv.Result{Reason: "not given back: " + sentence(err)}), events...)
			}
			events = append(events, deployment.Event{Kind: deployment.GiveBack, At: at, By: who(c), Reason: cut(c.Why)})
			say := l.svc + " is plain again: its entries in Consul are as they were, and nothing is routed by colour"
			if slot, ok := rec.Slots[rec.Active]; ok {
				say += fmt.Sprintf("; job %s (%s) goes on serving", slot.Job, slot.Version)
			}
			if l.policy() != nil {
				say += ". Its policy is still there: an edit of it, or teal deploy, would take the service over again"
			}
			err := l.apply(ctx, l.consume(c, kv.Result{Accepted: true, Reason: say}), events...)
			if errors.Is(err, consul.ErrConflict) {
				if there, gone := l.stands(ctx, c); !there && gone == nil && l.broken == nil && l.rec.Managed {
					// Withdrawn when its entries were given back already.
					return l.apply(ctx, nil, events...)
				}
			}
			return err
		}
	})
	return nil
}

// emptyIdle stops the idle colour and waits until Consul knows none of its
// instances. Before a first cutover it is a candidate that failed or was given up:
// what has proven nothing serves no more for it.
func (l *loop) emptyIdle(ctx context.Context, rec deployment.Service) error {
	idle := rec.Active.Other()
	slot, ok := rec.Slots[idle]
	if !ok {
		return nil
	}
	if !followed(ctx, rec) {
		return ctx.Err()
	}
	cfg, said := l.t.c.cfg, blindness{log: l.log}
	return retry(ctx, l.log, "stop "+slot.Job, func(ctx context.Context) error {
		for _, s := range slot.All() {
			client := cfg.Nomad(s.Region)
			if err := client.StopIf(ctx, s.Namespace, s.Job, l.t.leads); err != nil {
				return finalUnlessAway(err)
			}
			if err := ended(ctx, l.log, client, s); err != nil {
				return finalUnlessAway(err)
			}
		}
		waiting, cancel := context.WithTimeout(ctx, lookAgain)
		defer cancel()
		return consul.Watch(waiting, func(ctx context.Context, index uint64) (uint64, error) {
			list, next, err := cfg.Catalog.Instances(ctx, l.svc, index)
			if ctx.Err() == nil {
				said.about(err)
			}
			if err == nil && len(view{instances: list}.of(idle, rec.Route.Loose)) == 0 {
				return next, consul.ErrStop
			}
			return next, err
		})
	})
}
