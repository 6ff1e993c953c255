package hclbody_test

import (
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/hashicorp/hcl/v2"
	"github.com/hashicorp/hcl/v2/hclsyntax"
	hcljson "github.com/hashicorp/hcl/v2/json"
	"github.com/zclconf/go-cty/cty"
	"github.com/zclconf/go-cty/cty/function"
	"github.com/zclconf/go-cty/cty/function/stdlib"

	"github.com/tealdeploy/teal/agent/hclbody"
)

func parse(t *testing.T, text string) hcl.Body {
	t.Helper()
	file, diags := hclsyntax.ParseConfig([]byte(text), "x.hcl", hcl.InitialPos)
	if diags.HasErrors() {
		t.Fatal(diags)
	}
	return file.Body
}

// values is one of everything.
type values struct {
	name    string
	list    []string
	table   map[string]string
	yes     bool
	share   float64
	count   int
	codes   []int
	wait    time.Duration
	maybe   time.Duration
	any     cty.Value
	inBlock []string
}

func defaults() values {
	return values{name: "n", list: []string{"l"}, table: map[string]string{"t": "1"}, yes: true, share: 0.5, count: 5, codes: []int{200}, wait: time.Second, maybe: time.Minute, any: cty.True}
}

func (v *values) declare(d *hclbody.Decoder) {
	d.String("name", &v.name, hclbody.NotEmpty, hclbody.OneOf("n", "green", "GREAT"))
	d.Strings("list", &v.list, hclbody.NotEmpty)
	d.StringMap("table", &v.table)
	d.Bool("yes", &v.yes)
	d.Number("share", &v.share, hclbody.Within(0, 1))
	d.Int("count", &v.count, hclbody.AtLeast(1))
	d.Ints("codes", &v.codes, hclbody.Within(100, 599))
	d.Duration("wait", &v.wait)
	d.Duration("maybe", &v.maybe, hclbody.ZeroAllowed)
	d.Value("any", &v.any)
	d.Block("once")
	d.Blocks("often", "label")
}

func decode(body hcl.Body) (values, *hclbody.Decoder, hcl.Diagnostics) {
	v := defaults()
	d := hclbody.New("thing", &hcl.EvalContext{Variables: map[string]cty.Value{"local": cty.ObjectVal(map[string]cty.Value{"unknown": cty.DynamicVal})}})
	v.declare(d)
	d.Decode(body)
	for _, b := range d.Found("often") {
		v.inBlock = append(v.inBlock, b.Labels[0])
	}
	return v, d, d.Diagnostics()
}

const everything = `
name  = "green"
list  = ["a", "b"]
table = { a = 1, b = true, c = "x" }
yes   = false
share = 1
count = 7
codes = [204, 200]
wait  = "90s"
maybe = "0s"
any   = ["x"]
once {}
often "one" {}
often "two" {}
`

func TestEverythingIsRead(t *testing.T) {
	v, d, diags := decode(parse(t, everything))
	if diags.HasErrors() {
		t.Fatal(diags)
	}
	want := values{name: "green", list: []string{"a", "b"}, table: map[string]string{"a": "1", "b": "true", "c": "x"}, yes: false, share: 1, count: 7,
		codes: []int{204, 200}, wait: 90 * time.Second, maybe: 0, any: cty.TupleVal([]cty.Value{cty.StringVal("x")}), inBlock: []string{"one", "two"}}
	if !reflect.DeepEqual(v, want) {
		t.Errorf("got %+v,\nwant %+v", v, want)
	}
	if !d.Has("name") || len(d.Found("once")) != 1 || d.Range("count").Start.Line != 7 {
		t.Errorf("name %t, once %d, count at %s", d.Has("name"), len(d.Found("once")), d.Range("count"))
	}
}

// JSON is HCL, too.
func TestJSONIsRead(t *testing.T) {
	file, diags := hcljson.Parse([]byte(`{"name": "green", "codes": 204, "wait": "2s", "once": {}, "often": {"one": {}, "two": {}}}`), "x.json")
	if diags.HasErrors() {
		t.Fatal(diags)
	}
	v, _, diags := decode(file.Body)
	if diags.HasErrors() || v.name != "green" || !reflect.DeepEqual(v.codes, []int{204}) || v.wait != 2*time.Second || len(v.inBlock) != 2 {
		t.Errorf("got %+v, %v", v, diags)
	}
	file, _ = hcljson.Parse([]byte(`{"nmae": "green"}`), "x.json")
	if _, _, diags = decode(file.Body); !strings.Contains(diags.Error(), "Known in thing: arguments any, codes") {
		t.Errorf("a name nobody knows: %v", diags)
	}
}

