package e2e

import (
	"slices"
	"strings"
	"testing"

	"github.com/tealdeploy/teal/testbed/world"
)

// The shell is told commands, the services that there are, colours and
// options, as bash asks for them.
func TestShellCompletion(t *testing.T) {
	s := open(t, "compl")
	s.agent("a")
	s.begin(world.Service{Name: "compl", Version: "1.0.0"})
	for line, want := range map[string]string{
		"teal roll":               "rollback",
		"teal status co":          "compl",
		"teal cutover compl gr":   "green",
		"teal deploy -deta":       "-detach",
		"teal deploy -until li":   "live",
		"teal history -token-fil": "-token-file",
	} {
		ran, err := s.CLIWith(s.soon(), []string{"COMP_LINE=" + line})
		s.must(err)
		if got := strings.Fields(ran.Out); !slices.Contains(got, want) || len(got) > 2 {
			t.Errorf("%q is completed by %q, want %s", line, got, want)
		}
	}
}
