package faults

import (
	"math"
	"slices"
	"time"
)

// Percentiles are what became of samples, in milliseconds.
type Percentiles struct {
	Samples int     `json:"samples"`
	P50     float64 `json:"p50"`
	P95     float64 `json:"p95"`
	Max     float64 `json:"max"`
}

func percentiles(all []time.Duration) Percentiles {
	if len(all) == 0 {
		return Percentiles{}
	}
	sorted := slices.Sorted(slices.Values(all))
	at := func(q float64) float64 { return ms(sorted[max(0, int(math.Ceil(q*float64(len(sorted))))-1)]) }
	return Percentiles{Samples: len(all), P50: at(.50), P95: at(.95), Max: at(1)}
}

func ms(d time.Duration) float64 { return float64(d.Round(10*time.Microsecond).Microseconds()) / 1000 }
