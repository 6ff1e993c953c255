package rollback_test

import (
	"errors"
	"math"
	"testing"
	"time"

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

// A figure of the business that halves.
func TestFiguresBelowRatio(t *testing.T) {
	with := func(now float64, before ...float64) *rollback.Answer {
		a := figures(now)
		a.Before = figures(before...).Values
		return a
	}
	const body = refunds + "below_ratio = 0.5"
	newAsked(t, "prometheus", body).hears(with(50, 100)).want(fine, "it is 50, and at least 50 is expected; before the cutover it was 100")
	newAsked(t, "prometheus", body).hears(with(49, 100)).want(bad, "it is 49, and at least 50 is expected; before the cutover it was 100")
	newAsked(t, "prometheus", body).hears(with(1e9, 100)).want(fine, "")
	// Of several the least counts: what was small before is no loss.
	newAsked(t, "prometheus", body).hears(with(6, 10, 100, math.NaN())).want(fine, "at least 5")
	for words, all := range map[string][][]float64{
		"no figure was answered":                         {nil, {math.NaN()}},
		"it was 0, of which no multiple is a limit":      {{0}},
		"it was -1, of which no multiple is a limit":     {{-1}},
		"it was 0 to 7, of which no multiple is a limit": {{0, 7}},
	} {
		for _, before := range all {
			newAsked(t, "prometheus", body).hears(with(0, before...)).want(unknown, "before the cutover there was nothing that could be compared with: "+words)
		}
	}
	both := newAsked(t, "prometheus", body+"\nratio = 2")
	both.hears(with(49, 100)).want(bad, "before the cutover it was 100")
	both.hears(with(100, 50, 100)).want(fine, "before the cutover it was 50 to 100")
	both.hears(with(201, 100)).want(bad, "it is 201")
	// It has to be so for a while, without a break.
	late := newAsked(t, "prometheus", body+"\nfor = \"3s\"")
	late.hears(with(1, 100)).want(unknown, "this is put up with for 3s, of which 0s have passed")
	late.hears(with(1, 100)).want(unknown, "of which 1s have passed")
	late.hears(with(1)).want(unknown, "nothing that could be compared with")
	for range 3 {
		late.hears(with(1, 100)).want(unknown, "this is put up with")
	}
	late.hears(with(1, 100)).want(bad, "it is 1, and at least 50 is expected")
}

// Who cannot be asked about the past was asked until the cutover: what was answered
// last counts, and is kept where a watch may have to begin anew.
func TestRatioOfWhatWasAnsweredBefore(t *testing.T) {
	const body = "url = \"http://shop\"\npath = \"orders\"\nbelow_ratio = 0.5\nratio = 3"
	before := func(a *asked, answers ...*rollback.Answer) *asked {
		for _, x := range answers {
			a.at = a.at.Add(time.Second)
			a.watch.Prepare(rollback.Observation{At: a.at, Answers: map[string]rollback.Answer{"x": *x}})
		}
		return a
	}
	a := before(newAsked(t, "http-json", body), figures(1), figures(100), figures(math.NaN()), figures(), &rollback.Answer{Err: errors.New("away")})
	a.hears(figures(49)).want(bad, "it is 49, and at least 50 and at most 300 is expected; before the cutover it was 100")
	a.hears(figures(50)).want(fine, "")
	a.hears(figures(301)).want(bad, "")
	again := newAsked(t, "http-json", body)
	again.hears(figures(49)).want(unknown, "what it was before the cutover is not known: nobody asked before it, or there was no answer")
	again.watch.Recall(map[string]rollback.Past{"x": {Figures: []float64{1, 1}}})
	again.watch.Recall(a.watch.Past()) // who learned it last is believed
	again.hears(figures(49)).want(bad, "before the cutover it was 100")
	again.watch.Recall(map[string]rollback.Past{"x": {Figures: []float64{1, 2, 3}}}) // not what was written
	again.hears(figures(49)).want(unknown, "is not known")
	first := figures(1)
	first.BeforeErr = rollback.ErrNoPrevious
	newAsked(t, "http-json", body).hears(first).want(fine, "there is no previous colour to compare with")
}
