package rollback

import (
	"slices"
	"time"
)

// steps is how finely a window is remembered, whatever its length and however
// often something is added.
const steps = 128

// window sums what was counted in the last while.
type window struct {
	length  time.Duration
	entries []tally
}

// tally is what was counted at one moment, or shortly after it.
type tally struct {
	at               time.Time
	requests, errors float64
}

// add notes what was counted up to now.
func (w *window) add(now time.Time, requests, errors float64) {
	if n := len(w.entries); n > 0 {
		last := &w.entries[n-1]
		if since := now.Sub(last.at); since >= 0 && since < w.length/steps {
			last.requests += requests
			last.errors += errors
			return
		}
	}
	w.entries = append(w.entries, tally{now, requests, errors})
}

// sum is what was counted within the window that ends now. What lies before it
// is dropped, and so is what lies behind it, by a clock that was set back since.
func (w *window) sum(now time.Time) (requests, errors float64) {
	from := now.Add(-w.length)
	w.entries = slices.DeleteFunc(w.entries, func(t tally) bool { return !t.at.After(from) || t.at.After(now) })
	for _, e := range w.entries {
		requests += e.requests
		errors += e.errors
	}
	return requests, errors
}
