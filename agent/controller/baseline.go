package controller

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/tealdeploy/teal/agent/deployment"
	"github.com/tealdeploy/teal/rollback"
)

// learning has the colour that serves looked at while run makes its successor
// ready, so that the watch knows what to compare with.
func learning(run func(job, context.Context)) func(job, context.Context) {
	return func(j job, ctx context.Context) {
		looking, cancel := context.WithCancel(ctx)
		var beside sync.WaitGroup
		defer beside.Wait()
		defer cancel()
		beside.Go(func() { j.learn(looking) })
		run(j, ctx)
	}
}

// learn scrapes the colour that serves at every interval of the watch.
func (j job) learn(ctx context.Context) {
	if j.pol == nil || !j.d.From.Valid() {
		return
	}
	triggers := j.pol.Watch.Triggers
	from := sources(triggers)
	answers := make(chan heard)
	var beside sync.WaitGroup
	defer beside.Wait()
	if asked := j.askBefore(ctx, &beside, triggers, answers); len(from) == 0 && asked == 0 {
		return
	}
	w := rollback.NewWatch(triggers)
	j.recall(w, triggers)
	tick := time.NewTicker(j.pol.Watch.Interval)
	defer tick.Stop()
	look := true
	var said map[string]rollback.Answer
	for {
		if v, _ := j.feed.now(); v.known {
			o := rollback.Observation{Previous: v.of(j.d.From, j.rec.Route.Loose), Before: j.subject(j.d.From, j.d.FromVersion)}
			if look {
				o.PreviousScrapes = j.scrape(ctx, from, o.Previous)
			}
			o.At = time.Now()
			if ctx.Err() != nil {
				return
			}
			o.Answers, said = said, nil
			w.Prepare(o)
			j.l.lesson.Store(newLesson(j.d.ID, triggers, w.Past()))
		}
		look = false
		select {
		case <-ctx.Done():
			return
		case h := <-answers:
			said = gathered(said, h)
		case <-tick.C:
			look = true
		}
	}
}

// recall gives a watch what was learned before it: by this agent, by the one that
// led before it, or in the previous colour's own watch.
func (j job) recall(w *rollback.Watch, triggers []rollback.Named) {
	w.Recall(remembered(j.rec.Slots[j.d.From].Learned, triggers))
	if l := j.l.lesson.Load(); l != nil && l.release == j.d.ID {
		w.Recall(l.past)
		return
	}
	w.Recall(remembered(j.d.Baseline, triggers))
}

// scrapePrevious reads each instance of the previous colour once after the
// cutover. What it counts from then on says nothing of a colour that serves; but
// an agent that did not look on before knows nothing else. It runs beside the
// scraping of the active colour, which must not wait for it.
func (j job) scrapePrevious(ctx context.Context, interval time.Duration, from map[rollback.ScrapeSource][]string, out chan<- map[string][]rollback.Scrape) {
	if len(from) == 0 || !j.d.From.Valid() {
		return
	}
	tick := time.NewTicker(interval)
	defer tick.Stop()
	read := map[string]bool{}
	for {
		if v, _ := j.feed.now(); v.known {
			var strange []deployment.Instance
			for _, i := range v.of(j.d.From, j.rec.Route.Loose) {
				if !read[i.ID] {
					strange = append(strange, i)
				}
			}
			if len(strange) > 0 {
				got := j.scrape(ctx, from, strange)
				select {
				case <-ctx.Done():
					return
				case out <- got:
				}
				told := answered(got)
				maps.Copy(read, told)
				if onlyCallers(from) && len(got) == len(from) && len(told) > 0 && !slices.Contains(slices.Collect(maps.Values(told)), false) {
					for _, i := range strange { // of all of them the callers have told
						read[i.ID] = true
					}
				}
			}
		}
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

// onlyCallers says that none of the colour's own instances are to be read.
func onlyCallers(from map[rollback.ScrapeSource][]string) bool {
	for source := range from {
		if source.Callers == "" {
			return false
		}
	}
	return true
}

// answered are the instances that every source could be read of.
func answered(got map[string][]rollback.Scrape) map[string]bool {
	out := map[string]bool{}
	for _, scrapes := range got {
		for _, s := range scrapes {
			before, known := out[s.Instance]
			out[s.Instance] = s.Err == nil && (before || !known)
		}
	}
	return out
}

// scrape asks instances for all that is wanted of them; of callers it asks those
// that there are now.
func (j job) scrape(ctx context.Context, from map[rollback.ScrapeSource][]string, instances []deployment.Instance) map[string][]rollback.Scrape {
	got := map[string][]rollback.Scrape{}
	for source, families := range from {
		if scrapes, err := j.l.scrape(ctx, source, families, instances); err == nil {
			got[source.Key()] = scrapes
		}
	}
	return got
}

// scrape asks one source. An error means that nobody knows who the callers are.
func (l *loop) scrape(ctx context.Context, source rollback.ScrapeSource, families []string, instances []deployment.Instance) ([]rollback.Scrape, error) {
	cfg := l.t.c.cfg
	if source.Callers != "" {
		instances = nil
		for name := range strings.SplitSeq(source.Callers, ",") {
			list, _, err := cfg.Catalog.Instances(ctx, name, 0)
			if err != nil {
				return nil, fmt.Errorf("instances of %s: %w", name, err)
			}
			for _, i := range list {
				// Whoever was registered without Nomad, under one ID on each of several
				// nodes, would be another one's restart.
				i.ID += " on " + i.Node
				instances = append(instances, i)
			}
		}
	}
	return cfg.Scraper.Scrape(ctx, source, families, instances), nil
}
