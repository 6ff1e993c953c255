package policy

import (
	"fmt"
	"testing"
	"unicode/utf8"

	"github.com/hashicorp/hcl/v2"
	"github.com/hashicorp/hcl/v2/hclsyntax"
	"github.com/zclconf/go-cty/cty"
)

// variables reads a variables file as Nomad does.
func variables(t testing.TB, text string) map[string]cty.Value {
	t.Helper()
	file, diags := hclsyntax.ParseConfig([]byte(text), "variables.hcl", hcl.InitialPos)
	if diags.HasErrors() {
		t.Fatalf("%v in:\n%s", diags, text)
	}
	attrs, diags := file.Body.JustAttributes()
	if diags.HasErrors() {
		t.Fatalf("%v in:\n%s", diags, text)
	}
	values := map[string]cty.Value{}
	for name, attr := range attrs {
		value, diags := attr.Expr.Value(nil)
		if diags.HasErrors() {
			t.Fatalf("%v in:\n%s", diags, text)
		}
		values[name] = value
	}
	return values
}

func TestVariablesHCL(t *testing.T) {
	job := Job{VersionVariable: "version", Variables: map[string]string{
		"version": `"1.0.0"`, "count": "3", "debug": "false", "zones": `["a"]`,
	}}
	for name, test := range map[string]struct {
		overrides map[string]string
		want      string
		version   string
	}{
		"none":                      {nil, "count = 3\ndebug = false\nversion = \"1.0.0\"\nzones = [\"a\"]\n", "1.0.0"},
		"string":                    {map[string]string{"version": "2"}, "count = 3\ndebug = false\nversion = \"2\"\nzones = [\"a\"]\n", "2"},
		"typed":                     {map[string]string{"count": "5", "debug": "true", "zones": `["b","c"]`}, "count = 5\ndebug = true\nversion = \"1.0.0\"\nzones = [\"b\", \"c\"]\n", "1.0.0"},
		"typed, no value":           {map[string]string{"count": "many"}, "count = \"many\"\ndebug = false\nversion = \"1.0.0\"\nzones = [\"a\"]\n", "1.0.0"},
		"typed, a call":             {map[string]string{"count": `upper("x")`}, "count = \"upper(\\\"x\\\")\"\ndebug = false\nversion = \"1.0.0\"\nzones = [\"a\"]\n", "1.0.0"},
		"typed, reckoned":           {map[string]string{"count": "2026-11"}, "count = \"2026-11\"\ndebug = false\nversion = \"1.0.0\"\nzones = [\"a\"]\n", "1.0.0"},
		"typed, endless":            {map[string]string{"zones": `["${6E200000600}"]`}, "count = 3\ndebug = false\nversion = \"1.0.0\"\nzones = \"[\\\"$${6E200000600}\\\"]\"\n", "1.0.0"},
		"typed, signed":             {map[string]string{"count": "-5"}, "count = -5\ndebug = false\nversion = \"1.0.0\"\nzones = [\"a\"]\n", "1.0.0"},
		"typed, a text with a sign": {map[string]string{"count": `"x${-"6E200000600"}"`}, "count = \"\\\"x$${-\\\"6E200000600\\\"}\\\"\"\ndebug = false\nversion = \"1.0.0\"\nzones = [\"a\"]\n", "1.0.0"},
		"added":                     {map[string]string{"extra": "5"}, "count = 3\ndebug = false\nextra = \"5\"\nversion = \"1.0.0\"\nzones = [\"a\"]\n", "1.0.0"},
		"not a name":                {map[string]string{"x = 1\ncount": "5"}, "count = 3\ndebug = false\nversion = \"1.0.0\"\nzones = [\"a\"]\n", "1.0.0"},
	} {
		t.Run(name, func(t *testing.T) {
			if got := job.VariablesHCL(test.overrides); got != test.want {
				t.Errorf("got:\n%swant:\n%s", got, test.want)
			}
			if got := job.Version(test.overrides); got != test.version {
				t.Errorf("version %q, want %q", got, test.version)
			}
		})
	}
}

func TestVersion(t *testing.T) {
	for text, want := range map[string]string{`"1.3.0"`: "1.3.0", "7": "7", "1.5": "1.5", `["a"]`: `["a"]`} {
		job := Job{VersionVariable: "v", Variables: map[string]string{"v": text}}
		if got := job.Version(nil); got != want {
			t.Errorf("version of %s is %q, want %q", text, got, want)
		}
	}
	if got := (Job{VersionVariable: "v"}).Version(nil); got != "" {
		t.Errorf("version of nothing is %q", got)
	}
}

func TestExpressionOfNumbers(t *testing.T) {
	for text, want := range map[string]string{
		"3": "3", "-3": "-3", "0.1": "0.1", "1000000": "1000000", "1e6": "1000000", "9007199254740993": "9007199254740993",
	} {
		value, ok := literal(text)
		if !ok || expression(value) != want {
			t.Errorf("%s is written %s, want %s", text, expression(value), want)
		}
	}
	value, ok := literal("1e300")
	if text := expression(value); !ok || len(text) > 10 {
		t.Errorf("a large number takes %d characters", len(text))
	}
}

// FuzzVariables: whatever a value is, Nomad reads that value and no other, and
// no assignment beside it.
func FuzzVariables(f *testing.F) {
	for _, s := range []string{"", "1.3.0", `a"b`, "${x}", "$${x}", "$$${x}", "%{if}", "%%{", "$", "a\nb = 1", "\\", "\x00\u2028\U0001F600", "}${", "é", "$$$$${", "%$%{"} {
		f.Add("version", s)
	}
	f.Fuzz(func(t *testing.T, name, raw string) {
		want := cty.StringVal(raw) // normalised, as HCL does
		got := variables(t, Job{}.VariablesHCL(map[string]string{name: raw}))
		if !ValidVariable(name) {
			if len(got) != 0 {
				t.Fatalf("%q made %v", name, got)
			}
			return
		}
		if !utf8.ValidString(raw) && len(got) == 1 {
			return // such bytes are not text, and become replacement characters
		}
		if len(got) != 1 || !got[name].RawEquals(want) {
			t.Fatalf("%q is read as %#v", raw, got)
		}
		nested := cty.ObjectVal(map[string]cty.Value{raw: cty.TupleVal([]cty.Value{want, cty.True})})
		value, ok := literal(expression(nested))
		if len(expression(nested)) < maxFileSize && (!ok || !value.RawEquals(nested)) {
			t.Fatalf("%s is read as %#v", expression(nested), value)
		}
	})
}

// Locals that are each the square of the one before are soon millions of digits long.
func TestLocalsGrowNoFurtherThanNumbersDo(t *testing.T) {
	text := "locals {\n  l0 = 1e300\n"
	for i := 1; i < 20; i++ {
		text += fmt.Sprintf("  l%d = local.l%d * local.l%[2]d\n", i, i-1)
	}
	text += "  all = \"${local.l19}\"\n}\n"
	dir := t.TempDir()
	write(t, dir, "api.hcl", text)
	_, diags := Load(dir)
	if len(diags) == 0 || diags[0].Summary != "Number out of range" || diags[0].Subject.Start.Line != 3 {
		t.Errorf("told %v", diags)
	}
}
