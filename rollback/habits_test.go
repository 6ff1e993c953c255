package rollback_test

import (
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"testing"

	"github.com/tealdeploy/teal/agent/measure"
	"github.com/tealdeploy/teal/rollback"
)

// heard is one figure, with those from before the cutover.
func heard(now float64, before []float64) *rollback.Answer {
	a := figures(now)
	a.Before = figures(before...).Values
	return a
}

// noisy are so many figures around 100.
func noisy(n int) []float64 {
	r := rand.New(rand.NewPCG(7, 9))
	out := make([]float64, n)
	for i := range out {
		out[i] = 100 + 10*r.NormFloat64()
	}
	return out
}

const worse = refunds + "worse = \"higher\""

// until is how many answers it takes to be bad; -1 if it does not happen.
func (a *asked) until(most int, next func(i int) *rollback.Answer) int {
	for i := range most {
		if a.hears(next(i)); a.got.Verdict == bad {
			return i + 1
		}
	}
	return -1
}

// A figure that moves as it did is fine, for as long as one looks; one that stays
// where it seldom was is taken back, whichever way is worse; the other way is not.
func TestFigureInSequence(t *testing.T) {
	old := noisy(700)
	for direction, body := range map[float64]string{1: worse, -1: refunds + "worse = \"lower\""} {
		a := newAsked(t, "prometheus", body)
		for i := range 4 {
			a.hears(heard(100, old)).want(unknown, fmt.Sprintf("too few answers (%d of 5)", i+1))
		}
		if took := a.until(700, func(i int) *rollback.Answer { return heard(old[(i*37)%700], old) }); took >= 0 {
			t.Errorf("%v: the same was bad after %d answers: %s", direction, took, a.got.Reason)
		}
		a.want(fine, "before the cutover 10 % of 700 figures were")
		if took := a.until(60, func(int) *rollback.Answer { return heard(100+direction*60, old) }); took < 3 || took > 30 {
			t.Errorf("%v: far beyond took %d answers: %s", direction, took, a.got.Reason)
		}
		a = newAsked(t, "prometheus", body)
		if took := a.until(500, func(int) *rollback.Answer { return heard(100-direction*60, old) }); took >= 0 {
			t.Errorf("%v: better was bad after %d answers", direction, took)
		}
	}
}

// alike are so many figures around 100, each of which resembles the one before it,
// with a correlation.
func alike(seed uint64, correlation float64, n int) []float64 {
	r := rand.New(rand.NewPCG(seed, 3))
	out, state := make([]float64, n), r.NormFloat64()
	for i := range out {
		state = correlation*state + math.Sqrt(1-correlation*correlation)*r.NormFloat64()
		out[i] = 100 + 10*state
	}
	return out
}

// rates are means of the last twelve of so many independent figures around 100.
func rates(seed uint64, n int) []float64 {
	r := rand.New(rand.NewPCG(seed, 4))
	out, last := make([]float64, n), make([]float64, 12)
	for i := range out {
		last[i%12] = 100 + 30*r.NormFloat64()
		for _, v := range last {
			out[i] += v / 12
		}
	}
	return out[12:]
}

// restless are so many figures around 100, and every so often twenty that go up and
// down by as much: all of it is news, and none of it alone.
func restless(seed uint64, n int) []float64 {
	r := rand.New(rand.NewPCG(seed, 5))
	out := make([]float64, n)
	for i := range out {
		out[i] = 100 + 10*r.NormFloat64()
		if at := (i + 10*int(seed)) % 140; at < 20 && at%2 == 0 {
			out[i] += 100
		}
	}
	return out
}

// Neighbours that resemble each other are not so many witnesses: what stays high for
// a while as it did before is no worse, also where some answers are missing, and
// where the figures come up from nothing.
func TestFiguresThatResembleEachOther(t *testing.T) {
	lost := figures()
	for seed := range uint64(20) {
		for name, all := range map[string][]float64{
			"alike": alike(seed, 0.97, 1400), "more alike": alike(seed, 0.99, 1400), "rates": rates(seed, 1400), "restless": restless(seed, 1400),
		} {
			old, now := all[:700], all[700:]
			for when, next := range map[string]func(i int) *rollback.Answer{
				"all": func(i int) *rollback.Answer { return heard(now[i], old) },
				"one in twenty": func(i int) *rollback.Answer {
					if i%20 > 0 {
						return lost
					}
					return heard(now[i], old)
				},
				"from nothing": func(i int) *rollback.Answer { return heard(now[i]*min(1, float64(i)/12), old) },
			} {
				a := newAsked(t, "prometheus", worse)
				if took := a.until(400, next); took >= 0 {
					t.Errorf("%s, %s (%d): the same was bad after %d answers: %s", name, when, seed, took, a.got.Reason)
				}
			}
		}
	}
	noise := noisy(700)
	one := make([]float64, 700) // of six hours' rise and fall, with little noise
	for i := range one {
		one[i] = 1000*math.Sin(float64(i)/223) + noise[i]/5
	}
	a := newAsked(t, "prometheus", worse)
	if took := a.until(100, func(int) *rollback.Answer { return heard(1e6, one) }); took >= 0 {
		t.Errorf("a wandering figure was taken for a habit: bad after %d answers", took)
	}
	a.want(unknown, "too few stand out to tell what is unusual: they went beyond")
}

