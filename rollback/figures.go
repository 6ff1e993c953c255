package rollback

import (
	"errors"
	"fmt"
	"time"

	"github.com/hashicorp/hcl/v2"

	"github.com/tealdeploy/teal/agent/hclbody"
	"github.com/tealdeploy/teal/agent/measure"
)

// Figures is a trigger of the kinds "prometheus" and "http-json": what somebody
// else's metrics service says, held against limits or against what it was before.
type Figures struct {
	Query  measure.Query
	Limits measure.Limits
	Ratio  float64 // bad when more than this many times what it was before the cutover; 0: not asked
	// BelowRatio is bad when less than this part of what it was; 0: not asked.
	BelowRatio float64 `json:",omitempty"`
	// Worse is which way is worse, in sequence: WorseHigher or WorseLower. Empty: by
	// limits or by ratio.
	Worse     string        `json:",omitempty"`
	Tolerance float64       `json:",omitempty"` // in sequence: part of the old figures' limit by which a new one may be beyond it
	Baseline  time.Duration `json:",omitempty"` // in sequence: how far back from the cutover, where the past can be asked
	For       time.Duration // how long without a break it has to be beyond
	Interval  time.Duration // between two questions
	Timeout   time.Duration // of one
}

// FiguresOf asks a metrics service, at every Interval.
type FiguresOf struct {
	Query    measure.Query
	Interval time.Duration
	Timeout  time.Duration
	// Before says that the same is to be asked of the previous colour, as it was at
	// the moment of cutover where the past can be asked, and otherwise by asking at
	// every Interval until the cutover.
	Before bool
	// Baseline says that it is to be known how the same moved before the cutover,
	// about the previous colour: for so long back where the past can be asked, and
	// otherwise by asking at every Interval until the cutover. 0: not wanted.
	Baseline time.Duration
}

func (FiguresOf) question() {}

// ErrNoPrevious is why nobody can be asked what was before.
var ErrNoPrevious = errors.New("there is no previous colour")

func decodePrometheus(body hcl.Body, eval *hcl.EvalContext) (Trigger, hcl.Diagnostics) {
	q := measure.Prometheus{}
	f := Figures{}
	d := decoder("prometheus", eval)
	q.Declare(d)
	d.Duration("baseline", &f.Baseline)
	f.decode(d, body)
	q.Validate(d)
	if f.Worse != "" && q.Range > 0 {
		d.Errorf("range", "Several figures at a time", "In sequence each answer is one figure; leave range out, and say with baseline how far back to look before the cutover.")
	}
	f.Query = q
	return f, d.Diagnostics()
}

func decodeHTTPJSON(body hcl.Body, eval *hcl.EvalContext) (Trigger, hcl.Diagnostics) {
	q := measure.Document{}
	f := Figures{}
	d := decoder("http-json", eval)
	q.Declare(d)
	f.decode(d, body)
	q.Validate(d)
	f.Query = q
	return f, d.Diagnostics()
}

// decode reads the body for both kinds.
func (f *Figures) decode(d *hclbody.Decoder, body hcl.Body) {
	f.Interval, f.Timeout = 5*time.Second, 5*time.Second
	f.Tolerance = 0.1
	empty := Unknown.String()
	f.Limits.Declare(d)
	d.Number("ratio", &f.Ratio, hclbody.Within(1, 1e6))
	d.Number("below_ratio", &f.BelowRatio, hclbody.Within(0.001, 1)) // of less than nothing there is never less
	d.String("worse", &f.Worse, hclbody.OneOf(WorseHigher, WorseLower))
	d.Number("tolerance", &f.Tolerance, hclbody.Within(0, 1000))
	d.String("empty", &empty, hclbody.OneOf(Unknown.String(), Fine.String(), Bad.String()))
	d.Duration("for", &f.For, hclbody.ZeroAllowed)
	d.Duration("interval", &f.Interval)
	d.Duration("timeout", &f.Timeout)
	d.Decode(body)
	f.Limits.Empty = map[string]measure.Verdict{Unknown.String(): measure.Unknown, Fine.String(): measure.Within, Bad.String(): measure.Beyond}[empty]
	f.decideWay(d)
	f.validateRatios(d)
	if f.Interval < 100*time.Millisecond {
		d.Errorf("interval", "Interval too short", "One question every %s is more than a metrics service deserves; at least 100ms is required.", f.Interval)
	}
}

// maxPast is how many old figures are asked for at most.
const maxPast = 900

