package scrape

import (
	"fmt"
	"io"
	"maps"
	"math"
	"reflect"
	"slices"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"

	"github.com/tealdeploy/teal/rollback"
)

const exposition = `# HELP go_goroutines Number of goroutines that currently exist.
# TYPE go_goroutines gauge
go_goroutines 42
# HELP http_requests_total Ordinary requests, "answered" {or not}.
# TYPE http_requests_total counter
http_requests_total{code="200",method="GET"} 1027 1395066363000
http_requests_total { code = "500" , path="/a b\"}{\\ \n", } 3e0
	http_requests_total_more{code="200"} 7

# TYPE latency_seconds histogram
latency_seconds_bucket{le="0.5"} 1
latency_seconds_bucket{le="+Inf"} 2
latency_seconds_sum 0.75
latency_seconds_count 2
# TYPE quantiles summary
quantiles{quantile="0.5"} NaN
quantiles_sum 0
quantiles_count 0
{"http.requests",code="500"} 9
{code="200", "http.requests" } 8
{"a \"quoted\" name"} -Inf
`

func families(series map[string]rollback.Family) string {
	var out []string
	for name, family := range series {
		for _, s := range family {
			var labels []string
			for _, label := range slices.Sorted(maps.Keys(s.Labels)) {
				labels = append(labels, fmt.Sprintf("%s=%q", label, s.Labels[label]))
			}
			out = append(out, fmt.Sprintf("%s{%s} %v", name, strings.Join(labels, ","), s.Value))
		}
	}
	slices.Sort(out)
	return strings.Join(out, "\n")
}

// What is wanted comes out as it stands, and nothing else does.
func TestParseKeepsTheWanted(t *testing.T) {
	for _, c := range []struct{ wanted, want string }{
		{"http_requests_total", `http_requests_total{code="200",method="GET"} 1027
http_requests_total{code="500",path="/a b\"}{\\ \n"} 3`},
		{"latency_seconds_bucket latency_seconds_count", `latency_seconds_bucket{le="+Inf"} 2
latency_seconds_bucket{le="0.5"} 1
latency_seconds_count{} 2`},
		{"latency_seconds_sum", "latency_seconds_sum{} 0.75"},
		{"latency_seconds", ""},
		{"quantiles quantiles_count", "quantiles_count{} 0\nquantiles{quantile=\"0.5\"} NaN"},
		{"http.requests", "http.requests{code=\"200\"} 8\nhttp.requests{code=\"500\"} 9"},
		{`a "quoted" name`, `a "quoted" name{} -Inf`},
		{"absent", ""},
		{"", ""},
	} {
		wanted := strings.Fields(c.wanted)
		if strings.HasPrefix(c.wanted, "a ") {
			wanted = []string{c.wanted}
		}
		for how, body := range map[string]io.Reader{"whole": strings.NewReader(exposition), "byte by byte": iotest.OneByteReader(strings.NewReader(exposition))} {
			got, err := parse(body, wanted, 100)
			if err != nil || families(got) != c.want {
				t.Errorf("%s, %s: %v\ngot\n%s\nwant\n%s", c.wanted, how, err, families(got), c.want)
			}
		}
	}
}

// A body that is not what it should be, wherever in it that shows, gives
// nothing at all.
func TestParseRefuses(t *testing.T) {
	const good = "wanted 1\n"
	for _, c := range []struct{ name, body, want string }{
		{"an error page", "<html><body>502 Bad Gateway</body></html>\n", "line 1: there is no metric's name"},
		{"JSON", "{\"status\":\"ok\"}\n", "line 1: its labels are not name=\"value\" in braces"},
		{"JSON of another kind", "{\"up\"}\n", `"" is no value`},
		{"garbage behind what is wanted", good + "\x00\x01\x02\n", "line 2: there is no metric's name"},
		{"words", good + "all is well\n", `line 2: "is" is no value`},
		{"no value", good + "other{a=\"b\"}\n", `line 2: "" is no value`},
		{"no timestamp", good + "other 1 soon\n", `line 2: "soon" is no timestamp`},
		{"an exemplar", good + "other 1 # {trace=\"x\"} 1\n", `"#" is no timestamp`},
		{"too much", good + "other 1 2 3\n", `line 2: "3" is too much`},
		{"an open quote", good + "other{a=\"b} 1\n", "line 2: a quote is not closed"},
		{"open braces", good + "other{a=\"b\" 1\n", "line 2: its labels"},
		{"a label without quotes", good + "other{a=b} 1\n", "line 2: its labels"},
		{"a label without a value", good + "other{a} 1\n", "line 2: its labels"},
		{"a label without a name", good + "other{=\"b\"} 1\n", "line 2: its labels"},
		{"two names", good + "other{\"another\"} 1\n", "line 2: its labels"},
		{"a name of digits", good + "1other 1\n", "line 2: there is no metric's name"},
		{"cut within a number", good + "other 12", "the answer ends within line 2"},
		{"cut within the wanted", good + "wanted{a=\"b\"} 1", "the answer ends within line 2"},
		{"cut within blanks", good + "  ", "the answer ends within line 2"},
		{"cut within a comment", good + "# HELP other A", "the answer ends within line 2"},
		{"cut within a long comment", good + "# " + strings.Repeat("x", 3*maxLine), "the answer ends within line 2"},
		{"a line without end", good + "other{a=\"" + strings.Repeat("x", 3*maxLine) + "\"} 1\n", "line 2 is longer than 65536 bytes"},
		{"blanks without end, and then a sample", good + strings.Repeat(" ", 3*maxLine) + "wanted 5\n", "line 2 is longer"},
		{"carriage returns", "wanted 1\r\n", `is no value`},
		{"what only Prometheus' parser finds", "wanted{a=\"1\",a=\"2\"} 1\n", "duplicate label names"},
		{"text that is not UTF-8", "wanted{a=\"\xff\"} 1\n", "invalid label value"},
		{"a long text in an error", "wanted{a=\"1\"} " + strings.Repeat("x", 5000) + "\n", "…"},
		{"too many series", good + strings.Repeat("wanted{a=\"b\"} 1\n", 100), "more than 100 series of the wanted metrics"},
	} {
		got, err := parse(strings.NewReader(c.body), []string{"wanted"}, 100)
		if err == nil || !strings.Contains(err.Error(), c.want) || got != nil {
			t.Errorf("%s: got %v, %v, want %s", c.name, got, err, c.want)
		}
	}
	got, err := parse(io.MultiReader(strings.NewReader(good), iotest.ErrReader(io.ErrUnexpectedEOF)), []string{"wanted"}, 100)
	if err == nil || got != nil {
		t.Errorf("a connection that breaks between lines: %v, %v", got, err)
	}
}

