package rollback

import "time"

// Early is what suffices for a watch to end before its time. The zero value never
// does.
type Early struct {
	After    time.Duration // for so long every trigger has to have been fine, without a break
	Requests int           // that each trigger which counts requests has to have seen meanwhile
}

// weighing is a Judge that knows how many requests it has looked at.
type weighing interface{ watched() float64 }

func (j *errorsJudge) watched() float64  { return j.total }
func (j *volumeJudge) watched() float64  { return j.total }
func (j *latencyJudge) watched() float64 { return j.errorsJudge.watched() }

// Enough says whether what was seen suffices, and how many requests that were. That
// nothing was wrong says little where nobody came: without a trigger that counts
// requests it never does.
func (w *Watch) Enough(e Early, now time.Time) (requests float64, ok bool) {
	if e.After <= 0 {
		return 0, false
	}
	for i, t := range w.judged {
		if t.fine.IsZero() || now.Sub(t.fine) < e.After {
			return 0, false
		}
		if j, counts := t.judge.(weighing); counts {
			// Since it has been fine: what came before was not yet judged well.
			seen := j.watched() - w.judged[i].before
			if seen < float64(e.Requests) {
				return 0, false
			}
			if !ok || seen < requests {
				requests, ok = seen, true
			}
		}
	}
	return requests, ok
}

// note follows since when a trigger has been fine.
func (t *judged) note(v Verdict, now time.Time) {
	switch {
	case v != Fine:
		t.fine = time.Time{}
	case t.fine.IsZero() || now.Before(t.fine):
		t.fine = now
		if j, ok := t.judge.(weighing); ok {
			t.before = j.watched()
		}
	}
}
