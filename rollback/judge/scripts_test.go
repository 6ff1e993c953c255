package judge_test

import (
	"math"
	"slices"
)

// second is what a method that reads a metrics server sees of one second. They
// are told what was really counted, restarts of counters and all, which is
// kinder than the world is.
type second struct {
	read             bool // the metrics were there
	requests, errors float64
	took             durations
}

// method judges one watch.
type method interface {
	// baseline is what the last minutes before the cutover were like.
	baseline(past []second)
	// bad says whether the method takes traffic back now.
	bad(now int, seen []second, look look) bool
}

// sum adds up the newest so many seconds.
func sum(seen []second, length int) (requests, errors float64) {
	for _, s := range seen[max(0, len(seen)-length):] {
		requests += s.requests
		errors += s.errors
	}
	return requests, errors
}

// loop is the usual script: every so many seconds it asks for the share of
// errors since the last time, and goes back when it is above a limit a number
// of times in a row. That nobody answers is a failure like any other, as it is
// under set -e, and with Argo Rollouts' limit of consecutive errors.
type loop struct {
	every, times int
	limit        float64
	failed       int
}

func (l *loop) baseline([]second) {}

func (l *loop) bad(now int, seen []second, _ look) bool {
	if now%l.every != 0 {
		return false
	}
	requests, errors := sum(seen, l.every)
	if seen[len(seen)-1].read && errors <= l.limit*requests {
		l.failed = 0
		return false
	}
	l.failed++
	return l.failed >= l.times
}

// ratio is the same against a multiple of what was before; silence is no
// failure here.
type ratio struct {
	every int
	times float64
	share float64
}

func (r *ratio) baseline(past []second) {
	requests, errors := sum(past, len(past))
	r.share = errors / requests
}

func (r *ratio) bad(now int, seen []second, _ look) bool {
	if now%r.every != 0 || !seen[len(seen)-1].read {
		return false
	}
	requests, errors := sum(seen, r.every)
	return errors > r.times*r.share*requests
}

// mannWhitney compares a figure of ten-second windows, such as the share of errors,
// with that of the five minutes before the cutover, once a minute, at a confidence of
// 98 % to one side, as Kayenta does: normal approximation, ties, correction for
// continuity. Windows without an answer, or without a request, are left out.
type mannWhitney struct {
	of         func(window []second) float64
	past, seen []float64
}

const mannWindow, mannEvery, mannZ = 10, 60, 2.0537489

// failing is the share of errors, and slowest the p99.
func failing(window []second) float64 {
	requests, errors := sum(window, len(window))
	return errors / requests
}

func slowest(window []second) float64 { return lately(window, len(window)).p99() }

// with adds a window's figure.
func (m *mannWhitney) with(figures []float64, window []second) []float64 {
	if requests, _ := sum(window, len(window)); requests > 0 {
		figures = append(figures, m.of(window))
	}
	return figures
}

func (m *mannWhitney) baseline(past []second) {
	for chunk := range slices.Chunk(past, mannWindow) {
		m.past = m.with(m.past, chunk)
	}
}

func (m *mannWhitney) bad(now int, seen []second, _ look) bool {
	if now%mannWindow == 0 && seen[len(seen)-1].read {
		m.seen = m.with(m.seen, seen[max(0, len(seen)-mannWindow):])
	}
	return now%mannEvery == 0 && greater(m.seen, m.past) > mannZ
}

// greater is the test's z for a being greater than b.
func greater(a, b []float64) float64 {
	type ranked struct {
		value float64
		first bool
	}
	var all []ranked
	for _, v := range a {
		all = append(all, ranked{v, true})
	}
	for _, v := range b {
		all = append(all, ranked{v, false})
	}
	slices.SortFunc(all, func(x, y ranked) int {
		switch {
		case x.value < y.value:
			return -1
		case x.value > y.value:
			return 1
		}
		return 0
	})
	n, n1, n2 := float64(len(all)), float64(len(a)), float64(len(b))
	ranks, ties := 0.0, 0.0
	for i := 0; i < len(all); {
		j := i
		for j < len(all) && all[j].value == all[i].value {
			j++
		}
		for _, r := range all[i:j] {
			if r.first {
				ranks += float64(i+j+1) / 2
			}
		}
		t := float64(j - i)
		ties += t*t*t - t
		i = j
	}
	variance := n1 * n2 / 12 * (n + 1 - ties/(n*(n-1)))
	if !(variance > 0) {
		return 0
	}
	return (ranks - n1*(n1+1)/2 - n1*n2/2 - 0.5) / math.Sqrt(variance)
}
