package policy

import (
	"strings"
	"testing"

	"github.com/hashicorp/hcl/v2"
	"github.com/hashicorp/hcl/v2/hclsyntax"
)

// What people write in HCL elsewhere means the same here.
func TestFunctions(t *testing.T) {
	t.Setenv("TEAL_TEST_VERSION", "1.3.0")
	read := func(path string) (string, error) { return "text of " + path, nil }
	evaluate := func(text string) (string, hcl.Diagnostics) {
		expr, diags := hclsyntax.ParseExpression([]byte(text), "api.hcl", hcl.InitialPos)
		if diags.HasErrors() {
			t.Fatal(diags)
		}
		value, diags := expr.Value(evalContext("/policies/api.hcl", read))
		if diags.HasErrors() {
			return "", diags
		}
		return expression(value), nil
	}
	for text, want := range map[string]string{
		`env("TEAL_TEST_VERSION")`:                  `"1.3.0"`,
		`env("TEAL_TEST_UNSET", "none")`:            `"none"`,
		`file("version")`:                           `"text of /policies/version"`,
		`format("%s-%03d", "v", 7)`:                 `"v-007"`,
		`base64encode("teal")`:                      `"dGVhbA=="`,
		`base64decode("dGVhbA==")`:                  `"teal"`,
		`urlencode("a b&c")`:                        `"a+b%26c"`,
		`basename("jobs/api.nomad.hcl")`:            `"api.nomad.hcl"`,
		`dirname("jobs/api.nomad.hcl")`:             `"jobs"`,
		`startswith("api-green", "api")`:            `true`,
		`endswith("api-green", "blue")`:             `false`,
		`sha256("")`:                                `"e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"`,
		`join(",", [for i in range(3) : i])`:        `"0,1,2"`,
		`length(toset(["a", "b", "a"]))`:            `2`,
		`tolist(toset(["a"]))[0]`:                   `"a"`,
		`tomap({ a = "x", b = "y" })["b"]`:          `"y"`,
		`indent(2, "a\nb")`:                         `"a\n  b"`,
		`try(jsondecode(file("none")), "no JSON")`:  `"no JSON"`,
		`coalesce(env("TEAL_TEST_UNSET", ""), "x")`: `""`,
	} {
		if got, diags := evaluate(text); diags.HasErrors() || got != want {
			t.Errorf("%s is %s, want %s (%v)", text, got, want, diags)
		}
	}
	for text, why := range map[string]string{
		`env("TEAL_TEST_UNSET")`: "is not set where the agent runs",
		`base64decode("?")`:      "illegal base64",
		`base64decode("/w==")`:   "not UTF-8",
		`uuidv4()`:               `no function named "uuidv4"`,
	} {
		if _, diags := evaluate(text); !strings.Contains(diags.Error(), why) {
			t.Errorf("%s: %v, want %q", text, diags, why)
		}
	}
}
