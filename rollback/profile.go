package rollback

import (
	"cmp"
	"math"
	"slices"
	"time"
)

// Bound is a bound of the previous colour's histogram, and how many requests
// took longer: as a baseline of its own, in which those are the errors.
type Bound struct {
	Le   float64 `json:"le"`
	Past Past    `json:"past"`
}

// profile is how long the previous colour's requests took: the baseline of a
// latency trigger.
type profile struct {
	reader buckets
	bounds []Bound // ascending
	seen   map[string]bool
}

// read takes what the previous colour's instances said; what counts is as it is
// with errors, see pastReader.
func (p *profile) read(scrapes []Scrape, now time.Time, serves bool) (news bool) {
	if p.seen == nil {
		p.seen = map[string]bool{}
	}
	answers := map[string]int{}
	for _, s := range scrapes {
		answers[s.Instance]++
	}
	sum := map[float64]tally{}
	for _, s := range scrapes {
		if answers[s.Instance] > 1 {
			continue
		}
		d, _, labelled, _, err := p.reader.read(s, now)
		known := p.seen[s.Instance]
		if err != nil || labelled == 0 || !known && len(p.seen) == maxInstances || d.first == known || !d.first && !serves {
			continue // what is not there is no part of the baseline
		}
		p.seen[s.Instance] = true
		news = true
		for i, bound := range d.bounds {
			b := p.bound(bound)
			if b == nil {
				continue
			}
			b.Past.count(s.Instance, d.total, d.longer[i])
			if !d.first {
				t := sum[b.Le]
				sum[b.Le] = tally{requests: t.requests + d.total, errors: t.errors + d.longer[i]}
			}
		}
	}
	for i := range p.bounds {
		t := sum[p.bounds[i].Le]
		p.bounds[i].Past.Spread.add(t.requests, t.errors)
	}
	return news
}

// bound finds one by its value, or makes it.
func (p *profile) bound(le float64) *Bound {
	at, ok := slices.BinarySearchFunc(p.bounds, le, func(b Bound, le float64) int { return cmp.Compare(b.Le, le) })
	if !ok {
		if len(p.bounds) == maxBounds {
			return nil
		}
		p.bounds = slices.Insert(p.bounds, at, Bound{Le: le})
	}
	return &p.bounds[at]
}

// requests is how many the baseline holds.
func (p *profile) requests() float64 {
	most := 0.0
	for _, b := range p.bounds {
		most = max(most, b.Past.Requests)
	}
	return most
}

// telling is the bound that says most of a quantile: that beyond which lies the
// share of requests that is nearest, by its logarithm, to what should.
func (p *profile) telling(quantile float64) *Bound {
	var best *Bound
	least := math.Inf(1)
	for i := range p.bounds {
		b := &p.bounds[i]
		if b.Past.Requests == 0 || b.Past.Errors >= b.Past.Requests {
			continue // all took longer: it does not tell fast ones from slow ones
		}
		share := (b.Past.Errors + 0.5) / (b.Past.Requests + 1)
		if off := math.Abs(math.Log(share / (1 - quantile))); off < least {
			best, least = b, off
		}
	}
	return best
}

// quantile is how long the slowest of so many requests took, by rule
// of three between bounds; false if it is more than the greatest of them.
func (p *profile) quantile(quantile float64) (float64, bool) {
	low, before := 0.0, 1.0
	for _, b := range p.bounds {
		share := b.Past.share()
		if share <= 1-quantile {
			if before <= share {
				return b.Le, true
			}
			return low + (b.Le-low)*(before-(1-quantile))/(before-share), true
		}
		low, before = b.Le, share
	}
	return 0, false
}
