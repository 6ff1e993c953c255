package policy

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// FuzzDecode: whatever a policy file holds, reading it ends, with policies or
// with reasons, and every policy can be identified and rendered.
func FuzzDecode(f *testing.F) {
	fixtures, err := filepath.Glob("testdata/mistakes/*/*.hcl")
	if err != nil {
		f.Fatal(err)
	}
	for _, path := range fixtures {
		src, err := os.ReadFile(path)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(src)
	}
	f.Add([]byte(judged))
	for _, s := range deep {
		f.Add([]byte(s(40)))
	}
	f.Fuzz(func(t *testing.T, src []byte) {
		out := decode(src, "fuzz.hcl", func(path string) (string, error) { return "text", nil })
		if len(out.policies) == 0 && len(out.declared) > 0 && !out.diags.HasErrors() {
			t.Fatal("a policy was lost without a reason")
		}
		for _, p := range out.policies {
			if len(p.Hash()) != 12 || len(p.SourceHash(nil)) != 12 {
				t.Fatalf("hashes %q, %q", p.Hash(), p.SourceHash(nil))
			}
			got := variables(t, p.Job.VariablesHCL(nil))
			if len(got) != len(p.Job.Variables) {
				t.Fatalf("%v is read as %v", p.Job.Variables, got)
			}
		}
	})
}

// deep are the ways in which HCL's grammar, and the evaluation of what it
// reads, recurse.
var deep = map[string]func(n int) string{
	"parentheses":   func(n int) string { return "a = " + strings.Repeat("(", n) + "1" + strings.Repeat(")", n) },
	"brackets":      func(n int) string { return "a = " + strings.Repeat("[", n) + strings.Repeat("]", n) },
	"objects":       func(n int) string { return "a = " + strings.Repeat("{a=", n) + "1" + strings.Repeat("}", n) },
	"open brackets": func(n int) string { return "a = " + strings.Repeat("[{a=(", n) },
	"blocks":        func(n int) string { return strings.Repeat("a {\n", n) + strings.Repeat("}\n", n) },
	"negations":     func(n int) string { return "a = " + strings.Repeat("!", n) + "true" },
	"minus":         func(n int) string { return "a = " + strings.Repeat("- ", n) + "1" },
	"sums":          func(n int) string { return "a = 1" + strings.Repeat("+1", n) },
	"conditions":    func(n int) string { return "a = 1" + strings.Repeat("==1 ? 1 : 1", n) },
	"indexes":       func(n int) string { return "a = b()" + strings.Repeat("[0]", n) },
	"calls":         func(n int) string { return "a = " + strings.Repeat("b(", n) + strings.Repeat(")", n) },
	"traversals":    func(n int) string { return "a = b()" + strings.Repeat(".c", n) },
	"splats":        func(n int) string { return "a = b()" + strings.Repeat("[*]", n) },
	"fors":          func(n int) string { return "a = " + strings.Repeat("[for a in ", n) + "[]" + strings.Repeat(": a]", n) },
	"templates":     func(n int) string { return "a = " + strings.Repeat(`"${`, n) + "1" + strings.Repeat(`}"`, n) },
	"directives": func(n int) string {
		return `a = "` + strings.Repeat("%{if true}", n) + strings.Repeat("%{endif}", n) + `"`
	},
	"heredocs": func(n int) string { return "a = <<E\n" + strings.Repeat("%{if true}\n", n) + "E\n" },
	"lines":    func(n int) string { return "a = (" + strings.Repeat("1+\n", n) + "1)" },
	"commas":   func(n int) string { return "a = b" + strings.Repeat("[c(1,1)]", n) },
}

// TestDeepNesting: a megabyte of any of them is refused in words. Without the
// bound most of these end the process, which no recover can prevent.
func TestDeepNesting(t *testing.T) {
	for name, text := range deep {
		t.Run(name, func(t *testing.T) {
			for _, n := range []int{maxComplexity + 1, 50_000} {
				src := text(n)
				out := decode([]byte(src), "deep.hcl", nil)
				if len(out.diags) != 1 || out.diags[0].Summary != "Too deeply nested" {
					t.Fatalf("%d deep: %v", n, out.diags)
				}
			}
			for _, diag := range decode([]byte(text(20)), "deep.hcl", nil).diags {
				if diag.Summary == "Too deeply nested" {
					t.Error("20 deep is refused")
				}
			}
		})
	}
}

// Long is not deep.
func TestLongFileIsNotDeep(t *testing.T) {
	long := "locals {\n  list = [" + strings.Repeat("\"a\", [1, 2 + 3], ", 5000) + "]\n" +
		"  map = {\n" + strings.Repeat("    a = upper(\"x\")\n", 5000) + "  }\n}\n" +
		strings.Repeat("locals {\n}\n", 5000)
	if diag := checkComplexity([]byte(long), ""); diag != nil {
		t.Error(diag)
	}
}
