package cli

import (
	"fmt"
	"maps"
	"slices"

	"github.com/tealdeploy/teal/agent/deployment"
)

func sortedKeys[V any](m map[string]V) []string { return slices.Sorted(maps.Keys(m)) }

// banner says what a release waits for and which command helps. It is what
// an operator must not overlook.
func (t *terminal) banner(rec deployment.Service) []string {
	var out []string
	say := func(title, text string, hints ...[]string) {
		out = append(out, t.paint(yellow, title)+" "+text)
		for _, line := range table(hints) {
			out = append(out, "    "+line)
		}
	}
	d := rec.Deployment
	back := []string{}
	switch {
	case d == nil || d.State == deployment.Done || d.State == deployment.RollingBack:
	case d.State.BeforeCutover():
		back = []string{"teal abort " + rec.Name, "give this release up"}
	case d.From.Valid():
		back = []string{"teal rollback " + rec.Name, fmt.Sprintf("send traffic back to %s", d.From)}
	}
	with := func(hints ...[]string) [][]string {
		if len(back) > 0 {
			hints = append(hints, back)
		}
		return hints
	}
	if f := rec.Held; f != nil {
		say("HELD", fmt.Sprintf("since %s: %s", t.moment(f.At), safe(f.Reason)), with([]string{"teal resume " + rec.Name, "go on, accepting what was found"})...)
	}
	if f := rec.Paused; f != nil {
		text := fmt.Sprintf("by %s since %s", safe(f.By), t.moment(f.At))
		if f.Reason != "" {
			text += ": " + safe(f.Reason)
		}
		say("PAUSED", text, with([]string{"teal resume " + rec.Name, "go on"})...)
	}
	if d != nil && d.State == deployment.Approving {
		text, hint := fmt.Sprintf("of %s (%s) since %s", safe(version(d.Candidate)), brief(d.Candidate.Hash), t.moment(d.Since)), "teal approve "+rec.Name
		if d.Ask != nil {
			text, hint = text+": "+safe(d.Ask.Words()), "teal approve -as <name> "+rec.Name
		}
		say("WAITS FOR APPROVAL", text, with([]string{hint, "let it have the traffic"})...)
	}
	if d != nil && d.Weakened != "" {
		say("WAY BACK WEAKENED:", safe(d.Weakened))
	}
	if f := rec.Problem; f != nil {
		say("PROBLEM", fmt.Sprintf("since %s: %s", t.moment(f.At), safe(f.Reason)))
	}
	return out
}

// version names a candidate: by its version, or else by its hash.
func version(c deployment.Candidate) string {
	if c.Version != "" {
		return c.Version
	}
	return brief(c.Hash)
}

// brief is enough of a hash to tell it from others.
func brief(hash string) string {
	hash = safe(hash)
	if r := []rune(hash); len(r) > 12 {
		return string(r[:12])
	}
	return hash
}
