package rollback

import (
	"errors"
	"fmt"
	"maps"
	"math"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
)

const (
	// maxCounter is the greatest count a float64 holds to the unit. What is
	// beyond it was not counted.
	maxCounter = 1 << 53
	// maxRemembered bounds what is remembered of an instance.
	maxRemembered = 40_000 // series
)

// counters knows where each instance's request counters stood, and tells by how
// much they have grown.
type counters struct {
	metric string
	labels []string // the first that a series has tells the outcome
	bad    *regexp.Regexp
	known  map[string]*standing
}

// standing is where one instance's counters stood when last read.
type standing struct {
	at     time.Time          // of the scrape
	listed time.Time          // when the instance was last among the scraped
	values map[string]float64 // by labels
}

// growth is what an instance has counted since it was last read.
type growth struct {
	requests, errors float64
	series, labelled int      // of the metric; of these, with a label that tells the outcome
	unlabelled       []string // labels of a series that has none such
	// held is what the counters of an instance that was never read before held.
	held *Counted
}

// read takes a scrape. The first of an instance is only where counting starts:
// nobody knows when it counted what it had. A series that turns up later starts
// from zero, for counters are made when they are first needed. One that is
// smaller than it was has started anew.
//
// A scrape that cannot be believed is an error, and changes nothing.
func (c *counters) read(s Scrape, now time.Time) (growth, error) {
	if s.Err != nil {
		return growth{}, s.Err
	}
	family := s.Families[c.metric]
	g := growth{series: len(family)}
	values := make(map[string]float64, len(family))
	failed := map[string]bool{}
	for _, series := range family {
		key := identity(series.Labels)
		if _, ok := values[key]; ok {
			return growth{}, fmt.Errorf("%s%s is there twice", c.metric, key)
		}
		if v := series.Value; math.IsNaN(v) || v < 0 || v > maxCounter {
			return growth{}, fmt.Errorf("%s%s is %v, which is no count", c.metric, key, v)
		}
		outcome, ok := c.outcome(series.Labels)
		if !ok {
			if g.unlabelled == nil {
				g.unlabelled = slices.Sorted(maps.Keys(series.Labels))
			}
			continue
		}
		g.labelled++
		values[key] = series.Value
		failed[key] = c.bad.MatchString(outcome)
	}

	was := c.known[s.Instance]
	if was != nil && s.At.Before(was.at) {
		return growth{}, errors.New("the answer is older than the last one")
	}
	if was == nil || len(was.values) > maxRemembered {
		c.known[s.Instance] = &standing{at: s.At, listed: now, values: values}
		if was == nil {
			g.held = &Counted{}
			for _, key := range slices.Sorted(maps.Keys(values)) {
				g.held.Requests += values[key]
				if failed[key] {
					g.held.Errors += values[key]
				}
			}
		}
		return g, nil
	}
	for _, key := range slices.Sorted(maps.Keys(values)) { // in order, so that sums are the same every time
		value := values[key]
		grown := value
		if before, ok := was.values[key]; ok && value >= before {
			grown = value - before
		}
		g.requests += grown
		if failed[key] {
			g.errors += grown
		}
		// What is missing this time is remembered: it may be back with all that
		// it ever counted.
		was.values[key] = value
	}
	was.at, was.listed = s.At, now
	return g, nil
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

// keep notes that an instance is still there although it could not be read.
func (c *counters) keep(instance string, now time.Time) {
	if was := c.known[instance]; was != nil {
		was.listed = now
	}
}

// forget drops instances that have been gone since before the given time.
func (c *counters) forget(before time.Time) {
	maps.DeleteFunc(c.known, func(_ string, s *standing) bool { return s.listed.Before(before) })
}

// identity tells the series of a metric apart; it is how Prometheus writes
// labels.
func identity(labels map[string]string) string {
	var b strings.Builder
	b.WriteByte('{')
	for i, name := range slices.Sorted(maps.Keys(labels)) {
		if i > 0 {
			b.WriteByte(',')
		}
		b.WriteString(name)
		b.WriteByte('=')
		b.WriteString(strconv.Quote(labels[name]))
	}
	b.WriteByte('}')
	return b.String()
}
