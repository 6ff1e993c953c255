package gates_test

import (
	"context"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/tealdeploy/teal/gates"
)

// at looks at a window at a moment.
func at(t *testing.T, moment, body string) gates.Finding {
	t.Helper()
	n, diags := decode(t, "gate \"window\" \"w\" {\n"+body+"\n}")
	if diags.HasErrors() {
		t.Fatal(diags)
	}
	when, err := time.Parse(time.RFC3339, moment)
	if err != nil {
		t.Fatal(err)
	}
	var f gates.Finding
	synctest.Test(t, func(t *testing.T) {
		time.Sleep(time.Until(when)) // the bubble's clock begins in 2000
		f, err = n.Gate.Check(t.Context(), gates.Target{})
	})
	if err != nil {
		t.Fatal(err)
	}
	return f
}

func TestWindowByTheHour(t *testing.T) {
	const hours = `allow = ["* 9-16 * * MON-THU", "* 9-11 * * FRI"]` + "\n" + `timezone = "Europe/Berlin"`
	const frozen = hours + "\n" + `freeze = { "the year's end" = "2026-12-20/2027-01-06", "the fair" = "2026-12-09T10:30/2026-12-09T12:00" }`
	for _, c := range []struct{ moment, body, closed, opens string }{
		{"2026-11-25T08:00:00Z", hours, "", ""}, // nine o'clock in Berlin
		{"2026-11-25T07:59:59Z", hours, "at this hour", "Wed 2026-11-25 09:00 CET"},
		{"2026-11-25T15:59:59Z", hours, "", ""},
		{"2026-11-25T16:00:00Z", hours, "at this hour", "Thu 2026-11-26 09:00 CET"},
		{"2026-11-27T10:30:30Z", hours, "", ""},
		{"2026-11-27T11:00:00Z", hours, "at this hour", "Mon 2026-11-30 09:00 CET"},  // Friday noon
		{"2026-07-15T07:00:00Z", hours, "", ""},                                      // summer time
		{"2026-03-29T03:00:00Z", hours, "at this hour", "Mon 2026-03-30 09:00 CEST"}, // the clocks change
		{"2026-12-21T10:00:00Z", frozen, "during the year's end", "Thu 2027-01-07 09:00 CET"},
		{"2026-12-19T23:30:00Z", frozen, "during the year's end", "Thu 2027-01-07 09:00 CET"}, // midnight in Berlin
		{"2027-01-07T08:00:00Z", frozen, "", ""},
		{"2026-12-09T09:29:59Z", frozen, "", ""},
		{"2026-12-09T09:30:00Z", frozen, "during the fair", "Wed 2026-12-09 12:00 CET"},
		{"2026-12-09T11:00:00Z", frozen, "", ""},
		{"2026-12-25T10:00:00Z", `freeze = { "holidays" = "2026-12-24/2026-12-26" }`, "during holidays", "Sun 2026-12-27 00:00 UTC"},
		{"2026-12-27T00:00:00Z", `freeze = { "holidays" = "2026-12-24/2026-12-26" }`, "", ""},
	} {
		f := at(t, c.moment, c.body)
		switch {
		case c.closed == "" && f.Verdict != gates.Pass:
			t.Errorf("%s: %s, %s; want it open", c.moment, f.Verdict, f.Reason)
		case c.closed != "" && (f.Verdict != gates.Hold || !strings.Contains(f.Reason, c.closed) || !strings.HasSuffix(f.Reason, "it opens "+c.opens)):
			t.Errorf("%s: %s, %s\nwant it closed %s until %s", c.moment, f.Verdict, f.Reason, c.closed, c.opens)
		}
	}
}

// A release waits for its window, and goes on when that comes.
func TestWindowIsWaitedFor(t *testing.T) {
	n, diags := decode(t, "gate \"window\" \"w\" {\n  allow = [\"* 9 * * *\"]\n}")
	if diags.HasErrors() {
		t.Fatal(diags)
	}
	synctest.Test(t, func(t *testing.T) {
		began := time.Now() // midnight
		out, err := gates.Run(t.Context(), []gates.Named{n}, func(context.Context) (gates.Target, error) { return candidate, nil }, nil)
		if took := time.Since(began); err != nil || out.Verdict != gates.Pass || took < 9*time.Hour || took > 9*time.Hour+time.Minute {
			t.Errorf("%+v, %v after %s", out, err, took)
		}
	})
}

func TestMistakesInAWindow(t *testing.T) {
	for body, want := range map[string]string{
		``:                                    "Window without end",
		`allow = ["9-17"]`:                    "has not the five fields",
		`allow = ["@daily"]`:                  "has not the five fields",
		`allow = ["TZ=Asia/Tokyo * * * * *"]`: "has not the five fields",
		`allow = ["* 25 * * *"]`:              "has not the five fields",
		`allow = ["* * 30 2 *"]`:              "names no minute of any year",
		"allow = [\"* * * * *\"]\ntimezone = \"Berlin\"": `"Berlin" is no time zone`,
		"allow = [\"* * * * *\"]\ntimezone = \"Local\"":  `"Local" is no time zone`,
		`freeze = { "x" = "2026-12-24" }`:                "neither two days",
		`freeze = { "x" = "2026-12-24/2026-12-23" }`:     "ends before it begins",
		`freeze = { "x" = "2026-02-30/2026-03-01" }`:     "neither two days",
	} {
		_, diags := decode(t, "gate \"window\" \"n\" {\n"+body+"\n}")
		if !said(diags, want) {
			t.Errorf("%s\nsaid %s\nwant %s", body, diags.Error(), want)
		}
	}
}
