package cli

import (
	"fmt"
	"runtime"
	"runtime/debug"
	"strings"

	"github.com/posener/complete"
)

// Version is set at release by -ldflags "-X …/agent/cli.Version=1.0.0".
// Without it the module's version is used, if Go knows one.
var Version = ""

type versionCommand struct{ meta }

func (c *versionCommand) options() *options {
	o := newOptions()
	o.add("Version options", c.output)
	return o
}

func (c *versionCommand) Synopsis() string { return "Show which teal this is" }

func (c *versionCommand) Help() string {
	return c.help(`
Usage: teal version [options]

  Show teal's version, the commit it was built from, and with what.`, c.options())
}

func (c *versionCommand) AutocompleteArgs() complete.Predictor { return complete.PredictNothing }
func (c *versionCommand) AutocompleteFlags() complete.Flags    { return c.options().predict() }

func (c *versionCommand) Run(args []string) int {
	if _, ok := c.parse("version", c.options(), args, 0, 0); !ok {
		return exitError
	}
	if c.json {
		return c.document(builtFrom())
	}
	c.term.print("%s", versionText())
	return exitOK
}

// build is what is known of this binary.
type build struct {
	Version  string `json:"version"`
	Commit   string `json:"commit,omitempty"`
	Modified bool   `json:"modified,omitempty"` // built from an edited checkout
	Built    string `json:"commit_time,omitempty"`
	Go       string `json:"go"`
	Platform string `json:"platform"`
}

func builtFrom() build {
	b := build{Version: Version, Go: runtime.Version(), Platform: runtime.GOOS + "/" + runtime.GOARCH}
	info, ok := debug.ReadBuildInfo()
	if !ok {
		info = &debug.BuildInfo{}
	}
	for _, s := range info.Settings {
		switch s.Key {
		case "vcs.revision":
			b.Commit = s.Value
		case "vcs.modified":
			b.Modified = s.Value == "true"
		case "vcs.time":
			b.Built = s.Value
		}
	}
	if b.Version == "" {
		b.Version = strings.TrimPrefix(info.Main.Version, "v")
	}
	if b.Version == "" || b.Version == "(devel)" {
		b.Version = "dev"
	}
	return b
}

func versionText() string {
	b := builtFrom()
	text := "teal " + b.Version
	if len(b.Commit) >= 12 {
		text += fmt.Sprintf(" (%s%s)", b.Commit[:12], when(b.Modified, ", modified"))
	}
	return text
}

// BuildVersion is the version as the agent tells it to others.
func BuildVersion() string { return builtFrom().Version }
