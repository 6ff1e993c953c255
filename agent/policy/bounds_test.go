package policy

import (
	"fmt"
	"strings"
	"testing"
)

// What bounds a watch from within has to fit into it; what is unknown may last longer,
// for the watch goes on meanwhile.
func TestWatchBounds(t *testing.T) {
	for _, c := range []struct{ block, want string }{
		{"unknown {\nfor = \"20m\"\n}", ""},
		{"unknown {\nfor = \"1m\"\nthen = \"pass\"\n}", `"pass" is not known; expected one of hold, rollback`},
		{"unknown {}\nunknown {}", "Only one unknown block is allowed"},
		{"early {\nafter = \"15m\"\nrequests = 10\n}\ntrigger \"errors\" \"e\" {}", "The watch lasts 15m0s, and so it cannot end early after 15m0s."},
		{"early {\nafter = \"5m\"\nrequests = 10\n}\ntrigger \"kv\" \"k\" {\nkey = \"{version}\"\n}", "Without a trigger of the kinds errors, latency or volume nobody knows"},
		{"early {\nafter = \"5m\"\n}\ntrigger \"errors\" \"e\" {}", `The argument "requests" is required`},
	} {
		out := decode([]byte(fmt.Sprintf("service \"api\" {\njob = \"x\"\nwatch {\n%s\n}\n}\n", c.block)), "api.hcl", func(string) (string, error) { return "job", nil })
		if c.want == "" && len(out.diags) == 0 {
			continue
		}
		if len(out.diags) != 1 || !strings.Contains(out.diags[0].Detail, c.want) || out.diags[0].Subject.Filename != "api.hcl" {
			t.Errorf("%s\ngot  %v\nwant %s", c.block, out.diags, c.want)
		}
	}
}
