package rollback

import (
	"maps"
	"slices"
	"time"
)

const (
	// absolute is the share of failed requests that is put up with where there
	// is nothing to compare with, and no baseline that is merely thin allows
	// more.
	absolute = 0.05
	// The chance of a false rollback in a whole watch is 0.5 %: this for a
	// baseline that was lucky, the rest for the new version being unlucky.
	alphaPast, alphaWatch = 0.001, 0.004
	// steady is how many requests of the whole colour stand behind each
	// instance's share of errors, so that one of few requests says little.
	steady = 1000
)

// Past is what the previous colour's counters tell: the baseline. It can be
// kept, as JSON, where a watch may have to begin anew.
type Past struct {
	Requests float64 `json:"requests"`
	Errors   float64 `json:"errors"`
	// Spread is from before the cutover, reading by reading.
	Spread spread `json:"spread"`
	// Each instance's own share, for the worst of them.
	Each map[string]Counted `json:"each,omitempty"`
	// Seconds are, of a volume trigger, the time in which the requests came.
	Seconds float64 `json:"seconds,omitempty"`
	// Figures are, of a trigger that asks others, what they answered, oldest first.
	Figures []float64 `json:"figures,omitempty"`
	// Bounds are, of a latency trigger, the baselines by limit.
	Bounds []Bound `json:"bounds,omitempty"`
}

// Counted is what one instance has counted.
type Counted struct {
	Requests float64 `json:"requests"`
	Errors   float64 `json:"errors"`
}

func (p *Past) count(instance string, requests, failed float64) {
	p.Requests += requests
	p.Errors += failed
	if p.Each == nil {
		p.Each = map[string]Counted{}
	}
	c := p.Each[instance]
	p.Each[instance] = Counted{c.Requests + requests, c.Errors + failed}
}

// leastSeconds is a nanosecond: a clock tells no less, but nothing.
const leastSeconds = 1e-9

// Sound says whether this can have been learned: what was kept elsewhere may have
// been written by anybody.
func (p Past) Sound() bool {
	sums := []float64{p.Requests, p.Errors, p.Seconds}
	for _, v := range []variation{p.Spread.Fine, p.Spread.Coarse} {
		sums = append(sums, v.N, v.Requests, v.Errors, v.Rates, v.Squares)
		if v.N > 0 { // of nothing but readings with requests
			sums = append(sums, v.N/v.Requests)
		}
	}
	for _, c := range p.Each {
		sums = append(sums, c.Requests, c.Errors, c.Requests-c.Errors)
	}
	sums = append(sums, p.Requests-p.Errors)
	if p.Seconds > 0 {
		sums = append(sums, p.Requests/p.Seconds, p.Seconds-leastSeconds)
	}
	if slices.ContainsFunc(sums, func(n float64) bool { return n < 0 || n > maxCounter }) {
		return false
	}
	if len(p.Figures) > maxFigures || len(p.Bounds) > maxBounds {
		return false
	}
	for i, b := range p.Bounds {
		if !duration(b.Le) || i > 0 && b.Le <= p.Bounds[i-1].Le || len(b.Past.Bounds) > 0 || !b.Past.Sound() {
			return false
		}
	}
	return true
}

// counted is what a trigger of counters has learned, without what only others learn:
// kept elsewhere, that may be anything, and would be kept again for ever.
func (p Past) counted() Past {
	return Past{Requests: p.Requests, Errors: p.Errors, Spread: p.Spread, Each: maps.Clone(p.Each)}
}

// clone shares nothing with p.
func (p Past) clone() Past {
	p.Each, p.Figures = maps.Clone(p.Each), slices.Clone(p.Figures)
	return p
}

// share is the part of requests that failed.
func (p *Past) share() float64 {
	if p.Requests == 0 {
		return 0
	}
	return p.Errors / p.Requests
}

// spread is by how much errors vary more than independent ones, at a load of so many
// requests a reading.
func (p *Past) spread(requests float64) float64 {
	if p.Errors+p.Spread.Fine.Errors == 0 && requests > 0 {
		// Whoever had looked all the time would have seen nothing.
		looked := max(p.Spread.Fine.N, p.Requests/requests)
		return (looked + assumedSpread*assumedReadings) / (looked + assumedReadings)
	}
	return p.Spread.factor(p.share(), p.Errors, requests)
}

// bar is what the new version is tested against.
type bar struct {
	all      float64 // share of errors that is no worse than the baseline
	instance float64 // the same of a single instance
	share    float64 // the baseline's own
}

// bar is drawn above what the baseline is likely to be at most, by the
// tolerance or a tenth, whichever is more.
func (p *Past) bar(tolerance float64) bar {
	share := p.share()
	spread := p.spread(0)
	most := upperBound(p.Errors/spread, p.Requests/spread, alphaPast)
	most = min(most, max(absolute, share))
	worst := most
	for _, c := range p.Each {
		worst = max(worst, (c.Errors+share*steady)/(c.Requests+steady))
	}
	above := func(share float64) float64 { return min(share+max(tolerance, share/10), 0.999) }
	return bar{all: above(most), instance: above(worst), share: share}
}

// pastReader reads the previous colour's counters.
type pastReader struct {
	Past
	counters counting
}

// read takes what the previous colour's instances said. Before the cutover all
// they count is the baseline; after it only what they held when they were first
// read, for a colour that drains says nothing of one that serves. It reports whether
// there was anything new.
func (r *pastReader) read(scrapes []Scrape, now time.Time, serves bool) (news bool) {
	answers := map[string]int{}
	for _, s := range scrapes {
		answers[s.Instance]++
	}
	var requests, failed float64
	for _, s := range scrapes {
		if answers[s.Instance] > 1 {
			continue
		}
		g, err := r.counters.read(s, now)
		if err != nil {
			continue // what is not there is no part of the baseline
		}
		_, known := r.Each[s.Instance]
		switch {
		case !known && len(r.Each) == maxInstances:
		case g.held != nil && !known:
			r.count(s.Instance, g.held.Requests, g.held.Errors)
			news = true
		case g.held == nil && serves:
			r.count(s.Instance, g.requests, g.errors)
			requests += g.requests
			failed += g.errors
			news = true
		}
	}
	r.Spread.add(requests, failed)
	return news
}
