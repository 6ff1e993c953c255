package gates

import (
	"fmt"
	"regexp"
	"slices"
	"strings"
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

// spoken are the variables that a test may print and nobody is to read.
func spoken(variables map[string]string) secrets {
	found := map[string]string{}
	for name, value := range variables {
		if secretName.MatchString(name) {
			found[name] = value
		}
	}
	return secretsOf(found, "", "")
}
