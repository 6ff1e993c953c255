package load

import (
	"fmt"
	"maps"
	"slices"
	"sort"
	"strings"
	"time"
)

// Count is what became of the requests so far.
type Count struct {
	Requests int // answered in whatever way
	Lost     int // no answer, or an answer that the app did not mean
	Injected int // spoiled by a fault that the app was told to have
	Colours  map[string]int
	Versions map[string]int
	LostOn   map[string]int // lost ones by the subset that the data plane chose; "" when it never got so far
	Failures []Failure      // the first lost ones

	FirstInjected, LastInjected time.Time // when those answers came; zero without any

	// WrongColour counts answers from another colour than that of the last
	// route change before the request was begun.
	WrongColour int

	P50, P99, Max time.Duration // of good answers
}

// Failure is a lost request.
type Failure struct {
	Begun  time.Time
	Took   time.Duration
	Subset string // that the data plane chose
	Err    error
}

type answer struct {
	begun           time.Time
	took            time.Duration
	colour, version string
	cluster         string // the subset that the data plane chose
	injected        bool
}

type routeChange struct {
	colour string
	at     time.Time
}

// RouteChanged tells that from at on the data plane sends requests to colour.
func (g *Generator) RouteChanged(colour string, at time.Time) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.changes = append(g.changes, routeChange{colour, at})
}

func (g *Generator) note(a answer, ended time.Time, err error) {
	a.took = ended.Sub(a.begun)
	g.mu.Lock()
	defer g.mu.Unlock()
	g.count.Requests++
	switch {
	case a.injected:
		g.count.Injected++
		if g.count.FirstInjected.IsZero() {
			g.count.FirstInjected = ended
		}
		g.count.LastInjected = ended
		a.colour = a.cluster // the spoiled answer does not say
		g.answers = append(g.answers, a)
	case err != nil:
		g.count.Lost++
		g.count.LostOn[a.cluster]++
		if len(g.count.Failures) < g.config.Keep {
			g.count.Failures = append(g.count.Failures, Failure{a.begun, a.took, a.cluster, err})
		}
	default:
		g.count.Colours[a.colour]++
		g.count.Versions[a.version]++
		g.answers = append(g.answers, a)
	}
}

// Tally gives the counts so far, without what takes a look at every answer:
// wrong colours and latencies.
func (g *Generator) Tally() Count {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.count.clone()
}

func (c Count) clone() Count {
	c.Colours, c.Versions = maps.Clone(c.Colours), maps.Clone(c.Versions)
	c.LostOn, c.Failures = maps.Clone(c.LostOn), slices.Clone(c.Failures)
	return c
}

// Count gives the figures so far. Route changes may be told before or after
// the answers they concern.
func (g *Generator) Count() Count {
	g.mu.Lock()
	defer g.mu.Unlock()
	c := g.count.clone()
	changes := slices.SortedFunc(slices.Values(g.changes), func(a, b routeChange) int { return a.at.Compare(b.at) })
	took := make([]time.Duration, 0, len(g.answers))
	for _, a := range g.answers {
		if !a.injected {
			took = append(took, a.took)
		}
		after := sort.Search(len(changes), func(i int) bool { return changes[i].at.After(a.begun) })
		if after > 0 && changes[after-1].colour != a.colour && !overlaps(a, changes[after:]) {
			c.WrongColour++
		}
	}
	if len(took) > 0 {
		slices.Sort(took)
		c.P50, c.P99, c.Max = took[len(took)/2], took[len(took)*99/100], took[len(took)-1]
	}
	return c
}

// overlaps tells whether the routes changed to the answer's colour while the
// request was under way: then that colour is right too.
func overlaps(a answer, later []routeChange) bool {
	return slices.ContainsFunc(later, func(c routeChange) bool {
		return c.colour == a.colour && c.at.Before(a.begun.Add(a.took))
	})
}

// String is one line, and one more for each failure that was kept.
func (c Count) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%d requests, %d lost, %d injected, %d of the wrong colour, colours %v, versions %v, p50 %s p99 %s max %s",
		c.Requests, c.Lost, c.Injected, c.WrongColour, c.Colours, c.Versions,
		c.P50.Round(time.Microsecond), c.P99.Round(time.Microsecond), c.Max.Round(time.Microsecond))
	for _, f := range c.Failures {
		fmt.Fprintf(&b, "\n  %s after %s on %q: %v", f.Begun.Format("15:04:05.000"), f.Took.Round(time.Microsecond), f.Subset, f.Err)
	}
	return b.String()
}
