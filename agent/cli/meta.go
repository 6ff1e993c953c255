package cli

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/agext/levenshtein"
)

// meta is what every command has: where it writes, and the flags that are the
// same everywhere.
type meta struct {
	ctx  context.Context
	term *terminal

	consul  consulFlags
	json    bool
	noColor bool

	detach  bool
	timeout time.Duration
	wait    time.Duration
}

// output adds the flags that say how to print.
func (m *meta) output(set *flag.FlagSet) {
	set.BoolVar(&m.json, "json", false, "Print JSON instead of text for people.")
	set.BoolVar(&m.noColor, "no-color", false, "Print without colour. NO_COLOR does the same.")
}

// takenWithin is how long commands wait to be taken, unless told otherwise: a
// new leader is there in seconds.
const takenWithin = 10 * time.Second

// sending adds the flags of commands that an agent has to take.
func (m *meta) sending(set *flag.FlagSet, within time.Duration) {
	set.DurationVar(&m.timeout, "timeout", within, fmt.Sprintf("Give up when no agent has taken and answered the command after this `duration`, and withdraw it. Defaults to %s.", within))
}

// following adds the flags of commands that can wait for the outcome.
func (m *meta) following(set *flag.FlagSet) {
	m.sending(set, takenWithin)
	set.BoolVar(&m.detach, "detach", false, "Return as soon as an agent has accepted the command, without following what it does.")
	set.DurationVar(&m.wait, "wait", 0, "Stop following after this `duration` with exit code 5; the release goes on. 0 follows to the end.")
}

// help puts a command's help together: its text, then its flags.
func (m *meta) help(text string, o *options) string {
	return strings.TrimSpace(text) + "\n" + o.help()
}

// parse reads a command's flags and checks the number of arguments.
func (m *meta) parse(name string, o *options, args []string, least, most int) ([]string, bool) {
	rest, err := o.parse(args)
	if m.noColor {
		m.term.colour = false
	}
	switch {
	case err != nil:
	case len(rest) < least:
		err = errors.New("an argument is missing")
	case most >= 0 && len(rest) > most:
		err = fmt.Errorf("too many arguments: %s", strings.Join(rest[most:], " "))
	}
	if err != nil {
		m.term.fail("%v. 'teal %s -h' shows how.", err, name)
		return nil, false
	}
	return rest, true
}

// document prints v as JSON.
func (m *meta) document(v any) int {
	body, err := asJSON(v, "  ")
	if err != nil {
		m.term.fail("cannot print JSON: %v", err)
		return exitError
	}
	m.term.print("%s", body)
	return exitOK
}

// serviceName refuses what cannot be a service's key.
func serviceName(s string) error {
	switch {
	case s == "":
		return errors.New("the service's name is empty")
	case strings.ContainsAny(s, "/ \t\n"):
		return fmt.Errorf("%q cannot be a service's name: it holds a slash or a blank", s)
	}
	return nil
}

// didYouMean ends a sentence about an unknown name, with the nearest known.
func didYouMean(name string, known []string) string {
	near := similar(name, known)
	if len(near) == 0 {
		return "."
	}
	return "; did you mean " + strings.Join(near, " or ") + "?"
}

// similar returns up to three known names near to name, nearest first.
func similar(name string, known []string) []string {
	var out []string
	for within := 0; within <= 3 && len(out) < 3; within++ {
		for _, k := range known {
			if levenshtein.Distance(strings.ToLower(name), strings.ToLower(k), nil) == within && within < len(name) && len(out) < 3 {
				out = append(out, k)
			}
		}
	}
	for _, k := range known {
		if len(out) < 3 && len(name) > 2 && strings.Contains(k, name) && !slices.Contains(out, k) {
			out = append(out, k)
		}
	}
	return out
}
