package rollback

import (
	"fmt"
	"time"

	"github.com/tealdeploy/teal/agent/deployment"
)

// flow counts a colour's requests over time, and only over times for which all
// of its serving instances were read: what one of them had is missed otherwise.
type flow struct {
	standings
	last    time.Time // when all were read last
	pending float64   // requests since then
	asked   bool
	series  bool   // the metric is there
	why     string // not all could be read
}

func newFlow(metric string) flow { return flow{standings: newStandings(metric)} }

// read takes what the instances said, and tells how many requests came in how
// many seconds: none while somebody is missing, and all of it once they are back.
func (f *flow) read(now time.Time, instances []deployment.Instance, scrapes []Scrape) (requests, seconds float64) {
	read, answers := map[string]bool{}, map[string]int{}
	f.asked, f.series, f.why = true, false, ""
	for _, s := range scrapes {
		answers[s.Instance]++
	}
	for _, s := range scrapes {
		if answers[s.Instance] > 1 { // they would be each other's restarts
			f.keep(s.Instance, now)
			f.why = fmt.Sprintf("%s: %s", s.Instance, errTwins)
			continue
		}
		list, first, err := f.standings.read(s, now, func(map[string]string) bool { return true })
		if err != nil {
			f.keep(s.Instance, now)
			f.why = fmt.Sprintf("%s: %s", s.Instance, err)
			continue
		}
		f.series = f.series || len(list) > 0
		read[s.Instance] = len(list) > 0
		for _, series := range list {
			if !first {
				f.pending += series.Value
			}
		}
	}
	f.forget(now.Add(-time.Hour))
	serving := 0
	for _, i := range instances {
		if i.Serving() {
			serving++
			if !read[i.ID] {
				return 0, 0
			}
		}
	}
	if serving == 0 {
		return 0, 0
	}
	if !f.last.IsZero() {
		requests, seconds = f.pending, max(0, now.Sub(f.last).Seconds())
	}
	f.last, f.pending = now, 0
	return requests, seconds
}

// missing says why so little was seen.
func (f *flow) missing(e Endpoint) string {
	switch {
	case f.why != "":
		return " (" + f.why + ")"
	case f.asked && !f.series:
		return noMetric(f.metric, e)
	}
	return ""
}
