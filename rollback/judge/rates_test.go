// Package judge measures how often ways of judging a release are wrong, and how
// long they take to be right. It makes up traffic, with seeds, and drives the
// watch that the agent itself runs. It is made of tests only: no part of Teal.
package judge_test

import (
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"math"
	"math/rand/v2"
	"os"
	"reflect"
	"regexp"
	"runtime"
	"runtime/debug"
	"slices"
	"testing"
	"time"
)

var (
	out  = flag.String("o", "", "file for the figures; a table is printed too, and nothing is asserted")
	runs = flag.Int("runs", 1000, "runs of each cell, with -o")
	seed = flag.Uint64("seed", 1, "of the traffic")
	only = flag.String("only", "", "scenarios, a regular expression")
	by   = flag.String("by", "", "methods, a regular expression")
)

// TestErrorRates measures; `make judge` runs it with -o.
func TestErrorRates(t *testing.T) {
	if *out == "" {
		short(t)
		return
	}
	chosen := regexp.MustCompile(*only)
	debug.SetGCPercent(800) // little is kept, and much is thrown away
	var cells []Cell
	for _, s := range Scenarios() {
		if chosen.MatchString(s.Name) {
			cells = append(cells, put(t, s, *runs)...)
			if err := errors.Join(Table(os.Stdout, cells[len(cells)-methods(cells):]), save(cells)); err != nil {
				t.Fatal(err)
			}
		}
	}
	if err := tell(os.Stdout, Goals(cells)); err != nil {
		t.Fatal(err)
	}
}

// methods is how many were put to the last scenario.
func methods(cells []Cell) (n int) {
	for n < len(cells) && cells[len(cells)-1-n].Scenario == cells[len(cells)-1].Scenario {
		n++
	}
	return n
}

// Report is what build/judge.json holds.
type Report struct {
	Date    string `json:"date"` // when it was measured
	Go      string `json:"go"`
	Machine string `json:"machine"` // operating system, architecture, processors
	Seed    uint64 `json:"seed"`
	Runs    int    `json:"runs"`
	Watch   int    `json:"watch_s"`
	Goals   []Goal `json:"goals"`
	Cells   []Cell `json:"judge"`
}

// save writes the figures so far: all of them take their time.
func save(cells []Cell) error {
	text, err := json.MarshalIndent(Report{
		Date: time.Now().UTC().Format(time.DateOnly), Go: runtime.Version(),
		Machine: fmt.Sprintf("%s/%s, %d processors", runtime.GOOS, runtime.GOARCH, runtime.NumCPU()),
		Seed:    *seed, Runs: *runs, Watch: watch, Goals: Goals(cells), Cells: cells,
	}, "", "  ")
	if err != nil {
		return err
	}
	return os.WriteFile(*out, append(text, '\n'), 0o644)
}

// put puts the methods of these names, or all, to a scenario.
func put(t *testing.T, s Scenario, runs int, names ...string) []Cell {
	t.Helper()
	list, err := contestants(s)
	if err != nil {
		t.Fatal(err)
	}
	chosen := regexp.MustCompile(*by)
	list = slices.DeleteFunc(list, func(c contestant) bool { return !chosen.MatchString(c.name) })
	if len(names) > 0 {
		list = slices.DeleteFunc(list, func(c contestant) bool { return !slices.Contains(names, c.name) })
	}
	return Run(s, list, runs, *seed)
}

// short is seeded, so that what it finds today it finds tomorrow: a change that
// makes the default judge worse shows here, in seconds. The goals are those of
// `make judge`, as far as they can be told without the other methods.
func short(t *testing.T) {
	most := map[string]float64{ // p50 in seconds
		"0.1 → 0.5 %": 90, "1 → 2 %": 60, "0 → 5 %": 3, "100 % errors": 4, "a leak after 10 minutes": 40,
		"one instance of ten fails a tenth": 10, "0.1 → 20 % at 1 request a second": 45,
		"latency: p99 doubled": 20, "latency: all 1.5 times as slow": 50, "latency: p99 doubles after 10 minutes": 45,
		"latency: one instance of ten twice as slow": 90,
		"figure: 1.5 times as much":                  60, "figure: twice as much after 10 minutes": 89, "figure: rates over a minute, twice": 60,
	}
	var cells []Cell
	for _, s := range Scenarios() {
		runs := 20
		switch {
		case s.greenTook != nil:
			runs = 6 // these take their time
		case s.gauge != nil:
			runs = 100 // and these do not
		}
		these := put(t, s, runs, sequential, latencySequential, figureSequential)
		cells = append(cells, these...)
		for _, c := range these {
			bound, judged := most[s.Name]
			switch {
			case c.False > runs/100:
				t.Errorf("%s: %d of %d were taken back falsely", s.Name, c.False, runs)
			case judged && (c.Missed > 0 || c.P50 == never || c.P50 > bound):
				t.Errorf("%s: %d of %d missed, p50 %v s, want %v", s.Name, c.Missed, runs, c.P50, bound)
			}
			delete(most, s.Name)
		}
	}
	if len(most) > 0 {
		t.Errorf("not measured: %v", most)
	}
	for _, g := range Goals(cells) {
		if len(g.Misses) > 0 {
			t.Errorf("missed: %s: %q", g.Text, g.Misses)
		}
	}
}

// The same seed makes the same figures, on any number of processors.
func TestErrorRatesAreDeterministic(t *testing.T) {
	first := put(t, Scenarios()[0], 4)
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(1))
	if again := put(t, Scenarios()[0], 4); !reflect.DeepEqual(first, again) {
		t.Errorf("first %+v\nthen %+v", first, again)
	}
}

// Draws have the mean and the variance that they should.
func TestDraws(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	const n = 100_000
	for _, c := range []struct {
		name           string
		draw           func() int
		mean, variance float64
	}{
		{"few", func() int { return binomial(r, 200, 0.01) }, 2, 1.98},
		{"many", func() int { return binomial(r, 1000, 0.3) }, 300, 210},
		{"most", func() int { return binomial(r, 50, 0.9) }, 45, 4.5},
		{"one in two", func() int { return binomial(r, 1, 0.5) }, 0.5, 0.25},
		{"all", func() int { return binomial(r, 7, 1) }, 7, 0},
		{"one request a second", func() int { return poisson(r, 1) }, 1, 1},
		{"many requests", func() int { return poisson(r, 200) }, 200, 200},
	} {
		sum, squares := 0.0, 0.0
		for range n {
			x := float64(c.draw())
			sum += x
			squares += x * x
		}
		mean := sum / n
		variance := squares/n - mean*mean
		if math.Abs(mean-c.mean) > 0.02*c.mean || math.Abs(variance-c.variance) > 0.03*c.variance+1e-9 {
			t.Errorf("%s: mean %v, variance %v, want %v, %v", c.name, mean, variance, c.mean, c.variance)
		}
	}
}
