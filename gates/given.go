package gates

import (
	"fmt"
	"regexp"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/tealdeploy/teal/agent/redact"
)

// given is what a person's own test is told of the candidate, by names in lower
// case. Missing says why it cannot be tested yet.
func (t Target) given() (given map[string]string, missing string) {
	var addresses []string
	for _, i := range t.Instances {
		if i.Serving() && i.Address != "" && i.Port != 0 {
			addresses = append(addresses, i.HostPort())
		}
	}
	if need := max(1, t.Expected); len(addresses) < need {
		return nil, fmt.Sprintf("%d of %d instances of %s %s are ready to be tested", len(addresses), need, t.Service, t.Colour)
	}
	slices.Sort(addresses)
	return map[string]string{
		"teal_service":   t.Service,
		"teal_colour":    string(t.Colour),
		"teal_version":   t.Version,
		"teal_address":   addresses[0],
		"teal_addresses": strings.Join(addresses, ","),
	}, ""
}

// secretName is what a variable's name says of a value that must not be shown.
var secretName = regexp.MustCompile(`(?i)token|secret|passw|key|credential|auth`)

// minLine is how long a line within a secret of several, such as a key, has to be to
// be one of its own.
const minLine = 8

// spoken are the variables that a test may print and nobody is to read, by lines too.
func spoken(variables map[string]string) secrets {
	found := map[string]string{}
	var lines []string
	for name, value := range variables {
		if !secretName.MatchString(name) {
			continue
		}
		found[name] = value
		for part := range strings.SplitSeq(value, "\n") {
			if utf8.RuneCountInString(strings.TrimSpace(part)) >= minLine {
				lines = append(lines, part)
			}
		}
	}
	return secretsOf(found, "", "").And(redact.Spelled(lines...))
}
