package notify

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/tealdeploy/teal/agent/deployment"
)

var noon = time.Date(2026, 11, 24, 12, 0, 0, 0, time.UTC)

// story plays events on a service and says what there is to tell of each.
func story(t *testing.T, events ...deployment.Event) string {
	t.Helper()
	s := deployment.Service{Name: "api", Active: deployment.Blue, Managed: true,
		Slots: map[deployment.Colour]deployment.Slot{deployment.Blue: {Job: "api-blue", Version: "1.0.0", Proof: "p"}}}
	var told []string
	for i, ev := range events {
		ev.At = noon.Add(time.Duration(i) * time.Second)
		if ev.By == "" {
			ev.By = "teal"
		}
		next, _, err := deployment.Step(s, ev)
		if err != nil {
			t.Fatal(err)
		}
		for _, n := range Of(s, next, ev) {
			line := fmt.Sprintf("%s/%s", n.Event, n.Severity)
			if n.Incident != NoIncident {
				line += map[bool]string{false: "+", true: "-"}[n.Ends] + string(n.Incident)
			}
			told = append(told, line)
			if n.Service != "api" || n.ID == "" || !n.At.Equal(ev.At) || n.Title() == "" || strings.Contains(n.Text(), "%!") {
				t.Errorf("%+v: %s", n, n.Text())
			}
		}
		s = next
	}
	return strings.Join(told, " ")
}

func to(version string) deployment.Event {
	return deployment.Event{Kind: deployment.Begin, ID: "d" + version, By: "alice",
		Candidate: &deployment.Candidate{Version: version, Hash: "h" + version, Source: "s" + version, Job: "api"}}
}

// live are the events of a release up to its cutover.
func live(version string) []deployment.Event {
	return []deployment.Event{to(version), {Kind: deployment.Planned, Slot: &deployment.Slot{Job: "api-green", Version: version}},
		{Kind: deployment.Launched}, {Kind: deployment.GatesPass}, {Kind: deployment.Routed}}
}

func TestWhatIsTold(t *testing.T) {
	kind := func(kinds ...deployment.Kind) (out []deployment.Event) {
		for _, k := range kinds {
			out = append(out, deployment.Event{Kind: k})
		}
		return out
	}
	trigger := deployment.Event{Kind: deployment.Trigger, Reason: "12 % failed", Detected: noon}
	for name, c := range map[string]struct {
		events []deployment.Event
		want   string
	}{
		"a good release": {append(live("2.0.0"), kind(deployment.WatchPass, deployment.SoakEnd, deployment.Retired)...),
			"started/info cutover/info succeeded/info-rollback"},
		"taken back by a trigger": {append(append(live("2.0.0"), trigger), kind(deployment.RoutedBack)...),
			"started/info cutover/info rolling-back/critical+rollback rolled-back/critical+rollback"},
		"taken back by a person": {append(live("2.0.0"), deployment.Event{Kind: deployment.Rollback, By: "bob"}, deployment.Event{Kind: deployment.RoutedBack}),
			"started/info cutover/info rolling-back/warning rolled-back/warning"},
		"failed at a gate": {[]deployment.Event{to("2.0.0"), {Kind: deployment.Planned, Slot: &deployment.Slot{}}, {Kind: deployment.Launched}, {Kind: deployment.GateFail}},
			"started/info failed/warning"},
		"an approval that nobody gives": {[]deployment.Event{to("2.0.0"), {Kind: deployment.Planned, Slot: &deployment.Slot{}}, {Kind: deployment.Launched},
			{Kind: deployment.NeedConsent}, {Kind: deployment.Expire}}, "started/info awaiting-approval/warning aborted/info"},
		"held before it has traffic, and lifted": {[]deployment.Event{to("2.0.0"), {Kind: deployment.Hold, Reason: "gate"}, {Kind: deployment.Hold, Reason: "gate"}, {Kind: deployment.Resume}},
			"started/info held/warning+hold hold-lifted/info-hold"},
		"held with traffic, and again for another reason": {append(live("2.0.0"), deployment.Event{Kind: deployment.Hold, Reason: "a"}, deployment.Event{Kind: deployment.Hold, Reason: "b"}),
			"started/info cutover/info held/critical+hold held/critical+hold"},
		"a hold that the end of the release lifts": {[]deployment.Event{to("2.0.0"), {Kind: deployment.Hold, Reason: "gate"}, {Kind: deployment.Abort}},
			"started/info held/warning+hold aborted/info hold-lifted/info-hold"},
		"weakened and whole again": {append(live("2.0.0"), deployment.Event{Kind: deployment.Weaken, Reason: "1 of 2"}, deployment.Event{Kind: deployment.Weaken, Reason: "1 of 2"}, deployment.Event{Kind: deployment.Weaken}),
			"started/info cutover/info weakened/warning+way-back way-back-whole/info-way-back"},
		"paused and resumed": {kind(deployment.Pause, deployment.Resume), "paused/info resumed/info"},
		"a problem": {[]deployment.Event{{Kind: deployment.Trouble, Reason: "x"}, {Kind: deployment.Trouble, Reason: "x"}, {Kind: deployment.Trouble}},
			"problem/warning problem-gone/info"},
		"queued": {append(live("2.0.0"), deployment.Event{Kind: deployment.Queue, Candidate: &deployment.Candidate{Version: "3.0.0", Source: "s3"}},
			deployment.Event{Kind: deployment.Note}), "started/info cutover/info queued/info"},
		"notes, progress and bookkeeping": {append(live("2.0.0"), kind(deployment.Note, deployment.Progress, deployment.JobsNone, deployment.MoveWritten)...), "started/info cutover/info"},
	} {
		if got := story(t, c.events...); got != c.want {
			t.Errorf("%s:\n got %s\nwant %s", name, got, c.want)
		}
	}
}

