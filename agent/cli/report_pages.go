package cli

import (
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/tealdeploy/teal/agent/deployment"
)

// page is a part of a report, in no form yet.
type page struct {
	title string
	facts [][2]string // names and values; those without a value are left out
	rows  [][]string  // the first is the head
	text  string
}

// utc is a time as a report writes it: the same for every reader, to the
// millisecond, because cutovers are told in milliseconds.
func utc(at time.Time) string {
	if at.IsZero() {
		return "-"
	}
	return at.UTC().Format("2006-01-02T15:04:05.000Z")
}

// pages puts a report in order. Text that others wrote is still as they wrote
// it: each form makes it harmless in its own way.
func (r report) pages() []page {
	how := r.Outcome
	if how == "" {
		how = "in flight, " + r.State
	}
	about := page{title: fmt.Sprintf("%s %s: %s", r.Service, r.Version, how), facts: [][2]string{
		{"Deployment", r.Deployment},
		{"Released", fmt.Sprintf("%s to %s", r.Version, r.To)},
		{"Before it", r.before()},
		{"By", dash(r.By)},
		{"Started", utc(r.Started)},
		{"Ended", r.ended()},
		{"Why", r.Reason},
		{"Waits", flagged(r.Waits)},
		{"Forced", flagged(r.Forced)},
		{"Way back", r.Weakened},
		{"Jobspec", r.Hash},
		{"Policy", r.Policy},
		{"Requests lost", r.Lost.words()},
	}}
	return append([]page{about}, r.evidence()...)
}

func (r report) evidence() []page {
	var out []page
	if rows := r.gates(); len(rows) > 1 {
		out = append(out, page{title: "Gates", rows: rows})
	} else {
		out = append(out, page{title: "Gates", text: "None has looked at it."})
	}
	if a := r.Approval; a != nil {
		out = append(out, page{title: "Approval", facts: [][2]string{{"By", a.By}, {"At", utc(a.At)}, {"Of", a.Proof}}})
		out = append(out, consentPages("Approvers", a.Consents)...)
	} else if r.Ask != nil {
		out = append(out, page{title: "Approval", text: r.Ask.Words() + "."})
		out = append(out, consentPages("Approvers", r.Ask.Consents)...)
	}
	if r.Cutover != nil {
		out = append(out, page{title: "Cutover", facts: r.Cutover.facts()})
	} else {
		out = append(out, page{title: "Cutover", text: "It has had no traffic."})
	}
	if r.Rollback != nil {
		out = append(out, page{title: "Rollback", facts: r.Rollback.facts()})
	}
	if len(r.Verdicts) > 0 {
		rows := [][]string{{"At", "While", "Verdict", "By", "Reason", "Figures"}}
		for _, v := range r.Verdicts {
			rows = append(rows, []string{utc(v.At), string(v.State), v.Verdict, dash(v.By), dash(v.Reason), dash(listed(v.Figures))})
		}
		out = append(out, page{title: "Verdicts", rows: rows})
	}
	if len(r.Notes) > 0 {
		rows := [][]string{{"At", "By", "What", "Figures"}}
		for _, e := range r.Notes {
			rows = append(rows, []string{utc(e.At), dash(e.By), e.What, dash(listed(e.Figures))})
		}
		out = append(out, page{title: "Notes", rows: rows})
	}
	return out
}

func (r report) before() string {
	if r.From == string(deployment.None) {
		return "nothing: the service's first release"
	}
	if r.FromVersion == "" {
		return "an unknown version on " + r.From
	}
	return r.FromVersion + " on " + r.From
}

func (r report) ended() string {
	took := short(r.took)
	if r.Ended == nil {
		return fmt.Sprintf("not yet, after %s", took)
	}
	return fmt.Sprintf("%s, after %s", utc(*r.Ended), took)
}

func (r report) gates() [][]string {
	rows := [][]string{{"Gate", "Verdict", "At", "Looks", "Reason", "Figures"}}
	for _, g := range r.Gates {
		verdict := g.Verdict
		if verdict == "hold" {
			verdict = "not known"
		}
		rows = append(rows, []string{g.Kind + " " + g.Name, verdict, utc(g.At), fmt.Sprint(g.Attempts), dash(g.Reason), dash(listed(g.Figures))})
	}
	return rows
}

func (m reportedMove) facts() [][2]string {
	after := func(ms *float64, at time.Time, what string) string {
		if ms == nil {
			return "not yet"
		}
		return fmt.Sprintf("%s, %.1f ms %s", utc(at), *ms, what)
	}
	out := [][2]string{
		{"To", m.To.String()}, {"By", dash(m.By)}, {"Why", m.Reason},
	}
	if m.DetectMS != nil {
		out = append(out, [2]string{"First seen", fmt.Sprintf("%s, %.1f ms before the decision", utc(m.Detected), *m.DetectMS)})
	}
	return append(out, [][2]string{
		{"Decided", utc(m.Decided)},
		{"Written", after(m.WriteMS, m.Written, "after the decision")},
		{"Verified", after(m.VerifyMS, m.Verified, "after the decision")},
	}...)
}

func flagged(f *deployment.Flag) string {
	if f == nil {
		return ""
	}
	out := fmt.Sprintf("by %s at %s", f.By, utc(f.At))
	if f.Reason != "" {
		out += ": " + f.Reason
	}
	return out
}

// listed puts a map of figures in a line, in order of name.
func listed(m map[string]string) string {
	var out []string
	for _, k := range sortedKeys(m) {
		out = append(out, k+"="+m[k])
	}
	return strings.Join(out, " ")
}

// consentPages list what the approvers' keys held.
func consentPages(title string, consents []deployment.Consent) []page {
	if len(consents) == 0 {
		return nil
	}
	rows := [][]string{{"Approver", "Seen", "Of", "Index", "Why", "Counts"}}
	for _, c := range consents {
		counts := "yes"
		if c.Void != "" {
			counts = "no: " + c.Void
		}
		rows = append(rows, []string{c.By, utc(c.At), c.Proof, strconv.FormatUint(c.Index, 10), c.Why, counts})
	}
	return []page{{title: title, rows: rows}}
}
