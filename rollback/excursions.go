package rollback

import (
	"fmt"
	"math"
	"slices"
)

// What a figure of somebody else's depends on is not known: neither its unit nor
// its distribution, nor how long it remembers. Known is how it moved before the
// cutover. In sequence a figure is asked whether it is beyond a limit that the old
// ones were seldom beyond, and how often that may be is tested as the share of
// requests that fail is; see docs/judgement.md.
const (
	// usualTail is the share of the old figures that lie beyond the limit, at most.
	usualTail = 0.1
	// fewestExcursions are how often the old figures have to have gone beyond it
	// and come back: one that hardly moved has no habits that could be broken.
	fewestExcursions = 5
	// fewestFigures are how many figures that takes at least.
	fewestFigures = 50
	// fewestAnswers are how many new figures have to be seen before all is well.
	fewestAnswers = 5
	// fewestBlocks are how many stretches a variance is taken of, at least.
	fewestBlocks = 20
	// maxFigures is how many old figures are looked at; the oldest are left out.
	maxFigures = 1000
)

// Which way a figure gets worse.
const (
	WorseHigher = "higher"
	WorseLower  = "lower"
)

// habit is how a figure moved before the cutover.
type habit struct {
	sign       float64 // 1: higher is worse, -1: lower is
	limit      float64 // seldom was it beyond
	line       float64 // the same with the tolerance
	share      float64 // of the old figures, beyond limit
	most       float64 // what that share may be at most
	spread     float64 // by how much more the excursions vary than independent ones
	figures    int
	excursions int
}

// broken says whether a new figure is beyond what is put up with.
func (h habit) broken(value float64) bool { return h.sign*value > h.sign*h.line }

// habitOf finds it; why says what is missing where it cannot be known.
func habitOf(old []float64, worse string, tolerance float64) (h habit, why string) {
	sign := 1.0
	if worse == WorseLower {
		sign = -1
	}
	h.sign = sign
	up := make([]float64, 0, len(old)) // more is worse
	for _, v := range old {
		if v-v == 0 { // neither NaN nor infinite
			up = append(up, sign*v)
		}
	}
	up = up[max(0, len(up)-maxFigures):]
	n := len(up)
	h.figures = n
	if n < fewestFigures {
		return h, fmt.Sprintf("only %d figures are known from before the cutover, and %d are needed", n, fewestFigures)
	}
	sorted := slices.Sorted(slices.Values(up))
	limit := sorted[n-1-int(usualTail*float64(n))]
	beyond := make([]float64, n)
	count := 0.0
	for i, v := range up {
		if v > limit {
			beyond[i] = 1
			count++
			if i == 0 || beyond[i-1] == 0 {
				h.excursions++
			}
		}
	}
	h.share, h.limit = count/float64(n), sign*limit
	h.line = sign * (limit + tolerance*math.Abs(limit))
	h.spread = clustering(beyond, h.share)
	if h.excursions < fewestExcursions {
		return h, fmt.Sprintf("of %d figures from before the cutover too few stand out to tell what is unusual: they went beyond %[3]s %[2]d times, and %[4]d are needed",
			n, h.excursions, short(h.limit), fewestExcursions)
	}
	h.most = upperBound(count/h.spread, float64(n)/h.spread, alphaPast)
	return h, ""
}

// clustering is by how much sums of neighbours vary more than those of independent
// trials with this share: the greatest of all lengths of stretches of which there
// are enough (the method of batch means). A few readings of a spread that is assumed
// go with it, as with errors.
func clustering(trials []float64, share float64) float64 {
	n := float64(len(trials))
	if share <= 0 || share >= 1 {
		return 1
	}
	most := 1.0
	for length := 1; length*fewestBlocks <= len(trials); length += max(1, length/2) {
		sum, blocks := 0.0, 0.0
		for block := range slices.Chunk(trials, length) {
			if len(block) < length {
				break
			}
			hits := -share * float64(length)
			for _, x := range block {
				hits += x
			}
			sum += hits * hits
			blocks++
		}
		most = max(most, sum/blocks/(float64(length)*share*(1-share)))
	}
	return (most*n + assumedSpread*assumedReadings) / (n + assumedReadings)
}
