package rollback

import (
	"math"
	"testing"
)

// chance is that of k failures among n independent requests.
func chance(k, n int, p float64) float64 {
	log := 0.0
	for i := range k {
		log += math.Log(float64(n-i)) - math.Log(float64(i+1))
	}
	return math.Exp(log + float64(k)*math.Log(p) + float64(n-k)*math.Log1p(-p))
}

// While no more fail than the limit allows, evidence is expected to be no more
// than it was: exactly, over all that two readings can hold. The
// bound on one reading gives some away.
func TestEvidenceIsNoneToBeExpected(t *testing.T) {
	const n = 40
	for _, c := range []struct{ share, limit, spread, least float64 }{
		{0.02, 0.02, 1, 0.5}, {0.01, 0.02, 1, 0}, {0.2, 0.2, 1, 0.5}, {0.02, 0.02, 3, 0}, {0, 0.02, 1, 0},
	} {
		expected := 0.0
		for first := range n + 1 {
			for second := range n + 1 {
				var e evidence
				e.add(n, float64(first), c.limit, c.spread)
				e.add(n, float64(second), c.limit, c.spread)
				if p := chance(first, n, c.share) * chance(second, n, c.share); p > 0 {
					expected += p * math.Exp(e.log())
				}
			}
		}
		if expected > 1+1e-9 || expected < c.least {
			t.Errorf("%+v: %v is expected, want %v to 1", c, expected, c.least)
		}
	}
}

// However much one reading holds, it is no proof.
func TestEvidenceOfOneReadingIsBounded(t *testing.T) {
	for _, n := range []float64{1, 200, 1e6, 1 << 53} {
		var e evidence
		e.add(n, n, 1e-6, 1)
		if got := e.log(); !(got <= maxStep) || got < 1 {
			t.Errorf("%v of %v: evidence %v", n, n, got)
		}
	}
}

// What has been good for long is no bar to what turns bad.
func TestEvidenceOfWhatTurnsBad(t *testing.T) {
	var e evidence
	for range 3600 {
		e.add(200, 0, 0.002, 1)
	}
	if got := e.log(); got > 0 {
		t.Errorf("evidence %v of nothing", got)
	}
	took := 0
	for ; e.log() < proof; took++ {
		e.add(200, 10, 0.002, 1)
	}
	if took > 6 {
		t.Errorf("it took %d readings to see 5 %%", took)
	}
}

func TestEvidenceIsANumber(t *testing.T) {
	for _, n := range []float64{0, 1e-300, 0.5, 1, 1e9, 1 << 53} {
		for _, failed := range []float64{0, n / 2, n} {
			for _, limit := range []float64{1e-12, 0.05, 0.999} {
				var e evidence
				for range 100 {
					e.add(n, failed, limit, 1)
				}
				if got := e.log(); math.IsNaN(got) || math.IsInf(got, 0) {
					t.Errorf("%v of %v against %v: %v", failed, n, limit, got)
				}
			}
		}
	}
}

// The bound lies below the truth no more often than it says: exactly, over all
// that may be seen.
func TestUpperBoundHolds(t *testing.T) {
	const n, alpha = 200, 0.01
	for _, share := range []float64{0.001, 0.01, 0.03, 0.1, 0.5, 0.95} {
		wrong := 0.0
		for k := range n + 1 {
			if upperBound(float64(k), n, alpha) < share {
				wrong += chance(k, n, share)
			}
		}
		if wrong > alpha {
			t.Errorf("%v: wrong with a chance of %v", share, wrong)
		}
	}
	if got, want := upperBound(0, n, alpha), 1-math.Pow(alpha, 1.0/n); math.Abs(got-want) > 1e-9 {
		t.Errorf("of none it is %v, want %v", got, want)
	}
	if got := upperBound(0, 0, alpha); got != 1 {
		t.Errorf("of nothing it is %v", got)
	}
}

// Over-dispersion is found at the scale at which it is.
func TestSpreadFindsClusters(t *testing.T) {
	const n, readings = 200, 120
	for _, c := range []struct {
		name  string
		share float64 // that the counters hold
		at    func(i int) float64
		low   float64
		high  float64
	}{
		{"none failed", 0, func(int) float64 { return 0 }, 1, 1.2},
		{"as many as by chance", 0.01, func(i int) float64 { return []float64{0, 1, 2, 2, 3, 1, 2, 4, 3, 2}[i%10] }, 1, 1.5},
		{"ten at a time", 0.005, func(i int) float64 { return []float64{0, 0, 0, 0, 0, 0, 0, 0, 0, 10}[i%10] }, 8, 11},
		{"for ten readings at a time", 0.005, func(i int) float64 { return []float64{0, 0, 0, 0, 0, 10}[i/10%6] / 1.67 }, 30, 60},
		{"before anybody looked", 0.005, func(int) float64 { return 0 }, 50, 130},
	} {
		var s spread
		for i := range readings {
			s.add(n, c.at(i))
		}
		if got := s.factor(c.share, 0, n); got < c.low || got > c.high {
			t.Errorf("%s: %v, want %v to %v", c.name, got, c.low, c.high)
		}
	}
	// One error where few requests come is no cluster.
	var sparse spread
	for i := range readings {
		sparse.add(1, []float64{1, 0}[min(i, 1)])
	}
	if got := sparse.factor(0.001, 0, 1); got > 2 {
		t.Errorf("one error among few requests: %v", got)
	}
	var nobody spread
	if got := nobody.factor(0.01, 0, 1000); got != assumedSpread {
		t.Errorf("nobody looked: %v", got)
	}
	// What strikes a share of all requests at once varies more with more of them.
	var night spread
	for i := range readings {
		night.add(20, []float64{0, 0, 0, 0, 10}[i%5])
	}
	if few, many := night.factor(0.1, 0, 20), night.factor(0.1, 0, 200); many < 5*few {
		t.Errorf("%v at night, %v by day", few, many)
	}
}

// What a short look may have missed is assumed: while it is short, as far as the
// counters hold as many errors, and as requests come.
func TestSpreadOfAShortLook(t *testing.T) {
	for _, c := range []struct {
		name                       string
		readings, errors, requests float64
		low, high                  float64
	}{
		{"nobody looked", 0, 1e4, 200, hiddenSpread, hiddenSpread},
		{"nobody looked, and none had failed", 0, 0, 200, assumedSpread, assumedSpread},
		{"nobody looked, at one request a second", 0, 1e4, 1, assumedSpread, assumedSpread},
		{"nobody looked, after an hour of silence", 0, 1e4, 1e6, hiddenSpread, hiddenSpread},
		{"a minute", 60, 1e4, 200, 0.8 * hiddenSpread, 0.8 * hiddenSpread},
		{"a minute, and all that failed was seen", 60, 120, 200, 1, 1.5},
		{"a minute, and three had failed before", 60, 123, 200, 2.4, 2.4},
		{"a minute, at one request a second", 60, 1e4, 1, 1, 1.5},
		{"a quarter of an hour", 900, 1e4, 200, 1, 1.5},
	} {
		var s spread
		for i := range int(c.readings) {
			s.add(200, []float64{0, 1, 2, 2, 3, 1, 2, 4, 3, 2}[i%10])
		}
		if got := s.factor(0.01, c.errors, c.requests); got < c.low-1e-9 || got > c.high+1e-9 {
			t.Errorf("%s: %v, want %v to %v", c.name, got, c.low, c.high)
		}
	}
}
