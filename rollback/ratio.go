package rollback

import (
	"errors"
	"fmt"
	"math"
	"time"

	"github.com/tealdeploy/teal/agent/measure"
)

// ratioJudge follows one watch for a trigger that holds figures against multiples of
// what they were before the cutover: of the greatest of them, and of the least. Who
// knows the past is asked about the moment of cutover; who does not was asked until
// then, and what it answered last counts.
type ratioJudge struct {
	*figuresJudge
	past []float64 // the least and the greatest of the last answer before the cutover
}

// Prepare implements Comparing.
func (j *ratioJudge) Prepare(o Observation) {
	if a := o.Answer; a != nil && a.Err == nil {
		if least, greatest, ok := ends(a.Values); ok { // what is not there is no part of the baseline
			j.past = []float64{least, greatest}
		}
	}
}

// Past implements Comparing.
func (j *ratioJudge) Past() Past { return Past{Figures: append([]float64(nil), j.past...)} }

// Recall implements Comparing. What was kept elsewhere may have been written by
// anybody.
func (j *ratioJudge) Recall(p Past) {
	if j.past = nil; len(p.Figures) == 2 {
		j.past = append(j.past, p.Figures...)
	}
}

// Observe implements Judge. An answer is good until the next one.
func (j *ratioJudge) Observe(o Observation) Judgement {
	if o.Answer != nil {
		j.last = j.judge(*o.Answer)
	}
	o.Answer = nil
	return j.figuresJudge.Observe(o)
}

func (j *ratioJudge) judge(a Answer) Judgement {
	if a.Err != nil {
		return j.within(a, j.Limits, "")
	}
	least, greatest, ok := ends(a.Before)
	if _, historic := j.Query.(measure.Historic); !historic && len(j.past) == 2 {
		least, greatest, ok = j.past[0], j.past[1], true
	} else if !historic && a.BeforeErr == nil {
		a.BeforeErr = errors.New("nobody asked before it, or there was no answer")
	}
	limits := j.Limits
	switch {
	case errors.Is(a.BeforeErr, ErrNoPrevious):
		return j.unheld(Judgement{Verdict: Fine, Reason: noPrevious})
	case a.BeforeErr != nil:
		return j.unheld(Judgement{Reason: fmt.Sprintf("what it was before the cutover is not known: %s", a.BeforeErr)})
	case !ok:
		return j.unheld(Judgement{Reason: "before the cutover there was nothing that could be compared with: no figure was answered"})
	case j.Ratio > 0 && greatest <= 0 || j.BelowRatio > 0 && least <= 0:
		return j.unheld(Judgement{Reason: fmt.Sprintf("before the cutover there was nothing that could be compared with: it was %s, of which no multiple is a limit; above and below need none", spanned(least, greatest))})
	}
	was := short(greatest)
	if j.BelowRatio > 0 {
		limits.Below, limits.HasBelow = j.BelowRatio*least, true
		was = short(least)
	}
	if j.Ratio > 0 {
		limits.Above, limits.HasAbove = min(j.Ratio*greatest, math.MaxFloat64), true
		was = spanned(least, greatest)
	}
	return j.within(a, limits, "; before the cutover it was "+was)
}

// unheld is a judgement of an answer that was held against nothing.
func (j *ratioJudge) unheld(out Judgement) Judgement {
	j.since, j.beyond = time.Time{}, 0
	return out
}

// spanned tells the least and the greatest number.
func spanned(least, greatest float64) string {
	if least == greatest {
		return short(least)
	}
	return fmt.Sprintf("%s to %s", short(least), short(greatest))
}

// ends are the least and the greatest number; false if there is none.
func ends(values []measure.Value) (least, greatest float64, ok bool) {
	for _, v := range values {
		if v.Number-v.Number != 0 { // neither NaN nor infinite
			continue
		}
		if !ok {
			least, greatest, ok = v.Number, v.Number, true
		}
		least, greatest = min(least, v.Number), max(greatest, v.Number)
	}
	return least, greatest, ok
}
