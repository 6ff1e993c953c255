package rollback

import (
	"testing"
	"time"
)

// A window takes little to remember, and loses nothing but its oldest part.
func TestWindowIsBounded(t *testing.T) {
	w := window{length: 24 * time.Hour}
	at := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	for range 48 * 3600 {
		at = at.Add(time.Second)
		w.add(at, 2, 1)
		if requests, errors := w.sum(at); requests > 2*24*3600 || errors != requests/2 {
			t.Fatalf("%v requests and %v errors in a day of 2 and 1 a second", requests, errors)
		}
	}
	if len(w.entries) > steps+1 {
		t.Errorf("%d entries", len(w.entries))
	}
	if requests, _ := w.sum(at); requests < 2*24*3600*(1-2.0/steps) {
		t.Errorf("%v requests in a day of 2 a second", requests)
	}
}

// A clock that is set back does not make the window as long as the step was.
func TestWindowWithAClockSetBack(t *testing.T) {
	w := window{length: 10 * time.Second}
	at := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	w.add(at, 100, 100)
	at = at.Add(-time.Hour)
	w.add(at, 5, 1)
	if requests, errors := w.sum(at); requests != 5 || errors != 1 {
		t.Errorf("%v requests and %v errors, want 5 and 1", requests, errors)
	}
}

// What lies further back than the window is not of it, to the moment.
func TestWindowEnds(t *testing.T) {
	w := window{length: 10 * time.Second}
	at := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	w.add(at, 5, 1)
	if requests, _ := w.sum(at.Add(10*time.Second - 1)); requests != 5 {
		t.Errorf("just within: %v", requests)
	}
	if requests, _ := w.sum(at.Add(10 * time.Second)); requests != 0 {
		t.Errorf("just without: %v", requests)
	}
}
