package rollback

import (
	"fmt"
	"time"
)

// Patience is how long a trigger may not know, without a break, and what then.
// The zero value has no end: what is unknown is neither good nor bad, and only the
// policy may say otherwise.
type Patience struct {
	For  time.Duration // 0: no end
	Then string        // one of Thens
}

// What may be done when patience has run out.
const (
	ThenHold     = "hold"     // hold the release, for a person to look
	ThenRollback = "rollback" // send traffic back
)

// Thens are the words that a policy may choose from.
var Thens = []string{ThenHold, ThenRollback}

// Bound sets the patience of a watch. It is none of the matter of Consul's health:
// without Consul nothing can be moved, and how long too few instances are put up
// with is that trigger's own.
func (w *Watch) Bound(p Patience) { w.patience = p }

// blind is how long a trigger that does not know has not known.
func (t *judged) blind(v Verdict, now time.Time) time.Duration {
	if v != Unknown || t.kind == HealthKind {
		t.since = time.Time{}
		return 0
	}
	if t.since.IsZero() || now.Before(t.since) {
		t.since = now
	}
	return now.Sub(t.since)
}

// impatient is the decision when a trigger has not known for too long; nil before.
func (w *Watch) impatient(t *judged, j Judgement, blind time.Duration) *Decision {
	if w.patience.For <= 0 || blind < w.patience.For {
		return nil
	}
	d := &Decision{Trigger: t.name, Figures: j.Figures,
		Reason: fmt.Sprintf("nothing has been known for %s, and the policy allows %s: %s", brief(blind), brief(w.patience.For), j.Reason)}
	switch w.patience.Then {
	case ThenRollback:
		d.Verdict = Bad
	default:
		d.Hold = true
	}
	return d
}
