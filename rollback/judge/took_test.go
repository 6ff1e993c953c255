package judge_test

import (
	"math"
	"math/rand/v2"
	"strconv"

	"github.com/tealdeploy/teal/rollback"
)

// bounds are those of a histogram as Prometheus' client libraries have it.
var bounds = [...]float64{.005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10}

// durations are how many requests fell between two bounds; the last are those
// beyond all.
type durations [len(bounds) + 1]int

// took is how long requests take: the logarithm is normal, with a median in
// seconds and a deviation. With 0.05 and 0.6 the p99 is 0.2 s.
type took struct{ median, deviation float64 }

// usual is what both colours take in a healthy scenario.
var usual = took{0.05, 0.6}

// p99doubled has the same median.
var p99doubled = took{0.05, 0.6 + math.Ln2/2.326}

func (t took) times(factor float64) took { return took{t.median * factor, t.deviation} }

// within is the share of requests that take no longer.
func (t took) within(seconds float64) float64 {
	return 0.5 * math.Erfc(-math.Log(seconds/t.median)/t.deviation/math.Sqrt2)
}

// draw adds n requests.
func (d *durations) draw(r *rand.Rand, n int, t took) {
	below := 0.0
	for i, bound := range bounds {
		upTo := t.within(bound)
		k := binomial(r, n, min(1, (upTo-below)/(1-below)))
		d[i] += k
		n -= k
		below = upTo
		if n == 0 || below >= 1 {
			break
		}
	}
	d[len(bounds)] += n
}

// le are the labels of the series of a histogram.
var le = func() (out [len(bounds) + 1]map[string]string) {
	for i := range out {
		text := "+Inf"
		if i < len(bounds) {
			text = strconv.FormatFloat(bounds[i], 'g', -1, 64)
		}
		out[i] = map[string]string{"le": text}
	}
	return out
}()

func (d durations) family() rollback.Family {
	out := make(rollback.Family, len(d))
	sum := 0
	for i, n := range d {
		sum += n
		out[i] = rollback.Series{Labels: le[i], Value: float64(sum)}
	}
	return out
}

// p99 is Prometheus' histogram_quantile(0.99, …); 0 without requests.
func (d durations) p99() float64 {
	all := 0
	for _, n := range d {
		all += n
	}
	rank, sum := 0.99*float64(all), 0.0
	if all == 0 {
		return 0
	}
	for i, n := range d[:len(bounds)] {
		if sum+float64(n) >= rank {
			low := 0.0
			if i > 0 {
				low = bounds[i-1]
			}
			return low + (bounds[i]-low)*(rank-sum)/float64(n)
		}
		sum += float64(n)
	}
	return bounds[len(bounds)-1]
}

// slower is the usual script for latency: every so many seconds it asks for the
// p99 since the last time, and goes back when it is above a limit, or above a
// multiple of what it was before the cutover, so many times in a row.
type slower struct {
	every, inARow int
	limit         float64 // seconds; 0: times the baseline
	times         float64
	failed        int
}

func lately(seen []second, length int) (out durations) {
	for _, s := range seen[max(0, len(seen)-length):] {
		for i := range out {
			out[i] += s.took[i]
		}
	}
	return out
}

func (s *slower) baseline(past []second) {
	if s.limit == 0 {
		s.limit = s.times * lately(past, len(past)).p99()
	}
}

func (s *slower) bad(now int, seen []second, _ look) bool {
	if now%s.every != 0 {
		return false
	}
	if lately(seen, s.every).p99() <= s.limit {
		s.failed = 0
		return false
	}
	s.failed++
	return s.failed >= s.inARow
}

// latencies are the scenarios in which requests take their time.
func latencies() []Scenario {
	timed := func(name string, healthy bool, green func(second, instance int) took) Scenario {
		s := regression(name, 0, 0)
		s.Healthy, s.blueTook, s.greenTook = healthy, usual, green
		return s
	}
	same := func(int, int) took { return usual }

	jumpy := timed("latency: bursts", true, same)
	jumpy.bursts = gusts{every: 60, length: 3, slower: 3}
	rare := timed("latency: rare and hard bursts", true, same)
	rare.bursts = gusts{every: 300, length: 5, slower: 5}
	mild := timed("latency: bursts that are rare", true, same)
	mild.bursts = gusts{every: 300, length: 5, slower: 2}
	sparse := timed("latency: 1 request a second", true, same)
	sparse.blueRate = func(int) float64 { return 1 }
	sparse.greenRate = sparse.blueRate
	day := timed("latency: night to day, 5 % slower", true, func(int, int) took { return usual.times(1.05) })
	day.blueRate = func(int) float64 { return 20 }
	day.greenRate = func(second int) float64 { return 200 + 200*float64(second)/watch }
	flaky := timed("latency: samples lost, counters restart", true, same)
	flaky.unread = func(r *rand.Rand, _ int) bool { return r.Float64() < 0.1 }
	flaky.restart = 200

	one := timed("latency: one instance of ten twice as slow", false, func(_, instance int) took {
		if instance == 7 {
			return usual.times(2)
		}
		return usual
	})
	one.instances = 10
	late := timed("latency: p99 doubles after 10 minutes", false, func(second, _ int) took {
		if second > 600 {
			return p99doubled
		}
		return usual
	})
	late.Fault = 600
	return []Scenario{
		timed("latency: steady", true, same), jumpy, rare, mild, sparse, day, flaky,
		timed("latency: p99 doubled", false, func(int, int) took { return p99doubled }),
		timed("latency: all 1.5 times as slow", false, func(int, int) took { return usual.times(1.5) }),
		late, one,
	}
}
