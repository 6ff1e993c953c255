package rollback

import (
	"errors"
	"fmt"
	"math"
	"slices"

	"github.com/tealdeploy/teal/agent/measure"
)

// habitJudge follows one watch for a trigger that compares a figure with what it
// was before the cutover, in sequence.
type habitJudge struct {
	Figures
	old     []float64 // what was answered before the cutover
	habit   habit
	why     string // there is no habit to compare with; empty before that is known
	known   bool
	level   evidence
	news    newsWatch
	answers float64
	last    Judgement // of the newest answer
}

// Prepare implements Comparing: it takes what is answered while the previous
// colour serves.
func (j *habitJudge) Prepare(o Observation) {
	// What is not there is no part of the baseline, nor is 0/0.
	if a := o.Answer; a != nil && a.Err == nil && len(a.Values) == 1 && a.Values[0].Number-a.Values[0].Number == 0 {
		j.old = append(j.old, a.Values[0].Number)
		j.old = j.old[max(0, len(j.old)-maxFigures):]
	}
}

// Past implements Comparing.
func (j *habitJudge) Past() Past { return Past{Figures: slices.Clone(j.old)} }

// Recall implements Comparing.
func (j *habitJudge) Recall(p Past) { j.old = slices.Clone(p.Figures) }

// Observe implements Judge. An answer is looked at once, and is good until the
// next one.
func (j *habitJudge) Observe(o Observation) Judgement {
	if o.Answer != nil {
		j.last = j.judge(*o.Answer)
	}
	if j.last.Reason == "" {
		return Judgement{Reason: "nobody was asked yet"}
	}
	return j.last
}

func (j *habitJudge) judge(a Answer) Judgement {
	value, none := j.figure(a)
	if none != nil {
		j.news.skip()
		return *none
	}
	beyond := 0.0
	if j.habit.sign*value > j.habit.level.beyond {
		beyond = 1
	}
	j.answers++
	j.level.add(1, beyond, j.habit.level.most(), j.habit.level.spread)
	j.news.add(j.habit, j.habit.sign*value)
	return j.weigh(value)
}

// figure is the one that an answer holds, or what there is to say where it holds none.
func (j *habitJudge) figure(a Answer) (float64, *Judgement) {
	switch {
	case a.Err != nil:
		return 0, &Judgement{Reason: a.Err.Error()}
	case errors.Is(a.BeforeErr, ErrNoPrevious):
		return 0, &Judgement{Verdict: Fine, Reason: noPrevious}
	case a.BeforeErr != nil:
		return 0, &Judgement{Reason: fmt.Sprintf("what it was before the cutover is not known: %s", a.BeforeErr)}
	}
	if !j.known {
		j.learn(a.Before)
	}
	if j.why != "" {
		return 0, &Judgement{Reason: j.why + "; above, below and ratio need no such baseline", Figures: map[string]float64{"baseline_figures": float64(j.habit.figures)}}
	}
	if len(a.Values) > 1 {
		return 0, &Judgement{Reason: fmt.Sprintf("the answer holds %d series, and one figure is compared in sequence; aggregate them in the query", len(a.Values))}
	}
	if len(a.Values) == 0 || a.Values[0].Number-a.Values[0].Number != 0 { // none, NaN or infinite
		found := j.Limits.Judge(a.Values)
		return 0, &Judgement{Verdict: verdicts[found.Verdict], Reason: found.Reason, Figures: found.Figures}
	}
	return a.Values[0].Number, nil
}

// learn draws the lines, once: what was counted against one says nothing of another.
func (j *habitJudge) learn(before []measure.Value) {
	names := map[string]bool{}
	for _, v := range before {
		names[v.Name] = true
		j.old = append(j.old, v.Number)
	}
	j.known = true
	if len(names) > 1 {
		j.why = fmt.Sprintf("before the cutover the answer held %d series, and one figure is compared in sequence; aggregate them in the query", len(names))
		return
	}
	j.habit, j.why = habitOf(j.old, j.Worse, j.Tolerance)
	j.old = nil
}

// weigh says what all answers come to: half of the weight is for where the figures
// are, and half for what is new in them.
func (j *habitJudge) weigh(value float64) Judgement {
	h := j.habit
	weight := logSum(j.level.log(), j.news.log()) - math.Ln2
	limit, line := h.sign*h.level.limit, h.sign*h.level.beyond
	odds := math.Exp(min(weight, math.Log(1e12)))
	out := Judgement{Doubt: weight >= misgiving, Figures: map[string]float64{
		"value": value, "limit": line, "baseline_figures": float64(h.figures), "baseline_beyond": h.level.share(), "spread": h.level.spread,
		"carried": h.carried, "answers": j.answers, "evidence": odds, "proof": math.Exp(proof),
	}}
	switch {
	case weight >= proof:
		out.Verdict = Bad
	case weight < doubt && j.answers >= fewestAnswers:
		out.Verdict = Fine
	}
	few, rises := "", ""
	if out.Verdict == Unknown && j.answers < fewestAnswers {
		few = fmt.Sprintf("too few answers (%.0f of %d): ", j.answers, fewestAnswers)
	}
	if out.Verdict != Fine && j.news.log() > j.level.log() {
		rises = ", or that it gets there faster than it did,"
	}
	out.Reason = fmt.Sprintf("%sit is %s; before the cutover %s of %d figures were %s than %s, and evidence that more are %s than %s now%s is %.3g (%.0f is proof)",
		few, short(value), percent(h.level.share()), h.figures, j.Worse, short(limit), j.Worse, short(line), rises, odds, math.Exp(proof))
	return out
}
