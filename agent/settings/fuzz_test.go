package settings

import (
	"os"
	"path/filepath"
	"testing"
)

// FuzzLoad: whatever a config file holds, reading it ends, with settings that
// are whole or with mistakes that have a place.
func FuzzLoad(f *testing.F) {
	text, err := os.ReadFile("../../config.hcl")
	if err != nil {
		f.Fatal(err)
	}
	f.Add(text)
	for _, seed := range []string{"", "http {\n address = \":\"\n}", "lease {\n ttl = \"1000000h\"\n}", "name = env(\"X\", null)", "consul {\n address = \"unix://x\"\n}",
		"nomad {\n address = \"http://[::1\"\n}", "history {\n keep = 1e999\n}", "prefix = \"a//b\"", "log {}\nlog {}", "\xff", "consul \"a\" {\n token = consul.token\n}"} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, src []byte) {
		path := filepath.Join(t.TempDir(), "config.hcl")
		if err := os.WriteFile(path, src, 0o600); err != nil {
			t.Fatal(err)
		}
		s, _, diags := Load(path)
		if s == nil {
			t.Fatal("no settings")
		}
		for _, d := range diags {
			if d.Summary == "" || d.Expression != nil || d.EvalContext != nil {
				t.Fatalf("a mistake without words, or with values: %+v", d)
			}
		}
		if diags.HasErrors() {
			return
		}
		if s.Name == "" || s.Prefix == "" || s.Policies == "" || s.Prefix[len(s.Prefix)-1] != '/' ||
			s.Lease.TTL < 10e9 || s.History.Keep < 1 || s.HTTP.Address == "" || s.Service.Name == "" {
			t.Fatalf("%q came to %+v", src, *s)
		}
		s.ConsulConfig()
	})
}
