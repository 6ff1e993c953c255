package policy

import (
	"fmt"
	"strings"
	"testing"
)

// loadGates reads a policy with these gates.
func loadGates(t *testing.T, gates string) decoded {
	t.Helper()
	src := "service \"api\" {\njob = \"x\"\n" + gates + "\n}\n"
	return decode([]byte(src), "gates.hcl", func(string) (string, error) { return "job", nil })
}

// Gates keep the order of the file, and a parallel block its place among them.
func TestParallelGatesKeepTheirPlace(t *testing.T) {
	out := loadGates(t, `
gate "http" "first" {}
parallel {
  gate "http" "a" {}
  gate "http" "b" {}
}
gate "http" "middle" {}
parallel {
  gate "http" "c" {}
}
parallel {
  gate "http" "d" {}
}
gate "http" "last" {}`)
	if len(out.diags) > 0 || len(out.policies) != 1 {
		t.Fatal(out.diags)
	}
	got := ""
	for _, g := range out.policies[0].Gates {
		got += fmt.Sprintf("%s%d ", g.Name, g.Parallel)
	}
	if want := "first0 a1 b1 middle0 c2 d3 last0 "; got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
}

// Side by side is not the same as one after another: it is judged anew.
func TestParallelChangesTheHash(t *testing.T) {
	apart := loadGates(t, "gate \"http\" \"a\" {}\ngate \"http\" \"b\" {}")
	beside := loadGates(t, "parallel {\ngate \"http\" \"a\" {}\ngate \"http\" \"b\" {}\n}")
	if apart.policies[0].Hash() == beside.policies[0].Hash() {
		t.Error("the same hash")
	}
}

func TestMistakesInAParallelBlock(t *testing.T) {
	for text, want := range map[string]string{
		"parallel {}": "Nothing to do in parallel",
		"parallel {\nfor = \"1m\"\ngate \"http\" \"a\" {}\n}":                "Known in parallel: blocks gate.",
		"gate \"http\" \"a\" {}\nparallel {\ngate \"http\" \"a\" {}\n}":      `The gate "a" already stands at`,
		"parallel {\ngate \"http\" \"a\" {\nstatus = 99\n}\n}":               "99 is out of range",
		"parallel {\nparallel {\ngate \"http\" \"a\" {}\n}\n}":               "Known in parallel: blocks gate.",
		"parallel \"checks\" {\ngate \"http\" \"a\" {}\n}":                   "parallel",
		"parallel {\ngate \"htp\" \"a\" {}\n}":                               `Did you mean "http"?`,
		"parallel {\ngate \"http\" \"a\" {}\n}\ngate \"http\" \"a\" {\n}\n#": `The gate "a" already stands at`,
	} {
		out := loadGates(t, text)
		said := ""
		for _, diag := range out.diags {
			said += diag.Summary + ": " + diag.Detail + "\n"
		}
		if !strings.Contains(said, want) {
			t.Errorf("%s\nsaid %s\nwant %s", text, said, want)
		}
	}
}

// The service-resolver has no routes, and so no preview: what serves would answer.
func TestPreviewNeedsRoutes(t *testing.T) {
	const preview = "gate \"http\" \"smoke\" {\nevery = \"preview\"\nurl = \"http://edge\"\njson = { version = \"{version}\" }\n}\n"
	for router, refused := range map[string]bool{"service-router": false, "service-resolver": true} {
		for _, gates := range []string{preview, "parallel {\n" + preview + "}\n"} {
			out := loadGates(t, gates+fmt.Sprintf("cutover {\nrouter = %q\n}", router))
			want := `The gate "smoke" asks through the preview route, and a service-resolver has none: the colour that serves would answer. Ask the instances (every = "instance" or "any"), or let the cutover's router be "service-router".`
			if got := out.diags.Error(); out.diags.HasErrors() != refused || refused && !strings.Contains(got, want) {
				t.Errorf("with %s: %s", router, got)
			}
		}
	}
	out := loadGates(t, "gate \"http\" \"smoke\" {}\ncutover {\nrouter = \"service-resolver\"\n}")
	if out.diags.HasErrors() {
		t.Error(out.diags)
	}
}
