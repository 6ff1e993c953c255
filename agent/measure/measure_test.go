package measure

import (
	"encoding/json"
	"fmt"
	"math"
	"strings"
	"testing"
	"time"

	"github.com/hashicorp/hcl/v2"
	"github.com/hashicorp/hcl/v2/hclsyntax"

	"github.com/tealdeploy/teal/agent/hclbody"
)

func TestJudge(t *testing.T) {
	most := Limits{Above: 10, HasAbove: true}
	least := Limits{Below: 2, HasBelow: true}
	between := Limits{Above: 10, HasAbove: true, Below: 2, HasBelow: true}
	for _, c := range []struct {
		limits Limits
		values []float64
		want   Verdict
		words  string
	}{
		{most, []float64{10}, Within, "it is 10, and at most 10 is expected"},
		{most, []float64{10.5}, Beyond, "it is 10.5, and at most 10 is expected"},
		{most, []float64{-1e9}, Within, "it is -1e+09"},
		{least, []float64{1}, Beyond, "it is 1, and at least 2 is expected"},
		{least, []float64{2}, Within, ""},
		{between, []float64{5}, Within, "at least 2 and at most 10 is expected"},
		{between, []float64{1}, Beyond, ""},
		{between, []float64{11}, Beyond, ""},
		// The worst of several is told.
		{most, []float64{1, 99, 12}, Beyond, "it is 99, and at most 10 is expected, of 3 series"},
		{between, []float64{5, 0, 11}, Beyond, "it is 0"},
		// What is no number neither passes nor fails.
		{most, []float64{math.NaN()}, Unknown, "it is NaN, which is no figure to go by (0/0 makes one such)"},
		{most, []float64{math.Inf(1)}, Unknown, "it is +Inf, which is no figure to go by"},
		{least, []float64{math.Inf(-1)}, Unknown, "it is -Inf, which is no figure to go by"},
		{most, []float64{3, math.NaN()}, Unknown, "of 2 series"},
		{most, []float64{math.NaN(), 11}, Beyond, "it is 11"},
		{most, nil, Unknown, "the answer holds no series"},
		{Limits{Above: 1, HasAbove: true, Empty: Within}, nil, Within, ""},
		{Limits{Above: 1, HasAbove: true, Empty: Beyond}, nil, Beyond, ""},
	} {
		var values []Value
		for _, n := range c.values {
			values = append(values, Value{Number: n})
		}
		got := c.limits.Judge(values)
		if got.Verdict != c.want || !strings.Contains(got.Reason, c.words) {
			t.Errorf("%v: %d (%s), want %d (%s)", c.values, got.Verdict, got.Reason, c.want, c.words)
		}
		for name, n := range got.Figures {
			if math.IsNaN(n) || math.IsInf(n, 0) {
				t.Errorf("%v: figure %s is %v", c.values, name, n)
			}
		}
	}
}

func TestValues(t *testing.T) {
	const text = `{"a": {"b": [1, "2.5", {"c": 3}]}, "big": 12345678901234567890, "data": {"result": [{"value": [0, "7"]}, {"value": [0, "NaN"]}]}, "none": null, "huge": 1e999}`
	for path, want := range map[string]string{
		"a.b.0":                 "[{a.b.0 1}]",
		"a.b.1":                 "[{a.b.1 2.5}]",
		"a.b.2.c":               "[{a.b.2.c 3}]",
		"a.b.*.c":               "[{a.b.2.c 3}]",
		"data.result.*.value.1": "[{data.result.0.value.1 7} {data.result.1.value.1 NaN}]",
		"big":                   "[{big 1.2345678901234567e+19}]",
		"huge":                  "[{huge +Inf}]",
		"a.b.7":                 "[]",
		"a.b.-1":                "[]",
		"a.b.x":                 "[]",
		"x.y":                   "[]",
		"a.b":                   "a.b is an array; name one of its elements, or * for all",
		"a":                     "a is an object; name one of its keys, or * for all",
		"none":                  "none is null, which is no number",
		"a.b.0.x":               "[]",
		"a.*":                   "a.b is an array",
	} {
		values, err := Document{Path: path}.Values([]byte(text))
		got := fmt.Sprint(values)
		if err != nil {
			got = err.Error()
		}
		if !strings.HasPrefix(got, want) {
			t.Errorf("%s: %s, want %s", path, got, want)
		}
	}
	for _, text := range []string{`{"n": 1}{"n": 2}`, `{"n": 1} x`, `{"n": 1`} {
		if values, err := (Document{Path: "n"}).Values([]byte(text)); err == nil {
			t.Errorf("%s: %v, want an error", text, values)
		}
	}
	many := "[" + strings.Repeat("1,", maxValues) + "1]"
	if _, err := (Document{Path: "*"}).Values([]byte(many)); err == nil || !strings.Contains(err.Error(), "more than 1000 numbers are at *") {
		t.Errorf("too many: %v", err)
	}
	long := `{"n": "` + strings.Repeat("x", 10_000) + `"}`
	if _, err := (Document{Path: "n"}).Values([]byte(long)); err == nil || len(err.Error()) > 300 {
		t.Errorf("a long text: %v", err)
	}
}

