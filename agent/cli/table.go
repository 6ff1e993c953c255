package cli

import "strings"

// table aligns rows in columns, two spaces apart. Cells may hold colour.
// Trailing empty columns leave no trailing spaces.
func table(rows [][]string) []string {
	var widths []int
	for _, row := range rows {
		for i, cell := range row {
			if i == len(widths) {
				widths = append(widths, 0)
			}
			widths[i] = max(widths[i], visible(cell))
		}
	}
	lines := make([]string, 0, len(rows))
	for _, row := range rows {
		var b strings.Builder
		for i, cell := range row {
			b.WriteString(cell)
			if i < len(row)-1 {
				b.WriteString(strings.Repeat(" ", widths[i]-visible(cell)+2))
			}
		}
		lines = append(lines, strings.TrimRight(b.String(), " "))
	}
	return lines
}

// pairs aligns names and values as nomad's status does: "Name    = value".
func pairs(rows [][2]string) []string {
	width := 0
	for _, r := range rows {
		width = max(width, len(r[0]))
	}
	var lines []string
	for _, r := range rows {
		if r[1] != "" {
			lines = append(lines, r[0]+strings.Repeat(" ", width-len(r[0]))+" = "+r[1])
		}
	}
	return lines
}
