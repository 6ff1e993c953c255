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
	// Before says that the same is to be asked of the previous colour, as it was
	// at the moment of cutover.
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
	d.Number("ratio", &f.Ratio, hclbody.Within(1, 1e6))
	d.Duration("baseline", &f.Baseline)
	f.decode(d, body, "ratio")
	q.Validate(d)
	if f.Worse != "" && q.Range > 0 {
		d.Errorf("range", "Several figures at a time", "In sequence each answer is one figure; leave range out, and say with baseline how far back to look before the cutover.")
	}
	if d.Has("ratio") && (f.Limits.HasAbove || f.Limits.HasBelow) {
		d.Errorf("ratio", "Two ways to judge", "ratio compares with what was before the cutover, and above and below do not. For two ways declare two triggers.")
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
func (f *Figures) decode(d *hclbody.Decoder, body hcl.Body, others ...string) {
	f.Interval, f.Timeout = 5*time.Second, 5*time.Second
	f.Tolerance = 0.1
	empty := Unknown.String()
	f.Limits.Declare(d)
	d.String("worse", &f.Worse, hclbody.OneOf(WorseHigher, WorseLower))
	d.Number("tolerance", &f.Tolerance, hclbody.Within(0, 1000))
	d.String("empty", &empty, hclbody.OneOf(Unknown.String(), Fine.String(), Bad.String()))
	d.Duration("for", &f.For, hclbody.ZeroAllowed)
	d.Duration("interval", &f.Interval)
	d.Duration("timeout", &f.Timeout)
	d.Decode(body)
	f.Limits.Empty = map[string]measure.Verdict{Unknown.String(): measure.Unknown, Fine.String(): measure.Within, Bad.String(): measure.Beyond}[empty]
	f.decideWay(d, others...)
	if f.Interval < 100*time.Millisecond {
		d.Errorf("interval", "Interval too short", "One question every %s is more than a metrics service deserves; at least 100ms is required.", f.Interval)
	}
}

// maxPast is how many old figures are asked for at most.
const maxPast = 900

// decideWay finds out which of the ways to judge is declared.
func (f *Figures) decideWay(d *hclbody.Decoder, others ...string) {
	if f.Worse == "" {
		f.Limits.Validate(d, append(others, "worse")...)
		for _, name := range []string{"tolerance", "baseline"} {
			if d.Has(name) {
				d.Errorf(name, "Two ways to judge", "%s is part of judging in sequence; say which way is worse, and leave out above, below and ratio, or leave %s out.", name, name)
			}
		}
		f.Tolerance, f.Baseline = 0, 0
		return
	}
	for _, name := range []string{"above", "below", "ratio", "for"} {
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

// Sources implements Trigger.
func (f Figures) Sources() []ScrapeSource { return nil }

// Families implements Trigger.
func (f Figures) Families() []string { return nil }

// Question implements Asking.
func (f Figures) Question() Question {
	return FiguresOf{Query: f.Query, Interval: f.Interval, Timeout: f.Timeout, Before: f.Ratio > 0, Baseline: f.Baseline}
}

// Begin implements Trigger.
func (f Figures) Begin() Judge {
	if f.Worse != "" {
		return &habitJudge{Figures: f}
	}
	return &figuresJudge{Figures: f}
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

func (j *figuresJudge) judge(a Answer) Judgement {
	limits := j.Limits
	was, before := j.since, j.beyond
	j.since, j.beyond = time.Time{}, 0
	if a.Err != nil {
		// Time in which nothing is seen counts neither for nor against.
		j.beyond = before
		return Judgement{Reason: a.Err.Error()}
	}
	than := ""
	if j.Ratio > 0 {
		base, ok := greatest(a.Before)
		switch {
		case errors.Is(a.BeforeErr, ErrNoPrevious):
			return Judgement{Verdict: Fine, Reason: noPrevious}
		case a.BeforeErr != nil:
			return Judgement{Reason: fmt.Sprintf("what it was before the cutover is not known: %s", a.BeforeErr)}
		case !ok || base <= 0:
			return Judgement{Reason: "before the cutover there was nothing that could be compared with"}
		}
		limits.Above, limits.HasAbove = j.Ratio*base, true
		than = fmt.Sprintf("; before the cutover it was %s", short(base))
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

// greatest is the largest number; false if there is none.
func greatest(values []measure.Value) (most float64, ok bool) {
	for _, v := range values {
		if v.Number-v.Number == 0 && (!ok || v.Number > most) { // neither NaN nor infinite
			most, ok = v.Number, true
		}
	}
	return most, ok
}
