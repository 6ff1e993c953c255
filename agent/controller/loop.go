package controller

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"sync/atomic"
	"time"

	consulapi "github.com/hashicorp/consul/api"
	"github.com/hashicorp/go-hclog"
	nomadapi "github.com/hashicorp/nomad/api"

	"github.com/tealdeploy/teal/agent/consul"
	"github.com/tealdeploy/teal/agent/deployment"
	"github.com/tealdeploy/teal/agent/kv"
	"github.com/tealdeploy/teal/agent/policy"
	"github.com/tealdeploy/teal/agent/traffic"
)

// self is who the evidence names when nobody but Teal decided.
const self = "teal"

// loop serialises all that happens to one service. Only its own goroutine
// reads or changes rec; work runs beside it and reports by messages.
type loop struct {
	t   *tenure
	svc string
	log hclog.Logger

	// inbox and wake are guarded by the tenure's lock.
	inbox []message
	wake  chan struct{}

	rec    deployment.Service
	index  uint64 // of the record's key
	broken error  // the record cannot be understood: nothing is done

	work     *work  // what the present state does
	blind    bool   // it does so without a policy
	source   string // hash of the text it goes by
	handover *work  // of the jobs, beside it
	errand   *work  // of an edited policy or a command that needs Nomad or time
	chore    *work  // stops a kept candidate, of colour choreOn
	choreOn  deployment.Colour
	sweep    *work // stops gates' test jobs that nobody waits for
	// look4jobs reads the service's jobs after a suspicious event; lookAgain
	// says that another came meanwhile.
	look4jobs *work
	lookAgain bool
	feed      *feed // the service's instances, while a release is in flight
	// order is the command that the errand is for, nil for an edited policy.
	order   *command
	waiting []command // that need an errand of their own
	redo    bool      // the policy was edited during an errand for a command
	// jobEdited says that the job itself was edited since the policy's text was
	// last looked at.
	jobEdited bool
	// handoverFor is what the handover that runs was asked for.
	handoverFor deployment.JobOwnership
	// saved is rec for the goroutines beside the loop. What it points to is
	// never changed.
	saved atomic.Pointer[deployment.Service]
	// lesson is for the watch of the release in flight.
	lesson atomic.Pointer[lesson]
}

// message is something for a loop to handle.
type message interface{}

type (
	resumeNow struct{}
	// policyEdited tells of an edit; job says that it is one of the job itself,
	// and not only of what judges it.
	policyEdited struct{ job bool }
	routeChanged struct{}
	jobChanged   struct{ job *nomadapi.Job } // an event told of it
	jobsSeen     struct {
		from *work
		rec  deployment.Service // when the look began
		jobs []*nomadapi.Job
	}
	command struct {
		pair *consulapi.KVPair
		verb kv.Verb
		kv.Command
	}
	// report is what work has to say; reports of cancelled work are dropped.
	report struct {
		from   *work
		events []deployment.Event
		done   chan<- error // may be nil; told once the events are saved, or never will be
	}
	consentsSeen struct{} // the approvers' keys of this service have changed
	alarm        struct{} // a kept candidate's time is up
	// errandDone is what an errand brought back.
	errandDone struct {
		from *work
		then func(ctx context.Context) error // on the loop's own goroutine
	}
)

// work is a goroutine that belongs to a loop.
type work struct {
	cancel context.CancelFunc
	done   chan struct{}
	// asked says that Nomad was asked for what cannot be taken back.
	asked atomic.Bool
}

func newLoop(t *tenure, svc string) *loop {
	return &loop{t: t, svc: svc, log: t.c.cfg.Log.With("service", svc), wake: make(chan struct{}, 1)}
}

