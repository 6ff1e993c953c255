package rollback

import (
	"maps"
	"regexp"
	"slices"
	"time"
)

// counting tells what an instance has counted since it was last read: requests,
// and those among them that are held against it.
type counting interface {
	read(s Scrape, now time.Time) (growth, error)
	keep(instance string, now time.Time)
	forget(before time.Time)
	// about says which labels a series has to have.
	about(where map[string]string)
}

// counters counts requests by their outcome.
type counters struct {
	standings
	labels []string // the first that a series has tells the outcome
	bad    *regexp.Regexp
}

// growth is what an instance has counted since it was last read.
type growth struct {
	requests, errors float64
	series, labelled int      // of the metric; of these, with a label that tells the outcome
	unlabelled       []string // labels of a series that has none such
	// held is what the counters of an instance that was never read before held.
	held *Counted
}

// read implements counting.
func (c *counters) read(s Scrape, now time.Time) (growth, error) {
	g := growth{series: len(c.these(s))}
	list, first, err := c.standings.read(s, now, func(labels map[string]string) bool {
		_, ok := c.outcome(labels)
		if ok {
			g.labelled++
		} else if g.unlabelled == nil {
			g.unlabelled = slices.Sorted(maps.Keys(labels))
		}
		return ok
	})
	if err != nil {
		return growth{}, err
	}
	var counted Counted
	for _, series := range list {
		counted.Requests += series.Value
		if outcome, _ := c.outcome(series.Labels); c.bad.MatchString(outcome) {
			counted.Errors += series.Value
		}
	}
	g.take(counted, first)
	return g, nil
}

// take puts down what was counted; of an instance that was never read before it
// is only where counting starts.
func (g *growth) take(counted Counted, first bool) {
	if first {
		g.held = &counted
		return
	}
	g.requests, g.errors = counted.Requests, counted.Errors
}

// outcome is the value of the label that tells whether requests failed.
func (c *counters) outcome(labels map[string]string) (string, bool) {
	for _, name := range c.labels {
		if value, ok := labels[name]; ok {
			return value, true
		}
	}
	return "", false
}
