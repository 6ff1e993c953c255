package agent

import (
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"slices"
	"strings"

	"github.com/hashicorp/hcl/v2"

	"github.com/tealdeploy/teal/agent/kv"
	"github.com/tealdeploy/teal/agent/settings"
)

// Options are what the command line says about the agent; each that is set
// goes before the config file.
type Options struct {
	Config   string // path of the config file; empty: all defaults
	Name     string
	Policies string
	Prefix   string
	HTTPAddr string
	LogLevel string
	LogJSON  bool
	Version  string

	// Consul's client settings given as flags; empty ones are left to the
	// config file and the environment.
	ConsulAddr, ConsulToken, ConsulTokenFile string
	// NomadAddr likewise.
	NomadAddr string

	// Reload receives when config and policies are to be read again (SIGHUP).
	Reload <-chan os.Signal
	// Stderr is where the log goes.
	Stderr io.Writer
}

// load reads the config file and puts the options over it. The error is all
// mistakes, one a line.
func (o Options) load() (*settings.Settings, error) {
	if err := o.check(); err != nil {
		return nil, err
	}
	s, _, diags := settings.Load(o.Config)
	if diags.HasErrors() {
		return nil, mistakes(lines(diags))
	}
	for _, set := range []struct {
		into *string
		to   string
	}{
		{&s.Name, o.Name}, {&s.Policies, o.Policies}, {&s.HTTP.Address, o.HTTPAddr}, {&s.Log.Level, o.LogLevel},
		{&s.Consul.Address, o.ConsulAddr}, {&s.Nomad.Address, o.NomadAddr},
	} {
		if set.to != "" {
			*set.into = set.to
		}
	}
	if o.Prefix != "" {
		s.Prefix = kv.NewKeys(o.Prefix).Prefix()
	}
	if o.ConsulToken != "" || o.ConsulTokenFile != "" {
		s.Consul.Token, s.Consul.TokenFile = o.ConsulToken, o.ConsulTokenFile
		s.Consul.AuthMethod, s.Consul.JWTFile = "", ""
	}
	s.Log.JSON = s.Log.JSON || o.LogJSON
	return s, nil
}

// check refuses flags that the config file would refuse, too.
func (o Options) check() error {
	var wrong mistakes
	if o.LogLevel != "" && !slices.Contains(settings.Levels, o.LogLevel) {
		wrong = append(wrong, fmt.Sprintf("-log-level %q: expected one of %s", o.LogLevel, strings.Join(settings.Levels, ", ")))
	}
	if o.HTTPAddr != "" {
		if _, port, err := net.SplitHostPort(o.HTTPAddr); err != nil || port == "" {
			wrong = append(wrong, fmt.Sprintf("-bind %q: not an address to listen on; it looks like 127.0.0.1:4680", o.HTTPAddr))
		}
	}
	if strings.ContainsAny(o.Name, "/ \t\n") {
		wrong = append(wrong, fmt.Sprintf("-name %q: a slash or a blank cannot be in the name of an agent", o.Name))
	}
	if strings.HasPrefix(o.Prefix, "/") || strings.Contains(o.Prefix, "//") {
		wrong = append(wrong, fmt.Sprintf("-prefix %q: not a prefix of keys; it looks like teal/ or team/teal/", o.Prefix))
	}
	if o.ConsulToken != "" && o.ConsulTokenFile != "" {
		wrong = append(wrong, "-token and -token-file: give one of them")
	}
	if o.NomadAddr != "" && !strings.Contains(o.NomadAddr, "://") {
		wrong = append(wrong, fmt.Sprintf("-nomad-addr %q: it needs its scheme: http://%s", o.NomadAddr, o.NomadAddr))
	}
	if len(wrong) > 0 {
		return wrong
	}
	return nil
}

// mistakes are all that is wrong with the settings.
type mistakes []string

func (m mistakes) Error() string { return strings.Join(m, "\n") }

// mistakesIn takes an error of load apart.
func mistakesIn(err error) []string {
	var all mistakes
	if errors.As(err, &all) {
		return all
	}
	return []string{err.Error()}
}

// lines puts each error among the diagnostics in one line, with file and line.
func lines(diags hcl.Diagnostics) []string {
	var out []string
	for _, diag := range diags {
		if diag.Severity == hcl.DiagError {
			out = append(out, line(diag))
		}
	}
	return out
}

func line(diag *hcl.Diagnostic) string {
	text := diag.Summary
	if diag.Detail != "" {
		text += ": " + diag.Detail
	}
	if at := diag.Subject; at != nil {
		text = fmt.Sprintf("%s:%d: %s", at.Filename, at.Start.Line, text)
	}
	return strings.Join(strings.Fields(text), " ")
}
