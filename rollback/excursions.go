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
// requests that fail is; and so is what is new in it. See docs/judgement.md.
const (
	// usualTail is the share of the old figures that lie beyond the limit, at most.
	// A farther limit would tell more, but how excursions beyond it cluster cannot be
	// known of the few that there were.
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
	sign    float64 // 1: higher is worse, -1: lower is
	figures int
	level   line
	// What is new in a figure: what the last one does not account for.
	carried float64 // part of the last figure that is expected to be in the next
	usual   float64 // half of the old figures were no worse
	news    [len(rareTails)]line
}

// line is what figures were seldom beyond, on whose far side they are worse.
type line struct {
	limit      float64 // by more than that they seldom were worse
	beyond     float64 // the same with the tolerance
	trials     float64 // old figures
	count      float64 // of these, beyond limit
	spread     float64 // by how much more the excursions vary than independent ones
	excursions int
}

func (l line) share() float64 { return l.count / l.trials }

// most is what the share beyond the limit may be at most.
func (l line) most() float64 { return upperBound(l.count/l.spread, l.trials/l.spread, alphaPast) }

// lineOf finds what at most a part of the figures, of which more is worse, are beyond.
func lineOf(figures []float64, part float64) line {
	n := len(figures)
	sorted := slices.Sorted(slices.Values(figures))
	l := line{limit: sorted[n-1-int(part*float64(n))], trials: float64(n)}
	beyond := make([]float64, n)
	for i, v := range figures {
		if v > l.limit {
			beyond[i] = 1
			l.count++
			if i == 0 || beyond[i-1] == 0 {
				l.excursions++
			}
		}
	}
	l.spread = clustering(beyond, l.share())
	return l
}

// habitOf finds it; why says what is missing where it cannot be known.
func habitOf(old []float64, worse string, tolerance float64) (h habit, why string) {
	h.sign = 1
	if worse == WorseLower {
		h.sign = -1
	}
	up := make([]float64, 0, len(old)) // more is worse
	for _, v := range old {
		if v-v == 0 { // neither NaN nor infinite
			up = append(up, h.sign*v)
		}
	}
	up = up[max(0, len(up)-maxFigures):]
	h.figures = len(up)
	if h.figures < fewestFigures {
		return h, fmt.Sprintf("only %d figures are known from before the cutover, and %d are needed", h.figures, fewestFigures)
	}
	h.level = lineOf(up, usualTail)
	h.level.beyond = h.level.limit + tolerance*math.Abs(h.level.limit)
	if h.level.excursions < fewestExcursions {
		return h, fmt.Sprintf("of %d figures from before the cutover too few stand out to tell what is unusual: they went beyond %[3]s %[2]d times, and %[4]d are needed",
			h.figures, h.level.excursions, short(h.sign*h.level.limit), fewestExcursions)
	}
	h.findNews(up, tolerance)
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
