package rollback_test

import (
	"encoding/json"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/hashicorp/hcl/v2"

	"github.com/tealdeploy/teal/rollback"
)

func TestDecodeMistakes(t *testing.T) {
	for _, c := range []struct{ src, want string }{
		{`trigger "http-5xx" "e" {}`, `There is no kind of trigger "http-5xx". Did you mean "errors"? Known: consul-health, errors,`},
		{`trigger "OOM" "e" {}`, `There is no kind of trigger "OOM". Did you mean "nomad"?`},
		{`trigger "erors" "e" {}`, `There is no kind of trigger "erors". Did you mean "errors"? Known: consul-health, errors, http-json, kv, latency, nomad, prometheus, volume.`},
		{`trigger "errors" "" {}`, "The second label names the trigger in status and records; it must not be empty."},
		{"trigger \"consul-health\" \"h\" {\nabove = 1\n}", `Known in trigger "consul-health": arguments for, min_passing.`},
		{"trigger \"consul-health\" \"h\" {\nmin_passing = 2\n}", `2 is out of range; it must be between 0 and 1`},
		{"trigger \"errors\" \"e\" {\nmin = 1\n}", `Known in trigger "errors": arguments above, bad, callers, label, metric, min_requests, path, port, ratio, scheme, tolerance, where, window; blocks tls.`},
		{"trigger \"errors\" \"e\" {\nabove = 5\n}", "5 is out of range; it must be between 0 and 1"},
		{"trigger \"errors\" \"e\" {\nabove = 1\n}", "No more than all requests can fail; above must be less than 1."},
		{"trigger \"errors\" \"e\" {\nratio = 0.9\n}", "0.9 is out of range; it must be between 1 and 1000"},
		{"trigger \"errors\" \"e\" {\nabove = 0.1\nratio = 2\n}", "ratio is no part of judging by above: give one of above and ratio, or tolerance and neither."},
		{"trigger \"errors\" \"e\" {\nratio = 2\ntolerance = 0.1\n}", "tolerance is no part of judging by ratio"},
		{"trigger \"errors\" \"e\" {\nabove = 0.1\ntolerance = 0.1\n}", "tolerance is no part of judging by above"},
		{"trigger \"errors\" \"e\" {\ntolerance = 1\n}", "No more than all requests can fail; tolerance must be less than 1."},
		{"trigger \"errors\" \"e\" {\nmin_requests = 0\n}", "0 is too small; at least 1 is required"},
		{"trigger \"errors\" \"e\" {\nwindow = \"100ms\"\n}", "The window of 100ms is out of range; it must be between 1s and 24h."},
		{"trigger \"errors\" \"e\" {\nwindow = \"48h\"\n}", "The window of 48h0m0s is out of range; it must be between 1s and 24h."},
		{"trigger \"errors\" \"e\" {\nbad = \"5(\"\n}", "bad: missing closing ): \"5(\"."},
		{"trigger \"errors\" \"e\" {\nbad = \"a)(b\"\n}", "bad: unexpected ): \"a)(b\"."},
		{"trigger \"errors\" \"e\" {\nmetric = \"sum(http_requests_total)\"\n}", "Selectors and functions are not understood here"},
		{"trigger \"errors\" \"e\" {\nmetric = \"latency_bucket\"\n}", "latency_bucket does not count each request once. Of a histogram or summary take latency_count."},
		{"trigger \"errors\" \"e\" {\nmetric = \"latency_sum\"\n}", "take latency_count."},
		{"trigger \"errors\" \"e\" {\nlabel = \"code=500\"\n}", `"code=500" is not the name of a label.`},
		{"trigger \"errors\" \"e\" {\npath = \"metrics\"\n}", `path is "metrics"; it must begin with a slash.`},
		{"trigger \"errors\" \"e\" {\npath = \"/%zz\"\n}", `"/%zz" is not a path and query of a URL.`},
		{"trigger \"errors\" \"e\" {\npath = \"/metrics#x\"\n}", `"/metrics#x" is not a path and query of a URL.`},
		{"trigger \"errors\" \"e\" {\nport = 70000\n}", "There is no port 70000; it must be between 1 and 65535."},
		{"trigger \"errors\" \"e\" {\nport = \"my port\"\n}", `"my port" is neither a number nor a key of a service's meta.`},
		{"trigger \"latency\" \"l\" {\nquantile = 1\n}", "A quantile is between 0 and 1, such as 0.5, 0.95 or 0.99."},
		{"trigger \"latency\" \"l\" {\nmetric = \"took_seconds_bucket\"\n}", "took_seconds_bucket is one of a histogram's series; name the histogram itself: took_seconds."},
		{"trigger \"latency\" \"l\" {\nmetric = \"rate(x[1m])\"\n}", "Selectors and functions are not understood here"},
		{"trigger \"latency\" \"l\" {\nabove = \"1s\"\nratio = 2\n}", "ratio is no part of judging by above"},
		{"trigger \"latency\" \"l\" {\nratio = 2\ntolerance = 0.1\n}", "tolerance is no part of judging by ratio"},
		{"trigger \"latency\" \"l\" {\nquantile = 0.5\ntolerance = 0.5\n}", "tolerance must be less than the quantile, 0.5."},
		{"trigger \"latency\" \"l\" {\nunit = \"us\"\n}", `"us" is not known`},
		{"trigger \"latency\" \"l\" {\nabove = \"0s\"\n}", `"0s" must be greater than zero`},
		{"trigger \"latency\" \"l\" {\nwindow = \"1ms\"\n}", "it must be between 1s and 24h."},
		{"trigger \"latency\" \"l\" {\npath = \"metrics\"\n}", "it must begin with a slash."},
		{"trigger \"volume\" \"v\" {\nbelow = 5\nabove = 5\n}", "Fewer than 5 (below) is bad, and more than 5 (above) is: nothing is left that is good."},
		{"trigger \"volume\" \"v\" {\nbelow = 0\n}", "No fewer than none can come; below must be more than 0"},
		{"trigger \"volume\" \"v\" {\nabove = 0\n}", "A single request would be too many; above must be more than 0"},
		{"trigger \"volume\" \"v\" {\nbelow = 5\nbelow_ratio = 0.5\n}", "below_ratio is no part of judging by requests a second (below, above)."},
		{"trigger \"volume\" \"v\" {\nbelow_ratio = 1\nabove_ratio = 1\n}", "Both ratios are 1: nothing is left that is good."},
		{"trigger \"volume\" \"v\" {\nmetric = \"sum(x)\"\n}", "Selectors and functions are not understood here"},
		{"trigger \"volume\" \"v\" {\nport = 0\n}", "There is no port 0; it must be between 1 and 65535."},
		{"trigger \"errors\" \"e\" {\ncallers = [\"web\"]\nwhere = { a = \"{colour}\" }\n}", "name the port, or the key in the callers' meta that holds it"},
		{"trigger \"errors\" \"e\" {\ncallers = [\"web\"]\nport = 9102\n}", "Callers count the requests to both colours"},
		{"trigger \"errors\" \"e\" {\ncallers = [\"web\"]\nport = 9102\nwhere = { subset = \"green\" }\n}", "Callers count the requests to both colours"},
		{"trigger \"errors\" \"e\" {\ncallers = [\"we b\"]\nport = 9102\nwhere = { a = \"{colour}\" }\n}", `"we b" is not the name of a Consul service.`},
		{"trigger \"errors\" \"e\" {\ncallers = [\"web\", \"web\"]\nport = 9102\nwhere = { a = \"{colour}\" }\n}", "web is named twice."},
		{"trigger \"volume\" \"e\" {\nwhere = { \"a=b\" = \"c\" }\n}", `"a=b" is not the name of a label.`},
		{"trigger \"errors\" \"e\" {\ntls {\nca_file = \"/ca.pem\"\n}\n}", "tls says how to speak TLS, but the scheme is http."},
		{"trigger \"latency\" \"l\" {\nscheme = \"https\"\ntls {\nca_file = \"ca.pem\"\n}\n}", `"ca.pem" has to be an absolute path`},
		{"trigger \"volume\" \"v\" {\nscheme = \"ftp\"\n}", `expected one of http, https.`},
		{`trigger "kv" "k" {}`, `The argument "key" is required`},
		{"trigger \"kv\" \"k\" {\nkey = \"verdicts/{service}\"\n}", `a word about this version would judge the next one too; name the version in it`},
		{"trigger \"kv\" \"k\" {\nkey = \"verdicts/{version}/{hash}\"\n}", "{hash} is no placeholder; known are {colour}, {version}, {service}."},
		{"trigger \"errors\" \"e\" {\nwhere = { subset = \"{color}\" }\n}", "{color} is no placeholder"},
		{"trigger \"kv\" \"k\" {\nkey = \"/verdicts/{version}\"\n}", "begins or ends with a slash"},
		{"trigger \"kv\" \"k\" {\nkey = \"v/{version}\"\nabsent = \"bad\"\n}", `"bad" is not known`},
		{"trigger \"nomad\" \"n\" {\nrestarts = -1\n}", "-1 is too small"},
		{"trigger \"prometheus\" \"p\" {\nurl = \"http://p\"\nquery = \"up\"\n}", "Give above, below or both, or ratio, or below_ratio, or worse: what is more, or less, is bad."},
		{"trigger \"prometheus\" \"p\" {\nurl = \"http://p\"\nquery = \"up\"\nworse = \"higher\"\nabove = 1\n}", "above is no part of judging in sequence, which worse asks for."},
		{"trigger \"prometheus\" \"p\" {\nurl = \"http://p\"\nquery = \"up\"\nworse = \"higher\"\nrange = \"1m\"\n}", "In sequence each answer is one figure"},
		{"trigger \"prometheus\" \"p\" {\nurl = \"http://p\"\nquery = \"up\"\nabove = 1\nbaseline = \"1h\"\n}", "baseline is part of judging in sequence"},
		{"trigger \"prometheus\" \"p\" {\nurl = \"http://p\"\nquery = \"up\"\nworse = \"lower\"\nbaseline = \"24h\"\n}", "has more than 900 figures; take a longer interval."},
		{"trigger \"prometheus\" \"p\" {\nurl = \"http://p\"\nquery = \"up\"\nworse = \"lower\"\nbaseline = \"30s\"\n}", "has fewer than 50 figures, and can tell nothing."},
		{"trigger \"http-json\" \"p\" {\nurl = \"http://p\"\npath = \"a\"\nworse = \"up\"\n}", "higher"},
		{"trigger \"prometheus\" \"p\" {\nurl = \"http://p\"\nquery = \"up\"\nratio = 2\nabove = 1\n}", "ratio compares with what was before the cutover, and above and below do not."},
		{"trigger \"http-json\" \"j\" {\nurl = \"http://p\"\npath = \"n\"\nbelow_ratio = 0.5\nbelow = 1\n}", "below_ratio compares with what was before the cutover, and above and below do not."},
		{"trigger \"http-json\" \"j\" {\nurl = \"http://p\"\npath = \"n\"\nbelow_ratio = 0\n}", "0 is out of range; it must be between 0.001 and 1"},
		{"trigger \"http-json\" \"j\" {\nurl = \"http://p\"\npath = \"n\"\nbelow_ratio = 1\nratio = 1\n}", "Both ratios are 1: nothing is left that is good."},
		{"trigger \"http-json\" \"j\" {\nurl = \"http://p\"\npath = \"n\"\nbelow_ratio = 1.5\n}", "1.5 is out of range; it must be between 0.001 and 1"},
		{"trigger \"http-json\" \"j\" {\nurl = \"http://p\"\npath = \"n\"\nbelow_ratio = 0.5\nworse = \"lower\"\n}", "below_ratio is no part of judging in sequence"},
		{"trigger \"prometheus\" \"p\" {\nurl = \"http://p\"\nquery = \"up\"\nratio = 2\ninterval = \"1ms\"\n}", "at least 100ms is required"},
		{"trigger \"http-json\" \"p\" {\nurl = \"http://p\"\npath = \"a\"\nabove = 1\nempty = \"hold\"\n}", `"hold" is not known`},
	} {
		_, diags := decode(c.src)
		if len(diags) != 1 || !strings.Contains(diags[0].Detail, c.want) {
			t.Errorf("%s\ngot  %v\nwant %s", c.src, diags, c.want)
		}
		for _, diag := range diags {
			if diag.Subject == nil || diag.Subject.Filename != "watch.hcl" {
				t.Errorf("%s: no place: %+v", c.src, diag)
			}
		}
	}
	if _, diags := rollback.DecodeNamed(&hcl.Block{Labels: []string{"errors"}}, nil); len(diags) != 1 || diags[0].Summary != "A trigger needs a kind and a name" {
		t.Errorf("one label: %v", diags)
	}
	// All mistakes at once.
	if _, diags := decode("trigger \"errors\" \"\" {\nabove = 1\nbad = \"(\"\nlable = \"x\"\n}"); len(diags) != 4 {
		t.Errorf("four mistakes: %v", diags)
	}
}