// decideWay finds out which of the ways to judge is declared.
func (f *Figures) decideWay(d *hclbody.Decoder) {
	if f.Worse == "" {
		f.Limits.Validate(d, "ratio", "below_ratio", "worse")
		for _, name := range []string{"tolerance", "baseline"} {
			if d.Has(name) {
				d.Errorf(name, "Two ways to judge", "%s is part of judging in sequence; say which way is worse, and leave out above, below and the ratios, or leave %s out.", name, name)
			}
		}
		f.Tolerance, f.Baseline = 0, 0
		return
	}
	for _, name := range []string{"above", "below", "ratio", "below_ratio", "for"} {
		if d.Has(name) {
			d.Errorf(name, "Two ways to judge", "%s is no part of judging in sequence, which worse asks for. For two ways declare two triggers.", name)
		}
	}
	most := maxPast * f.Interval
	switch {
	case !d.Has("baseline"):
		f.Baseline = min(time.Hour, most)
	case f.Baseline > most:
		d.Errorf("baseline", "Too many figures", "A baseline of %s at an interval of %s has more than %d figures; take a longer interval.", f.Baseline, f.Interval, maxPast)
	case f.Baseline < fewestFigures*f.Interval:
		d.Errorf("baseline", "Baseline too short", "A baseline of %s at an interval of %s has fewer than %d figures, and can tell nothing.", f.Baseline, f.Interval, fewestFigures)
	}
}

// validateRatios refuses ratios that cannot work.
func (f *Figures) validateRatios(d *hclbody.Decoder) {
	for _, name := range []string{"ratio", "below_ratio"} {
		if d.Has(name) && (f.Limits.HasAbove || f.Limits.HasBelow) {
			d.Errorf(name, "Two ways to judge", "%s compares with what was before the cutover, and above and below do not. For two ways declare two triggers.", name)
		}
	}
	if f.Ratio == 1 && f.BelowRatio == 1 {
		d.Errorf("below_ratio", "Contradictory limits", "Both ratios are 1: nothing is left that is good.")
	}
}

// compares says whether it is judged by a multiple of what was.
func (f Figures) compares() bool { return f.Ratio > 0 || f.BelowRatio > 0 }

// Sources implements Trigger.
func (f Figures) Sources() []ScrapeSource { return nil }

// Families implements Trigger.
func (f Figures) Families() []string { return nil }

// Question implements Asking.
func (f Figures) Question() Question {
	return FiguresOf{Query: f.Query, Interval: f.Interval, Timeout: f.Timeout, Before: f.compares(), Baseline: f.Baseline}
}

// Begin implements Trigger.
func (f Figures) Begin() Judge {
	if f.Worse != "" {
		return &habitJudge{Figures: f}
	}
	j := &figuresJudge{Figures: f}
	if f.compares() {
		return &ratioJudge{figuresJudge: j}
	}
	return j
}

// noPrevious is what a first release is told.
const noPrevious = "there is no previous colour to compare with; set above or below for limits of their own"

// verdicts are what findings come to.
var verdicts = map[measure.Verdict]Verdict{measure.Unknown: Unknown, measure.Within: Fine, measure.Beyond: Bad}

// figuresJudge follows one watch.
type figuresJudge struct {
	Figures
	last   Judgement     // of the newest answer
	beyond time.Duration // for how long it has been seen to be beyond
	since  time.Time     // of the last answer that was; zero after any other
}

// Observe implements Judge. An answer is good until the next one.
func (j *figuresJudge) Observe(o Observation) Judgement {
	if o.Answer != nil {
		j.last = j.judge(*o.Answer)
	}
	if j.last.Reason == "" {
		return Judgement{Reason: "nobody was asked yet"}
	}
	return j.last
}

func (j *figuresJudge) judge(a Answer) Judgement { return j.within(a, j.Limits, "") }

// within holds an answer against limits; than says where they come from.
func (j *figuresJudge) within(a Answer, limits measure.Limits, than string) Judgement {
	was, before := j.since, j.beyond
	j.since, j.beyond = time.Time{}, 0
	if a.Err != nil {
		// Time in which nothing is seen counts neither for nor against.
		j.beyond = before
		return Judgement{Reason: a.Err.Error()}
	}
	found := limits.Judge(a.Values)
	out := Judgement{Reason: found.Reason + than, Figures: found.Figures}
	switch found.Verdict {
	case measure.Within:
		out.Verdict = Fine
	case measure.Beyond:
		j.beyond, j.since = before, a.At
		if !was.IsZero() {
			j.beyond += max(0, a.At.Sub(was))
		}
		if j.beyond >= j.For {
			out.Verdict = Bad
		} else {
			out.Reason += fmt.Sprintf("; this is put up with for %s, of which %s have passed", brief(j.For), brief(j.beyond))
		}
	}
	return out
}