// run handles messages until the service is idle or the term ends. It joins
// everything it started.
func (l *loop) run(ctx context.Context) error {
	defer l.stopAll()
	st, err := l.t.find(ctx, l.svc)
	if err != nil {
		return l.ended(ctx, err)
	}
	if l.rec, l.broken = decodeRecord(l.svc, st); l.broken != nil {
		st = l.readAnew(ctx, st)
	}
	l.index = st.index
	l.inTime()
	l.publish()
	if l.broken == nil {
		if err := l.takeOffice(ctx); err != nil {
			return l.ended(ctx, err)
		}
		if err := l.ensure(ctx); err != nil {
			if err := l.ended(ctx, err); err != nil {
				return err
			}
		}
	}
	for {
		m, ok, gone := l.t.next(l, l.idle())
		if gone {
			l.forget()
			l.t.tidy(l.svc)
			return nil
		}
		if !ok {
			if m, ok = l.await(ctx); !ok {
				if ctx.Err() != nil {
					return nil
				}
				continue
			}
		}
		err := l.handle(ctx, m)
		if l.broken == nil && !lost(err) {
			err = errors.Join(err, l.ensure(ctx))
		}
		if err != nil {
			if err := l.ended(ctx, err); err != nil {
				return err
			}
			if ctx.Err() != nil {
				return nil
			}
		}
	}
}

// readAnew looks whether a record that could not be understood has been mended
// or deleted meanwhile.
func (l *loop) readAnew(ctx context.Context, st stored) stored {
	if pair, err := l.t.c.cfg.Store.Read(ctx, l.t.c.cfg.Keys.State(l.svc)); err == nil {
		st = stored{}
		if pair != nil {
			st = stored{raw: pair.Value, index: pair.ModifyIndex}
		}
		l.rec, l.broken = decodeRecord(l.svc, st)
		st.gist = gistOf(l.rec, l.broken)
		l.t.setRecord(l.svc, st)
	}
	if l.broken != nil {
		l.log.Error("held", "error", l.broken)
	}
	return st
}

// await blocks until there may be a message, or a kept candidate's time is up.
func (l *loop) await(ctx context.Context) (message, bool) {
	var due <-chan time.Time
	if at, ok := l.nextAlarm(); ok {
		timer := time.NewTimer(time.Until(at))
		defer timer.Stop()
		due = timer.C
	}
	select {
	case <-ctx.Done():
	case <-l.wake:
	case <-due:
		return alarm{}, true
	}
	return nil, false
}

// ended sorts errors: those that end the term are returned, others are the
// operator's to see.
func (l *loop) ended(ctx context.Context, err error) error {
	switch {
	case lost(err):
		l.log.Error("another agent leads: this one stops writing", "error", err)
		return err
	case ctx.Err() != nil || errors.Is(err, context.Canceled):
		return nil
	}
	l.log.Error("not done", "error", err)
	return nil
}

// handle takes one message.
func (l *loop) handle(ctx context.Context, m message) error {
	if l.broken != nil {
		if c, ok := m.(command); ok {
			return l.refuse(ctx, c, l.broken.Error())
		}
		return nil
	}
	switch m := m.(type) {
	case report:
		return l.reported(ctx, m)
	case command:
		return l.command(ctx, m)
	case policyEdited:
		l.jobEdited = l.jobEdited || m.job
		return l.policyEdited(ctx)
	case errandDone:
		if m.from != l.errand {
			return nil
		}
		return l.errandEnded(ctx, m.then)
	case routeChanged:
		return l.routeChanged(ctx)
	case jobChanged:
		l.jobChanged(ctx, m.job)
	case jobsSeen:
		if m.from != l.look4jobs {
			return nil
		}
		l.look4jobs = nil
		if l.lookAgain || !sameSlots(l.rec, m.rec) {
			l.lookAgain = false
			l.lookAtJobs(ctx)
			return nil
		}
		return l.jobsSeen(ctx, m.jobs)
	case consentsSeen:
		return l.consentsSeen(ctx)
	case alarm:
		l.stopKept(ctx)
	}
	return nil
}

