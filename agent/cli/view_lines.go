package cli

import (
	"fmt"

	"github.com/tealdeploy/teal/agent/deployment"
)

// lines shows a release as a log: one line a change, each with its time, no
// escape sequences that move the cursor.
type lines struct {
	term *terminal
	svc  string

	state    deployment.State
	verdicts map[string]string
	flags    string
	cutover  string
	rollback string
	approved bool
	queued   bool
	away     bool
}

func (l *lines) say(format string, args ...any) {
	l.term.print("%s  %s  %s", l.term.stamp(l.term.now()), l.svc, fmt.Sprintf(format, args...))
}

func (l *lines) trouble(err error) {
	if !l.away {
		l.away = true
		l.say("%s Trying again; the release goes on meanwhile.", safe(err.Error()))
	}
}

func (l *lines) tick() {}
func (l *lines) end()  {}

func (l *lines) show(rec deployment.Service, d *deployment.Deployment) {
	if l.away {
		l.away = false
		l.say("Consul answers again")
	}
	if d == nil {
		if rec.Queued != nil && !l.queued {
			l.queued = true
			l.say("%s", queueText(rec))
		}
		return
	}
	if l.verdicts == nil {
		l.verdicts = map[string]string{}
		l.say("deployment %s: %s to %s, %s", safe(d.ID), safe(version(d.Candidate)), l.term.tint(d.To.String()), origin(*d))
	}
	// Gates before the state: they are why the state changed.
	for _, g := range d.Gates {
		name := safe(g.Kind + " " + g.Name)
		if now := g.Verdict + g.Reason; l.verdicts[name] != now {
			l.verdicts[name] = now
			l.say("gate %s: %s%s", name, safe(g.Verdict), because(g.Reason))
		}
	}
	if d.Approval != nil && !l.approved {
		l.approved = true
		l.say("approved by %s", safe(d.Approval.By))
	}
	if d.State == deployment.CuttingOver || d.State == deployment.RollingBack {
		l.enters(d.State)
	}
	for _, move := range []struct {
		what string
		last *string
		now  *deployment.Move
	}{{"cutover", &l.cutover, d.Cutover}, {"rollback", &l.rollback, d.Rollback}} {
		if text := moveText(move.now); text != *move.last {
			*move.last = text
			l.say("%s to %s %s%s", move.what, l.term.tint(move.now.To.String()), text, because(move.now.Reason))
		}
	}
	if d.State != deployment.Done {
		l.enters(d.State)
	}
	if key := flagKey(rec); key != l.flags {
		l.flags = key
		for _, line := range l.term.banner(rec) {
			l.say("%s", line)
		}
		if key == "" && d.Approval == nil {
			l.say("goes on")
		}
	}
	if d.State == deployment.Done && l.state != deployment.Done {
		l.state = deployment.Done
		l.say("ended: %s%s", safe(string(d.Outcome)), because(d.Reason))
	}
}

// enters tells of a new state.
func (l *lines) enters(state deployment.State) {
	if state != l.state {
		l.state = state
		l.say("%s", safe(string(state)))
	}
}

func because(reason string) string {
	if reason == "" {
		return ""
	}
	return ": " + safe(reason)
}

// origin says from where a release goes, in words.
func origin(d deployment.Deployment) string {
	if !d.From.Valid() {
		return "the first release: there is no way back"
	}
	from := "from " + d.From.String()
	if d.FromVersion != "" {
		from += " " + safe(d.FromVersion)
	}
	return from
}

// queueText says what a queued version waits for.
func queueText(rec deployment.Service) string {
	text := safe(version(*rec.Queued)) + " is queued"
	if d := rec.Deployment; d != nil {
		text += fmt.Sprintf(": %s is %s, and its slot is the way back", safe(version(d.Candidate)), safe(string(d.State)))
	}
	return text
}

// moveText is empty while nothing was written yet.
func moveText(v *deployment.Move) string {
	switch {
	case v == nil || v.Written.IsZero():
		return ""
	case v.Verified.IsZero():
		return "written in " + figure(v.Written.Sub(v.Decided))
	}
	return fmt.Sprintf("written in %s, verified after %s", figure(v.Written.Sub(v.Decided)), figure(v.Verified.Sub(v.Decided)))
}

// flagKey changes when what the release waits for changes.
func flagKey(rec deployment.Service) string {
	key := ""
	if rec.Held != nil {
		key += "held " + rec.Held.Reason
	}
	if rec.Paused != nil {
		key += "paused " + rec.Paused.By + rec.Paused.Reason
	}
	if d := rec.Deployment; d != nil && d.State == deployment.Approving {
		key += "approval " + d.Candidate.Proof()
		if d.Ask != nil {
			key += d.Ask.Words()
		}
	}
	if d := rec.Deployment; d != nil {
		key += d.Weakened
	}
	if rec.Problem != nil {
		key += rec.Problem.Reason
	}
	return key
}
