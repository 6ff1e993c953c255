package controller

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/tealdeploy/teal/agent/deployment"
	"github.com/tealdeploy/teal/agent/nomad"
	"github.com/tealdeploy/teal/rollback"
)

// watch judges the active colour after cutover until the watch is over or a
// trigger fires. It runs while paused or held too: only its good end waits.
func (j job) watch(ctx context.Context) {
	if j.pol == nil {
		j.withoutPolicy(ctx, deployment.WatchPass)
		return
	}
	w := j.pol.Watch
	j.observe(ctx, w.Triggers, bounds{w.Unknown, w.Early}, w.Interval, begun(j.d.Since).Add(w.For), deployment.WatchPass)
}

// soak keeps the previous colour whole. Consul's health of the active colour
// may still take traffic back. A first release has nothing to keep whole.
func (j job) soak(ctx context.Context) {
	switch {
	case !j.d.From.Valid():
		j.observe(ctx, nil, bounds{}, time.Second, begun(j.d.Since), deployment.SoakEnd)
	case j.pol == nil:
		j.withoutPolicy(ctx, deployment.SoakEnd)
	default:
		j.observe(ctx, nil, bounds{}, time.Second, begun(j.d.Since).Add(j.pol.Soak.For), deployment.SoakEnd)
	}
}

// withoutPolicy watches by Consul's health alone, and without an end: how long
// to watch, and what becomes of the previous colour, is the policy's to say. good
// is what a person who accepts what it sees brings about.
func (j job) withoutPolicy(ctx context.Context, good deployment.Kind) {
	j.say(deployment.Event{Kind: deployment.Note, Reason: "agent " + j.l.t.c.cfg.Name +
		" leads and has no policy for this service: Consul's health goes on being watched, and the previous colour is kept, until the policy is back"})
	j.observe(ctx, nil, bounds{}, time.Second, time.Now().Add(1000*time.Hour), good)
}

// bounds are what the policy has to say of a watch's length besides its end.
type bounds struct {
	patience rollback.Patience
	early    rollback.Early
}

// observe feeds a watch with what is seen until its end. Scraping runs beside
// it: an endpoint that hangs must not delay the sight of an instance's death.
func (j job) observe(ctx context.Context, triggers []rollback.Named, within bounds, interval time.Duration, end time.Time, good deployment.Kind) {
	ctx, cancel := context.WithCancel(ctx)
	var beside sync.WaitGroup
	defer beside.Wait()
	defer cancel()
	w := rollback.NewWatch(triggers)
	w.Bound(within.patience)
	j.recall(w, triggers)
	guard := wayBack{job: j, beside: &beside}
	began := time.Now()
	over := time.NewTimer(time.Until(end))
	defer over.Stop()
	var ended time.Time
	var asked, warned, lost told
	sight := sight{log: j.l.log}
	scrapes := make(chan map[string][]rollback.Scrape)
	beside.Go(func() { j.scrapeEvery(ctx, interval, sources(triggers), scrapes) })
	previous := make(chan map[string][]rollback.Scrape)
	beside.Go(func() { j.scrapePrevious(ctx, interval, sources(triggers), previous) })
	answers := make(chan heard)
	j.askOthers(ctx, &beside, triggers, answers)
	var fresh, before map[string][]rollback.Scrape
	var said map[string]rollback.Answer

	for {
		v, changed := j.feed.now()
		if v.known {
			guard.look(ctx, v)
			seen := j.observation(v, fresh, before)
			seen.Answers, said = said, nil // an answer comes once: none is lost
			verdict := w.Observe(seen)
			sight.look(w.Unable())
			if verdict.Verdict == rollback.Bad && j.takeBack(v, verdict, good, &warned) {
				return
			}
			if verdict.Hold {
				j.patienceEnds(verdict, good, !ended.IsZero(), &lost)
			}
			if n, enough := w.Enough(within.early, seen.At); enough && ended.IsZero() {
				ended = time.Now()
				verdict.Reason = fmt.Sprintf("early, for all was well for %s and over %.0f requests: %s", within.early.After, n, verdict.Reason)
			}
			if !ended.IsZero() && j.mayEnd(w, triggers, verdict, good, time.Since(began), time.Since(ended), &asked) {
				return
			}
		}
		fresh, before = nil, nil
		select {
		case <-ctx.Done():
			return
		case <-changed:
		case fresh = <-scrapes:
		case before = <-previous:
		case h := <-answers:
			said = gathered(said, h)
		case <-over.C:
			ended = time.Now()
		}
	}
}

