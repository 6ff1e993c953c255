package world

import (
	"math"
	"slices"
	"time"
)

// Recovery is how long callers suffer from faults of a version that serves: from the
// injection of each to the last bad answer that anybody got.
type Recovery struct {
	Samples int     `json:"samples"`
	P50     float64 `json:"p50_ms"`
	P95     float64 `json:"p95_ms"`
	Decided float64 `json:"decided_p50_ms"` // from the injection to the decision
	Fault   string  `json:"fault"`
	Rate    int     `json:"requests_s"`
	// Interval is between two looks of the watch.
	Interval float64 `json:"interval_ms"`

	suffered, decided []float64
}

// Add takes one fault.
func (r *Recovery) Add(suffered, decided time.Duration) {
	r.suffered = append(r.suffered, suffered.Seconds()*1000)
	r.decided = append(r.decided, decided.Seconds()*1000)
	r.Samples = len(r.suffered)
	r.P50, r.P95, r.Decided = rank(r.suffered, .5), rank(r.suffered, .95), rank(r.decided, .5)
}

// rank is a quantile by the nearest rank: one of the values, and of a few the greatest
// where a high one is asked for.
func rank(ms []float64, q float64) float64 {
	sorted := slices.Sorted(slices.Values(ms))
	n := sorted[max(0, int(math.Ceil(q*float64(len(sorted))))-1)]
	return math.Round(n*1000) / 1000
}
