package rollback

import (
	"math"
	"slices"
)

// rareTails are the shares of the old figures in which there was more news than the
// limits, at most. News come nearly independently of each other, so that also of a
// rare limit it is known how often it is crossed.
var rareTails = [...]float64{0.1, 0.01}

// maxCarried bounds how much of a figure is expected in the next one: of a walk
// that never comes back nothing is new but its steps.
const maxCarried = 0.99

// findNews finds what of a figure was new, where neighbours resemble each other: the
// rest is in the figure before it, and proves nothing twice.
func (h *habit) findNews(up []float64, tolerance float64) {
	h.carried = resemblance(up)
	h.usual = slices.Sorted(slices.Values(up))[len(up)/2]
	news := make([]float64, len(up)-1)
	for i := range news {
		news[i] = up[i+1] - h.carried*up[i]
	}
	most := 1.0
	for i, part := range rareTails {
		h.news[i] = lineOf(news, part)
		most = max(most, h.news[i].spread)
	}
	for i := range h.news {
		l := &h.news[i]
		l.spread = most // the rare limit's own is hardly known
		// Figures that are worse by a constant, or by a factor, within what is put up with.
		l.beyond = l.limit + tolerance*max(math.Abs(l.limit), (1-h.carried)*math.Abs(h.level.limit))
	}
}

// resemblance is the correlation of neighbours, where it is positive.
func resemblance(values []float64) float64 {
	mean := 0.0
	for _, v := range values {
		mean += v / float64(len(values))
	}
	both, square := 0.0, 0.0
	for i, v := range values {
		square += (v - mean) * (v - mean)
		if i > 0 {
			both += (v - mean) * (values[i-1] - mean)
		}
	}
	if r := both / square; r > 0 { // a number, that is
		return min(r, maxCarried)
	}
	return 0
}

// newsWatch weighs what is new in the figures after the cutover.
type newsWatch struct {
	last  float64 // the figure before; more is worse
	known bool    // there was one
	each  [len(rareTails)]struct {
		evidence
		trials, count float64 // as those of a line, of new figures
	}
}

// add takes the next figure, of which more is worse.
func (w *newsWatch) add(h habit, value float64) {
	last := w.last
	if w.last = value; !w.known {
		w.known = true
		return
	}
	// A figure that comes from where it was better than usual may come back.
	news := value - h.carried*max(last, h.usual)
	for i, l := range h.news {
		e := &w.each[i]
		// Of n figures and one that is like them, each is as likely as any other to be
		// among the k+1 greatest: Laplace's law of succession, of as many as n
		// independent ones are worth.
		chance := (l.count + e.count + l.spread) / (l.trials + e.trials + l.spread)
		broken := 0.0
		if news > l.beyond {
			broken = 1
		}
		e.add(1, broken, chance, l.spread)
		e.trials++
		if value-h.carried*last > l.limit {
			e.count++
		}
	}
}

// skip says that a figure is not known: the next one has none before it.
func (w *newsWatch) skip() { w.known = false }

// log is the evidence of all limits together.
func (w *newsWatch) log() float64 {
	sum := math.Inf(-1)
	for i := range w.each {
		sum = logSum(sum, w.each[i].log()-math.Log(float64(len(w.each))))
	}
	return sum
}
