package faults

import (
	"bufio"
	"cmp"
	"fmt"
	"io"
	"slices"
	"time"
)

// tick is a worker saying that it is at work.
type tick struct {
	at     time.Duration // on the machine's monotonic clock
	colour string
	token  uint64
	worker int // process
}

// Ledger is what became of the ownership of jobs, computed from what the
// workers wrote and from nothing else.
//
// All workers read one clock, the machine's monotonic one. A worker is at work
// from its first line to its last; before and after them by no more than the
// interval of its lines, which is therefore the shortest overlap that is sure
// to be seen.
type Ledger struct {
	Handovers        int // changes of the colour at work
	Overlaps         int // workers at work while one of the other colour was
	TokenRegressions int // lines under a lower token than an earlier line's
	Ticks            int
	MaxGap           time.Duration // longest time in which nobody was at work
}

// readTicks reads what workers wrote. The last line may be half written.
func readTicks(r io.Reader) ([]tick, error) {
	var all []tick
	lines := bufio.NewScanner(r)
	for n := 1; lines.Scan(); n++ {
		var t tick
		var at int64
		if _, err := fmt.Sscanf(lines.Text(), "%d %s %d %d", &at, &t.colour, &t.token, &t.worker); err != nil {
			return nil, fmt.Errorf("line %d, %q: %w", n, lines.Text(), err)
		}
		t.at = time.Duration(at)
		all = append(all, t)
	}
	return all, lines.Err()
}

// judge goes through ticks in the order of their time.
func judge(ticks []tick) Ledger {
	ticks = slices.SortedStableFunc(slices.Values(ticks), func(a, b tick) int { return cmp.Compare(a.at, b.at) })
	l := Ledger{Ticks: len(ticks)}
	type stint struct {
		colour      string
		first, last time.Duration
	}
	type who struct {
		worker int // a process, whose number may be given out again
		token  uint64
	}
	var order []who
	stints := map[who]*stint{}
	highest := uint64(0)
	for i, t := range ticks {
		if i > 0 {
			l.MaxGap = max(l.MaxGap, t.at-ticks[i-1].at)
			if t.colour != ticks[i-1].colour {
				l.Handovers++
			}
		}
		if t.token < highest {
			l.TokenRegressions++
		}
		highest = max(highest, t.token)
		w := who{t.worker, t.token}
		if stints[w] == nil {
			stints[w] = &stint{t.colour, t.at, t.at}
			order = append(order, w)
		}
		stints[w].last = t.at
	}
	until := map[string]time.Duration{}
	for _, w := range order { // by their first tick
		s := stints[w]
		for colour, end := range until {
			if colour != s.colour && s.first <= end {
				l.Overlaps++
			}
		}
		until[s.colour] = max(until[s.colour], s.last)
	}
	return l
}
