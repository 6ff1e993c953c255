package gates

import (
	"errors"
	"fmt"
	"net/url"
	"regexp"
	"strings"

	"github.com/tealdeploy/teal/agent/measure"
	"github.com/tealdeploy/teal/agent/redact"
)

// placeholder stands for what is only known at the time of a look. They are those of
// measure.Placeholders, without the dollar sign, which is HCL's own and is evaluated
// when the policy loads. In the steps of an http gate {saved.name} stands for what an
// earlier step has saved under that name.
var placeholder = regexp.MustCompile(`\{(?:colour|version|service|saved\.[A-Za-z_][A-Za-z0-9_]*)\}`)

// savedPrefix begins the placeholder of a saved value.
const savedPrefix = "{saved."

// savedName is the name in a placeholder of a saved value; ok is false for all
// others.
func savedName(placeholder string) (name string, ok bool) {
	name, ok = strings.CutPrefix(placeholder, savedPrefix)
	return strings.TrimSuffix(name, "}"), ok
}

// expander fills placeholders in for one look.
type expander struct {
	target Target
	// saved is by name what steps have saved so far. What is not in it is left
	// as it stands.
	saved map[string]string
}

// text expands a header's, body's or expectation's text.
func (e expander) text(s string) (string, error) {
	return e.expand(s, func(v string) string { return v })
}

// url expands a part of a URL; the value is escaped so that it can only ever
// be one part of it.
func (e expander) url(s string) (string, error) {
	return e.expand(s, redact.InURL)
}

// expand goes over a text once: what a value holds is never expanded again,
// since an instance may have written it. It refuses a placeholder nothing is
// known for: an empty version would be contained in every answer.
func (e expander) expand(s string, escape func(string) string) (string, error) {
	var err error
	s = placeholder.ReplaceAllStringFunc(s, func(p string) string {
		var value string
		switch p {
		case "{colour}":
			value = string(e.target.Colour)
		case "{version}":
			value = e.target.Version
		case "{service}":
			value = e.target.Service
		default:
			name, _ := savedName(p)
			value, known := e.saved[name]
			if !known {
				return p
			}
			return escape(value)
		}
		if value == "" && err == nil {
			err = fmt.Errorf("the gate refers to %s, but the candidate's %s is not known", p, strings.Trim(p, "{}"))
		}
		return escape(value)
	})
	if err != nil {
		return "", err
	}
	return s, nil
}

// parsable tries a URL whose placeholders are not known yet.
func parsable(raw string, saved ...string) error {
	known := make([]string, len(saved))
	for i, name := range saved {
		known[i] = savedPrefix + name + "}"
	}
	if found := measure.Stray(raw, known...); found != "" {
		if _, ok := savedName(found); ok {
			return fmt.Errorf("%s stands for nothing that an earlier step has saved", found)
		}
		return errors.New(strings.TrimSuffix(measure.NoPlaceholder(found), "."))
	}
	if _, err := url.Parse(sample(raw)); err != nil {
		if e, ok := err.(*url.Error); ok {
			err = e.Err
		}
		return err
	}
	return nil
}

// sample is a text with something in place of its placeholders.
func sample(raw string) string { return placeholder.ReplaceAllString(raw, "x") }
