package rollback

import "time"

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
	if n := len(w.entries); n > 0 && now.Sub(w.entries[n-1].at) < w.length/steps {
		w.entries[n-1].requests += requests
		w.entries[n-1].errors += errors
		return
	}
	w.entries = append(w.entries, tally{now, requests, errors})
}

// sum is what was counted within the window that ends now. What lies before it
// is dropped.
func (w *window) sum(now time.Time) (requests, errors float64) {
	from := now.Add(-w.length)
	for len(w.entries) > 0 && !w.entries[0].at.After(from) {
		w.entries = w.entries[1:]
	}
	for _, e := range w.entries {
		requests += e.requests
		errors += e.errors
	}
	return requests, errors
}
