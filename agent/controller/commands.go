package controller

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	consulapi "github.com/hashicorp/consul/api"

	"github.com/tealdeploy/teal/agent/consul"
	"github.com/tealdeploy/teal/agent/deployment"
	"github.com/tealdeploy/teal/agent/kv"
)

// watchCommands hands each command to its service's loop, once. One blocking
// query covers all services.
func (t *tenure) watchCommands(ctx context.Context) error {
	cfg := t.c.cfg
	given := map[string]uint64{} // key → ModifyIndex that was handed on
	return consul.Watch(ctx, func(ctx context.Context, index uint64) (uint64, error) {
		pairs, next, err := cfg.Store.List(ctx, cfg.Keys.Commands(), index)
		if err != nil {
			if ctx.Err() == nil {
				cfg.Log.Warn("commands cannot be read, trying again", "error", err)
			}
			return 0, err
		}
		there := make(map[string]uint64, len(pairs))
		for _, p := range pairs {
			there[p.Key] = p.ModifyIndex
			if given[p.Key] != p.ModifyIndex {
				t.takeCommand(p)
			}
		}
		given = there
		return next, nil
	})
}

func (t *tenure) takeCommand(p *consulapi.KVPair) {
	svc, verb, ok := t.c.cfg.Keys.SplitCommand(p.Key)
	if !ok {
		t.c.cfg.Log.Warn("a key among the commands is none and stays: expected "+t.c.cfg.Keys.Commands()+"<service>/<verb>", "key", cut(p.Key))
		return
	}
	t.post(svc, command{pair: p, verb: verb})
}

// command obeys one command or refuses it. Either way it is consumed in the
// same transaction that saves its effect.
func (l *loop) command(ctx context.Context, c command) error {
	var err error
	for range 3 {
		if err = l.obey(ctx, c); !errors.Is(err, consul.ErrConflict) {
			return err
		}
		// The record was changed by somebody else, or the command was
		// withdrawn: only in the first case is there anything left to do.
		if there, gerr := l.stands(ctx, c); gerr != nil || !there {
			return gerr
		}
	}
	return err
}

// stands says whether a command is still there to be obeyed. A Consul server that
// does not know yet that it leads no more could answer from before it was given.
func (l *loop) stands(ctx context.Context, c command) (bool, error) {
	pair, err := l.t.c.cfg.Store.Read(ctx, c.pair.Key)
	return err == nil && pair != nil && pair.ModifyIndex == c.pair.ModifyIndex, err
}

func (l *loop) obey(ctx context.Context, c command) error {
	if !c.verb.Known() {
		return l.refuse(ctx, c, fmt.Sprintf("unknown command %q: expected one of %s", cut(string(c.verb)), kv.VerbNames()))
	}
	parsed, err := kv.ParseCommand(c.pair.Value)
	if err != nil {
		return l.refuse(ctx, c, err.Error())
	}
	c.Command = parsed
	switch c.verb {
	case kv.Deploy, kv.Plan, kv.Release:
		return l.errandFor(ctx, c)
	}
	switch {
	case !l.rec.Managed:
		return l.refuse(ctx, c, l.unmanaged())
	case l.order != nil && l.order.verb == kv.Release:
		return l.refuse(ctx, c, l.svc+" is being given back: its idle colour is being stopped")
	}
	a := l.answer(ctx, c)
	if a.refused {
		return l.refuse(ctx, c, a.say)
	}
	return l.carryOut(ctx, c, a)
}

// carryOut applies what a command asks for. What the step table does not allow
// is a refusal in its words.
func (l *loop) carryOut(ctx context.Context, c command, a intent) error {
	next := l.rec
	for _, ev := range a.events {
		var err error
		if next, _, err = deployment.Step(next, ev); err != nil {
			return l.refuse(ctx, c, err.Error())
		}
	}
	if a.id == "" && next.InFlight() {
		a.id = next.Deployment.ID
	}
	result := kv.Result{Accepted: true, Reason: a.say, Deployment: a.id}
	if len(a.events) == 0 {
		return l.conclude(ctx, c, result)
	}
	return l.apply(ctx, l.consume(c, result), a.events...)
}

// refuse consumes a command and changes nothing else.
func (l *loop) refuse(ctx context.Context, c command, why string) error {
	return l.conclude(ctx, c, kv.Result{Reason: why})
}

// conclude consumes a command that leaves the record as it is.
func (l *loop) conclude(ctx context.Context, c command, result kv.Result) error {
	ops := l.consume(c, result)
	return retry(ctx, l.log, "answer a command", func(ctx context.Context) error {
		_, err := l.t.c.cfg.Store.Commit(ctx, l.t.term.Fence, ops)
		switch {
		case errors.Is(err, consul.ErrConflict):
			return nil // withdrawn, or consumed by an earlier try
		case errors.Is(err, consul.ErrInvalid):
			return final(err)
		}
		return err
	})
}

// maxOutput and maxReason bound an answer: Consul takes 512 KiB at once.
const (
	maxOutput = 64 << 10
	maxReason = 4 << 10
)

// consume is the part of a transaction that takes a command off, if it is
// still the one that was read, and leaves its answer.
func (l *loop) consume(c command, result kv.Result) consulapi.KVTxnOps {
	cfg := l.t.c.cfg
	result.Output, result.Reason = shortened(result.Output, maxOutput), shortened(result.Reason, maxReason)
	result.Index, result.At, result.By = c.pair.ModifyIndex, time.Now(), who(c)
	value, err := json.Marshal(result)
	if err != nil {
		panic("a result is not JSON: " + err.Error()) // plain fields only
	}
	cfg.Meter.Command(c.verb, result.Accepted)
	l.log.Info("command", "verb", cut(string(c.verb)), "by", result.By, "accepted", result.Accepted, "reason", result.Reason)
	return consulapi.KVTxnOps{
		{Verb: consulapi.KVCheckIndex, Key: c.pair.Key, Index: c.pair.ModifyIndex},
		{Verb: consulapi.KVDelete, Key: c.pair.Key},
		set(cfg.Keys.Result(l.svc, c.verb), value),
	}
}

// who gave a command, as it says of itself.
func who(c command) string {
	if c.By == "" {
		return "consul kv"
	}
	return cut(c.By)
}

// unmanaged says why a service obeys nobody.
func (l *loop) unmanaged() string {
	if l.policy() == nil {
		return fmt.Sprintf("%s is not managed by Teal: agent %s leads and has no policy for it", cut(l.svc), l.t.c.cfg.Name)
	}
	if l.rec.Problem != nil {
		return fmt.Sprintf("%s is not managed yet: %s", l.svc, l.rec.Problem.Reason)
	}
	return fmt.Sprintf("%s is not managed yet; teal deploy %s begins with it", l.svc, l.svc)
}

// shortened is a text of at most that many bytes, and a word that it was longer.
func shortened(s string, most int) string {
	if len(s) <= most {
		return s
	}
	return strings.ToValidUTF8(s[:most], "") + "… (cut)"
}

// cut keeps what people put into keys from flooding logs and messages.
func cut(s string) string {
	const most = 120
	s = strings.ToValidUTF8(s, "?")
	if r := []rune(s); len(r) > most {
		return string(r[:most]) + "…"
	}
	return s
}
