package controller

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	consulapi "github.com/hashicorp/consul/api"
	nomadapi "github.com/hashicorp/nomad/api"
	"golang.org/x/sync/errgroup"

	"github.com/tealdeploy/teal/agent/consul"
	"github.com/tealdeploy/teal/agent/deployment"
	"github.com/tealdeploy/teal/agent/leader"
	"github.com/tealdeploy/teal/agent/packed"
	"github.com/tealdeploy/teal/agent/policy"
	"github.com/tealdeploy/teal/agent/traffic"
)

// tenure is one term's work: it owns the loops, and ends when the term's
// context does or when a write shows that another leads.
type tenure struct {
	c    *Controller
	term leader.Term
	ctx  context.Context
	g    *errgroup.Group
	// asks bounds how many services ask Nomad at a time: a new leader with
	// thousands of new policies must not fall upon it.
	asks   chan struct{}
	routes routeBook
	// consents are what the approvers' keys hold, while somebody waits for them.
	consents consents

	mu      sync.Mutex
	closed  bool // no loop may be started any more
	loaded  bool // every record has been read
	loops   map[string]*loop
	texts   packed.Alike // of records
	records map[string]kept
	jobs    map[string]string // Nomad job → service whose colour it is
	tally   tally
}

// kept is what is left of a record between two loops of its service.
type kept struct {
	text  packed.Text // unless raw is there
	raw   []byte      // while a loop writes it, again and again
	index uint64
	gist  gist
	from  *policy.Policy
}

// stored is a record as Consul has it.
type stored struct {
	raw   []byte
	index uint64
	gist  gist
	// from is the policy that was found to be released (or refused) already,
	// nil where nobody looked.
	from *policy.Policy
}

// maxAsks is how many appraisals talk to Nomad at once.
const maxAsks = 16

// Run does a term's work until ctx ends or the term is lost. It returns only
// when all of it has returned.
func (c *Controller) Run(ctx context.Context, term leader.Term) error {
	g, ctx := errgroup.WithContext(ctx)
	t := &tenure{
		c: c, term: term, ctx: ctx, g: g,
		asks:    make(chan struct{}, maxAsks),
		routes:  routeBook{},
		loops:   map[string]*loop{},
		records: map[string]kept{},
		jobs:    map[string]string{},
		tally:   newTally(),
	}
	defer func() {
		c.mu.Lock()
		c.tenure = nil
		c.mu.Unlock()
		c.cfg.Meter.Services(0, 0, 0)
		c.cfg.Meter.Deployments(nil)
	}()

	if teller := c.cfg.Teller; teller != nil {
		tell := teller.Term(term.Fence) // before anything is saved
		g.Go(func() error { return tell(ctx) })
	}
	g.Go(func() error { return t.watchCommands(ctx) }) // which wait for no other service's record
	g.Go(func() error { return t.takeOver(ctx) })
	<-ctx.Done()
	t.mu.Lock()
	t.closed = true
	t.mu.Unlock()
	err := g.Wait()
	if errors.Is(err, context.Canceled) {
		return nil
	}
	return err
}

// takeOver reads how everything stands, and goes on with it.
func (t *tenure) takeOver(ctx context.Context) error {
	c := t.c
	c.mu.Lock()
	set := c.policies
	c.mu.Unlock()
	if err := t.load(ctx, set); err != nil {
		return err
	}
	c.mu.Lock()
	c.tenure = t
	set = c.policies
	c.mu.Unlock()
	t.g.Go(func() error { return t.watchRoutes(ctx) })
	t.g.Go(func() error { return t.watchJobs(ctx) })
	t.resumeAll()
	t.policiesFound(set)
	return nil
}

