package rollback

import (
	"cmp"
	"fmt"
	"maps"
	"math"
	"slices"
	"strconv"
	"time"
)

// maxBounds is how many bounds of a histogram are looked at; the greatest are
// left out.
const maxBounds = 64

// buckets reads a histogram: how many requests took longer than each of its
// bounds.
type buckets struct{ standings }

// bucket is one bound of it, of all series together.
type bucket struct {
	le, upTo float64
	series   int
}

// durations are what an instance's histogram has counted since it was last read.
type durations struct {
	first  bool      // what it held when it was first read
	total  float64   // requests
	bounds []float64 // ascending, without the infinite one
	longer []float64 // requests that took longer than each of bounds
}

// read takes a scrape. Bounds that not every series of the histogram has tell of
// a part of the requests only, and are left out.
func (b *buckets) read(s Scrape, now time.Time) (d durations, series, labelled int, unlabelled []string, err error) {
	series = len(b.these(s))
	var wrong error
	list, first, err := b.standings.read(s, now, func(labels map[string]string) bool {
		text, ok := labels["le"]
		if !ok {
			if unlabelled == nil {
				unlabelled = slices.Sorted(maps.Keys(labels))
			}
			return false
		}
		if le, err := strconv.ParseFloat(text, 64); err != nil || math.IsNaN(le) {
			wrong = fmt.Errorf("%s has the bound le=%q, which is no number", b.metric, text)
		}
		labelled++
		return true
	})
	if err == nil {
		err = wrong
	}
	if err != nil {
		return durations{}, 0, 0, nil, err
	}
	var all []bucket // ascending
	for _, s := range list {
		le, _ := strconv.ParseFloat(s.Labels["le"], 64)
		at, ok := slices.BinarySearchFunc(all, le, func(b bucket, le float64) int { return cmp.Compare(b.le, le) })
		if !ok {
			all = slices.Insert(all, at, bucket{le: le})
		}
		all[at].upTo += s.Value
		all[at].series++
	}
	whole := bucket{}
	if len(all) > 0 {
		if whole = all[len(all)-1]; !math.IsInf(whole.le, 1) {
			return durations{}, 0, 0, nil, fmt.Errorf("%s has no bound le=\"+Inf\", and so does not tell of all requests", b.metric)
		}
	}
	d.first, d.total = first, whole.upTo
	for _, b := range all {
		if !duration(b.le) || b.series != whole.series || len(d.bounds) == maxBounds {
			continue
		}
		d.bounds = append(d.bounds, b.le)
		// What a restart makes of counters need not add up.
		d.longer = append(d.longer, min(max(d.total-b.upTo, 0), d.total))
	}
	return d, series, labelled, unlabelled, nil
}

// duration says whether a bound can be one: what is less than nothing, or beyond all
// counting, says nothing of how long requests take.
func duration(le float64) bool { return le >= 0 && le <= maxCounter }

// beyond is how many requests took longer than a limit: between two bounds by
// rule of three, as Prometheus' histogram_quantile has it.
func (d durations) beyond(limit float64) (float64, bool) {
	at, exact := slices.BinarySearch(d.bounds, limit)
	switch {
	case exact:
		return d.longer[at], true
	case at == len(d.bounds):
		return 0, d.total == 0 // nobody knows what lies beyond the greatest
	}
	low, before := 0.0, d.total
	if at > 0 {
		low, before = d.bounds[at-1], d.longer[at-1]
	}
	high, after := d.bounds[at], d.longer[at]
	if high <= low { // bounds of nothing and less
		return after, true
	}
	return before + (after-before)*(limit-low)/(high-low), true
}

// slowness counts requests that took longer than a limit.
type slowness struct {
	buckets
	limit float64
	// exact is set where the limit has to be one of the bounds.
	exact bool
}

// read implements counting.
func (c *slowness) read(s Scrape, now time.Time) (growth, error) {
	d, series, labelled, unlabelled, err := c.buckets.read(s, now)
	if err != nil {
		return growth{}, err
	}
	g := growth{series: series, labelled: labelled, unlabelled: unlabelled}
	if labelled == 0 {
		return g, nil
	}
	if c.exact && !slices.Contains(d.bounds, c.limit) {
		return growth{}, fmt.Errorf("%s has no bound le=\"%v\", by which the previous colour is measured", c.metric, c.limit)
	}
	slow, ok := d.beyond(c.limit)
	if !ok {
		return growth{}, fmt.Errorf("%s has no bound as great as %v, and so does not tell what took longer", c.metric, c.limit)
	}
	g.take(Counted{d.total, slow}, d.first)
	return g, nil
}
