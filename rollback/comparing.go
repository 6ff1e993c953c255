package rollback

import (
	"fmt"
	"math"
)

// comparingJudge follows one watch for an errors trigger that compares with the
// previous colour. Without a baseline it judges by the absolute limit, and says
// so.
type comparingJudge struct {
	*errorsJudge
	past     pastReader
	bar      bar
	sequence sequence
	own      spread // of the active colour, whose successor is compared with it one day
}

// Learned implements Learning.
func (j *comparingJudge) Learned() Past { return Past{Spread: j.own} }

// Prepare implements Comparing.
func (j *comparingJudge) Prepare(o Observation) { j.look(o, true) }

// Past implements Comparing.
func (j *comparingJudge) Past() Past { return j.past.clone() }

// Recall implements Comparing.
func (j *comparingJudge) Recall(p Past) {
	j.past.Past = p.counted()
	j.bar = j.past.bar(j.Tolerance)
}

func (j *comparingJudge) look(o Observation, serves bool) {
	j.past.counters.about(j.filled(o.Before))
	if scrapes, ok := o.PreviousScrapes[j.key]; ok && j.past.read(scrapes, o.At, serves) {
		j.bar = j.past.bar(j.Tolerance)
	}
}

// Observe implements Judge.
func (j *comparingJudge) Observe(o Observation) Judgement {
	j.look(o, false)
	j.observe(o)
	if len(j.readings) > 0 {
		j.own.add(counted(j.readings))
	}
	if j.past.Requests < float64(j.MinRequests) {
		return j.withoutBaseline(o)
	}
	if j.By == ByRatio {
		return j.byRatio()
	}
	j.sequence.add(j.readings, j.bar, &j.past.Past)
	return j.inSequence()
}

// withoutBaseline goes by the absolute limit.
func (j *comparingJudge) withoutBaseline(o Observation) Judgement {
	out := j.judge(absolute)
	out.Figures["baseline_requests"] = j.past.Requests
	if out.Verdict == Unknown {
		return out
	}
	why := "none of the previous colour's requests were seen"
	switch {
	case len(o.Previous) == 0:
		why = "there is no previous colour"
	case j.past.Requests > 0:
		why = fmt.Sprintf("only %s of the previous colour's requests were seen", amount(j.past.Requests))
	}
	out.Reason += fmt.Sprintf(", for there is nothing to compare with: %s", why)
	return out
}

// byRatio goes by a multiple of the previous colour's share. A baseline that is
// next to nothing has no multiple worth the name: it counts as the tolerance.
func (j *comparingJudge) byRatio() Judgement {
	share := j.past.share()
	out := j.judge(min(j.Ratio*max(share, j.Tolerance), 0.999))
	out.Figures["ratio"], out.Figures["baseline_rate"], out.Figures["baseline_requests"] = j.Ratio, share, j.past.Requests
	if out.Verdict != Unknown {
		out.Reason += fmt.Sprintf(", %s times the previous colour's %s (of %s requests)", amount(j.Ratio), percent(share), amount(j.past.Requests))
	}
	return out
}

func (j *comparingJudge) inSequence() Judgement {
	out, rate := j.figures()
	weight, alone := j.sequence.log()
	odds := math.Exp(min(weight, math.Log(1e12)))
	out.Figures["baseline_rate"], out.Figures["baseline_requests"] = j.bar.share, j.past.Requests
	out.Figures["limit"], out.Figures["evidence"], out.Figures["proof"] = j.bar.all, odds, math.Exp(proof)
	out.Figures["spread"] = j.past.spread(0)
	out.Figures["watched_requests"] = j.sequence.requests
	out.Doubt = weight >= misgiving
	switch {
	case j.blind(&out):
		return out
	case out.Figures["requests"] == 0 && !j.seen.series && j.sequence.requests > 0:
		out.Reason = fmt.Sprintf("no requests within %s%s", brief(j.Window), j.missing())
		return out
	case j.sequence.requests < float64(j.MinRequests) && weight < proof:
		out.Reason = fmt.Sprintf("too few requests (%s of %d)%s", amount(j.sequence.requests), j.MinRequests, j.missing())
		return out
	case weight >= proof:
		out.Verdict = Bad
	case weight < doubt:
		out.Verdict = Fine
	}
	limit, who := j.bar.all, ""
	if alone != "" && out.Verdict != Fine {
		limit, who = j.bar.instance, " of instance "+alone
	}
	said := j.said(out, rate)
	if out.Figures["requests"] == 0 {
		// Nobody comes any more, which is the matter of volume: what was seen stands.
		said = fmt.Sprintf("no requests within %s; %s since the cutover, of which %s %s", brief(j.Window),
			amount(j.sequence.requests), amount(j.sequence.failed), j.words.did)
	}
	out.Reason = fmt.Sprintf("%s; the previous colour's share was %s (of %s requests), and evidence%s against %s is %.3g (%.0f is proof)",
		said, percent(j.bar.share), amount(j.past.Requests), who, percent(limit), odds, math.Exp(proof))
	return out
}