func TestDecodeSources(t *testing.T) {
	for _, c := range []struct{ body, key, family string }{
		{"", "/metrics", "http_requests_total"},
		{"metric = \"a_count\"\npath = \"/actuator/prometheus?x=y\"\nport = 9100", "9100/actuator/prometheus?x=y", "a_count"},
		{`port = "metrics-port"`, "metrics-port/metrics", "http_requests_total"},
	} {
		got := triggers(t, "trigger \"errors\" \"e\" {\n"+c.body+"\n}")[0].Trigger
		if sources := got.Sources(); len(sources) != 1 || sources[0].Key() != c.key {
			t.Errorf("%s: sources %v, want %s", c.body, sources, c.key)
		}
		if !reflect.DeepEqual(got.Families(), []string{c.family}) {
			t.Errorf("%s: families %v, want %s", c.body, got.Families(), c.family)
		}
	}
	health := triggers(t, `trigger "consul-health" "h" {}`)[0].Trigger
	if health.Sources() != nil || health.Families() != nil {
		t.Errorf("health scrapes %v of %v", health.Families(), health.Sources())
	}
}

// A trigger's JSON is part of the policy's hash: it changes with every setting,
// and with nothing else.
func TestJSONIsTheConfiguration(t *testing.T) {
	text := func(kind, body string) string {
		t.Helper()
		out, err := json.Marshal(triggers(t, fmt.Sprintf("trigger %q \"n\" {\n%s\n}", kind, body))[0])
		if err != nil {
			t.Fatal(err)
		}
		return string(out)
	}
	other := map[string]map[string]string{
		"consul-health": {"min_passing": "0.75", "for": `"11s"`},
		"errors": {
			"metric": `"x_total"`, "label": `"code"`, "bad": `"4.."`, "above": "0.06", "ratio": "1.5", "tolerance": "0.002", "min_requests": "51",
			"window": `"31s"`, "scheme": `"https"`, "path": `"/m"`, "port": "9100", "where": `{ a = "b" }`, "callers": `["web"]`,
		},
		"latency": {
			"metric": `"x"`, "unit": `"ms"`, "quantile": "0.95", "above": `"1s"`, "ratio": "1.5", "tolerance": "0.002", "min_requests": "51",
			"window": `"31s"`, "scheme": `"https"`, "path": `"/m"`, "port": "9100", "where": `{ a = "b" }`, "callers": `["web"]`,
		},
		"prometheus": {
			"url": `"https://q"`, "query": `"x"`, "range": `"1m"`, "step": `"2s"`, "headers": `{ A = "b" }`, "header_files": `{ A = "/b" }`,
			"ca_file": `"/ca.pem"`, "tls_skip_verify": "true", "above": "2", "below": "0.5", "ratio": "2", "below_ratio": "0.3", "worse": `"lower"`, "tolerance": "0.2", "baseline": `"30m"`, "empty": `"fine"`, "for": `"1s"`, "interval": `"6s"`, "timeout": `"6s"`,
		},
		"http-json": {
			"url": `"https://q"`, "path": `"x"`, "headers": `{ A = "b" }`, "header_files": `{ A = "/b" }`,
			"ca_file": `"/ca.pem"`, "tls_skip_verify": "true", "above": "2", "below": "0.5", "ratio": "2", "below_ratio": "0.3", "worse": `"lower"`, "tolerance": "0.2", "empty": `"fine"`, "for": `"1s"`, "interval": `"6s"`, "timeout": `"6s"`,
		},
		"nomad": {"restarts": "3", "oom": "1", "failed": "1"},
		"kv":    {"key": `"x/{version}"`, "absent": `"fine"`},
		"volume": {
			"metric": `"x"`, "below": "1", "above": "2", "below_ratio": "0.5", "above_ratio": "2", "min_requests": "51",
			"window": `"31s"`, "scheme": `"https"`, "path": `"/m"`, "port": "9100", "where": `{ a = "b" }`, "callers": `["web"]`,
		},
	}
	for kind := range rollback.Kinds {
		needs := map[string]string{}
		maps.Copy(needs, required[kind])
		required := lines(needs)
		seen := map[string]string{text(kind, required): "nothing"}
		if text(kind, required) != text(kind, required+"\n# a comment") {
			t.Errorf("%s: two readings differ", kind)
		}
		for _, name := range arguments(t, kind) {
			value, ok := other[kind][name]
			if !ok {
				t.Fatalf("%s: no other value for %s here", kind, name)
			}
			mine := maps.Clone(needs)
			switch mine[name] = value; name {
			case "ratio", "worse":
				delete(mine, "above")
			case "below_ratio":
				if kind != "volume" {
					delete(mine, "above")
				}
			case "callers":
				mine["port"], mine["where"] = "9102", `{ a = "{colour}" }`
			case "baseline", "tolerance":
				if kind == "prometheus" || kind == "http-json" {
					delete(mine, "above")
					mine["worse"] = `"higher"`
				}
			case "step":
				mine["range"] = `"2m"`
			}
			got := text(kind, lines(mine))
			if same, ok := seen[got]; ok {
				t.Errorf("%s: setting %s reads like setting %s: %s", kind, name, same, got)
			}
			seen[got] = name
		}
	}
}