// A step is new once, and what follows is still more than the figure before it
// accounts for: it is found long after the cutover, too.
func TestFigureThatDoublesWhereNeighboursAreAlike(t *testing.T) {
	sum := 0
	for seed := range uint64(20) {
		all := alike(seed, 0.9, 900)
		old, now := all[:700], all[700:]
		for _, body := range []string{worse, worse + "\ntolerance = 1.5"} {
			a := newAsked(t, "prometheus", body)
			took := a.until(200, func(i int) *rollback.Answer {
				if i < 120 {
					return heard(now[i], old)
				}
				return heard(2*now[i], old)
			})
			switch {
			case body != worse && took >= 0:
				t.Errorf("%d: what is put up with was bad after %d answers: %s", seed, took, a.got.Reason)
			case body == worse && took <= 121:
				t.Errorf("%d: taken back at answer %d: %s", seed, took, a.got.Reason)
			case body == worse:
				a.want(bad, "now, or that it gets there faster than it did, is ")
				sum += took - 120
			}
		}
	}
	if mean := float64(sum) / 20; mean > 25 {
		t.Errorf("it took %v answers on average", mean)
	}
}

// Where nobody can know what is usual, nobody says that something is not.
func TestFigureWithoutHabits(t *testing.T) {
	constant := make([]float64, 700)
	for _, c := range []struct {
		before []float64
		says   string
	}{
		{nil, "only 0 figures are known from before the cutover, and 50 are needed; above, below and ratio need no such baseline"},
		{noisy(49), "only 49 figures are known"},
		{append(noisy(49), math.NaN(), math.Inf(1)), "only 49 figures are known"},
		{constant, "of 700 figures from before the cutover too few stand out to tell what is unusual: they went beyond 0 0 times, and 5 are needed"},
	} {
		newAsked(t, "prometheus", worse).hears(heard(1e9, c.before)).want(unknown, c.says)
	}
	// What the tolerance allows is no worse.
	old := noisy(700)
	a := newAsked(t, "prometheus", worse+"\ntolerance = 2")
	if took := a.until(300, func(int) *rollback.Answer { return heard(300, old) }); took >= 0 {
		t.Errorf("three times as much is allowed, and was bad after %d answers", took)
	}
	first := figures(1e9)
	first.BeforeErr = rollback.ErrNoPrevious
	newAsked(t, "prometheus", worse).hears(first).want(fine, "there is no previous colour to compare with")
	first.BeforeErr = errors.New("away")
	newAsked(t, "prometheus", worse).hears(first).want(unknown, "what it was before the cutover is not known: away")
}

// An answer that is none says nothing, and one of several figures cannot be judged.
func TestFigureThatIsNone(t *testing.T) {
	old := noisy(700)
	a := newAsked(t, "prometheus", worse).hears(nil).want(unknown, "nobody was asked yet")
	none := func(why error, now ...float64) *rollback.Answer {
		b := figures(now...)
		b.Before, b.Err = figures(old...).Values, why
		return b
	}
	for i := range 200 {
		a.hears([]*rollback.Answer{none(nil), none(nil, math.NaN()), none(nil, math.Inf(1)), none(errors.New("away")), none(nil, 1e9, 1e9)}[i%5])
		if a.got.Verdict != unknown {
			t.Fatalf("%s: %s", a.got.Verdict, a.got.Reason)
		}
	}
	a.want(unknown, "the answer holds 2 series, and one figure is compared in sequence")
	// The worst of several was not one figure before, either.
	b := figures(100)
	for i, v := range old {
		b.Before = append(b.Before, measure.Value{Name: fmt.Sprint(i % 2), Number: v})
	}
	newAsked(t, "prometheus", worse).hears(b).want(unknown, "before the cutover the answer held 2 series")
}

// Who cannot be asked about the past is asked before the cutover, and what was
// learned outlives the watch that learned it.
func TestFigureLearnedBefore(t *testing.T) {
	const body = "url = \"http://x\"\npath = \"a\"\nworse = \"higher\""
	learn := newAsked(t, "http-json", body)
	for _, v := range noisy(100) {
		learn.watch.Prepare(rollback.Observation{At: learn.at, Answers: map[string]rollback.Answer{"x": *figures(v)}})
	}
	learn.watch.Prepare(rollback.Observation{At: learn.at, Answers: map[string]rollback.Answer{"x": {Err: errors.New("away")}, "y": *figures(1)}})
	a := newAsked(t, "http-json", body)
	a.watch.Recall(learn.watch.Past())
	if took := a.until(100, func(int) *rollback.Answer { return figures(500) }); took < 3 || took > 60 {
		t.Errorf("took %d answers: %s", took, a.got.Reason)
	}
	a.want(bad, "of 100 figures were higher than")
}
