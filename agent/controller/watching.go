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
	"github.com/tealdeploy/teal/jobspec"
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

// firstSight is how long a trigger may take to tell, at the end of a watch or when
// that begins anew under another leader, before the watch is held for want of it.
const firstSight = 10 * time.Second

// doubtAtMost is how much longer than it was to last a watch may go on because
// of what speaks against the version, before a person is asked.
const doubtAtMost = 2 * time.Minute

// mayEnd reports the good end, unless something forbids it: a pause, a hold, a
// trigger that saw what speaks against the version, or one that cannot tell at
// present. Unknown is not a pass, and while a person is asked the watch goes on.
func (j job) mayEnd(w *rollback.Watch, triggers []rollback.Named, verdict rollback.Decision, good deployment.Kind, watched, over time.Duration, said *told) bool {
	rec := j.now()
	blind := rec.Held != nil && rec.Held.Cause == deployment.CannotTell
	if rec.Paused != nil || rec.Held != nil && !blind {
		return false
	}
	unable := w.Unable()
	switch {
	case verdict.Verdict == rollback.Bad:
	case verdict.Doubt:
		j.doubts(verdict, good, over, said)
	case len(unable) > 0:
		wait := over
		if unable[0].Never {
			wait = watched
		}
		j.goesOn(unable, good, wait, blind, said)
	default:
		end := deployment.Event{Kind: good, Reason: verdict.Reason, Figures: figures(verdict.Figures),
			Learned: newLesson(j.d.ID, triggers, w.Learned()).text}
		if !blind {
			j.say(end)
			return true
		}
		j.sayAll(deployment.Event{Kind: deployment.Unhold, Cause: deployment.CannotTell, Reason: "every trigger can tell again"}, end)
		return true
	}
	return false
}

// goesOn says why a watch, or a soak, whose time is up does not end: who cannot tell,
// and how to go on without. It ends once they can; the policy may bound that. A
// stumble is only noted; what lasts is held, so that a person is told. So is, in a
// watch that begins anew at its end, what it has not seen yet.
func (j job) goesOn(unable []rollback.Unable, good deployment.Kind, wait time.Duration, held bool, said *told) {
	what := map[deployment.Kind]string{deployment.WatchPass: "watch", deployment.SoakEnd: "soak"}[good]
	first, lacks := unable[0], "cannot tell any more whether all is well"
	if first.Never {
		lacks = "has not seen enough to say that all is well"
	}
	why := fmt.Sprintf("the %s goes on: trigger %s %s (%s)", what, first.Trigger, lacks, first.Reason)
	if n := len(unable) - 1; n > 0 {
		why += fmt.Sprintf("; %d more cannot tell", n)
	}
	switch {
	case wait >= firstSight:
		if said.anew("held for "+first.Trigger, held) {
			j.say(deployment.Event{Kind: deployment.Hold, Cause: deployment.CannotTell, OnResume: good, Reason: fmt.Sprintf(
				"%s; it ends by itself once that is seen; teal resume accepts %s as it is, teal rollback goes back", why, named(j.d.Candidate))})
		}
	case !first.Never && said.anew("goes on for "+first.Trigger, true):
		j.say(deployment.Event{Kind: deployment.Note, Reason: fmt.Sprintf("%s; if that lasts for %s, a person is asked", why, firstSight)})
	}
}

// patienceEnds holds a watch in which a trigger has not known for longer than the
// policy allows. Before its time is up a person can only have it watched anew.
func (j job) patienceEnds(verdict rollback.Decision, good deployment.Kind, over bool, said *told) {
	ev := deployment.Event{Kind: deployment.Hold, Figures: figures(verdict.Figures)}
	how := "teal resume watches anew"
	if over {
		ev.OnResume, how = good, "the time of the watch is up; teal resume accepts "+named(j.d.Candidate)+" as it is"
	}
	ev.Reason = fmt.Sprintf("trigger %s: %s; %s, teal rollback goes back", verdict.Trigger, verdict.Reason, how)
	if said.anew(verdict.Trigger+how, true) {
		j.say(ev)
	}
}

// doubts says why a watch goes on, and after a while asks a person.
func (j job) doubts(verdict rollback.Decision, good deployment.Kind, over time.Duration, said *told) {
	if over < doubtAtMost {
		if said.anew("doubt", true) {
			j.say(deployment.Event{Kind: deployment.Note, Figures: figures(verdict.Figures), Reason: fmt.Sprintf(
				"the watch goes on for %s at most, for what was seen speaks against %s and is no proof yet: %s", doubtAtMost, named(j.d.Candidate), verdict.Reason)})
		}
		return
	}
	if said.anew("long doubt", j.now().Held != nil) {
		j.say(deployment.Event{Kind: deployment.Hold, OnResume: good, Figures: figures(verdict.Figures), Reason: fmt.Sprintf(
			"the watch is over and what was seen speaks against %s, without being proof: %s; teal resume accepts it as it is, teal rollback goes back",
			named(j.d.Candidate), verdict.Reason)})
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
		job, err := client.Job(ctx, slot.Namespace, slot.Job)
		if err != nil {
			return finalUnlessAway(err)
		}
		if job == nil {
			return final(errors.New("it is not in Nomad any more: somebody removed it"))
		}
		if err := g.l.t.term.Check(); err != nil {
			return err
		}
		counts := jobspec.Counts(job)
		for group, n := range slot.Counts {
			counts[group] = max(n, counts[group])
		}
		return finalUnlessChanged(client.Scale(ctx, slot.Namespace, slot.Job, counts))
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
