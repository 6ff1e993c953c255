package cli

import (
	"fmt"
	"strings"
)

// sheet is a report on a terminal.
func (t *terminal) sheet(pages []page) []string {
	var out []string
	for i, p := range pages {
		if i > 0 {
			out = append(out, "")
		}
		out = append(out, t.paint(bold, safe(p.title)))
		var facts [][2]string
		for _, f := range p.facts {
			facts = append(facts, [2]string{f[0], safe(f[1])})
		}
		body := pairs(facts)
		var rows [][]string
		for _, row := range p.rows {
			var cells []string
			for _, cell := range row {
				cells = append(cells, safe(cell))
			}
			rows = append(rows, cells)
		}
		body = append(body, table(rows)...)
		if p.text != "" {
			body = append(body, safe(p.text))
		}
		for _, line := range body {
			out = append(out, "  "+line)
		}
	}
	return out
}

// markdown is a report for an issue or a wiki. Whatever stands in the record
// comes out as text: no markup, no HTML, no link, no row of its own.
func markdown(pages []page) string {
	var b strings.Builder
	for i, p := range pages {
		level := "##"
		if i == 0 {
			level = "#"
		} else {
			b.WriteByte('\n')
		}
		fmt.Fprintf(&b, "%s %s\n\n", level, plainly(p.title))
		if len(p.facts) > 0 {
			b.WriteString("| | |\n|---|---|\n")
		}
		for _, f := range p.facts {
			if f[1] != "" {
				fmt.Fprintf(&b, "| %s | %s |\n", plainly(f[0]), plainly(f[1]))
			}
		}
		for i, row := range p.rows {
			for _, cell := range row {
				b.WriteString("| " + plainly(cell) + " ")
			}
			b.WriteString("|\n")
			if i == 0 {
				b.WriteString(strings.Repeat("|---", len(row)) + "|\n")
			}
		}
		if p.text != "" {
			b.WriteString(plainly(p.text) + "\n")
		}
	}
	return strings.TrimRight(b.String(), "\n")
}

// markup are the characters that mean something in Markdown inside a line.
var markup = strings.NewReplacer(`\`, `\\`, "`", "\\`", "*", `\*`, "_", `\_`, "[", `\[`, "]", `\]`, "|", `\|`,
	"<", "&lt;", ">", "&gt;", "&", "&amp;", "~", `\~`, "#", `\#`, "://", "&#58;//", "@", "&#64;")

func plainly(s string) string { return markup.Replace(safe(s)) }