func TestFill(t *testing.T) {
	f := Filling{"service": "api", "colour": "green", "version": `2"} or vector(1) #`}
	q, err := Prometheus{Query: `sum(rate(x{service="{service}",colour="{colour}",v="{version}"}[1m]))`}.Fill(f)
	if want := `sum(rate(x{service="api",colour="green",v="2\"} or vector(1) #"}[1m]))`; err != nil || q.(Prometheus).Query != want {
		t.Errorf("%+v, %v", q, err)
	}
	d, err := Document{URL: "http://x/{version}", Path: "by.{colour}"}.Fill(f)
	if err != nil || d.(Document).Path != "by.green" || strings.ContainsAny(d.(Document).URL, `"# `) {
		t.Errorf("%+v, %v", d, err)
	}
	if _, err := (Document{URL: "http://x/{version}"}).Fill(Filling{"service": "api"}); err == nil || !strings.Contains(err.Error(), "the release's version is not known") {
		t.Errorf("without a version: %v", err)
	}
	if got := (Document{URL: "http://x/y?token=t"}).Target(); got != "http://x/y" {
		t.Errorf("target %s", got)
	}
}

// decoded reads a block of both kinds of argument.
func decoded(t *testing.T, kind, text string) (any, hcl.Diagnostics) {
	t.Helper()
	file, diags := hclsyntax.ParseConfig([]byte(text), "policy.hcl", hcl.InitialPos)
	if diags.HasErrors() {
		t.Fatal(diags)
	}
	var l Limits
	d := hclbody.New(kind, nil)
	if kind == "document" {
		var q Document
		q.Declare(d)
		l.Declare(d)
		d.Decode(file.Body)
		l.Validate(d)
		q.Validate(d)
		return q, d.Diagnostics()
	}
	var q Prometheus
	q.Declare(d)
	l.Declare(d)
	d.Decode(file.Body)
	l.Validate(d)
	q.Validate(d)
	return q, d.Diagnostics()
}

