package cli

import (
	"fmt"
	"strings"

	"github.com/tealdeploy/teal/agent/deployment"
)

// step is a state as people see it on the way of a release.
type step struct {
	state deployment.State
	label string
}

var wayOfARelease = []step{
	{deployment.Preparing, "prepare"},
	{deployment.Launching, "launch"},
	{deployment.Gating, "gates"},
	{deployment.Approving, "approval"},
	{deployment.CuttingOver, "cutover"},
	{deployment.Watching, "watch"},
	{deployment.Soaking, "soak"},
	{deployment.Retiring, "retire"},
}

const (
	tick  = "✓"
	cross = "✗"
	now   = "●"
	later = "·"
)

// steps draws a deployment's way as one line.
func (t *terminal) steps(d deployment.Deployment) string {
	at := -1
	for i, s := range wayOfARelease {
		if s.state == d.State {
			at = i
		}
	}
	ended := d.State == deployment.Done
	if ended && d.Outcome == deployment.Succeeded {
		at = len(wayOfARelease)
	}
	var out []string
	for i, s := range wayOfARelease {
		if s.state == deployment.Approving && d.Approval == nil && d.State != deployment.Approving {
			continue
		}
		switch {
		case i < at || (at < 0 && d.Cutover != nil && i < 5):
			out = append(out, t.paint(greenC, tick)+" "+s.label)
		case i == at:
			out = append(out, t.paint(bold, now+" "+s.label)+" "+short(t.now().Sub(d.Since)))
		case at >= 0:
			out = append(out, t.paint(faint, later+" "+s.label))
		}
	}
	switch {
	case d.State == deployment.RollingBack:
		out = append(out, t.paint(yellow, now+" rolling back"))
	case ended && d.Outcome == deployment.Succeeded:
	case ended:
		out = append(out, t.paint(red, cross+" "+strings.ReplaceAll(safe(string(d.Outcome)), "-", " ")))
	}
	return strings.Join(out, "  ")
}

// gates lists a deployment's gates, one a line.
func (t *terminal) gates(d deployment.Deployment) []string {
	var rows [][]string
	for _, g := range d.Gates {
		mark := t.paint(yellow, "…")
		switch g.Verdict {
		case "pass":
			mark = t.paint(greenC, tick)
		case "fail":
			mark = t.paint(red, cross)
		}
		reason := safe(g.Reason)
		if f := figures(g.Figures); f != "" {
			reason = strings.TrimSpace(reason + "  " + t.paint(faint, f))
		}
		if g.Attempts > 1 {
			reason = fmt.Sprintf("%s (attempt %d)", reason, g.Attempts)
		}
		rows = append(rows, []string{mark, safe(g.Kind + " " + g.Name), safe(g.Verdict), reason})
	}
	return table(rows)
}

// figures puts a map of figures in a line, in order of name.
func figures(m map[string]string) string {
	var out []string
	for _, k := range sortedKeys(m) {
		out = append(out, safe(k+"="+m[k]))
	}
	return strings.Join(out, " ")
}

// moves tells of cutover and rollback: when, and how long the write took.
func (t *terminal) moves(d deployment.Deployment) []string {
	var out []string
	say := func(what string, v *deployment.Move) {
		if v == nil {
			return
		}
		line := fmt.Sprintf("%s to %s at %s", what, t.tint(v.To.String()), t.moment(v.Decided))
		switch {
		case v.Written.IsZero():
			line += ", being written"
		case v.Verified.IsZero():
			line += fmt.Sprintf(", written in %s, being verified", figure(v.Written.Sub(v.Decided)))
		default:
			line += fmt.Sprintf(", written in %s, verified after %s", figure(v.Written.Sub(v.Decided)), figure(v.Verified.Sub(v.Decided)))
		}
		if !v.Detected.IsZero() {
			line += fmt.Sprintf(", %s after the first bad observation", figure(v.Decided.Sub(v.Detected)))
		}
		if v.By != "" {
			line += ", by " + safe(v.By)
		}
		if v.Reason != "" {
			line += ": " + safe(v.Reason)
		}
		out = append(out, line)
	}
	say("Cutover", d.Cutover)
	say("Rollback", d.Rollback)
	return out
}
