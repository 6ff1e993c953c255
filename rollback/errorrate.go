package rollback

import (
	"errors"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"
)

// minRead is the share of the serving instances whose counters must be readable.
// The others may fare differently, but no longer outvote them.
const minRead = 0.5

// errTwins is why instances are not read that cannot be told apart.
var errTwins = errors.New("several instances have this ID")

// errorsJudge follows one watch for an errors trigger.
type errorsJudge struct {
	Errors
	key      string // of its source
	counters counting
	tells    []string // labels, one of which a series of the metric needs
	words    words
	window   window
	now      time.Time
	seen     sight
	readings []reading // of the newest scrape
	total    float64   // requests since the watch began
	// fine is what was said the last time that a window held enough requests, if all
	// was well then.
	fine string
}

// words say what is held against a request.
type words struct {
	did    string // "5 % of requests …"
	figure string // the figure's name
}

// sight is how much of the colour the newest scrape showed.
type sight struct {
	at         time.Time // of the scrape; zero: there was none
	serving    int       // instances that count
	read       int       // of these, how many could be read
	series     bool      // any instance has the metric
	labelled   bool      // any series of it tells the outcome
	unlabelled []string
	why        string // some could not be read
}

// Observe implements Judge. An observation without a scrape ages the window.
func (j *errorsJudge) Observe(o Observation) Judgement {
	j.observe(o)
	return j.judge(j.Above)
}

func (j *errorsJudge) observe(o Observation) {
	j.now = o.At
	j.readings = j.readings[:0]
	if scrapes, ok := o.Scrapes[j.key]; ok {
		j.counters.about(j.filled(o.Whom))
		j.take(o, scrapes)
	}
}

// take adds what instances have counted since they were last read. Instances
// that do not serve are listened to, but their silence means nothing.
func (j *errorsJudge) take(o Observation, scrapes []Scrape) {
	serving, answers := map[string]bool{}, map[string]int{}
	for _, i := range o.Active {
		if i.Serving() && len(j.Callers) == 0 {
			serving[i.ID] = true
		}
	}
	for _, s := range scrapes {
		answers[s.Instance]++
		if len(j.Callers) > 0 {
			serving[s.Instance] = true // all that were asked have to tell
		}
	}
	j.seen = sight{at: j.now, serving: len(serving)}
	var requests, failed float64
	var silent []string // of those that serve
	for _, s := range scrapes {
		g, err := growth{}, errTwins
		if answers[s.Instance] == 1 {
			g, err = j.counters.read(s, j.now)
		}
		if err != nil {
			j.counters.keep(s.Instance, j.now)
			if serving[s.Instance] {
				silent = append(silent, fmt.Sprintf("%s: %s", s.Instance, err))
			}
			continue
		}
		if serving[s.Instance] {
			j.seen.read++
		}
		requests += g.requests
		failed += g.errors
		j.readings = append(j.readings, reading{s.Instance, g.requests, g.errors})
		j.seen.series = j.seen.series || g.series > 0
		j.seen.labelled = j.seen.labelled || g.labelled > 0
		if j.seen.unlabelled == nil {
			j.seen.unlabelled = g.unlabelled
		}
	}
	for id := range serving {
		if answers[id] == 0 {
			silent = append(silent, id+": not asked yet")
		}
	}
	slices.Sort(silent)
	j.seen.why = listed(slices.Compact(silent))
	j.window.add(j.now, requests, failed)
	j.total += requests
	j.counters.forget(j.now.Add(-j.Window))
}

