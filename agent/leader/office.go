package leader

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/tealdeploy/teal/agent/consul"
)

var (
	// errDone ends a term whose work has returned.
	errDone = fmt.Errorf("the term is over: %w", consul.ErrDeposed)
	// errStops ends the term of an agent that is asked to stop.
	errStops = fmt.Errorf("the agent stops: %w", consul.ErrDeposed)
)

// office is a term from the inside: what keeps it, and what ends it.
type office struct {
	e     *Elector
	lease *lease
	sent  time.Time // when the session was asked for
	epoch uint64
}

// take takes the key. The epoch is read and not computed: as long as the key
// is ours, its ModifyIndex is greater than in any earlier term and smaller
// than in any later one.
func (o *office) take(ctx context.Context) (bool, error) {
	ctx, cancel := context.WithTimeout(ctx, o.lease.left())
	defer cancel()
	ok, err := o.e.Consul.Acquire(ctx, o.e.Key, []byte(o.e.Name), o.lease.session)
	if err != nil || !ok {
		return false, err
	}
	pair, err := o.e.Consul.Read(ctx, o.e.Key)
	if err != nil || sessionOf(pair) != o.lease.session {
		return false, err
	}
	o.epoch = pair.ModifyIndex
	return true, nil
}

// serve does the work for as long as the office is held, and gives it up. It
// returns only when work has; true means that work returned by itself.
func (o *office) serve(ctx context.Context, work Work) (gaveUp bool) {
	e, log := o.e, o.e.Log.With("epoch", o.epoch)
	began := time.Now()

	// The term has a context of its own, so that the lease always ends before
	// it does: work that sees it end cannot find its term still good.
	term, cancel := context.WithCancelCause(context.WithoutCancel(ctx))
	end := func(why error) {
		o.lease.end(why)
		e.board.set(State{})
		cancel(why)
	}
	e.board.set(State{Leader: e.Name, Leading: true, Epoch: o.epoch})
	log.Info("this agent leads")

	var keepers sync.WaitGroup
	keepers.Go(func() { o.renew(term, end) })
	keepers.Go(func() { o.watch(term, end) })
	keepers.Go(func() {
		if err := o.lease.expire(term); err != nil {
			end(err)
		}
	})
	keepers.Go(func() {
		select {
		case <-ctx.Done():
			end(errStops)
		case <-term.Done():
		}
	})
	returned := make(chan struct{})
	keepers.Go(func() { o.overdue(term, returned) })

	err := work(term, Term{
		Epoch: o.epoch,
		Fence: consul.Fence{LeaderKey: e.Key, Session: o.lease.session},
		lease: o.lease,
	})
	close(returned)
	end(errDone)
	why := context.Cause(term)
	keepers.Wait()

	lasted := time.Since(began).Round(time.Millisecond).String()
	switch {
	case why == errStops:
		log.Info("stepped down: the agent stops", "after", lasted)
	case why != errDone:
		log.Warn("stepped down", "after", lasted, "reason", why)
	case errors.Is(err, consul.ErrDeposed):
		log.Warn("stepped down: a write was refused because another agent leads", "after", lasted, "error", err)
	default:
		log.Error("stepped down: the leader's work ended before its term", "after", lasted, "error", err)
	}
	if err := e.leave(ctx); err != nil {
		log.Warn("the office could not be handed over: it is free when the session's TTL has passed", "ttl", e.TTL.String(), "error", err)
	}
	return why == errDone
}

// renew keeps the session alive. A try that hangs gives way to the next: until
// the lease ends there is time for several.
func (o *office) renew(ctx context.Context, end func(error)) {
	var pause consul.Backoff
	ttl := o.e.TTL
	for next := time.Until(o.sent.Add(ttl / 3)); wait(ctx, next); {
		sent := time.Now()
		try, cancel := context.WithTimeout(ctx, ttl/6)
		_, err := o.e.Consul.RenewSession(try, o.lease.session)
		cancel()
		if err == nil {
			o.lease.extend(sent)
			o.e.tell.answered()
			pause.Reset()
			next = time.Until(sent.Add(ttl / 3))
			continue
		}
		if errors.Is(err, consul.ErrNoSession) {
			if o.lost(ctx, end) {
				return
			}
			o.e.Log.Debug("Consul does not know the session but counts it as the leader", "error", err)
		} else {
			o.e.tell.met(ctx, err)
		}
		next = min(pause.Next(), ttl/15)
	}
}

// watch looks whether the key is still ours. A session may end in Consul long
// before its holder would notice (consul issue 18271), and a person may delete
// the key.
func (o *office) watch(ctx context.Context, end func(error)) {
	_ = consul.Watch(ctx, func(ctx context.Context, index uint64) (uint64, error) {
		pair, next, err := o.e.Consul.Get(ctx, o.e.Key, index)
		if err == nil && sessionOf(pair) != o.lease.session && o.lost(ctx, end) {
			return 0, consul.ErrStop
		}
		return next, err
	})
}

// lost makes sure that the key is no longer ours, and ends the term if so. A
// server that lags, or has just come back and not read its own log yet, shows
// a past in which we do not lead, and says in good faith that there is no such
// session; a consistent read waits until it knows.
func (o *office) lost(ctx context.Context, end func(error)) bool {
	try, cancel := context.WithTimeout(ctx, o.e.TTL/6)
	defer cancel()
	pair, err := o.e.Consul.Read(try, o.e.Key)
	holder := sessionOf(pair)
	switch {
	case err != nil || holder == o.lease.session:
		return false
	case holder == "":
		end(fmt.Errorf("the session was ended or the leader key deleted: %w", consul.ErrDeposed))
	default:
		end(fmt.Errorf("%s holds the leader key: %w", pair.Value, consul.ErrDeposed))
	}
	return true
}

// overdue says that a term's work does not return after its end: until it
// does, this agent does not stand again.
func (o *office) overdue(ctx context.Context, returned <-chan struct{}) {
	<-ctx.Done()
	timer := time.NewTimer(o.e.TTL)
	defer timer.Stop()
	select {
	case <-returned:
	case <-timer.C:
		o.e.Log.Error("the work of a term that is over has not returned; this agent does not stand for leader until it has", "epoch", o.epoch)
	}
}
