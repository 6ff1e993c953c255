package rollback_test

import (
	"errors"
	"math"
	"testing"

	"github.com/tealdeploy/teal/agent/measure"
	"github.com/tealdeploy/teal/rollback"
)

func figures(numbers ...float64) *rollback.Answer {
	a := &rollback.Answer{}
	for _, n := range numbers {
		a.Values = append(a.Values, measure.Value{Number: n})
	}
	return a
}

const refunds = "url = \"http://p\"\nquery = \"refunds\"\n"

func TestFigures(t *testing.T) {
	for kind, body := range map[string]string{
		"prometheus": refunds,
		"http-json":  "url = \"http://x\"\npath = \"refunds\"\n",
	} {
		a := newAsked(t, kind, body+"above = 5\nbelow = 1").hears(nil).want(unknown, "nobody was asked yet")
		a.hears(figures(3)).want(fine, "it is 3, and at least 1 and at most 5 is expected")
		a.hears(nil).want(fine, "it is 3") // good until the next answer
		a.hears(figures(6)).want(bad, "it is 6")
		a.hears(figures(0.5)).want(bad, "it is 0.5")
		a.hears(figures(math.NaN())).want(unknown, "no figure to go by")
		a.hears(&rollback.Answer{Err: errors.New("Prometheus at http://p: connection refused")}).want(unknown, "connection refused")
		a.hears(nil).want(unknown, "connection refused")
		a.hears(figures()).want(unknown, "the answer holds no series")
		newAsked(t, kind, body+"above = 5\nempty = \"fine\"").hears(figures()).want(fine, "the answer holds no series")
		newAsked(t, kind, body+"above = 5\nempty = \"bad\"").hears(figures()).want(bad, "the answer holds no series")
	}
}

// What has to last is counted from answer to answer; one that is within ends it,
// and one that does not come counts for nothing.
func TestFiguresFor(t *testing.T) {
	away := &rollback.Answer{Err: errors.New("away")}
	a := newAsked(t, "prometheus", refunds+"above = 5\nfor = \"3s\"")
	a.hears(figures(9)).want(unknown, "it is 9, and at most 5 is expected; this is put up with for 3s, of which 0s have passed")
	a.hears(figures(9)).hears(figures(9)).want(unknown, "of which 2s have passed")
	a.hears(figures(4)).want(fine, "")
	a.hears(figures(9)).hears(figures(9)).hears(figures(9)).want(unknown, "2s")
	for range 10 {
		a.hears(away).want(unknown, "away")
	}
	a.hears(figures(9)).want(unknown, "2s")
	a.hears(figures(9)).want(bad, "it is 9")
}

func TestFiguresRatio(t *testing.T) {
	with := func(now float64, before ...float64) *rollback.Answer {
		a := figures(now)
		a.Before = figures(before...).Values
		return a
	}
	const body = refunds + "ratio = 1.5"
	newAsked(t, "prometheus", body).hears(with(150, 100)).want(fine, "it is 150, and at most 150 is expected; before the cutover it was 100")
	newAsked(t, "prometheus", body).hears(with(151, 100)).want(bad, "it is 151, and at most 150 is expected; before the cutover it was 100")
	newAsked(t, "prometheus", body).hears(with(151, 7, 100, math.NaN())).want(bad, "at most 150")
	for _, before := range [][]float64{nil, {0}, {-1}, {math.NaN()}, {math.Inf(1)}} {
		newAsked(t, "prometheus", body).hears(with(1e9, before...)).want(unknown, "before the cutover there was nothing that could be compared with")
	}
	a := with(1e9)
	a.BeforeErr = errors.New("Prometheus at http://p: connection refused")
	newAsked(t, "prometheus", body).hears(a).want(unknown, "what it was before the cutover is not known: Prometheus at http://p: connection refused")
	a = with(1e9)
	a.BeforeErr = rollback.ErrNoPrevious
	newAsked(t, "prometheus", body).hears(a).want(fine, "there is no previous colour to compare with")
}