// load reads every record once, and of what else is stored nothing: finished
// records are most of it. Later ones are known from our own writes.
func (t *tenure) load(ctx context.Context, set *policy.Set) error {
	log, keys, store := t.c.cfg.Log, t.c.cfg.Keys, t.c.cfg.Store
	return retry(ctx, log, "read the records", func(ctx context.Context) error {
		folders, err := store.Folders(ctx, keys.Services())
		if err != nil {
			return err
		}
		missing := slices.DeleteFunc(keys.States(folders), func(key string) bool {
			svc, _ := keys.SplitState(key)
			return t.kept(svc).index > 0 // by an earlier try
		})
		err = store.GetEach(ctx, missing, func(p *consulapi.KVPair) {
			svc, _ := keys.SplitState(p.Key)
			st := stored{raw: p.Value, index: p.ModifyIndex}
			rec, err := decodeRecord(svc, st)
			st.gist = gistOf(rec, err)
			if p := set.Policy(svc); p != nil && err == nil && seenIn(rec, p) {
				st.from = p
			}
			t.put(svc, st, false)
		})
		if err != nil {
			return err
		}
		t.mu.Lock()
		t.loaded = true
		n := len(t.records)
		t.mu.Unlock()
		log.Info("in office", "services", n, "epoch", t.term.Epoch)
		return nil
	})
}

// resumeAll starts a loop for every service that is not idle.
func (t *tenure) resumeAll() {
	t.mu.Lock()
	var busy []string
	for svc, st := range t.records {
		if !st.gist.quiet {
			busy = append(busy, svc)
		}
	}
	t.mu.Unlock()
	slices.Sort(busy)
	for _, svc := range busy {
		t.post(svc, resumeNow{})
	}
}

// decodeRecord reads a stored record. A missing one is a new service; one that
// cannot be understood is an error, and nothing may overwrite it.
func decodeRecord(svc string, st stored) (deployment.Service, error) {
	rec := deployment.Service{Format: deployment.Format, Name: svc, Active: deployment.None,
		Jobs: deployment.JobOwnership{Owner: deployment.None}}
	if st.index == 0 {
		return rec, nil
	}
	read, err := deployment.Decode(svc, st.raw)
	if _, known := traffic.Kinds[read.Route.Router]; err == nil && !known && (read.Route.Prepared || !unrouted(read)) {
		err = fmt.Errorf("the record of %s cannot be read: no router %q: known are %s", svc, read.Route.Router, traffic.Names())
	}
	if err != nil {
		return rec, fmt.Errorf("%w; nothing is done to this service until then; to have it looked at anew, delete the key", err)
	}
	return read, nil
}

// unrouted says whether nothing of a service needs a router yet.
func unrouted(rec deployment.Service) bool {
	return !rec.InFlight() || rec.Deployment.State == deployment.Preparing
}

// quiet says whether a record needs no loop.
func quiet(rec deployment.Service) bool {
	if rec.InFlight() || rec.Jobs.Moving() || rec.Queued != nil || len(rec.Tests) > 0 {
		return false
	}
	for _, slot := range rec.Slots {
		if slot.StopAt != nil {
			return false
		}
	}
	return true
}

// post hands a message to the service's loop, making one if there is none.
// It never blocks.
func (t *tenure) post(svc string, m message) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.closed || t.ctx.Err() != nil {
		return
	}
	l, ok := t.loops[svc]
	if !ok {
		l = newLoop(t, svc)
		t.loops[svc] = l
		t.g.Go(func() error { return l.run(t.ctx) })
	}
	l.inbox = append(l.inbox, m)
	select {
	case l.wake <- struct{}{}:
	default:
	}
}

// next takes the loop's next message. With nothing to do and nothing waiting
// the loop is forgotten and gone is true: the next message makes a new one.
func (t *tenure) next(l *loop, idle bool) (m message, ok, gone bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if len(l.inbox) > 0 {
		m = l.inbox[0]
		l.inbox = l.inbox[1:]
		return m, true, false
	}
	if idle {
		delete(t.loops, l.svc)
		return nil, false, true
	}
	return nil, false, false
}

// edited says whether an edit of the policy is still to be taken by the loop.
func (t *tenure) edited(l *loop) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	return slices.ContainsFunc(l.inbox, func(m message) bool {
		_, ok := m.(policyEdited)
		return ok
	})
}

// record is the service's record as last written or read.
func (t *tenure) record(svc string) stored {
	k := t.kept(svc)
	raw := k.raw
	if raw == nil {
		raw = t.texts.Unpack(k.text)
	}
	return stored{raw: raw, index: k.index, gist: k.gist, from: k.from}
}

func (t *tenure) kept(svc string) kept {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.records[svc]
}

