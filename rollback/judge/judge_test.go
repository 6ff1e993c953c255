package judge_test

import (
	"hash/fnv"
	"math/rand/v2"
	"runtime"
	"slices"
	"sync"
	"time"

	"github.com/tealdeploy/teal/rollback"
)

// Cell is what one method did in one scenario.
type Cell struct {
	Scenario string `json:"scenario"`
	Healthy  bool   `json:"healthy"`
	Method   string `json:"method"`
	Runs     int    `json:"runs"`
	// False counts rollbacks of a version that was not, or not yet, worse.
	False int `json:"false_rollbacks"`
	// Missed counts bad versions that passed the watch.
	Missed int `json:"missed"`
	// P50 and P95 are seconds from the fault to the decision, of all bad
	// versions that were not taken back too early; a missed one took for ever,
	// which is -1.
	P50 float64 `json:"detect_p50_s"`
	P95 float64 `json:"detect_p95_s"`
}

// contestant is a method by name.
type contestant struct {
	name  string
	begin func() method
	ask   func() answering // in scenarios that are about figures
}

// The names of Teal's defaults.
const (
	sequential        = "teal sequential"
	latencySequential = "teal latency"
)

func contestants(s Scenario) ([]contestant, error) {
	switch {
	case s.greenTook != nil:
		return byLatency()
	case s.gauge != nil:
		return byFigure()
	}
	out := []contestant{
		{name: "script: 5 % every 30 s", begin: func() method { return &loop{every: 30, times: 1, limit: 0.05} }},
		{name: "1.5 × baseline every 30 s", begin: func() method { return &ratio{every: 30, times: 1.5} }},
		{name: "5 %, 3 in a row, 60 s", begin: func() method { return &loop{every: 60, times: 3, limit: 0.05} }},
		{name: "5 %, 3 in a row, 10 s", begin: func() method { return &loop{every: 10, times: 3, limit: 0.05} }},
		{name: "Mann-Whitney at 98 %", begin: func() method { return &mannWhitney{of: failing} }},
	}
	for _, t := range []struct {
		name, body string
		prepared   bool
		watched    bool
	}{
		{"teal above = 0.05", "above = 0.05", true, false},
		{"teal ratio = 1.5", "ratio = 1.5", true, false},
		{"teal sequential, begun anew", "", false, false},
		{"teal sequential, never watched", "", true, false},
		{sequential, "", true, true},
	} {
		c, err := product(t.name, "errors", t.body, t.prepared, t.watched)
		if err != nil {
			return nil, err
		}
		out = append(out, c)
	}
	return out, nil
}

// byLatency are the methods that judge how long requests take.
func byLatency() ([]contestant, error) {
	out := []contestant{
		{name: "p99 above 0.5 s, 30 s", begin: func() method { return &slower{every: 30, inARow: 1, limit: 0.5} }},
		{name: "p99 1.5 × baseline, 30 s", begin: func() method { return &slower{every: 30, inARow: 1, times: 1.5} }},
		{name: "p99 1.5 ×, 3 in a row, 60 s", begin: func() method { return &slower{every: 60, inARow: 3, times: 1.5} }},
		{name: "p99 1.5 ×, 3 in a row, 10 s", begin: func() method { return &slower{every: 10, inARow: 3, times: 1.5} }},
		{name: "Mann-Whitney at 98 %, p99 of 10 s", begin: func() method { return &mannWhitney{of: slowest} }},
	}
	for _, t := range []struct {
		name, body string
		prepared   bool
	}{
		{"teal latency above = 500ms", `above = "500ms"`, true},
		{"teal latency ratio = 1.5", "ratio = 1.5", true},
		{"teal latency, begun anew", "", false},
		{latencySequential, "", true},
	} {
		c, err := product(t.name, "latency", t.body, t.prepared, false)
		if err != nil {
			return nil, err
		}
		out = append(out, c)
	}
	return out, nil
}

// product is Teal's own watch with one trigger.
func product(name, kind, body string, prepared, watched bool) (contestant, error) {
	triggers, err := declared(kind, body)
	return contestant{name: name, begin: func() method {
		t := &teal{watch: rollback.NewWatch(triggers), prepared: prepared}
		if watched {
			t.triggers = triggers
		}
		return t
	}}, err
}

