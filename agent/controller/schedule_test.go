package controller

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"time"
)

// schedule is all that happens in one simulated world, made from a seed. Each
// thing has dice of its own, so that one may be left out and the others stay
// as they are.
type schedule struct {
	seed   uint64
	things []thing
}

// thing is one thing that happens, some time after the one before.
type thing struct {
	after time.Duration
	kind  int // in anything
	lot   uint64
	off   bool // left out
}

// scheduleOf is the schedule of a seed.
func scheduleOf(seed uint64, steps int) schedule {
	dice, others := rand.New(rand.NewPCG(seed, 4)), rand.New(rand.NewPCG(seed, 8))
	s := schedule{seed: seed}
	for range steps {
		th := thing{kind: draw(dice, happenings)}
		th.after, th.lot = while(dice), dice.Uint64()
		if others.IntN(6) == 0 { // some time before it
			at := time.Duration(others.Int64N(int64(th.after) + 1))
			s.things = append(s.things, thing{after: at, kind: len(happenings) + draw(others, besides), lot: others.Uint64()})
			th.after -= at
		}
		s.things = append(s.things, th)
	}
	return s
}

// draw is one of these, by their weights.
func draw(dice *rand.Rand, from []happening) (kind int) {
	total := 0
	for _, k := range from {
		total += k.often
	}
	for n := dice.IntN(total); n >= from[kind].often; kind++ {
		n -= from[kind].often
	}
	return kind
}

// while is how long nothing else happens: often no time at all, sometimes
// long enough for a whole release.
func while(dice *rand.Rand) time.Duration {
	switch dice.IntN(6) {
	case 0:
		return 0
	case 1, 2:
		return time.Duration(dice.IntN(1000)) * time.Millisecond
	case 3, 4:
		return time.Duration(dice.IntN(12)) * time.Second
	}
	return time.Duration(dice.IntN(120)) * time.Second
}

// String is the schedule for people.
func (s schedule) String() string {
	var b strings.Builder
	at := time.Duration(0)
	for n, th := range s.things {
		at += th.after
		if !th.off {
			fmt.Fprintf(&b, "%3d at %-9s %s\n", n+1, at, anything[th.kind].name)
		}
	}
	return b.String()
}

func (s schedule) left() int {
	n := 0
	for _, th := range s.things {
		if !th.off {
			n++
		}
	}
	return n
}

// without is the schedule without the things from to to that are still on.
func (s schedule) without(from, to int) schedule {
	things := append([]thing(nil), s.things...)
	for n := from; n < to && n < len(things); n++ {
		things[n].off = true
	}
	return schedule{s.seed, things}
}

// shrink leaves out whatever a break does not need, in ever smaller pieces,
// for as many plays as it is given.
func (s schedule) shrink(plays int, breaks func(schedule) bool) schedule {
	for size := (len(s.things) + 1) / 2; size > 0; size /= 2 {
		for from := 0; from < len(s.things) && plays > 0; from += size {
			less := s.without(from, from+size)
			if less.left() == s.left() {
				continue
			}
			plays--
			if breaks(less) {
				s = less
			}
		}
	}
	return s
}