// errandEnded takes what an errand brought back, and begins what had to wait
// for it.
func (l *loop) errandEnded(ctx context.Context, then func(context.Context) error) error {
	order := l.order
	l.errand, l.order = nil, nil
	err := then(ctx)
	switch conflict := errors.Is(err, consul.ErrConflict) || errors.Is(err, errStale); {
	case conflict && order == nil:
		l.redo = true // decided on a record that somebody else has changed
	case conflict:
		l.waiting = append([]command{*order}, l.waiting...)
	}
	if errors.Is(err, errStale) {
		err = nil
	}
	for l.order == nil && len(l.waiting) > 0 && !lost(err) {
		next := l.waiting[0]
		l.waiting = l.waiting[1:]
		if there, gerr := l.stands(ctx, next); there || gerr != nil {
			err = errors.Join(err, l.command(ctx, next))
		}
	}
	if l.order == nil && l.redo && !lost(err) {
		l.redo = false
		err = errors.Join(err, l.policyEdited(ctx))
	}
	return err
}

// reported takes what work found out. A report of work that was stopped
// meanwhile says nothing of the present state and is dropped.
func (l *loop) reported(ctx context.Context, m report) error {
	switch m.from {
	case l.work, l.handover, l.chore, l.sweep:
	default:
		return nil
	}
	moving := l.rec.Moving() != nil
	err := l.apply(ctx, nil, m.events...)
	if m.from == l.chore && (err == nil || errors.Is(err, deployment.ErrTransition)) {
		l.chore = nil
	}
	if m.from == l.sweep && err == nil {
		l.sweep = nil
	}
	if m.done != nil && (err == nil || lost(err) || errors.Is(err, deployment.ErrTransition)) {
		m.done <- err
	}
	if err != nil && !lost(err) && !errors.Is(err, deployment.ErrTransition) {
		// Consul refused it, or the record was changed by somebody else. Work
		// finds nothing out twice, so it must be said again.
		time.AfterFunc(retryMost, func() { l.t.post(l.svc, m) })
	}
	if err == nil && moving && l.rec.Moving() == nil {
		// What people did to the route during the move was left to the move.
		return l.routeChanged(ctx)
	}
	return err
}

// idle says whether the loop may go away.
func (l *loop) idle() bool {
	return l.work == nil && l.handover == nil && l.errand == nil && l.chore == nil && l.sweep == nil && l.look4jobs == nil && (l.broken != nil || quiet(l.rec))
}

// ensure makes the work that is running match what the record asks for.
func (l *loop) ensure(ctx context.Context) error {
	err := l.liftHold(ctx)
	if lost(err) {
		return err
	}
	l.ensureFeed(ctx)
	l.ensureQueue(ctx)
	l.ensureWork(ctx)
	l.ensureHandover(ctx)
	l.ensureSweep(ctx)
	return err
}

// publish shows the record to the goroutines beside the loop.
func (l *loop) publish() {
	rec := l.rec
	l.saved.Store(&rec)
}

// forget drops what routers keep for a service in flight.
func (l *loop) forget() {
	if router := l.router(); router != nil {
		router.Forget(l.trafficTarget(l.rec.Route))
	}
}

// start runs f as the loop's work. What f reports is handled in order with
// everything else.
func (l *loop) start(ctx context.Context, f func(ctx context.Context, w *work)) *work {
	ctx, cancel := context.WithCancel(ctx)
	w := &work{cancel: cancel, done: make(chan struct{})}
	go func() {
		defer close(w.done)
		defer cancel()
		f(ctx, w)
	}()
	return w
}

// stop ends work and waits until it has returned: two steps of one service
// never write at once.
func (w *work) stop() {
	if w == nil {
		return
	}
	w.cancel()
	<-w.done
}

func (l *loop) stopAll() {
	l.work.stop()
	l.handover.stop()
	l.errand.stop()
	l.chore.stop()
	l.sweep.stop()
	l.look4jobs.stop()
	l.feed.stop()
}

// report posts what work found out.
func (l *loop) report(w *work, events ...deployment.Event) {
	l.t.post(l.svc, report{from: w, events: events})
}

// policy is the service's policy as this agent has it, or nil.
func (l *loop) policy() *policy.Policy { return l.t.c.policy(l.svc) }

// router is the one the service was prepared with, nil before that.
func (l *loop) router() traffic.Router { return l.t.c.cfg.Routers[l.rec.Route.Router] }

// newID names a deployment.
func newID(at time.Time) string {
	var b [3]byte
	_, _ = rand.Read(b[:]) // documented never to fail
	return deployment.NewID(at, hex.EncodeToString(b[:]))
}
