package judge_test

import (
	"math"
	"math/rand/v2"
	"slices"
	"strconv"
	"time"

	"github.com/tealdeploy/teal/agent/measure"
	"github.com/tealdeploy/teal/rollback"
)

const (
	// asked is how many seconds lie between two answers of a metrics service.
	asked = 5
	// remembered is how many answers it has from before the cutover: of an hour.
	remembered = 3600 / asked
)

// gauge is a figure as a metrics service tells it, one answer after another.
type gauge func(r *rand.Rand) func() float64

// plain are independent figures around 100, with a deviation of 10.
func plain(r *rand.Rand) func() float64 {
	return func() float64 { return 100 + 10*r.NormFloat64() }
}

// like resembles its last value: an autoregression of the first order with this
// correlation of neighbours, and the same deviation as plain.
func like(correlation float64) gauge {
	return func(r *rand.Rand) func() float64 {
		state := r.NormFloat64()
		return func() float64 {
			state = correlation*state + math.Sqrt(1-correlation*correlation)*r.NormFloat64()
			return 100 + 10*state
		}
	}
}

// rate is what a rate over so many answers' time shows of independent counts.
func rate(answers int) gauge {
	return func(r *rand.Rand) func() float64 {
		last := make([]float64, answers)
		next := func() float64 {
			last = append(last[1:], float64(poisson(r, 20)))
			sum := 0.0
			for _, n := range last {
				sum += n
			}
			return sum / float64(answers) / asked
		}
		for range answers {
			next()
		}
		return next
	}
}

// spiky is usually quiet, and sometimes many times as much.
func spiky(r *rand.Rand) func() float64 {
	return func() float64 { return 10 * math.Pow(r.Float64(), -0.7) }
}

// tides rise and fall by a tenth within six hours.
func tides(r *rand.Rand) func() float64 {
	at, noise := 6*3600*r.Float64(), like(0.5)(r)
	return func() float64 {
		at += asked
		return noise() * (1 + 0.1*math.Sin(2*math.Pi*at/(6*3600)))
	}
}

// troubles are shares of errors: none, but for troubles that pass.
func troubles(r *rand.Rand) func() float64 {
	left := 0
	return func() float64 {
		if left == 0 && r.IntN(60) == 0 {
			left = 1 + poisson(r, 2)
		}
		if left > 0 {
			left--
			return 0.02 * (0.5 + r.Float64())
		}
		return float64(binomial(r, 1000, 0.0002)) / 1000
	}
}

// veiled resembles itself for a quarter of an hour, under noise that does not.
func veiled(r *rand.Rand) func() float64 {
	slow := like(0.99)(r)
	return func() float64 { return 100 + 0.9*(slow()-100) + 10*math.Sqrt(1-0.9*0.9)*r.NormFloat64() }
}

// restless figures do not resemble each other, but quiet times and wild ones last:
// generalized autoregressive conditional heteroscedasticity.
func restless(r *rand.Rand) func() float64 {
	variance, off := 1.0, 0.0
	return func() float64 {
		variance = 0.05 + 0.2*off*off + 0.75*variance
		off = math.Sqrt(variance) * r.NormFloat64()
		return 100 + 10*off
	}
}

// bumps come all at once and die away.
func bumps(r *rand.Rand) func() float64 {
	height := 0.0
	return func() float64 {
		height *= 0.8
		if r.IntN(60) == 0 {
			height += 30 * r.ExpFloat64()
		}
		return 50 + height + r.NormFloat64()
	}
}

// fresh is a rate over so many answers' time of counters that begin with the new
// version: it comes up from nothing.
func fresh(answers int) gauge {
	return func(r *rand.Rand) func() float64 {
		next, at := rate(answers)(r), -remembered
		return func() float64 {
			v := next()
			if at++; at > 0 {
				v *= min(1, float64(at)/float64(answers))
			}
			return v
		}
	}
}

// turned is a figure that is so many times what it was from a second on.
func turned(g gauge, from int, times float64) gauge {
	return func(r *rand.Rand) func() float64 {
		next, at := g(r), -remembered*asked
		return func() float64 {
			v := next()
			if at += asked; at > from {
				v *= times
			}
			return v
		}
	}
}