func TestMistakes(t *testing.T) {
	const p = "url = \"http://p:9090\"\nquery = \"up\"\n"
	const limit = "above = 1\n"
	for _, c := range []struct{ kind, text, want string }{
		{"prometheus", "query = \"up\"\n" + limit, `The argument "url" is required`},
		{"prometheus", "url = \"http://p\"\n" + limit, `The argument "query" is required`},
		{"prometheus", p, "Give above, below or both: what is more, or less, is bad."},
		{"prometheus", p + "above = 1\nbelow = 2\n", "Less than 2 (below) is bad, and more than 1 (above) is: nothing is left that is good."},
		{"prometheus", "url = \"p:9090\"\nquery = \"up\"\n" + limit, "An absolute http or https URL is required"},
		{"prometheus", "url = \"http://u:p@p\"\nquery = \"up\"\n" + limit, "put them into a file, and name it in header_files"},
		{"prometheus", "url = \"http://p/#x\"\nquery = \"up\"\n" + limit, "a fragment, which is never sent"},
		{"prometheus", "url = \"http://p/graph?g0.expr=up\"\nquery = \"up\"\n" + limit, "url holds a query; it is the server's address"},
		{"prometheus", "url = \"http://p\"\nquery = \" \"\n" + limit, "nothing but blanks"},
		{"prometheus", "url = \"http://p\"\nquery = \"up{colour=\\\"{color}\\\"}\"\n" + limit, "{color} is no placeholder; known are {colour}, {version}, {service}."},
		{"document", "url = \"http://x/{hash}\"\npath = \"a\"\n" + limit, "{hash} is no placeholder"},
		{"document", "url = \"http://x\"\npath = \"by.{Version}\"\n" + limit, "{Version} is no placeholder"},
		{"prometheus", p + limit + "step = \"1s\"\n", "give range too, or neither"},
		{"prometheus", p + limit + "range = \"1s\"\nstep = \"2s\"\n", "The step of 2s does not fit into the range of 1s."},
		{"prometheus", p + limit + "range = \"1h\"\nstep = \"1s\"\n", "has more than 1000 points; take longer steps"},
		{"prometheus", p + limit + "headers = { Authorization = \"Bearer x\" }\n", "Authorization is a secret, and policies are read by many"},
		{"prometheus", p + limit + "headers = { \"a b\" = \"x\" }\n", "HTTP does not allow"},
		{"prometheus", p + limit + "header_files = { X = \"token\" }\n", `"token" has to be an absolute path`},
		{"prometheus", p + limit + "header_files = { \"a b\" = \"/token\" }\n", "is not a header's name"},
		{"prometheus", p + limit + "headers = { X = \"1\" }\nheader_files = { X = \"/token\" }\n", "X is in headers too."},
		{"prometheus", p + limit + "ca_file = \"/ca.pem\"\n", "ca_file says which certificates to accept, but the URL is http."},
		{"document", "url = \"https://x\"\npath = \"a\"\ntls_skip_verify = true\nca_file = \"/ca.pem\"\n" + limit, "tls_skip_verify trusts everybody"},
		{"document", "url = \"https://x\"\npath = \"a\"\nca_file = \"ca.pem\"\n" + limit, `"ca.pem" has to be an absolute path`},
		{"document", "url = \"http://x\"\npath = \"a..b\"\n" + limit, `"a..b" has an empty part`},
		{"document", "url = \"http://x\"\n" + limit, `The argument "path" is required`},
	} {
		_, diags := decoded(t, c.kind, c.text)
		if len(diags) != 1 || !strings.Contains(diags[0].Detail, c.want) {
			t.Errorf("%s\ngot  %v\nwant %s", c.text, diags, c.want)
			continue
		}
		if diags[0].Subject == nil || diags[0].Subject.Filename != "policy.hcl" {
			t.Errorf("%s: no place: %+v", c.text, diags[0])
		}
	}
	q, diags := decoded(t, "prometheus", p+limit+"range = \"1h\"\n")
	if diags.HasErrors() || q.(Prometheus).Step != time.Minute {
		t.Errorf("%+v, %v: want 60 steps", q, diags)
	}
}

// Braces mean other things too, and in those nothing is looked for.
func TestStray(t *testing.T) {
	for text, want := range map[string]string{
		`up{colour="{colour}",version="{version}",service="{service}"}`: "",
		`up{}`:                            "",
		`{__name__=~"up|down"}`:           "",
		`up{path=~"/[a-z]{2,3}/\\p{L}+"}`: "",
		`up{colour="{colours}"}`:          "{colours}",
		`x/{saved.token}/{hash}`:          "{hash}",
	} {
		if got := Stray(text, "{saved.token}"); got != want {
			t.Errorf("%s: found %q, want %q", text, got, want)
		}
	}
}

// FuzzValues: whatever a service answers, there are numbers or an error.
func FuzzValues(f *testing.F) {
	f.Add(`{"a": [1, {"b": "2"}]}`, "a.*.b")
	f.Add(`[[[[1]]]]`, "*.*.0.*")
	f.Fuzz(func(t *testing.T, text, path string) {
		values, err := Document{Path: path}.Values([]byte(text))
		if len(values) > maxValues {
			t.Fatalf("%d values", len(values))
		}
		if err == nil && !json.Valid([]byte(strings.TrimSpace(text))) {
			t.Fatalf("numbers in what is no JSON: %q", text)
		}
		(Limits{Above: 1, HasAbove: true}).Judge(values)
	})
}
