package cli

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"strings"
	"time"
	"unicode"

	"github.com/mattn/go-isatty"
)

// terminal is where a command writes: results to out, complaints to err. It
// knows whether a person looks at it.
type terminal struct {
	out, err io.Writer
	tty      bool // out is a terminal and can be redrawn
	colour   bool // escape sequences for colour are welcome
	size     func() (columns, rows int)
	now      func() time.Time
	zone     *time.Location
}

func newTerminal(out, err io.Writer) *terminal {
	t := &terminal{out: out, err: err, now: time.Now, zone: time.Local}
	t.size = func() (int, int) { return 80, 24 }
	if f, ok := out.(*os.File); ok && isatty.IsTerminal(f.Fd()) && os.Getenv("TERM") != "dumb" {
		t.tty = true
		t.colour = os.Getenv("NO_COLOR") == ""
		t.size = func() (int, int) { return windowSize(f) }
	}
	return t
}

// fail writes one complaint to a person.
func (t *terminal) fail(format string, args ...any) {
	fmt.Fprintf(t.err, "%s %s\n", t.paint(red, "Error:"), lineByLine(fmt.Sprintf(format, args...)))
}

// note writes a remark that is not part of the result.
func (t *terminal) note(format string, args ...any) {
	fmt.Fprintf(t.err, format+"\n", args...)
}

func (t *terminal) print(format string, args ...any) {
	fmt.Fprintf(t.out, format+"\n", args...)
}

// The few styles in use, as SGR parameters.
const (
	bold   = "1"
	faint  = "2"
	red    = "31"
	greenC = "32"
	yellow = "33"
	blueC  = "34"
)

// paint colours text where that is welcome.
func (t *terminal) paint(style, text string) string {
	if !t.colour || text == "" {
		return text
	}
	return "\x1b[" + style + "m" + text + "\x1b[0m"
}

// tint gives the words blue and green their colour, and makes any other safe.
func (t *terminal) tint(word string) string {
	word = safe(word)
	switch strings.TrimSpace(word) {
	case "blue":
		return t.paint(blueC, word)
	case "green":
		return t.paint(greenC, word)
	}
	return word
}

// visible is the width of s on screen: runes, less escape sequences.
func visible(s string) int {
	n, escape := 0, false
	for _, r := range s {
		switch {
		case escape:
			escape = r != 'm'
		case r == '\x1b':
			escape = true
		default:
			n++
		}
	}
	return n
}

// clip cuts s to columns on screen and closes an open colour.
func clip(s string, columns int) string {
	if columns <= 0 || visible(s) <= columns {
		return s
	}
	var b strings.Builder
	n, escape := 0, false
	for _, r := range s {
		switch {
		case escape:
			escape = r != 'm'
		case r == '\x1b':
			escape = true
		default:
			if n == columns-1 {
				b.WriteString("…")
				if strings.Contains(s, "\x1b") {
					b.WriteString("\x1b[0m")
				}
				return b.String()
			}
			n++
		}
		b.WriteRune(r)
	}
	return b.String()
}

// safe makes text from KV or from another program fit for one line of a
// terminal: no control characters, no line breaks, and nothing that puts what
// stands around it in another order.
func safe(s string) string {
	return strings.Map(func(r rune) rune {
		switch {
		case r == '\n' || r == '\t' || r == '\r' || r == '\u2028' || r == '\u2029':
			return ' '
		case unicode.IsControl(r) || unicode.Is(unicode.Bidi_Control, r):
			return -1
		}
		return r
	}, s)
}

// asJSON writes v as JSON that means the same and is fit for a terminal: the json
// package leaves some of the characters that are not as they are. They stand in
// strings only.
func asJSON(v any, indent string) ([]byte, error) {
	body, err := json.Marshal(v)
	if err != nil {
		return nil, err
	}
	if indent != "" {
		var laid bytes.Buffer
		if err := json.Indent(&laid, body, "", indent); err != nil {
			return nil, err
		}
		body = laid.Bytes()
	}
	var out bytes.Buffer
	for _, r := range string(body) {
		if unicode.IsControl(r) && r != '\n' || unicode.Is(unicode.Bidi_Control, r) {
			fmt.Fprintf(&out, `\u%04x`, r)
			continue
		}
		out.WriteRune(r)
	}
	return out.Bytes(), nil
}

// lineByLine makes a text of several lines fit for a terminal.
func lineByLine(s string) string {
	lines := strings.Split(strings.TrimRight(s, "\n"), "\n")
	for i := range lines {
		lines[i] = strings.TrimRight(safe(lines[i]), " ")
	}
	return strings.Join(lines, "\n")
}
