package gates

import (
	"fmt"
	"net/url"
	"regexp"
	"strings"
)

// Placeholders stand for what is only known at the time of a look. They are
// written {colour}, {version} and {service}, without the dollar sign, which is
// HCL's own and is evaluated when the policy loads.
var placeholders = []string{"{colour}", "{version}", "{service}"}

var placeholderLike = regexp.MustCompile(`\{[A-Za-z_]*\}`)

// expander fills placeholders in for one look.
type expander struct{ target Target }

// text expands a header's, body's or expectation's text.
func (e expander) text(s string) (string, error) {
	return e.expand(s, func(v string) string { return v })
}

// url expands a part of a URL; the value is escaped so that it can only ever
// be one part of it.
func (e expander) url(s string) (string, error) {
	return e.expand(s, func(v string) string { return strings.ReplaceAll(url.QueryEscape(v), "+", "%20") })
}

// expand refuses a placeholder nothing is known for: an empty version would be
// contained in every answer.
func (e expander) expand(s string, escape func(string) string) (string, error) {
	for _, p := range placeholders {
		if !strings.Contains(s, p) {
			continue
		}
		var value string
		switch p {
		case "{colour}":
			value = string(e.target.Colour)
		case "{version}":
			value = e.target.Version
		case "{service}":
			value = e.target.Service
		}
		if value == "" {
			return "", fmt.Errorf("the gate refers to %s, but the candidate's %s is not known", p, strings.Trim(p, "{}"))
		}
		s = strings.ReplaceAll(s, p, escape(value))
	}
	return s, nil
}

// unknownPlaceholder finds what looks like a placeholder and is none. Only
// URLs are searched, where braces have no other meaning.
func unknownPlaceholder(s string) string {
	for _, found := range placeholderLike.FindAllString(s, -1) {
		if !strings.Contains(strings.Join(placeholders, " "), found) {
			return found
		}
	}
	return ""
}