// find is the service's record, read now if it was not yet.
func (t *tenure) find(ctx context.Context, svc string) (stored, error) {
	t.mu.Lock()
	_, there := t.records[svc]
	there = there || t.loaded
	t.mu.Unlock()
	if there {
		return t.record(svc), nil
	}
	var st stored
	err := retry(ctx, t.c.cfg.Log, "read the record of "+svc, func(ctx context.Context) error {
		pair, err := t.c.cfg.Store.Read(ctx, t.c.cfg.Keys.State(svc))
		if err == nil && pair != nil {
			st = stored{raw: pair.Value, index: pair.ModifyIndex}
			st.gist = gistOf(decodeRecord(svc, st))
			t.put(svc, st, false)
		}
		return err
	})
	return st, err
}

func (t *tenure) setRecord(svc string, st stored) { t.put(svc, st, true) }

// put keeps a record. One that was read, over which nobody else's read or our
// own write may have come meanwhile, goes over no newer one.
func (t *tenure) put(svc string, st stored, over bool) {
	k := kept{raw: st.raw, index: st.index, gist: st.gist, from: st.from}
	if !t.busy(svc) {
		k = t.pack(k)
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	was := t.records[svc]
	if !over && was.index >= st.index {
		return
	}
	t.records[svc] = k
	for _, job := range was.gist.jobs {
		delete(t.jobs, job)
	}
	for _, job := range st.gist.jobs {
		t.jobs[job] = svc
	}
	t.tally.replace(was.gist, st.gist)
	t.c.cfg.Meter.Services(t.tally.managed, t.tally.held, t.tally.paused)
	t.c.cfg.Meter.Deployments(t.tally.states)
}

// pack makes a record small that will not be asked for soon.
func (t *tenure) pack(k kept) kept {
	if k.raw != nil {
		k.text, k.raw = t.texts.Pack(k.raw), nil
	}
	return k
}

// tidy packs what a loop has left.
func (t *tenure) tidy(svc string) {
	k := t.kept(svc)
	if k.raw == nil {
		return
	}
	packed := t.pack(k)
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.loops[svc] == nil && t.records[svc].index == k.index {
		t.records[svc] = packed
	}
}

func (t *tenure) busy(svc string) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.loops[svc] != nil
}

// policiesFound looks at every policy once, at the start of a term. What was
// released from (or refused) before is left alone: this agent's files may be
// older than those of the leader before it.
func (t *tenure) policiesFound(set *policy.Set) {
	for _, p := range set.Policies() {
		if t.kept(p.Service).from == p {
			continue
		}
		if rec, err := decodeRecord(p.Service, t.record(p.Service)); err == nil && seenIn(rec, p) {
			continue
		}
		t.post(p.Service, policyEdited{}) // what was edited meanwhile, nobody knows
	}
}

// seenIn says whether a service was released from a policy, or refused.
func seenIn(rec deployment.Service, p *policy.Policy) bool {
	return slices.Contains(rec.Seen, p.SourceHash(overridesFor(rec, p)))
}

// policiesEdited looks at the policies that differ, or are gone.
func (t *tenure) policiesEdited(old, now *policy.Set) {
	for _, p := range now.Policies() {
		was := old.Policy(p.Service)
		if was == nil || was.SourceHash(nil) != p.SourceHash(nil) || was.Auto != p.Auto {
			t.post(p.Service, policyEdited{job: was == nil || was.Job.SourceHash(nil) != p.Job.SourceHash(nil)})
		}
	}
	for _, p := range old.Policies() {
		if now.Policy(p.Service) == nil {
			t.post(p.Service, policyEdited{})
		}
	}
}

// leads says whether this agent leads still, or why not. It is asked between the
// reading of a job and its writing (see nomad.Guard), which Consul cannot fence: as
// long as Consul says afterwards that this session holds the leader key, nobody else
// had led when the job was read, and whatever a later leader writes to it makes the
// write fail, however late that arrives. The own clock is asked first, because it
// costs nothing; that of a machine that was suspended may have stood still.
func (t *tenure) leads(ctx context.Context, _ *nomadapi.Job) error {
	if err := t.term.Check(); err != nil {
		return err
	}
	pair, err := t.c.cfg.Store.Read(ctx, t.term.Fence.LeaderKey)
	if err != nil {
		return err
	}
	return t.term.Fence.Held(pair)
}

// lost says whether an error ends the term.
func lost(err error) bool { return errors.Is(err, consul.ErrDeposed) }

const (
	retryFirst = 100 * time.Millisecond
	retryMost  = 5 * time.Second
)
