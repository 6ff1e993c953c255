package policy

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// Services that depend on one another are told by the whole circle, each circle
// once, where both are in one directory.
func TestDependenciesInACircle(t *testing.T) {
	load := func(edges ...string) string {
		t.Helper()
		dir := t.TempDir()
		write := func(name, text string) {
			if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		write("a.nomad.hcl", "job {}")
		for _, edge := range edges {
			service, needs, _ := strings.Cut(edge, " ")
			var b strings.Builder
			fmt.Fprintf(&b, "# A comment.\nservice %q {\n  job = \"a.nomad.hcl\"\n", service)
			for i, need := range strings.Fields(needs) {
				fmt.Fprintf(&b, "  gate \"depends\" \"n%d\" {\n    service = %q\n  }\n", i, need)
			}
			write(service+".hcl", b.String()+"}\n")
		}
		set, diags := Load(dir)
		if set.Len() == 0 && !diags.HasErrors() {
			t.Fatal("no policies")
		}
		var out bytes.Buffer
		if err := WriteDiagnostics(&out, diags, set.Sources, 200, false); err != nil {
			t.Fatal(err)
		}
		return strings.ReplaceAll(out.String(), dir, "DIR")
	}
	for _, c := range []struct {
		edges []string
		want  []string
		times int
	}{
		{[]string{"api auth", "auth"}, nil, 0},
		{[]string{"api auth db", "auth db", "db"}, nil, 0}, // two ways to one are no circle
		{[]string{"api elsewhere"}, nil, 0},
		{[]string{"api auth", "auth api"}, []string{"api depends on auth, which depends on api.", "DIR/api.hcl line 2", `service "api" {`}, 1},
		{[]string{"front api", "api auth", "auth db", "db api"}, []string{"api depends on auth, which depends on db, which depends on api."}, 1},
		{[]string{"a b", "b a", "c d", "d c"}, []string{"a depends on b, which depends on a", "c depends on d, which depends on c"}, 2},
		{[]string{"api api"}, []string{"Service depends on itself"}, 0},
	} {
		got := load(c.edges...)
		if n := strings.Count(got, "Services depend on one another"); n != c.times || len(c.want) == 0 && got != "" {
			t.Errorf("%v: told %d times, want %d:\n%s", c.edges, n, c.times, got)
		}
		for _, want := range c.want {
			if !strings.Contains(got, want) {
				t.Errorf("%v: %q is not in:\n%s", c.edges, want, got)
			}
		}
	}
}
