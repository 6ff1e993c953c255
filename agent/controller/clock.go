package controller

import "time"

// begun is when something on record began, by the clock as it is now. Times on
// record are those of whoever led then. What has not begun yet was written by a
// clock that was ahead of this one: another machine's, or this one's before it
// was set back. It counts as begun now, so that nothing takes longer than the
// policy says by as much as a clock was set back.
//
// The other way round is not to be told from time that has passed: where a
// clock was set forward between two leaders, what is begun ends early. Within
// one leader's term neither matters: what it has dated itself it measures by
// the monotonic clock.
func begun(since time.Time) time.Time {
	if now := time.Now(); since.After(now) {
		return now
	}
	return since
}

// inTime does the same for the candidates that are kept for debugging: none
// longer, from now on, than one that fails now.
func (l *loop) inTime() {
	p := l.policy()
	if p == nil {
		return
	}
	latest := keepUntil(p, time.Now())
	for colour, slot := range l.rec.Slots {
		if slot.StopAt != nil && slot.StopAt.After(*latest) {
			slot.StopAt = latest
			l.rec.Slots[colour] = slot
		}
	}
}
