package judge_test

import (
	"math"
	"math/rand/v2"
)

// binomial draws how many of n trials fail: exactly where few are expected to,
// and by the normal approximation where many are.
func binomial(r *rand.Rand, n int, p float64) int {
	switch {
	case n <= 0 || p <= 0:
		return 0
	case p >= 1:
		return n
	case p > 0.5:
		return n - binomial(r, n, 1-p)
	}
	mean := float64(n) * p
	if mean > 30 {
		x := math.Round(mean + r.NormFloat64()*math.Sqrt(mean*(1-p)))
		return int(min(max(x, 0), float64(n)))
	}
	// By inversion, from no failure upwards.
	u, odds := r.Float64(), p/(1-p)
	chance := math.Exp(float64(n) * math.Log1p(-p))
	k := 0
	for u > chance && k < n {
		u -= chance
		chance *= odds * float64(n-k) / float64(k+1)
		k++
	}
	return k
}

// poisson draws how many requests come.
func poisson(r *rand.Rand, mean float64) int {
	if mean > 30 {
		return int(max(0, math.Round(mean+r.NormFloat64()*math.Sqrt(mean))))
	}
	limit, product, k := math.Exp(-mean), r.Float64(), 0
	for product > limit {
		product *= r.Float64()
		k++
	}
	return k
}