// A kind by a name that people know it by is told by its own, which exists.
func TestMeantKinds(t *testing.T) {
	for name, kind := range map[string]string{
		"http-5xx": "errors", "5xx": "errors", "error-rate": "errors", "p50": "latency", "p95": "latency", "p99": "latency", "response-time": "latency",
		"traffic": "volume", "throughput": "volume", "oom": "nomad", "restarts": "nomad", "allocations": "nomad",
		"health": "consul-health", "consul": "consul-health", "json": "http-json", "business": "http-json", "promql": "prometheus",
	} {
		_, diags := decode(fmt.Sprintf("trigger %q \"n\" {}", name))
		if want := fmt.Sprintf("Did you mean %q?", kind); rollback.Kinds[kind] == nil || len(diags) != 1 || !strings.Contains(diags[0].Detail, want) {
			t.Errorf("%s: %v, want %s", name, diags, want)
		}
	}
}

// How endpoints are spoken to is part of it, and of what is scraped: two triggers that
// trust others do not share their answers.
func TestTLSIsTheConfiguration(t *testing.T) {
	seen := map[string]bool{}
	keys := map[string]bool{}
	for _, body := range []string{
		``, "scheme = \"https\"", "scheme = \"https\"\ntls {\nca_file = \"/a\"\n}", "scheme = \"https\"\ntls {\nca_file = \"/b\"\n}",
		"scheme = \"https\"\ntls {\ncert_file = \"/a\"\nkey_file = \"/b\"\n}", "scheme = \"https\"\ntls {\nserver_name = \"a\"\n}", "scheme = \"https\"\ntls {\ninsecure_skip_verify = true\n}",
	} {
		for _, kind := range []string{"errors", "latency", "volume"} {
			named := triggers(t, fmt.Sprintf("trigger %q \"n\" {\n%s\n}", kind, body))[0]
			text, err := json.Marshal(named)
			if err != nil {
				t.Fatal(err)
			}
			if seen[string(text)] {
				t.Errorf("%s: %s reads like another one", kind, body)
			}
			seen[string(text)] = true
			if body == "" && strings.Contains(string(text), "cheme") {
				t.Errorf("%s says what was never said: %s", kind, text) // and so every policy would have changed
			}
			keys[named.Trigger.Sources()[0].Key()] = true
		}
	}
	if len(keys) != 7 || !keys["/metrics"] {
		t.Errorf("sources %v", keys)
	}
}

// required are arguments without which a trigger is none.
var required = map[string]map[string]string{
	"kv":         {"key": `"v/{version}"`},
	"prometheus": {"url": `"https://p"`, "query": `"up"`, "above": "1"},
	"http-json":  {"url": `"https://p"`, "path": `"a"`, "above": "1"},
}

func lines(arguments map[string]string) string {
	var b strings.Builder
	for _, name := range slices.Sorted(maps.Keys(arguments)) {
		fmt.Fprintf(&b, "%s = %s\n", name, arguments[name])
	}
	return b.String()
}

// arguments are what the decoder itself says it knows.
func arguments(t *testing.T, kind string) []string {
	t.Helper()
	_, diags := decode(fmt.Sprintf("trigger %q \"n\" {\nunheard_of = 1\n}", kind))
	for _, diag := range diags {
		if _, list, ok := strings.Cut(diag.Detail, "arguments "); ok {
			list, _, _ = strings.Cut(list, ".")
			list, _, _ = strings.Cut(list, "; ")
			return strings.Split(list, ", ")
		}
	}
	t.Fatal(diags)
	return nil
}
