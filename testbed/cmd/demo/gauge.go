package main

import (
	"fmt"
	"strings"
	"time"

	"github.com/tealdeploy/teal/testbed/load"
)

// gauge turns the load's counts into one line about the last second or so.
type gauge struct {
	screen *screen
	load   *load.Generator
	seen   []moment
}

type moment struct {
	at    time.Time
	count load.Count
}

func newGauge(s *screen, g *load.Generator) *gauge { return &gauge{screen: s, load: g} }

// line is called with every redraw.
func (g *gauge) line() string {
	now := moment{time.Now(), g.load.Tally()}
	g.seen = append(g.seen, now)
	for len(g.seen) > 2 && now.at.Sub(g.seen[0].at) > 1200*time.Millisecond {
		g.seen = g.seen[1:]
	}
	then := g.seen[0]
	recent := func(now, then map[string]int) map[string]int {
		out := map[string]int{}
		for k, n := range now {
			if n > then[k] {
				out[k] = n - then[k]
			}
		}
		return out
	}
	colours := recent(now.count.Colours, then.count.Colours)
	rate := 0.0
	if d := now.at.Sub(then.at).Seconds(); d > 0 {
		rate = float64(now.count.Requests-then.count.Requests) / d
	}
	var versions []string
	for v := range recent(now.count.Versions, then.count.Versions) {
		versions = append(versions, v)
	}
	lost := fmt.Sprintf("%d lost", now.count.Lost)
	if now.count.Lost > 0 {
		lost = g.screen.paint(red, lost)
	}
	bad := fmt.Sprintf("%d injected errors", now.count.Injected)
	if now.count.Injected > then.count.Injected {
		bad = g.screen.paint(red, bad)
	}
	return fmt.Sprintf("%s  %s  %.0f req/s  %d asked  %s  %s", g.bar(colours), strings.Join(sorted(versions), " "), rate, now.count.Requests, lost, bad)
}

// bar shows how the two colours share the answers.
func (g *gauge) bar(colours map[string]int) string {
	const width = 20
	total := colours["blue"] + colours["green"]
	if total == 0 {
		return strings.Repeat("·", width)
	}
	n := (colours["blue"]*width + total/2) / total
	if g.screen.width == 0 {
		return fmt.Sprintf("blue %3d %% green %3d %%", colours["blue"]*100/total, 100-colours["blue"]*100/total)
	}
	return g.screen.paint(blue, strings.Repeat("█", n)) + g.screen.paint(green, strings.Repeat("█", width-n))
}
