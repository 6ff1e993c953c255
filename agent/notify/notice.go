// Package notify tells people and machines what became of releases: in chats and
// by mail, to a webhook, and as incidents. What is to be told is written down
// with what it tells of, in one transaction, and taken off once it was told; so a
// new leader neither loses it nor, but for a moment's worth, repeats it. Telling
// is done beside all else: whoever does not answer delays and fails nothing.
package notify

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/tealdeploy/teal/agent/deployment"
	"github.com/tealdeploy/teal/agent/redact"
)

// Severity is how much something matters.
type Severity string

// The severities, least first.
const (
	Info     Severity = "info"
	Warning  Severity = "warning"
	Critical Severity = "critical"
)

var severities = []string{string(Info), string(Warning), string(Critical)}

func (s Severity) rank() int { return slices.Index(severities, string(s)) }

// Event is what happened, in the words that a notify block lists.
type Event string

// The events.
const (
	Started      Event = "started"
	Waiting      Event = "awaiting-approval"
	Cutover      Event = "cutover"
	RollingBack  Event = "rolling-back"
	RolledBack   Event = "rolled-back"
	Succeeded    Event = "succeeded"
	Failed       Event = "failed"
	Aborted      Event = "aborted"
	Superseded   Event = "superseded"
	Queued       Event = "queued"
	Held         Event = "held"
	HoldLifted   Event = "hold-lifted"
	Paused       Event = "paused"
	Resumed      Event = "resumed"
	Weakened     Event = "weakened"
	WayBackWhole Event = "way-back-whole"
	Problem      Event = "problem"
	ProblemGone  Event = "problem-gone"
)

// words are what people read of an event, after the service's name.
var words = map[Event]string{
	Started:      "release of %s begins",
	Waiting:      "%s waits for approval",
	Cutover:      "%s has all traffic",
	RollingBack:  "%s is being rolled back",
	RolledBack:   "%s was rolled back",
	Succeeded:    "%s is live",
	Failed:       "release of %s failed",
	Aborted:      "release of %s was aborted",
	Superseded:   "release of %s was superseded",
	Queued:       "a newer version waits behind %s",
	Held:         "held: somebody should look",
	HoldLifted:   "no longer held",
	Paused:       "paused",
	Resumed:      "no longer paused",
	Weakened:     "the way back from %s is weakened",
	WayBackWhole: "the way back from %s is whole again",
	Problem:      "the policy's present text cannot be released",
	ProblemGone:  "the policy's text can be released again",
}

// Events lists the events' names.
func Events() []string {
	var out []string
	for e := range words {
		out = append(out, string(e))
	}
	slices.Sort(out)
	return out
}

// Incident is what an event begins or ends for those who keep incidents.
type Incident string

// The incidents.
const (
	NoIncident Incident = ""
	Rollback   Incident = "rollback" // by a trigger, until a release succeeds
	Hold       Incident = "hold"     // until it is lifted
	Weak       Incident = "way-back" // while the previous colour is weakened
)

// incidents are the events that begin one, and those that end it.
var incidents = map[Event]struct {
	what Incident
	ends bool
}{
	RollingBack: {Rollback, false}, RolledBack: {Rollback, false}, Succeeded: {Rollback, true},
	Held: {Hold, false}, HoldLifted: {Hold, true},
	Weakened: {Weak, false}, WayBackWhole: {Weak, true},
}

// Notice is one thing to tell. It is kept in Consul until it was told, so it
// holds nothing that the record does not.
type Notice struct {
	// ID is the same however often it is told.
	ID          string            `json:"id"`
	At          time.Time         `json:"at"`
	Event       Event             `json:"event"`
	Severity    Severity          `json:"severity"`
	Service     string            `json:"service"`
	Deployment  string            `json:"deployment,omitempty"`
	Version     string            `json:"version,omitempty"`
	FromVersion string            `json:"from_version,omitempty"`
	To          string            `json:"to,omitempty"`
	Active      string            `json:"active,omitempty"`
	By          string            `json:"by,omitempty"`
	Reason      string            `json:"reason,omitempty"`
	Figures     map[string]string `json:"figures,omitempty"`
	Incident    Incident          `json:"incident,omitempty"`
	Ends        bool              `json:"ends,omitempty"` // the incident
}

const (
	maxReason  = 1000
	maxFigures = 24
	maxFigure  = 100
)

// Title is the notice in a line, whoever wrote it: mail has it for a header.
func (n Notice) Title() string {
	what, known := words[n.Event]
	if !known {
		what = strings.ReplaceAll(string(n.Event), "%", "") // of a newer agent
	}
	if strings.Contains(what, "%s") {
		version := n.Version
		if version == "" {
			version = "a version"
		}
		what = fmt.Sprintf(what, version)
	}
	return redact.Line(n.Service + ": " + what)
}