// What is absent, null or wrong keeps its default.
func TestDefaultsAreKept(t *testing.T) {
	for _, name := range []string{"name", "list", "table", "yes", "share", "count", "codes", "wait", "maybe", "any"} {
		v, d, diags := decode(parse(t, name+" = null"))
		if diags.HasErrors() || d.Has(name) || !reflect.DeepEqual(v, defaults()) {
			t.Errorf("%s = null: %+v, has %t, %v", name, v, d.Has(name), diags)
		}
	}
}

func TestMistakesAreTold(t *testing.T) {
	for text, want := range map[string]string{
		`name = ""`:                `it must not be empty`,
		`name = "gren"`:            `"gren" is not known (did you mean "green"?); expected one of n, green, GREAT`,
		`name = "great"`:           `(did you mean "GREAT"?)`,
		`name = "violet"`:          `"violet" is not known; expected`,
		`name = []`:                `a string is required`,
		`list = "a"`:               `a list of strings is required`,
		`list = ["a", ""]`:         `an element is empty`,
		`list = ["a", null]`:       `an element is empty`,
		`table = "a"`:              `a map of strings is required`,
		`table = { a = null }`:     `the value of "a" is null`,
		`table = { a = [] }`:       `a map of strings is required`,
		`yes = "perhaps"`:          `true or false is required`,
		`share = "x"`:              `a number is required`,
		`share = 1.5`:              `1.5 is out of range; it must be between 0 and 1`,
		`share = "5%"`:             `a number is required; 5% is written 0.05`,
		`share = "x%"`:             `a number is required.`,
		`share = 1e320`:            `a finite number is required`,
		`share = 1e999`:            `This number cannot be reckoned with`,
		`share = 1/0`:              ``,
		`count = 0`:                `0 is too small; at least 1 is required`,
		`count = 1.5`:              `1.5 is not a whole number`,
		`count = 1e300`:            `is too large`,
		`count = 9007199254740994`: `is too large`,
		`codes = []`:               `the list is empty`,
		`codes = [200, 99]`:        `99 is out of range; it must be between 100 and 599`,
		`codes = ["x"]`:            `a number is required`,
		`codes = [null]`:           `a number is required`,
		`wait = "1"`:               `"1" is not a duration; write a number with a unit`,
		`wait = 1`:                 `"1" is not a duration`,
		`wait = "0s"`:              `"0s" must be greater than zero`,
		`wait = "-1s"`:             `"-1s" is negative`,
		`wait = "999999999h"`:      `"999999999h" is longer than can be reckoned with`,
		`wait = "7d"`:              `"7d" is not a duration`,
		`maybe = "-1s"`:            `"-1s" is negative`,
		`any = local.unknown`:      `The value of any in thing is not known when the file is read`,
		`any = nosuch`:             `nosuch`,
		"once {}\nonce {}":         `Only one once block is allowed in thing; the first is at x.hcl:1,1-5`,
		`often {}`:                 ``,
		`nmae = "x"`:               `Did you mean "name"? Known in thing: arguments any, codes, count, list, maybe, name, share, table, wait, yes; blocks often, once.`,
		`ofen "x" {}`:              `Did you mean "often"? Known in thing`,
	} {
		v, _, diags := decode(parse(t, text))
		if !diags.HasErrors() || !strings.Contains(diags.Error(), want) {
			t.Errorf("%s: told %v, want %q", text, diags, want)
		}
		v.inBlock = nil
		if !reflect.DeepEqual(v, defaults()) {
			t.Errorf("%s: the value is %+v", text, v)
		}
		for _, diag := range diags {
			if diag.Subject == nil || diag.Subject.Filename != "x.hcl" {
				t.Errorf("%s: %q has no place", text, diag.Summary)
			}
		}
	}
}

func TestAllMistakesAreToldInTheOrderOfTheFile(t *testing.T) {
	v := defaults()
	d := hclbody.New("thing", nil)
	v.declare(d)
	d.Decode(parse(t, "count = 0\nwhat = 1\nname = \"\"\nwait = \"x\"\nshare = 2\n"))
	d.Errorf("wait", "Odd", "seen together with others")
	var lines []int
	for _, diag := range d.Diagnostics() {
		lines = append(lines, diag.Subject.Start.Line)
	}
	if want := []int{1, 2, 3, 4, 4, 5}; !reflect.DeepEqual(lines, want) {
		t.Errorf("lines %v, want %v", lines, want)
	}
}

func TestRequired(t *testing.T) {
	for text, missing := range map[string]bool{"": true, "name = null": true, `name = "x"`: false} {
		var name string
		d := hclbody.New("thing", nil)
		d.String("name", &name, hclbody.Required)
		d.Decode(parse(t, text))
		if diags := d.Diagnostics(); diags.HasErrors() != missing || missing && !strings.Contains(diags.Error(), `The argument "name" is required in thing`) {
			t.Errorf("%q: %v", text, diags)
		}
	}
}

