package rollback

import "math"

// tilts are the alternatives that are weighed against the limit: by how much
// the log odds of an error may have grown. The first is a quarter more errors,
// the last is as good as all requests.
var tilts = [...]float64{0.22, 0.4, 0.6, 0.85, 1.1, 1.4, 1.8, 2.3, 2.9, 3.6, 4.6, 6.5}

// grown is by how much the odds grow less one, e^θ − 1, for each of tilts.
var grown = func() (out [len(tilts)]float64) {
	for i, tilt := range tilts {
		out[i] = math.Expm1(tilt)
	}
	return out
}()

// maxStep bounds what one reading can say, in nats: the proof of a watch takes
// several, whatever one of them holds.
const maxStep = 4.0

// evidence is a test martingale against the hypothesis that no more than a
// given share of requests fails. Its expected value is never more than 1 while
// the hypothesis holds, at whatever moment one looks, so that by Ville's
// inequality it ever reaches 1/α with a chance of α at most. How it is made, and
// from which sources, is in docs/judgement.md.
//
// It is a mixture of likelihood ratios: over the alternatives, and over the
// moments at which things may have turned bad. Its memory does not grow.
type evidence struct {
	steps float64 // readings so far
	// ratios are the logarithms, by alternative, of the likelihood ratios since
	// each moment at which a change may have been, weighed and summed.
	ratios [len(tilts)]float64
}

// add takes a reading: of so many requests so many failed. Limit is the share
// that the hypothesis allows; spread is by how much errors vary more than those
// of independent requests would.
func (e *evidence) add(requests, failed, limit, spread float64) {
	if requests <= 0 {
		return
	}
	e.steps++
	began := math.Log(unbegun(e.steps-1) - unbegun(e.steps))
	for i, tilt := range tilts {
		step := (failed*tilt - requests*math.Log1p(limit*grown[i])) / spread
		before := began
		if e.steps > 1 {
			before = logSum(e.ratios[i], began)
		}
		e.ratios[i] = before + min(step, maxStep/spread)
	}
}

// log is the logarithm of the evidence: 0 is none.
func (e *evidence) log() float64 {
	if e.steps == 0 {
		return 0
	}
	sum := math.Log(unbegun(e.steps))
	for _, ratio := range e.ratios {
		sum = logSum(sum, ratio-math.Log(float64(len(tilts))))
	}
	return sum
}

// unbegun is the weight of all changes that come after so many readings. One
// half is for a version that was bad from the start.
func unbegun(steps float64) float64 {
	if steps == 0 {
		return 1
	}
	return 0.5 / math.Sqrt(steps)
}

// logSum is log(exp(a) + exp(b)).
func logSum(a, b float64) float64 {
	high, low := max(a, b), min(a, b)
	return high + math.Log1p(math.Exp(low-high))
}

// upperBound is the share below which the true one lies with a chance of at
// least 1-alpha, if so many of so many trials failed: where Chernoff's bound
// n·KL(observed, share) reaches log(1/alpha).
func upperBound(failed, trials, alpha float64) float64 {
	if trials <= 0 {
		return 1
	}
	seen, enough := failed/trials, math.Log(1/alpha)/trials
	low, high := seen, 1.0
	for range 60 {
		middle := (low + high) / 2
		if divergence(seen, middle) < enough {
			low = middle
		} else {
			high = middle
		}
	}
	return high
}

// divergence is Kullback and Leibler's, of two Bernoulli distributions.
func divergence(p, q float64) float64 {
	d := 0.0
	if p > 0 {
		d += p * math.Log(p/q)
	}
	if p < 1 {
		d += (1 - p) * math.Log((1-p)/(1-q))
	}
	return d
}
