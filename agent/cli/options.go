package cli

import (
	"bytes"
	"errors"
	"flag"
	"fmt"
	"io"
	"strings"

	"github.com/mitchellh/go-wordwrap"
)

// options are a command's flags in the groups its help shows.
type options struct {
	groups []group
	all    *flag.FlagSet
	// leading stops at the first argument, for commands that run another.
	leading bool
}

type group struct {
	title string
	set   *flag.FlagSet
}

func newOptions() *options {
	all := flag.NewFlagSet("", flag.ContinueOnError)
	all.SetOutput(io.Discard)
	return &options{all: all}
}

// add appends a group of flags. A flag that an earlier group has stays as it
// is there.
func (o *options) add(title string, define func(*flag.FlagSet)) {
	set := flag.NewFlagSet("", flag.ContinueOnError)
	define(set)
	o.groups = append(o.groups, group{title, set})
	set.VisitAll(func(f *flag.Flag) {
		if o.all.Lookup(f.Name) == nil {
			o.all.Var(f.Value, f.Name, f.Usage)
		}
	})
}

// parse reads flags wherever they stand, before, between and after the
// arguments, up to "--". The arguments are returned.
func (o *options) parse(args []string) ([]string, error) {
	var rest []string
	for {
		if err := o.all.Parse(args); err != nil {
			return nil, readable(err)
		}
		left := o.all.Args()
		taken := len(args) - len(left)
		if len(left) == 0 {
			return rest, nil
		}
		if o.leading || (taken > 0 && args[taken-1] == "--") {
			return append(rest, left...), nil
		}
		rest, args = append(rest, left[0]), left[1:]
	}
}

// readable puts the flag package's words into an operator's.
func readable(err error) error {
	text := err.Error()
	text = strings.Replace(text, "flag provided but not defined: ", "unknown option ", 1)
	text = strings.Replace(text, "flag needs an argument: ", "missing value for ", 1)
	text = strings.Replace(text, " for flag ", " for ", 1)
	text = strings.Replace(text, ": parse error", "", 1)
	return errors.New(text)
}

// help renders the flags as nomad's help does.
func (o *options) help() string {
	var b bytes.Buffer
	for _, g := range o.groups {
		fmt.Fprintf(&b, "\n%s:\n", g.title)
		g.set.VisitAll(func(f *flag.Flag) {
			name, usage := flag.UnquoteUsage(f)
			if name != "" {
				name = "=<" + name + ">"
			}
			fmt.Fprintf(&b, "\n  -%s%s\n", f.Name, name)
			for _, line := range strings.Split(wordwrap.WrapString(usage, 72), "\n") {
				fmt.Fprintf(&b, "    %s\n", line)
			}
		})
	}
	return b.String()
}

// varFlags collects -var key=value.
type varFlags map[string]string

func (v *varFlags) String() string { return "" }

func (v *varFlags) Set(s string) error {
	name, value, ok := strings.Cut(s, "=")
	if name = strings.TrimSpace(name); !ok || name == "" {
		return fmt.Errorf("expected name=value")
	}
	if *v == nil {
		*v = varFlags{}
	}
	(*v)[name] = value
	return nil
}