// What is not an error although it looks odd.
func TestParseAccepts(t *testing.T) {
	for name, body := range map[string]string{
		"nothing":              "",
		"only a line feed":     "\n",
		"a long help text":     "# HELP other " + strings.Repeat("x", 5*maxLine) + "\nwanted 1\n",
		"a comment of any use": "#\n#!/bin/sh\n \t# {\n",
		"a name that is there": "other 1\n",
		"all kinds of numbers": "other +Inf\nother -Inf\nother NaN\nother 1e400\nother 0x1p3\nother 1e-5 -17\n",
		"colons":               "a:b:c 1\n",
	} {
		if _, err := parse(strings.NewReader(body), []string{"wanted"}, 100); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// A large endpoint of which little is wanted takes little memory.
func TestParseOfALargeEndpoint(t *testing.T) {
	var b strings.Builder
	for i := range 50_000 {
		fmt.Fprintf(&b, "other{path=\"/%d\",code=\"200\"} %d\n", i, i)
	}
	b.WriteString("wanted{code=\"500\"} 5\n")
	body := b.String()
	result := testing.Benchmark(func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			got, err := parse(strings.NewReader(body), []string{"wanted"}, 100)
			if err != nil || len(got["wanted"]) != 1 {
				b.Fatal(got, err)
			}
		}
	})
	if most := int64(4 * maxLine); result.AllocedBytesPerOp() > most {
		t.Errorf("%d bytes were allocated for an answer of %d, more than %d", result.AllocedBytesPerOp(), len(body), most)
	}
}

// FuzzParse: whatever an endpoint sends, reading it ends, and what it gives is
// what Prometheus' own parser makes of the same lines. Nothing of an answer is
// left out: if Prometheus sees wanted series, so do we, or it is an error.
func FuzzParse(f *testing.F) {
	f.Add([]byte(exposition))
	f.Add([]byte("http_requests_total{code=\"500\"} 1\n{\"http.requests\"} 2\n"))
	f.Add([]byte("http_requests_total 1"))
	f.Add([]byte("<html>\n"))
	f.Add([]byte("http_requests_total{a=\"\\\"\",} NaN 5\n"))
	wanted := []string{"http_requests_total", "http.requests"}
	f.Fuzz(func(t *testing.T, body []byte) {
		got, err := parse(strings.NewReader(string(body)), wanted, 50)
		if err != nil {
			if got != nil {
				t.Fatalf("%v and an error, %v", got, err)
			}
			return
		}
		for name := range got {
			if !slices.Contains(wanted, name) {
				t.Fatalf("%q was not wanted", name)
			}
		}
		parser := expfmt.NewTextParser(model.UTF8Validation)
		// Types fold series into one; without them each stands for itself.
		var plain strings.Builder
		for line := range strings.Lines(string(body)) {
			if !strings.HasPrefix(strings.TrimLeft(line, " \t"), "#") {
				plain.WriteString(line)
			}
		}
		theirs, err := parser.TextToMetricFamilies(strings.NewReader(plain.String()))
		if err != nil {
			return // something that was not wanted is refused by Prometheus too
		}
		for _, name := range wanted {
			var want rollback.Family
			for _, m := range theirs[name].GetMetric() {
				s := rollback.Series{Labels: map[string]string{}, Value: m.GetUntyped().GetValue()}
				for _, l := range m.GetLabel() {
					s.Labels[l.GetName()] = l.GetValue()
				}
				want = append(want, s)
			}
			if !reflect.DeepEqual(numbers(got[name]), numbers(want)) {
				t.Fatalf("%s: got %v, Prometheus reads %v", name, got[name], want)
			}
		}
	})
}

// numbers makes NaN equal to itself.
func numbers(family rollback.Family) rollback.Family {
	out := slices.Clone(family)
	for i := range out {
		if math.IsNaN(out[i].Value) {
			out[i].Value = -math.Pi
		}
	}
	return out
}
