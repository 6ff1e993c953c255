package controller

import (
	"bytes"
	"encoding/json"
	"flag"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	cryptorand "crypto/rand"

	"github.com/tealdeploy/teal/agent/policy"
)

var (
	simulateSeeds = flag.Uint64("simulate.seeds", 100, "how many schedules TestSimulate plays")
	simulateFrom  = flag.Uint64("simulate.from", 0, "the seed of the first")
	simulateSteps = flag.Int("simulate.steps", 30, "things that happen in one schedule")
	simulateTell  = flag.String("simulate.tell", "", "write the schedules' histories to this file, whether they break or not, and shrink nothing")
	simulateOut   = flag.String("simulate.o", "", "write the figures to this file")
	simulateNoise = flag.Bool("simulate.noise", false, "wake goroutines and move memory about outside the simulation, all the time")
	simulateFirst = flag.Bool("simulate.first", false, "end at the first break, and do not shrink it")
)

// TestSimulate plays schedules of all that can happen to a service, its agents
// and its servers, with the code as it ships, and has the witness hold each of
// them against the invariants. When the faults have stopped, a good version
// must go out.
//
// `make simulate` plays many, in a binary whose runtime does the same thing
// twice (see testbed/replay): a break's seed plays it again to the byte. In an
// ordinary binary the same things happen at the same times, while goroutines
// that run at the same moment may do so in another order.
func TestSimulate(t *testing.T) {
	if *simulateNoise {
		makeNoise()
	}
	s := newSimulation(t)
	if replays {
		s.warm()
	}
	if *simulateTell != "" {
		var all bytes.Buffer
		for n := range *simulateSeeds {
			out := s.play(scheduleOf(*simulateFrom+n, *simulateSteps))
			all.WriteString(out.told())
			for _, b := range out.breaks {
				t.Error(b)
			}
		}
		if err := os.WriteFile(*simulateTell, all.Bytes(), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	began := time.Now()
	if !*simulateFirst {
		for _, seed := range broke {
			s.plays(seed)
		}
	}
	for seed := *simulateFrom; seed < *simulateFrom+*simulateSeeds; seed++ {
		s.plays(seed)
		if *simulateFirst && len(s.found) > 0 {
			break
		}
		if *simulateOut != "" && seed%200 == 199 {
			s.report(time.Since(began), seed+1)
		}
	}
	r := s.report(time.Since(began), *simulateFrom+*simulateSeeds)
	t.Log(r)
	if kinds := s.tally.unlisted(); len(kinds) > 0 {
		t.Errorf("kinds of faults that no list has: %s", strings.Join(kinds, ", "))
	}
	// So many have every kind of fault, and still more take every edge, in any order
	// of goroutines.
	if kinds := s.tally.spared(); *simulateSeeds >= 1000 && len(kinds) > 0 {
		t.Errorf("kinds of faults that no schedule had: %s", strings.Join(kinds, ", "))
	}
	if missing := s.tally.missing(); *simulateSeeds >= 20_000 && len(missing) > 0 {
		t.Errorf("edges of the step table that no schedule took: %s", strings.Join(missing, ", "))
	}
}

// broke are seeds that found something once, played first in every run. What
// they found has a test of its own: another version of Teal may give them
// another history.
var broke = []uint64{
	200615,   // resume after a release by half: TestGivenBackByHalf
	1000663,  // a preparation that nobody remembers, edited: TestAnEditOfAPreparationThatNobodyRemembers
	10002746, // force to what is still being replaced: TestForceIsNotForWhatRanThereBefore
	10007998, // an adopted job run anew after a crash: TestInstancesOfNobodyHoldUpNothing
}

// makeNoise is what may go on in a process beside a simulation, and more of it:
// a seed's history must not depend on when that runs, nor on where the objects
// of a simulation come to lie among others.
func makeNoise() {
	kept := make([][]*int, 1<<18)
	for n := range kept {
		kept[n] = make([]*int, 1+rand.IntN(24))
	}
	for n := range kept { // holes everywhere
		if rand.IntN(2) == 0 {
			kept[n] = nil
		}
	}
	runtime.GC()
	go func() {
		for range time.Tick(100 * time.Microsecond) {
			kept[rand.IntN(len(kept))] = make([]*int, 1+rand.IntN(24))
		}
	}()
}

// simulation is a run of many schedules.
type simulation struct {
	t        *testing.T
	tally    *score
	policies map[string]*policy.Set
	moody    map[string]bool // hashes of the policies with a moody gate
	failing  map[string]bool // hashes of the policies whose test job never passes
	found    []breakage
	played   uint64
	from     uint64
}

// breakage is a schedule that broke an invariant, as small as it was made.
type breakage struct {
	Seed    uint64   `json:"seed"`
	What    []string `json:"what"`
	History string   `json:"history"`
}

func newSimulation(t *testing.T) *simulation {
	s := &simulation{t: t, tally: newScore(), policies: map[string]*policy.Set{"": policy.Empty()}, moody: map[string]bool{}, failing: map[string]bool{}, from: *simulateFrom}
	w := &world{TB: t, dir: t.TempDir()}
	for _, version := range append(slices.Clone(versions), "5.0.0") {
		for n := range len(bodies) + len(suites) {
			if n < len(bodies) {
				w.policy(version, bodies[n])
			} else {
				w.tested(version, suites[n-len(bodies)].line, 10, suites[n-len(bodies)].more)
			}
			set, diags := policy.Load(w.dir)
			if diags.HasErrors() {
				t.Fatal(diags)
			}
			for _, p := range set.Policies() {
				p.Job.Path = "/" + filepath.Base(p.Job.Path) // a temporary directory has another name each time
				s.moody[p.Hash()] = n < len(bodies) && len(p.Gates) > 0
				s.failing[p.Hash()] = n >= len(bodies) && !suites[n-len(bodies)].passes
			}
			s.policies[fmt.Sprint(version, n)] = set
		}
	}
	return s
}

// warm plays a few schedules that count for nothing, so that what a process
// makes once, at its first use, is made.
func (s *simulation) warm() {
	for seed := range uint64(8) {
		s.play(scheduleOf(seed, 30))
	}
	s.tally = newScore()
}

// outcome is one schedule played.
type outcome struct {
	schedule schedule
	breaks   []string
	history  string
}

func (o outcome) told() string {
	return fmt.Sprintf("seed %d, %d things happen:\n%s\nhistory:\n%s\nbreaks:\n%s\n",
		o.schedule.seed, o.schedule.left(), o.schedule, o.history, strings.Join(o.breaks, "\n"))
}

// play plays a schedule in a bubble of its own.
func (s *simulation) play(plan schedule) (out outcome) {
	if replays {
		// Between bubbles memory is collected; within one, a collection could
		// change the order of goroutines.
		defer debug.SetGCPercent(debug.SetGCPercent(-1))
		seedRuntime(plan.seed)
		reader := cryptorand.Reader
		cryptorand.Reader = rand.NewChaCha8([32]byte{byte(plan.seed), byte(plan.seed >> 8), byte(plan.seed >> 16), byte(plan.seed >> 24)})
		defer func() { cryptorand.Reader = reader }()
	}
	out.schedule = plan
	defer func() {
		if p := recover(); p != nil {
			fmt.Fprintf(os.Stderr, "seed %d, when this happened:\n", plan.seed)
			panic(p)
		}
	}()
	synctest.Test(s.t, func(t *testing.T) {
		j := &judge{TB: t}
		defer func() {
			if p := recover(); p != nil && p != errGaveUp {
				panic(p)
			}
			out.breaks = j.breaks
		}()
		w := newWorld(j, "")
		w.quiet = true
		c := &chaos{world: w, policies: s.policies, killed: map[string]bool{}, frozen: map[string]time.Time{}, misled: map[string]bool{},
			floor: &floor{x: w.witness, running: map[*task]bool{}}}
		c.tally = s.tally.of(c.slack)
		w.witness.tally, w.witness.moody, w.witness.failing = c.tally, s.moody, s.failing
		confidant.Store(w.witness)
		defer confidant.Store(nil)
		defer func() { out.history = w.witness.told() }()
		w.live(func(*world) { c.play(plan) })
	})
	return out
}

// plays plays a seed, and makes a break as small as it can.
func (s *simulation) plays(seed uint64) {
	out := s.play(scheduleOf(seed, *simulateSteps))
	s.played++
	if replays && s.played%16 == 0 {
		runtime.GC()
	}
	if len(out.breaks) == 0 {
		return
	}
	if *simulateFirst {
		s.found = append(s.found, breakage{seed, out.breaks, ""})
		s.t.Errorf("seed %d: %s", seed, out.breaks[0])
		return
	}
	tally := s.tally
	s.tally = newScore() // replays count for nothing
	small := out
	out.schedule.shrink(80, func(less schedule) bool {
		again := s.play(less)
		if len(again.breaks) > 0 {
			small = again
		}
		return len(again.breaks) > 0
	})
	s.tally = tally
	s.found = append(s.found, breakage{seed, out.breaks, small.told()})
	s.t.Errorf("seed %d broke: %s\nas small as it was made, it was:\n%s", seed, strings.Join(out.breaks, "\n"), small.told())
}

// report writes the figures, and says them.
func (s *simulation) report(took time.Duration, next uint64) string {
	y := s.tally
	if *simulateOut != "" {
		text, err := json.MarshalIndent(map[string]any{
			"schedules": s.played, "first_seed": s.from, "next_seed": next, "steps": *y.steps,
			"seconds": took.Seconds(), "schedules_per_second": float64(s.played) / took.Seconds(), "replays_exactly": replays,
			"faults": y.faults, "states": y.states, "edges": y.edges, "edges_of_table": len(stepTable()), "edges_missing": y.missing(), "edges_elsewhere": elsewhere, "breaks": s.found,
		}, "", "  ")
		if err == nil {
			err = os.WriteFile(*simulateOut, append(text, '\n'), 0o644)
		}
		if err != nil {
			s.t.Error(err)
		}
	}
	var b bytes.Buffer
	fmt.Fprintf(&b, "%d schedules, %d steps in %s: %.1f a second; %d broke\n", s.played, *y.steps, took.Round(time.Second), float64(s.played)/took.Seconds(), len(s.found))
	fmt.Fprintf(&b, "%d of %d edges of the step table; not reached: %s; not for a simulation: %s\n", len(y.edges), len(stepTable()),
		orNone(y.missing()), strings.Join(slices.Sorted(maps.Keys(elsewhere)), ", "))
	list := func(what string, counts map[string]int) {
		fmt.Fprintf(&b, "%s:\n", what)
		for _, name := range most(counts) {
			fmt.Fprintf(&b, "  %8d %s\n", counts[name], name)
		}
	}
	list("states entered", y.states)
	list("edges taken", y.edges)
	total := 0
	for n := range maps.Values(y.faults) {
		total += n
	}
	list(fmt.Sprintf("%d faults and events of %d kinds", total, len(y.faults)), y.faults)
	return b.String()
}

func orNone(list []string) string {
	if len(list) == 0 {
		return "none"
	}
	return strings.Join(list, ", ")
}

// errGaveUp is how a world ends that cannot go on.
var errGaveUp = fmt.Errorf("gave up")

// judge notes what a world finds broken, so that it can be played again with
// less in it.
type judge struct {
	testing.TB
	mu     sync.Mutex
	breaks []string
}

func (j *judge) Helper()             {}
func (j *judge) Log(...any)          {}
func (j *judge) Logf(string, ...any) {}
func (j *judge) Error(a ...any)      { j.say(fmt.Sprint(a...)) }
func (j *judge) FailNow()            { panic(errGaveUp) }

func (j *judge) Errorf(format string, a ...any) { j.say(fmt.Sprintf(format, a...)) }
func (j *judge) Fatal(a ...any)                 { j.say(fmt.Sprint(a...)); j.FailNow() }
func (j *judge) Fatalf(format string, a ...any) { j.say(fmt.Sprintf(format, a...)); j.FailNow() }

func (j *judge) Failed() bool {
	j.mu.Lock()
	defer j.mu.Unlock()
	return len(j.breaks) > 0
}

func (j *judge) say(what string) {
	j.mu.Lock()
	defer j.mu.Unlock()
	if len(j.breaks) < 8 {
		j.breaks = append(j.breaks, what)
	}
}
