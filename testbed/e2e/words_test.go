package e2e

import (
	"fmt"
	"os"
	"strings"

	consulapi "github.com/hashicorp/consul/api"
)

func contains(text, part string) bool { return strings.Contains(text, part) }

func joined(list []string, with string) string { return strings.Join(list, with) }

func isValue(want string) func(*consulapi.KVPair) bool {
	return func(p *consulapi.KVPair) bool { return p != nil && string(p.Value) == want }
}

// idle says whether nothing of a service is being released.
func (s *stage) idle(service string) error {
	rec, err := s.Record(s.t.Context(), service)
	if err == nil && rec.InFlight() {
		err = fmt.Errorf("%s is %s", rec.Deployment.Candidate.Version, rec.Deployment.State)
	}
	return err
}

// without takes the line that is just these words out of a text.
func without(text, line string) string { return replaced(text, line, "") }

// replaced replaces words that must be there.
func replaced(text, old, with string) string {
	if !strings.Contains(text, old) {
		panic(fmt.Sprintf("no %q in:\n%s", old, text))
	}
	return strings.ReplaceAll(text, old, with)
}

func lastLines(path string, n int) (string, error) {
	text, err := os.ReadFile(path)
	lines := strings.Split(strings.TrimSpace(string(text)), "\n")
	return joined(lines[max(0, len(lines)-n):], "\n"), err
}
