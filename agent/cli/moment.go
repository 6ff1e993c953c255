package cli

import (
	"fmt"
	"time"
)

// moment is a time as an operator reads it: local, and how long ago.
func (t *terminal) moment(at time.Time) string {
	if at.IsZero() {
		return "-"
	}
	return fmt.Sprintf("%s (%s)", t.clock(at), t.ago(at))
}

// clock is local time, with the date when it is not today.
func (t *terminal) clock(at time.Time) string {
	at, now := at.In(t.zone), t.now().In(t.zone)
	if at.Format(time.DateOnly) == now.Format(time.DateOnly) {
		return at.Format(time.TimeOnly)
	}
	return at.Format(time.DateTime)
}

// stamp is a line's time in a log: local, with its zone, sortable.
func (t *terminal) stamp(at time.Time) string {
	return at.In(t.zone).Format("2006-01-02T15:04:05Z07:00")
}

func (t *terminal) ago(at time.Time) string {
	d := t.now().Sub(at)
	switch {
	case d < -time.Second:
		return "in " + short(-d)
	case d < time.Second:
		return "just now"
	}
	return short(d) + " ago"
}

// short is a duration in its two greatest units at most: 42s, 2m5s, 3h, 2d4h. Clocks
// that differ, and hands, make some that are less than nothing.
func short(d time.Duration) string {
	d = max(d, 0)
	switch {
	case d < time.Second:
		return fmt.Sprintf("%dms", d.Milliseconds())
	case d < time.Minute:
		return fmt.Sprintf("%ds", int(d.Seconds()))
	}
	unit := func(n int, u string, m int, v string) string {
		if m == 0 {
			return fmt.Sprintf("%d%s", n, u)
		}
		return fmt.Sprintf("%d%s%d%s", n, u, m, v)
	}
	s := int(d.Seconds())
	switch {
	case d < time.Hour:
		return unit(s/60, "m", s%60, "s")
	case d < 24*time.Hour:
		return unit(s/3600, "h", s%3600/60, "m")
	}
	return unit(s/86400, "d", s%86400/3600, "h")
}

// figure is a move's duration: milliseconds with one decimal below a second.
func figure(d time.Duration) string {
	if d < 0 {
		d = 0
	}
	if d < time.Second {
		return fmt.Sprintf("%.1f ms", float64(d.Microseconds())/1000)
	}
	return fmt.Sprintf("%.1f s", d.Seconds())
}