// A notice holds no more than there is room for, and nothing of the jobspec's
// variables.
func TestNoticeIsBounded(t *testing.T) {
	after := deployment.Service{Name: "api", Active: deployment.Blue, Deployment: &deployment.Deployment{ID: "d1", State: deployment.Preparing,
		Candidate: deployment.Candidate{Version: "2.0.0", Vars: map[string]string{"password": "hunter2"}}}}
	figures := map[string]string{}
	for n := range 1000 {
		figures[fmt.Sprint(n)] = strings.Repeat("9", 1000)
	}
	ns := Of(deployment.Service{}, after, deployment.Event{Kind: deployment.Begin, At: noon, Reason: strings.Repeat("why ", 10_000), Figures: figures})
	if len(ns) != 1 {
		t.Fatalf("%d notices", len(ns))
	}
	raw, err := json.Marshal(ns[0])
	if err != nil || len(raw) > 8<<10 || strings.Contains(string(raw), "hunter2") {
		t.Errorf("%d bytes, %v", len(raw), err)
	}
}

func TestWhoWantsWhat(t *testing.T) {
	chat := func(r Receiver) Receiver { return r }
	pager := func(r Receiver) Receiver { r.incidents = true; return r }
	held := Notice{Service: "billing-api", Event: Held, Severity: Warning, Incident: Hold}
	lifted := Notice{Service: "billing-api", Event: HoldLifted, Severity: Info, Incident: Hold, Ends: true}
	for _, c := range []struct {
		r    Receiver
		n    Notice
		want bool
	}{
		{chat(Receiver{Severity: Info}), held, true},
		{chat(Receiver{Severity: Critical}), held, false},
		{chat(Receiver{Severity: Info, Events: []string{"cutover"}}), held, false},
		{chat(Receiver{Severity: Info, Events: []string{"cutover", "held"}}), held, true},
		{chat(Receiver{Severity: Info, Services: []string{"api", "billing-*"}}), held, true},
		{chat(Receiver{Severity: Info, Services: []string{"api", "shop-*"}}), held, false},
		{chat(Receiver{Severity: Warning}), lifted, false},
		{pager(Receiver{Severity: Warning}), held, true},
		{pager(Receiver{Severity: Critical}), held, false},
		{pager(Receiver{Severity: Info}), Notice{Event: Cutover, Severity: Info}, false},
		{pager(Receiver{Severity: Critical}), lifted, true}, // else it would stay open for ever
		{pager(Receiver{Severity: Warning, Events: []string{"held"}}), lifted, true},
		{pager(Receiver{Severity: Warning, Events: []string{"rolled-back"}}), lifted, false},
		{pager(Receiver{Severity: Warning, Services: []string{"api"}}), lifted, false},
	} {
		if got := c.r.Wants(c.n); got != c.want {
			t.Errorf("%+v of %s: %v", c.r, c.n.Event, got)
		}
	}
}
