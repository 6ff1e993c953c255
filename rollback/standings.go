package rollback

import (
	"errors"
	"fmt"
	"maps"
	"math"
	"slices"
	"strconv"
	"time"
)

const (
	// maxCounter is the greatest count a float64 holds to the unit. What is
	// beyond it was not counted.
	maxCounter = 1 << 53
	// maxRemembered bounds what is remembered of an instance.
	maxRemembered = 40_000 // series
)

// standings knows where each instance's counters of one metric stood, and tells by
// how much they have grown.
type standings struct {
	metric string
	where  map[string]string // labels that a series has to have
	known  map[string]*standing
}

// about says of which series to take note.
func (c *standings) about(where map[string]string) { c.where = where }

// has says whether a series is one of those.
func (c *standings) has(labels map[string]string) bool {
	for name, value := range c.where {
		if labels[name] != value {
			return false
		}
	}
	return true
}

// these are the series of a scrape to take note of.
func (c *standings) these(s Scrape) Family {
	family := s.Families[c.metric]
	if len(c.where) == 0 {
		return family
	}
	return slices.DeleteFunc(slices.Clone(family), func(s Series) bool { return !c.has(s.Labels) })
}

func newStandings(metric string) standings {
	return standings{metric: metric, known: map[string]*standing{}}
}

// standing is where one instance's counters stood when last read.
type standing struct {
	at     time.Time          // of the scrape
	listed time.Time          // when the instance was last among the scraped
	values map[string]float64 // by labels
}

// read takes a scrape and tells by how much each series that counts has grown. Of
// an instance that was never read before it tells what they hold: that is only
// where counting starts, for nobody knows when it counted what it had. A series
// that turns up later starts from zero, for counters are made when they are first
// needed. One that is smaller than it was has started anew.
//
// A scrape that cannot be believed is an error, and changes nothing.
func (c *standings) read(s Scrape, now time.Time, counts func(labels map[string]string) bool) (grown []Series, first bool, err error) {
	if s.Err != nil {
		return nil, false, s.Err
	}
	family := c.these(s)
	list := make([]Series, 0, len(family)) // in the scrape's order, so that sums are the same every time
	keys := make([]string, 0, len(family))
	all := make([]string, 0, len(family))
	for _, series := range family {
		key := identity(series.Labels)
		all = append(all, key)
		if v := series.Value; math.IsNaN(v) || v < 0 || v > maxCounter {
			return nil, false, fmt.Errorf("%s%s is %v, which is no count", c.metric, key, v)
		}
		if counts(series.Labels) {
			list, keys = append(list, series), append(keys, key)
		}
	}
	slices.Sort(all)
	for i := range all[min(1, len(all)):] {
		if all[i] == all[i+1] {
			return nil, false, fmt.Errorf("%s%s is there twice", c.metric, all[i])
		}
	}

	was := c.known[s.Instance]
	if was != nil && s.At.Before(was.at) {
		return nil, false, errors.New("the answer is older than the last one")
	}
	if was == nil || len(was.values) > maxRemembered {
		values := make(map[string]float64, len(list))
		for i, series := range list {
			values[keys[i]] = series.Value
		}
		c.known[s.Instance] = &standing{at: s.At, listed: now, values: values}
		if was != nil {
			return nil, false, nil
		}
		return list, true, nil
	}
	for i, series := range list {
		if before, ok := was.values[keys[i]]; ok && series.Value >= before {
			list[i].Value = series.Value - before
		}
		// What is missing this time is remembered: it may be back with all that
		// it ever counted.
		was.values[keys[i]] = series.Value
	}
	was.at, was.listed = s.At, now
	return list, false, nil
}

// keep notes that an instance is still there although it could not be read.
func (c *standings) keep(instance string, now time.Time) {
	if was := c.known[instance]; was != nil {
		was.listed = now
	}
}

// forget drops instances that have been gone since before the given time.
func (c *standings) forget(before time.Time) {
	maps.DeleteFunc(c.known, func(_ string, s *standing) bool { return s.listed.Before(before) })
}

// identity tells the series of a metric apart; it is how Prometheus writes
// labels.
func identity(labels map[string]string) string {
	var few [8]string // seldom are there more, and then nothing is allocated
	names := few[:0]
	for name := range labels {
		names = append(names, name)
	}
	slices.Sort(names)
	var room [128]byte
	text := append(room[:0], '{')
	for i, name := range names {
		if i > 0 {
			text = append(text, ',')
		}
		text = append(text, name...)
		text = append(text, '=')
		text = strconv.AppendQuote(text, labels[name])
	}
	return string(append(text, '}'))
}