// judge goes by the share of requests within the window that may fail.
func (j *errorsJudge) judge(above float64) Judgement {
	out, rate := j.figures()
	out.Figures["above"] = above
	requests := out.Figures["requests"]
	switch {
	case j.blind(&out):
	case requests < float64(j.MinRequests) && j.idle(rate, above):
		// They may have gone home. What was seen of them was well, and what would
		// come of waiting for them here is a watch without an end; whether too few
		// come is the matter of volume.
		out.Verdict = Fine
		out.Reason = fmt.Sprintf("too few requests to judge anew (%s of %d within %s, of which %s %s); before, %s; up to %s is allowed",
			amount(requests), j.MinRequests, brief(j.Window), amount(out.Figures[j.words.figure]), j.words.did, j.fine, percent(above))
	case requests < float64(j.MinRequests):
		out.Reason = fmt.Sprintf("too few requests (%s of %d within %s)%s", amount(requests), j.MinRequests, brief(j.Window), j.missing())
	default:
		out.Verdict, j.fine = Fine, j.said(out, rate)
		out.Reason = fmt.Sprintf("%s; up to %s is allowed", j.fine, percent(above))
		if rate > above {
			out.Verdict, j.fine = Bad, ""
		}
	}
	return out
}

// idle says whether too few requests come to judge anew, after enough had come to see
// that all was well, and none of the few speaks against that. An endpoint that has
// lost the metric is not idle.
func (j *errorsJudge) idle(rate, above float64) bool {
	return j.fine != "" && j.seen.series && rate <= above
}

// figures are those of the window.
func (j *errorsJudge) figures() (out Judgement, rate float64) {
	requests, failed := j.window.sum(j.now)
	out = Judgement{Figures: map[string]float64{
		"requests": requests, j.words.figure: failed, "min_requests": float64(j.MinRequests), "window_s": j.Window.Seconds(),
		"instances": float64(j.seen.serving), "read": float64(j.seen.read),
	}}
	if requests > 0 {
		rate = failed / requests
		out.Figures["rate"] = rate
	}
	return out, rate
}

// said tells the figures.
func (j *errorsJudge) said(out Judgement, rate float64) string {
	return fmt.Sprintf("%s of requests %s (%s of %s within %s, %d of %d instances read)", percent(rate), j.words.did,
		amount(out.Figures[j.words.figure]), amount(out.Figures["requests"]), brief(j.Window), j.seen.read, j.seen.serving)
}

// blind says why there is nothing to judge by, if so.
func (j *errorsJudge) blind(out *Judgement) bool {
	switch {
	case j.seen.at.IsZero():
		out.Reason = "no metrics were read yet"
	case j.now.Sub(j.seen.at) > j.Window:
		out.Reason = fmt.Sprintf("no metrics were read for %s", brief(j.now.Sub(j.seen.at)))
	case j.seen.serving == 0:
		out.Reason = "no instance serves whose metrics could be read"
	case float64(j.seen.read) < minRead*float64(j.seen.serving):
		out.Reason = fmt.Sprintf("metrics of %d of %d instances could be read, and at least half are needed (%s)", j.seen.read, j.seen.serving, j.seen.why)
	case j.seen.series && !j.seen.labelled:
		out.Reason = fmt.Sprintf("%s has no label %s, and so does not tell which requests %s; it has %s",
			j.Metric, strings.Join(j.tells, " or "), j.words.did, orNone(j.seen.unlabelled))
	default:
		return false
	}
	return true
}

// missing says that the metric is not there, if so.
func (j *errorsJudge) missing() string {
	if j.seen.series {
		return ""
	}
	return noMetric(j.Metric, j.Endpoint)
}

func noMetric(metric string, e Endpoint) string {
	with := ""
	if len(e.Where) > 0 {
		with = " with the labels that are asked for"
	}
	return fmt.Sprintf("; no instance has a metric %s%s at %s", metric, with, e.Path)
}

func orNone(labels []string) string {
	if len(labels) == 0 {
		return "none"
	}
	return strings.Join(labels[:min(len(labels), 10)], ", ")
}

func percent(share float64) string {
	return strconv.FormatFloat(100*share, 'g', 3, 64) + " %"
}

// amount writes a count: counters may hold fractions, but seldom do, and what is
// reckoned between two bounds of a histogram is none.
func amount(n float64) string { return strconv.FormatFloat(math.Round(n*100)/100, 'f', -1, 64) }