// Run puts methods to a scenario so many times. The same seed makes the
// same traffic, for all methods alike, whatever else runs.
func Run(s Scenario, list []contestant, runs int, seed uint64) []Cell {
	ends := make([][]int, runs) // by run and method
	var wait sync.WaitGroup
	next := make(chan int)
	for range runtime.GOMAXPROCS(0) {
		wait.Go(func() {
			for i := range next {
				ends[i] = once(s, list, rand.New(rand.NewPCG(seed^named(s.Name), uint64(i))))
			}
		})
	}
	for i := range runs {
		next <- i
	}
	close(next)
	wait.Wait()

	cells := make([]Cell, len(list))
	for m, c := range list {
		cells[m] = Cell{Scenario: s.Name, Healthy: s.Healthy, Method: c.name, Runs: runs, P50: never, P95: never}
		var took []float64
		for _, end := range ends {
			switch {
			case end[m] != never && (s.Healthy || end[m] <= s.Fault):
				cells[m].False++
			case s.Healthy:
			case end[m] == never:
				cells[m].Missed++
				took = append(took, watch+1)
			default:
				took = append(took, float64(end[m]-s.Fault))
			}
		}
		cells[m].P50, cells[m].P95 = quantile(took, 0.5), quantile(took, 0.95)
	}
	return cells
}

// never is the end of a watch in which nothing was taken back.
const never = -1

// quantile is never if it lies among those that were missed.
func quantile(took []float64, q float64) float64 {
	if len(took) == 0 {
		return never
	}
	slices.Sort(took)
	if at := took[min(int(q*float64(len(took))), len(took)-1)]; at <= watch {
		return at
	}
	return never
}

func named(name string) uint64 {
	h := fnv.New64a()
	h.Write([]byte(name))
	return h.Sum64()
}

// began is when every cutover is; time is made up like the traffic.
var began = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

// once lets every method watch the same release, and tells the second after
// the cutover at which each took it back.
func once(s Scenario, list []contestant, random *rand.Rand) []int {
	if s.gauge != nil {
		return questioned(s, list, random)
	}
	t := traffic{Scenario: s, random: random, count: make([]tally, s.instances)}
	blue, green := colour("blue", s.instances), colour("green", s.instances)
	methods := make([]method, len(list))
	for m, c := range list {
		methods[m] = c.begin()
	}

	var blueTook func(int, int) took
	if s.greenTook != nil {
		blueTook = func(int, int) took { return s.blueTook }
	}
	var past []second
	for i := -life; i < 0; i++ {
		before := total(t.count)
		t.second(i, s.blueRate, s.blue, blueTook)
		now := total(t.count)
		past = append(past, grown(before, now, true))
		own := i-1 < watch-life
		if !own && i < -gated {
			continue
		}
		at := began.Add(time.Duration(i) * time.Second)
		l := look{at: at, previous: blue, before: answers(at, blue, t.count, nil)}
		for _, m := range methods {
			if m, ok := m.(*teal); ok && own {
				m.began(l)
			} else if ok {
				m.prepare(l)
			}
		}
	}
	last := past[len(past)-300:]
	ends := make([]int, len(methods))
	for m := range methods {
		methods[m].baseline(last)
		ends[m] = never
	}

	drained := slices.Clone(t.count)
	t.count = make([]tally, s.instances)
	var seen []second
	for now := 0; now <= watch; now++ {
		before := total(t.count)
		if now > 0 {
			t.second(now, s.greenRate, s.green, s.greenTook)
		}
		var unread []int
		for i := range s.instances {
			if s.unread(random, now) {
				unread = append(unread, i)
			}
		}
		seen = append(seen, grown(before, total(t.count), len(unread) < s.instances))
		at := began.Add(time.Duration(now) * time.Second)
		l := look{at: at, active: green, previous: blue, scrapes: answers(at, green, t.count, unread)}
		if now == 0 { // the agent reads what drains once
			l.before = answers(at, blue, drained, nil)
		}
		going := false
		for m := range methods {
			if ends[m] != never {
				continue
			}
			if now > 0 || isTeal(methods[m]) {
				if methods[m].bad(now, seen, l) {
					ends[m] = now
					continue
				}
			}
			going = true
		}
		if !going {
			break
		}
	}
	return ends
}

func isTeal(m method) bool {
	_, ok := m.(*teal)
	return ok
}

func total(count []tally) (out tally) {
	for _, c := range count {
		out.requests += c.requests
		out.errors += c.errors
		for i := range c.took {
			out.took[i] += c.took[i]
		}
	}
	return out
}

// grown is what was counted between two moments. Where a restart makes it
// negative, nothing is known to have been.
func grown(before, now tally, read bool) second {
	s := second{read: read, requests: float64(max(0, now.requests-before.requests)), errors: float64(max(0, now.errors-before.errors))}
	for i := range s.took {
		s.took[i] = max(0, now.took[i]-before.took[i])
	}
	return s
}