// scrapeEvery scrapes the active colour at every interval and hands on what it
// got. Without sources it only ticks, so that rules that count time get one.
func (j job) scrapeEvery(ctx context.Context, interval time.Duration, from map[rollback.ScrapeSource][]string, out chan<- map[string][]rollback.Scrape) {
	tick := time.NewTicker(interval)
	defer tick.Stop()
	for {
		v, _ := j.feed.now()
		got := j.scrape(ctx, from, v.of(j.d.To, j.rec.Route.Loose))
		select {
		case <-ctx.Done():
			return
		case out <- got:
		}
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

// takeBack reports a bad verdict. Going back to a colour without a passing
// instance would turn trouble into an outage: then it holds and says so.
func (j job) takeBack(v view, verdict rollback.Decision, good deployment.Kind, said *told) bool {
	reason := fmt.Sprintf("trigger %s: %s", verdict.Trigger, verdict.Reason)
	why := ""
	switch {
	case !j.d.From.Valid():
		why = deployment.ErrNoWayBack.Error()
	case passing(v.of(j.d.From, j.rec.Route.Loose)) == 0:
		why = fmt.Sprintf("not rolled back: %s has no passing instance either (teal rollback -force goes back all the same)", j.d.From)
	default:
		j.say(deployment.Event{Kind: deployment.Trigger, Reason: reason, Figures: figures(verdict.Figures),
			Detected: time.Now(), KeepUntil: j.keepUntil()})
		return true
	}
	// The figures differ each time, what they come to does not.
	if said.anew(verdict.Trigger+why, j.now().Held != nil) {
		j.say(deployment.Event{Kind: deployment.Hold, Reason: reason + "; " + why + "; teal resume accepts it as it is", Figures: figures(verdict.Figures), OnResume: good})
	}
	return false
}

// told keeps a watch from saying the same over and over.
type told struct {
	what string
	at   time.Time
}

// anew says whether something is to be said: other than the last time, or again
// when that no longer stands and should long have reached the record.
func (t *told) anew(what string, stands bool) bool {
	if t.what == what && (stands || time.Since(t.at) < firstSight) {
		return false
	}
	t.what, t.at = what, time.Now()
	return true
}

// observation is one look at both colours.
func (j job) observation(v view, scrapes, previous map[string][]rollback.Scrape) rollback.Observation {
	loose := j.rec.Route.Loose
	return rollback.Observation{
		At: time.Now(), Whom: j.subject(j.d.To, j.d.Candidate.Version), Before: j.subject(j.d.From, j.d.FromVersion), HealthErr: v.err, Expected: j.now().Slots[j.d.To].Expected,
		Active: v.of(j.d.To, loose), Previous: v.of(j.d.From, loose),
		Scrapes: scrapes, PreviousScrapes: previous,
	}
}

// sources lists what the triggers need scraped.
func sources(triggers []rollback.Named) map[rollback.ScrapeSource][]string {
	out := map[rollback.ScrapeSource][]string{}
	for _, t := range triggers {
		for _, s := range t.Trigger.Sources() {
			out[s] = append(out[s], t.Trigger.Families()...)
		}
	}
	return out
}

// wayBack watches over the previous colour: nobody may shrink it unseen.
type wayBack struct {
	job
	beside *sync.WaitGroup
	asking atomic.Bool // Nomad is being asked
	last   string
}

// look says when the previous colour has fewer passing instances than it had,
// and has Nomad asked for its counts again.
func (g *wayBack) look(ctx context.Context, v view) {
	slot, ok := g.rec.Slots[g.d.From]
	if !ok || v.err != nil {
		return
	}
	have := passing(v.of(g.d.From, g.rec.Route.Loose))
	weak := ""
	if have < slot.Expected {
		weak = fmt.Sprintf("the way back is weakened: %d of %d instances of %s (%s) pass", have, slot.Expected, g.d.From, orUnknown(slot.Version))
	}
	if weak == g.last {
		return
	}
	g.last = weak
	g.say(deployment.Event{Kind: deployment.Weaken, Reason: weak})
	if weak != "" && g.asking.CompareAndSwap(false, true) {
		// Beside the watch: Nomad may hang, and the watch must go on seeing.
		g.beside.Go(func() { g.restore(ctx, slot) })
	}
}

// restore gives the previous colour the counts back that it had. What has grown
// since stays as it is.
func (g *wayBack) restore(ctx context.Context, slot deployment.Slot) {
	defer g.asking.Store(false)
	client := g.l.t.c.cfg.Nomad(slot.Region)
	err := retry(ctx, g.l.log, "give the previous colour its counts back", func(ctx context.Context) error {
		err := client.Raise(ctx, slot.Namespace, slot.Job, slot.Counts, g.l.t.leads)
		if errors.Is(err, nomad.ErrNotFound) {
			err = errors.New("it is not in Nomad any more: somebody removed it")
		}
		return finalUnlessAway(err)
	})
	if err != nil && ctx.Err() == nil {
		g.l.log.Warn("counts of the previous colour not restored", "job", slot.Job, "error", err)
	}
}

func figures(in map[string]float64) map[string]string {
	out := make(map[string]string, len(in))
	for k, v := range in {
		out[k] = strconv.FormatFloat(v, 'g', 6, 64)
	}
	return out
}