// Two decoders share a body: each takes its own, and what neither knows is told
// with the names of both.
func TestTwoDecodersOfOneBody(t *testing.T) {
	both := func(text string) (first, second int, diags hcl.Diagnostics) {
		a := hclbody.New("gate", nil)
		a.Int("first", &first)
		rest := a.DecodePartly(parse(t, text))
		b := hclbody.New("gate", nil)
		b.Int("second", &second)
		b.Elsewhere(a.Names()...)
		b.Decode(rest)
		a.Append(b.Diagnostics())
		return first, second, a.Diagnostics()
	}
	if first, second, diags := both("first = 1\nsecond = 2"); first != 1 || second != 2 || diags.HasErrors() {
		t.Errorf("%d, %d, %v", first, second, diags)
	}
	if _, _, diags := both("third = 3"); !strings.Contains(diags.Error(), "Known in gate: arguments first, second.") {
		t.Errorf("%v", diags)
	}
	// A decoder that was told of another's names does not take them itself.
	var second int
	b := hclbody.New("gate", nil)
	b.Int("second", &second)
	b.Elsewhere("first")
	b.Decode(parse(t, "first = 1"))
	if !strings.Contains(b.Diagnostics().Error(), `An argument named "first" is not expected here`) {
		t.Errorf("%v", b.Diagnostics())
	}
}

func TestABlockThatTakesNothing(t *testing.T) {
	d := hclbody.New("nothing", nil)
	d.Decode(parse(t, "x = 1"))
	if !strings.Contains(d.Diagnostics().Error(), "nothing takes neither arguments nor blocks.") {
		t.Errorf("%v", d.Diagnostics())
	}
}

func TestUnknownListsTheKnown(t *testing.T) {
	at := hcl.Range{Filename: "x.hcl", Start: hcl.InitialPos, End: hcl.InitialPos}
	for name, want := range map[string]string{
		"erors":  `There is no kind of trigger "erors". Did you mean "errors"? Known: errors, health.`,
		"HEALTH": `There is no kind of trigger "HEALTH". Did you mean "health"? Known: errors, health.`,
		"5XX":    `There is no kind of trigger "5XX". Did you mean "errors"? Known: errors, health.`,
		"xyz":    `There is no kind of trigger "xyz". Known: errors, health.`,
	} {
		diag := hclbody.Unknown("kind of trigger", name, []string{"health", "errors"}, map[string]string{"5xx": "errors"}, at)
		if diag.Detail != want || diag.Severity != hcl.DiagError || *diag.Subject != at {
			t.Errorf("%s: %+v", name, diag)
		}
	}
}

// A number of a few characters is millions of digits once it becomes a text: each of
// these took from seconds to for ever.
func TestNumbersThatCannotBeReckonedWith(t *testing.T) {
	for _, text := range []string{
		"wait = 6E200000600", "name = 6e-200000600", "list = [6E200000600]", "table = { a = 6E200000600 }", `name = "${6E200000600}"`,
		`any = [for x in [1] : "${6E200000600}"]`, "any = { (6E200000600) = 1 }", `any = jsondecode("{\"a\": [6E200000600]}")`, "codes = [200, -6E200000600]",
	} {
		began := time.Now()
		v := defaults()
		d := hclbody.New("thing", &hcl.EvalContext{Functions: map[string]function.Function{"jsondecode": stdlib.JSONDecodeFunc}})
		v.declare(d)
		d.Decode(parse(t, text))
		if diags := d.Diagnostics(); len(diags) != 1 || diags[0].Summary != "Number out of range" || diags[0].Subject == nil {
			t.Errorf("%s: told %v", text, diags)
		}
		if took := time.Since(began); took > 5*time.Second {
			t.Errorf("%s took %s", text, took)
		}
		if !reflect.DeepEqual(v, defaults()) {
			t.Errorf("%s: the value is %+v", text, v)
		}
	}
	for _, n := range []string{"0", "1.7976931348623157e308", "5e-324", "-1e300"} {
		if v, _, diags := decode(parse(t, "any = "+n)); diags.HasErrors() || v.any.Type() != cty.Number {
			t.Errorf("%s: %v", n, diags)
		}
	}
}

// Marks and odd types from functions do not get through, nor stop the agent.
func FuzzDecode(f *testing.F) {
	f.Add(everything)
	for _, text := range []string{"codes = {}", "codes = \"200\"", "list = {}", "table = [[1]]", "wait = true", "any = {a = local.unknown}", "count = -0.0"} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		file, diags := hclsyntax.ParseConfig([]byte(text), "x.hcl", hcl.InitialPos)
		if diags.HasErrors() {
			return
		}
		v, _, diags := decode(file.Body)
		if diags.HasErrors() {
			return
		}
		if v.count < 1 || v.share < 0 || v.share > 1 || v.wait <= 0 || v.maybe < 0 || v.name == "" || len(v.codes) == 0 {
			t.Fatalf("%q came to %+v", text, v)
		}
	})
}
