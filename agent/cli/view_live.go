package cli

import (
	"fmt"
	"strings"

	"github.com/tealdeploy/teal/agent/deployment"
)

// redraw paints the same few lines again and again in place.
type redraw struct {
	term  *terminal
	drawn int
}

// paint replaces what was drawn before. Lines are cut to the window, because
// a line that wraps could not be drawn over.
func (r *redraw) paint(lines []string) {
	columns, rows := r.term.size()
	if most := max(rows-1, 1); len(lines) > most {
		lines = append(lines[:most-1:most-1], "…")
	}
	var b strings.Builder
	if r.drawn > 0 {
		fmt.Fprintf(&b, "\x1b[%dA", r.drawn)
	}
	for _, l := range lines {
		b.WriteString("\r\x1b[2K" + clip(l, columns) + "\n")
	}
	b.WriteString("\x1b[J")
	r.drawn = len(lines)
	fmt.Fprint(r.term.out, b.String())
}

// liveView shows a release compactly, redrawn in place.
type liveView struct {
	redraw
	rec     deployment.Service
	d       *deployment.Deployment
	started bool
	away    error
}

func (v *liveView) show(rec deployment.Service, d *deployment.Deployment) {
	v.rec, v.d, v.started, v.away = rec, d, true, nil
	v.tick()
}

func (v *liveView) trouble(err error) {
	v.away = err
	v.tick()
}

func (v *liveView) tick() {
	if v.started {
		v.paint(v.lines())
	}
}

func (v *liveView) end() { v.tick() }

func (v *liveView) lines() []string {
	t := v.term
	var out []string
	switch d := v.d; {
	case d == nil && v.rec.Queued == nil:
		return nil
	case d == nil:
		out = append(out, "", t.paint(bold, v.rec.Name)+"  "+queueText(v.rec))
	default:
		out = append(out, "", fmt.Sprintf("%s %s to %s, %s   %s",
			t.paint(bold, v.rec.Name), safe(version(d.Candidate)), t.tint(d.To.String()), origin(*d), t.paint(faint, safe(d.ID))), "",
			"  "+t.steps(*d))
		if gates := t.gates(*d); len(gates) > 0 {
			out = append(out, "")
			for _, g := range gates {
				out = append(out, "  "+g)
			}
		}
		if moves := t.moves(*d); len(moves) > 0 {
			out = append(out, "")
			for _, line := range moves {
				out = append(out, "  "+line)
			}
		}
	}
	if banner := t.banner(v.rec); len(banner) > 0 && (v.d == nil || v.d.State != deployment.Done) {
		out = append(out, "")
		for _, line := range banner {
			out = append(out, "  "+line)
		}
	}
	out = append(out, "", "  "+t.paint(faint, v.foot()))
	return out
}

// foot is the last line: who serves, how long it takes, and trouble.
func (v *liveView) foot() string {
	foot := "nothing serves yet"
	if a := v.rec.Active; a.Valid() {
		foot = strings.TrimSpace(fmt.Sprintf("%s %s", a, safe(v.rec.Slots[a].Version))) + " serves"
	}
	if d := v.d; d != nil {
		until := v.term.now()
		if !d.Ended.IsZero() {
			until = d.Ended
		}
		foot += ", " + short(until.Sub(d.Started)) + " since the start"
	}
	if v.away != nil {
		foot += ". Consul does not answer: what is shown may be old; the release goes on meanwhile"
	}
	return foot
}

// quiet shows nothing, for -json.
type quiet struct{}

func (quiet) show(deployment.Service, *deployment.Deployment) {}
func (quiet) trouble(error)                                   {}
func (quiet) tick()                                           {}
func (quiet) end()                                            {}

// view picks how a release is shown here.
func (m *meta) view(svc string) view {
	switch {
	case m.json:
		return quiet{}
	case m.term.tty:
		return &liveView{redraw: redraw{term: m.term}}
	}
	return &lines{term: m.term, svc: svc}
}
