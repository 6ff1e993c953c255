package gates

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"
	_ "time/tzdata" // zones are known on every machine

	"github.com/hashicorp/hcl/v2"
	"github.com/robfig/cron/v3"

	"github.com/tealdeploy/teal/agent/hclbody"
	"github.com/tealdeploy/teal/agent/redact"
)

// Window is the gate of kind "window": hours in which versions may go live, and
// times in which none may. It never fails: outside of them it holds until they
// come. A rollback asks no gate, and so no window either.
type Window struct {
	Allow    []string          // cron expressions; a minute that one of them names is allowed
	Freeze   map[string]string // what for → from/until
	Timezone string

	zone    *time.Location
	allowed []cron.Schedule
	frozen  []freeze
}

// freeze is a time in which nothing goes live, its end not included.
type freeze struct {
	name        string
	from, until time.Time
}

// cronFields are the usual five. Neither seconds nor words such as @daily have a
// meaning for a window.
var cronFields = cron.NewParser(cron.Minute | cron.Hour | cron.Dom | cron.Month | cron.Dow)

func decodeWindow(body hcl.Body, eval *hcl.EvalContext) (Gate, hcl.Diagnostics) {
	g := Window{Timezone: "UTC"}
	d := hclbody.New(`gate "window"`, eval)
	d.Strings("allow", &g.Allow, hclbody.NotEmpty)
	d.StringMap("freeze", &g.Freeze)
	d.String("timezone", &g.Timezone, hclbody.NotEmpty)
	d.Elsewhere(shared...)
	d.Decode(body)
	if !d.Has("allow") && !d.Has("freeze") {
		d.Errorf("allow", "Window without end", `Say when versions may go live, allow = ["* 9-16 * * MON-THU"], or when they may not, freeze = { "year's end" = "2026-12-20/2027-01-06" }.`)
	}
	var err error
	if g.zone, err = time.LoadLocation(g.Timezone); err != nil || g.Timezone == "Local" {
		d.Errorf("timezone", "Unknown time zone", "%q is no time zone; one is called \"Europe/Berlin\" or \"UTC\".", g.Timezone)
		return g, d.Diagnostics()
	}
	for _, text := range g.Allow {
		schedule, err := cronFields.Parse(text)
		switch {
		case err != nil || strings.Contains(text, "="):
			d.Errorf("allow", "Wrong cron expression", "%q has not the five fields minute, hour, day, month and weekday, such as \"* 9-16 * * MON-THU\".", text)
		case schedule.Next(time.Unix(0, 0).In(g.zone)).IsZero():
			d.Errorf("allow", "Hours that never come", "%q names no minute of any year.", text)
		default:
			g.allowed = append(g.allowed, schedule)
		}
	}
	for _, name := range slices.Sorted(maps.Keys(g.Freeze)) {
		f, err := parseFreeze(name, g.Freeze[name], g.zone)
		if err != nil {
			d.Errorf("freeze", "Wrong freeze", "%s: %s.", name, err)
			continue
		}
		g.frozen = append(g.frozen, f)
	}
	return g, d.Diagnostics()
}

// parseFreeze reads two days, both included, or two moments.
func parseFreeze(name, text string, zone *time.Location) (freeze, error) {
	from, until, ok := strings.Cut(text, "/")
	for _, form := range []string{time.DateOnly, "2006-01-02T15:04"} {
		a, errA := time.ParseInLocation(form, strings.TrimSpace(from), zone)
		b, errB := time.ParseInLocation(form, strings.TrimSpace(until), zone)
		if !ok || errA != nil || errB != nil {
			continue
		}
		if form == time.DateOnly {
			b = b.AddDate(0, 0, 1)
		}
		if !b.After(a) {
			return freeze{}, fmt.Errorf("%q ends before it begins", text)
		}
		return freeze{name, a, b}, nil
	}
	return freeze{}, fmt.Errorf("%q is neither two days, 2026-12-20/2027-01-06, nor two moments, 2026-12-24T12:00/2026-12-27T08:00", text)
}

// Check implements Gate.
func (g Window) Check(context.Context, Target) (Finding, error) {
	now := time.Now().In(g.zone)
	f := Finding{Verdict: Pass, Reason: "versions may go live now", Figures: map[string]string{"timezone": g.Timezone}}
	if closed := g.closed(now); closed != "" {
		f.Verdict, f.Reason = Hold, closed
		if opens := g.opens(now); !opens.IsZero() {
			f.Reason += "; it opens " + opens.Format("Mon 2006-01-02 15:04 MST")
		}
	}
	return f, nil
}

// closed says why nothing may go live at a time, or nothing.
func (g Window) closed(at time.Time) string {
	for _, f := range g.frozen {
		if !at.Before(f.from) && at.Before(f.until) {
			return "nothing goes live during " + redact.Cut(redact.Line(f.name), 100)
		}
	}
	minute := at.Truncate(time.Minute)
	for _, schedule := range g.allowed {
		if schedule.Next(minute.Add(-time.Nanosecond)).Equal(minute) {
			return ""
		}
	}
	if len(g.allowed) == 0 {
		return ""
	}
	return "nothing goes live at this hour"
}

// opens is when something may go live again; the zero time if that is too far
// away to be told.
func (g Window) opens(at time.Time) time.Time {
	for range 1000 {
		next := g.after(at)
		if next.IsZero() || g.closed(next) == "" {
			return next
		}
		at = next
	}
	return time.Time{}
}

// after is the next moment at which something may have changed for the better.
func (g Window) after(at time.Time) (next time.Time) {
	sooner := func(t time.Time) {
		if t.After(at) && (next.IsZero() || t.Before(next)) {
			next = t
		}
	}
	for _, f := range g.frozen {
		sooner(f.until)
		if !at.Before(f.from) && at.Before(f.until) {
			return f.until // no hour within it counts
		}
	}
	for _, schedule := range g.allowed {
		sooner(schedule.Next(at))
	}
	return next
}