// gauges are the scenarios that are about what a metrics service says.
func gauges() []Scenario {
	of := func(name string, g gauge) Scenario { return Scenario{Name: "figure: " + name, Healthy: true, gauge: g} }
	bad := func(name string, g gauge, from int, times float64) Scenario {
		return Scenario{Name: "figure: " + name, Fault: from, gauge: turned(g, from, times)}
	}
	away := of("metrics away for 40 s", like(0.5))
	away.unread = func(_ *rand.Rand, second int) bool { return second >= 300 && second < 340 }
	return []Scenario{
		of("independent", plain), of("neighbours alike (0.5)", like(0.5)), of("neighbours alike (0.9)", like(0.9)),
		of("neighbours alike (0.97)", like(0.97)), of("rates over a minute", rate(12)), of("rates over five minutes", rate(60)),
		of("spikes", spiky), of("tides", tides), of("troubles that pass", troubles), away,
		of("slow, under noise", veiled), of("restless", restless), of("bumps that die away", bumps), of("rates that begin at nothing", fresh(12)),
		bad("1.5 times as much", like(0.5), 0, 1.5), bad("twice as much after 10 minutes", like(0.9), 600, 2),
		bad("rates over a minute, twice", rate(12), 0, 2), bad("a fifth more", like(0.5), 0, 1.2),
	}
}

// answering is a method that judges by what a metrics service says.
type answering interface {
	// answer says whether the method takes traffic back, given all answers so far
	// (NaN: none) and those from before the cutover.
	answer(now int, seen, past []float64) bool
}

// times goes back when the newest answer is more than a multiple of the mean before.
type times struct {
	factor        float64
	inARow, above int
}

func (t *times) answer(now int, seen, past []float64) bool {
	v := seen[len(seen)-1]
	switch {
	case now%30 != 0:
	case v > t.factor*mean(past):
		t.above++
	case v == v:
		t.above = 0
	}
	return t.above >= t.inARow
}

func mean(values []float64) float64 {
	sum := 0.0
	for _, v := range values {
		sum += v
	}
	return sum / float64(len(values))
}

// whitney is Mann and Whitney's test of all answers with those before, once a minute.
type whitney struct{}

func (whitney) answer(now int, seen, past []float64) bool {
	known := slices.DeleteFunc(slices.Clone(seen), func(v float64) bool { return v != v })
	return now > 0 && now%mannEvery == 0 && greater(known, past) > mannZ
}

// figureTeal is the product's watch with a trigger that asks.
type figureTeal struct {
	watch *rollback.Watch
	moved bool // it asks how the figure moved, and not only what it was
}

func (t *figureTeal) answer(now int, seen, past []float64) bool {
	at := began.Add(time.Duration(now) * time.Second)
	a := rollback.Answer{At: at}
	if v := seen[len(seen)-1]; v == v {
		a.Values = []measure.Value{{Number: v}}
	} else {
		a.Err = errLost
	}
	if !t.moved {
		past = past[len(past)-1:]
	}
	for _, v := range past {
		a.Before = append(a.Before, measure.Value{Number: v})
	}
	green := colour("green", 2)
	return t.watch.Observe(rollback.Observation{At: at, Active: green, Expected: 2, Answers: map[string]rollback.Answer{"judged": a}}).Verdict == rollback.Bad
}

const figureSequential = "teal worse = higher"

func byFigure() ([]contestant, error) {
	out := []contestant{
		{name: "1.5 × before, 30 s", ask: func() answering { return &times{factor: 1.5, inARow: 1} }},
		{name: "1.5 ×, 3 in a row, 30 s", ask: func() answering { return &times{factor: 1.5, inARow: 3} }},
		{name: "Mann-Whitney at 98 %", ask: func() answering { return whitney{} }},
	}
	for _, way := range [][2]string{{"teal ratio = 1.5", "ratio = 1.5"}, {figureSequential, `worse = "higher"`}} {
		name, body := way[0], way[1]
		triggers, err := declared("prometheus", "url = \"http://p\"\nquery = \"q\"\ninterval = \""+strconv.Itoa(asked)+"s\"\n"+body)
		if err != nil {
			return nil, err
		}
		out = append(out, contestant{name: name, ask: func() answering { return &figureTeal{rollback.NewWatch(triggers), name == figureSequential} }})
	}
	return out, nil
}

// questioned lets every method hear the same answers.
func questioned(s Scenario, list []contestant, random *rand.Rand) []int {
	next := s.gauge(random)
	var past, seen []float64
	for range remembered {
		past = append(past, next())
	}
	ends := make([]int, len(list))
	methods := make([]answering, len(list))
	for m, c := range list {
		methods[m], ends[m] = c.ask(), never
	}
	for now := asked; now <= watch; now += asked {
		v := next()
		if s.unread != nil && s.unread(random, now) {
			v = math.NaN()
		}
		seen = append(seen, v)
		for m := range methods {
			if ends[m] == never && methods[m].answer(now, seen, past) {
				ends[m] = now
			}
		}
	}
	return ends
}