// Text is the notice for people.
func (n Notice) Text() string {
	out := n.Title()
	if n.Reason != "" {
		out += "\n" + redact.Line(n.Reason)
	}
	var about []string
	for _, fact := range [][2]string{{"by", n.By}, {"before it", n.FromVersion}, {"serving", n.Active}, {"deployment", n.Deployment}} {
		if fact[1] != "" {
			about = append(about, fact[0]+" "+fact[1])
		}
	}
	if len(about) > 0 {
		out += "\n" + redact.Line(strings.Join(about, ", "))
	}
	return out
}

// Of is what there is to tell of an event that took a service from before to
// after. Most events are none of anybody's business but the record's.
func Of(before, after deployment.Service, ev deployment.Event) []Notice {
	var out []Notice
	say := func(e Event, severity Severity, reason string) {
		out = append(out, notice(after, ev, e, severity, reason))
	}
	if d := after.Deployment; d != nil {
		of(before, *d, ev, say)
	}
	flags(before, after, say)
	if q := after.Queued; q != nil && (before.Queued == nil || before.Queued.Source != q.Source) {
		say(Queued, Info, q.Version)
	}
	return out
}

// of tells what became of a release.
func of(before deployment.Service, d deployment.Deployment, ev deployment.Event, say func(Event, Severity, string)) {
	was := deployment.Deployment{}
	if b := before.Deployment; b != nil && b.ID == d.ID {
		was = *b
	} else {
		say(Started, Info, ev.Reason)
	}
	// Taken back by a trigger is alarming, by a person it is news.
	taken := Warning
	if d.Rollback != nil && !d.Rollback.Detected.IsZero() {
		taken = Critical
	}
	if d.Weakened != "" && was.Weakened != d.Weakened {
		say(Weakened, Warning, d.Weakened)
	}
	if d.Weakened == "" && was.Weakened != "" {
		say(WayBackWhole, Info, "")
	}
	if d.State != was.State && d.State == deployment.Approving {
		say(Waiting, Warning, ev.Reason)
	}
	if ev.Kind == deployment.Routed {
		say(Cutover, Info, ev.Reason)
	}
	if d.State != was.State && d.State == deployment.RollingBack {
		say(RollingBack, taken, ev.Reason)
	}
	if d.State != was.State && d.State == deployment.Done {
		ends := map[deployment.Outcome]struct {
			event    Event
			severity Severity
		}{
			deployment.Succeeded: {Succeeded, Info}, deployment.RolledBack: {RolledBack, taken}, deployment.Failed: {Failed, Warning},
			deployment.Aborted: {Aborted, Info}, deployment.Superseded: {Superseded, Info},
		}
		if end, ok := ends[d.Outcome]; ok {
			say(end.event, end.severity, d.Reason)
		}
	}
}

// flags tells what changed around a release.
func flags(before, after deployment.Service, say func(Event, Severity, string)) {
	if f := after.Held; f != nil && (before.Held == nil || before.Held.Reason != f.Reason) {
		severity := Warning
		if d := after.Deployment; after.InFlight() && !d.State.BeforeCutover() {
			severity = Critical // it has, or may have, traffic
		}
		say(Held, severity, f.Reason)
	} else if f == nil && before.Held != nil {
		say(HoldLifted, Info, "")
	}
	if f := after.Paused; f != nil && before.Paused == nil {
		say(Paused, Info, f.Reason)
	} else if f == nil && before.Paused != nil {
		say(Resumed, Info, "")
	}
	if f := after.Problem; f != nil && (before.Problem == nil || before.Problem.Reason != f.Reason) {
		say(Problem, Warning, f.Reason)
	} else if f == nil && before.Problem != nil {
		say(ProblemGone, Info, "")
	}
}

func notice(after deployment.Service, ev deployment.Event, e Event, severity Severity, reason string) Notice {
	n := Notice{
		At: ev.At.UTC(), Event: e, Severity: severity, Service: after.Name, Active: after.Active.String(),
		By: ev.By, Reason: cut(reason, maxReason),
	}
	about := "service"
	if d := after.Deployment; d != nil && (after.InFlight() || d.Ended.Equal(ev.At)) {
		about = d.ID
		n.Deployment, n.Version, n.FromVersion, n.To = d.ID, d.Candidate.Version, d.FromVersion, d.To.String()
	}
	n.ID = fmt.Sprintf("%s.%s.%s", about, e, ev.At.UTC().Format("20060102-150405.000000"))
	if i, ok := incidents[e]; ok && (i.what != Rollback || i.ends || severity == Critical) {
		n.Incident, n.Ends = i.what, i.ends
	}
	names := slices.Sorted(maps.Keys(ev.Figures))
	for _, name := range names[:min(len(names), maxFigures)] {
		if n.Figures == nil {
			n.Figures = map[string]string{}
		}
		n.Figures[cut(name, maxFigure)] = cut(ev.Figures[name], maxFigure)
	}
	return n
}

func cut(s string, most int) string {
	if len(s) <= most {
		return s
	}
	return strings.ToValidUTF8(s[:most], "") + "…"
}
