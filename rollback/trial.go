package rollback

import (
	"fmt"
	"maps"
	"math"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/tealdeploy/teal/agent/measure"
)

// Scraping is a Trigger that goes by what instances tell at their metrics
// endpoints.
type Scraping interface {
	Trigger
	// Lacks says, before there is a watch, what an instance's answer would have to
	// hold for the trigger to go by and does not: a metric, a label, a bound. It
	// completes "no instance has …"; empty: it lacks nothing.
	Lacks(s Scrape, whom Subject) string
}

// Lacks implements Scraping.
func (e Errors) Lacks(s Scrape, whom Subject) string {
	if why := e.without(e.Metric, s, whom); why != "" {
		return why
	}
	c := e.count()
	c.about(e.filled(whom))
	switch g, err := c.read(s, s.At); {
	case err != nil:
		return noCounts(e.Metric, err)
	case g.labelled == 0:
		return noLabel(e.Metric, e.tells(), g.unlabelled)
	}
	return e.matchless(c, s)
}

// statusCode is what HTTP has for an outcome.
var statusCode = regexp.MustCompile(`^[1-5][0-9][0-9]$`)

// matchless says that no outcome can ever be an error: all that there are so far are
// codes of HTTP's, and bad matches none of those. Other outcomes may yet turn up.
func (e Errors) matchless(c *counters, s Scrape) string {
	seen := map[string]bool{}
	for _, series := range c.these(s) {
		if outcome, ok := c.outcome(series.Labels); ok {
			if !statusCode.MatchString(outcome) {
				return ""
			}
			seen[strconv.Quote(outcome)] = true
		}
	}
	for code := 100; code < 600; code++ {
		if e.Bad.MatchString(strconv.Itoa(code)) {
			return ""
		}
	}
	bad := strings.TrimSuffix(strings.TrimPrefix(e.Bad.String(), "^(?:"), ")$")
	return fmt.Sprintf("a code in %s that bad could match: %q is none of HTTP's; there are %s", e.Metric, bad, orNone(slices.Sorted(maps.Keys(seen))))
}

// Lacks implements Scraping.
func (v Volume) Lacks(s Scrape, whom Subject) string {
	if why := v.without(v.Metric, s, whom); why != "" {
		return why
	}
	c := newStandings(v.Metric)
	c.about(v.filled(whom))
	if _, _, err := c.read(s, s.At, func(map[string]string) bool { return true }); err != nil {
		return noCounts(v.Metric, err)
	}
	return ""
}

// Lacks implements Scraping. A limit that is drawn from the previous colour's
// requests is drawn from all that the instance has ever counted.
func (l Latency) Lacks(s Scrape, whom Subject) string {
	metric := l.bucket()
	if why := l.without(metric, s, whom); why != "" {
		return why
	}
	b := buckets{newStandings(metric)}
	b.about(l.filled(whom))
	d, _, labelled, unlabelled, err := b.read(s, s.At)
	switch {
	case err != nil:
		return noCounts(metric, err)
	case labelled == 0:
		return noLabel(metric, []string{"le"}, unlabelled)
	case len(d.bounds) == 0:
		return fmt.Sprintf("a bound of %s but the infinite one", metric)
	}
	greatest := d.bounds[len(d.bounds)-1]
	if l.By == ByAbove {
		return l.tooGreat(l.Above.Seconds()/units[l.Unit], greatest)
	}
	if d.total == 0 {
		return "" // nobody knows how long requests take
	}
	p := profile{}
	for i, le := range d.bounds {
		p.bounds = append(p.bounds, Bound{le, Past{Requests: d.total, Errors: d.longer[i]}})
	}
	quantile, ok := p.quantile(l.Quantile)
	switch {
	case l.By == ByRatio && ok:
		return l.tooGreat(quantile*l.Ratio, greatest)
	case l.By == ByRatio, p.telling(l.Quantile) == nil:
		return fmt.Sprintf("a bound of %s that tells where the quantile of %v lies; the greatest is %v", metric, l.Quantile, greatest)
	}
	return ""
}

// tooGreat says that what takes longer than a limit is not told.
func (l Latency) tooGreat(limit, greatest float64) string {
	if limit <= greatest {
		return ""
	}
	return fmt.Sprintf("a bound of %s as great as the limit of %s; the greatest is %v", l.bucket(), short(limit), greatest)
}

func noCounts(metric string, err error) string {
	return fmt.Sprintf("counts of %s that can be believed (%s)", metric, err)
}

func noLabel(metric string, labels, instead []string) string {
	return fmt.Sprintf("a label %s in %s; it has %s", strings.Join(labels, " or "), metric, orNone(instead))
}

// without says that a scrape has no series of a metric with the labels that are
// asked for, and what is there instead.
func (e Endpoint) without(metric string, s Scrape, whom Subject) string {
	family, where := s.Families[metric], e.filled(whom)
	switch c := (standings{metric: metric, where: where}); {
	case len(family) == 0:
		return "a metric " + metric
	case len(c.these(s)) > 0:
		return ""
	}
	for _, name := range slices.Sorted(maps.Keys(where)) {
		names, values := map[string]bool{}, map[string]bool{}
		for _, series := range family {
			for label, value := range series.Labels {
				names[label] = true
				if label == name {
					values[strconv.Quote(printable(value))] = true
				}
			}
		}
		wanted := strconv.Quote(printable(where[name]))
		switch {
		case len(values) == 0:
			return noLabel(metric, []string{name}, slices.Sorted(maps.Keys(names)))
		case !values[wanted]:
			return fmt.Sprintf("a series of %s with %s=%s; there are %s", metric, name, wanted, orNone(slices.Sorted(maps.Keys(values))))
		}
	}
	return fmt.Sprintf("a series of %s with all the labels that where asks for", metric)
}

// Lacks says what is wrong with an answer to the trigger's question, so that it
// cannot be gone by; it completes "the answer …". Empty: nothing is.
func (f Figures) Lacks(values []measure.Value) string {
	strange := 0
	for _, v := range values {
		if math.IsNaN(v.Number) || math.IsInf(v.Number, 0) {
			strange++
		}
	}
	switch {
	case len(values) == 0 && f.Limits.Empty == measure.Unknown:
		return "holds no series"
	case len(values) == 0:
		return fmt.Sprintf("holds no series, which the policy takes for %s", verdicts[f.Limits.Empty])
	case strange > 0:
		return fmt.Sprintf("holds %d series, and %d of them are NaN or infinite, which is no figure to go by (0/0 makes one such)", len(values), strange)
	case f.Worse != "" && len(values) > 1:
		return fmt.Sprintf("holds %d series, and one figure is compared in sequence; aggregate them in the query", len(values))
	}
	return ""
}

// Says is what a value of the key would come to; nil: there is no such key.
func (k KV) Says(key string, value *string) Judgement {
	return k.Begin().Observe(Observation{Answer: &Answer{Key: key, Text: value}})
}
