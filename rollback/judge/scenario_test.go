package judge_test

import (
	"fmt"
	"math/rand/v2"
)

const (
	// life is how long the previous colour has served, in seconds; the last
	// gated of them the agent looks on, as it does during launch and gates.
	life, gated = 3600, 60
	// watch is the length of a watch, in seconds.
	watch = 900
)

// Scenario is traffic, before and after a cutover. Fault is the second after
// the cutover from which the new version is worse; a healthy one has none.
type Scenario struct {
	Name    string
	Healthy bool
	Fault   int
	// Rates are the requests a second of the two colours, of all instances.
	blueRate, greenRate func(second int) float64
	// shares are the parts of requests that fail.
	blue, green func(second, instance int) float64
	instances   int
	bursts      gusts
	// unread says whether the new version's metrics are away.
	unread func(r *rand.Rand, second int) bool
	// restart is how often, in seconds, an instance's counters begin anew.
	restart int

	// How long requests take, in the scenarios that are about it; of the others
	// nothing is known.
	blueTook  took
	greenTook func(second, instance int) took

	// gauge is what a metrics service says, in the scenarios that are about that
	// alone.
	gauge gauge
}

// gusts are troubles that pass: every so many seconds, on average, something
// stumbles for some seconds and takes a share of the requests with it. Requests
// themselves come in gusts then, too.
type gusts struct {
	every, length int
	share         float64
	slower        float64 // times as long as usual do requests take
}

func always(share float64) func(int, int) float64 {
	return func(int, int) float64 { return share }
}

func healthy(name string, share float64) Scenario {
	s := regression(name, share, share)
	s.Healthy = true
	return s
}

func regression(name string, before, after float64) Scenario {
	steady := func(int) float64 { return 200 }
	return Scenario{
		Name: name, blueRate: steady, greenRate: steady, blue: always(before), green: always(after), instances: 2,
		unread: func(*rand.Rand, int) bool { return false },
	}
}

// Scenarios are what every method is put to.
func Scenarios() []Scenario {
	slow := func(int) float64 { return 1 }

	bursty := healthy("bursty", 0.001)
	bursty.bursts = gusts{every: 60, length: 3, share: 0.05}
	rare := healthy("rare and hard bursts", 0.001)
	rare.bursts = gusts{every: 300, length: 5, share: 0.1}
	usually := healthy("rare and hard bursts, 1 % anyway", 0.01)
	usually.bursts = rare.bursts
	sparse := healthy("1 request a second", 0.001)
	sparse.blueRate, sparse.greenRate = slow, slow
	day := healthy("night to day", 0.002)
	day.blueRate = func(int) float64 { return 20 }
	day.greenRate = func(second int) float64 { return 200 + 200*float64(second)/watch }
	zero := healthy("baseline of zero", 0)
	zero.green = always(0.0002)
	away := healthy("metrics away for 40 s", 0.001)
	away.unread = func(_ *rand.Rand, second int) bool { return second >= 300 && second < 340 }
	flaky := healthy("a tenth of samples lost, counters restart", 0.001)
	flaky.unread = func(r *rand.Rand, _ int) bool { return r.Float64() < 0.1 }
	flaky.restart = 200

	leak := regression("a leak after 10 minutes", 0.001, 0.001)
	leak.Fault = 600
	leak.green = func(second, _ int) float64 { return 0.001 + 0.1*min(1, max(0, float64(second-600)/120)) }
	broken := regression("one instance of ten fails a tenth", 0.001, 0.001)
	broken.instances = 10
	broken.green = func(_, instance int) float64 {
		if instance == 7 {
			return 0.1
		}
		return 0.001
	}
	quiet := regression("0.1 → 20 % at 1 request a second", 0.001, 0.2)
	quiet.blueRate, quiet.greenRate = slow, slow
	more := regression("bursty and 1 % more", 0.001, 0.011)
	more.bursts = bursty.bursts

	return append([]Scenario{
		healthy("steady", 0.001), healthy("steady at 3 %", 0.03), bursty, rare, usually, sparse, day, zero, away, flaky,
		regression("0.1 → 0.5 %", 0.001, 0.005), regression("1 → 2 %", 0.01, 0.02), regression("0 → 5 %", 0, 0.05),
		regression("100 % errors", 0.001, 1), leak, broken, quiet, more,
	}, append(latencies(), gauges()...)...)
}

// traffic makes up a scenario's requests, second by second.
type traffic struct {
	Scenario
	random *rand.Rand
	burst  int // seconds that are left of it
	count  []tally
}

// tally is what one instance has counted.
type tally struct {
	requests, errors int
	took             durations
}

// second lets a second pass: every instance counts some more.
func (t *traffic) second(second int, rate func(int) float64, share func(int, int) float64, took func(int, int) took) {
	requests := rate(second)
	more, slower := 0.0, 1.0
	if g := t.bursts; g.every > 0 {
		requests *= 0.5 + t.random.Float64()
		if t.burst == 0 && t.random.IntN(g.every) == 0 {
			t.burst = 1 + poisson(t.random, float64(g.length-1))
		}
		if t.burst > 0 {
			t.burst--
			more, slower = g.share, max(1, g.slower)
		}
	}
	for i := range t.count {
		n := poisson(t.random, requests/float64(t.instances))
		t.count[i].requests += n
		t.count[i].errors += binomial(t.random, n, min(1, share(second, i)+more))
		if took != nil {
			t.count[i].took.draw(t.random, n, took(second, i).times(slower))
		}
		if t.restart > 0 && t.random.IntN(t.restart) == 0 {
			t.count[i] = tally{}
		}
	}
}

func (s Scenario) String() string { return fmt.Sprintf("%s (%d instances)", s.Name, s.instances) }
