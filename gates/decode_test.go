package gates_test

import (
	"bytes"
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/hashicorp/hcl/v2"

	"github.com/tealdeploy/teal/agent/measure"
	"github.com/tealdeploy/teal/gates"
)

var update = flag.Bool("update", false, "write the golden files anew")

func TestDecodeNamedFillsInDefaults(t *testing.T) {
	n := gate(t, ``)
	want := gates.Named{
		Kind: "http", Name: "smoke", Attempts: 3, Interval: time.Second, Timeout: 5 * time.Second, Deadline: 5 * time.Minute,
		Gate: gates.HTTP{Every: "instance", Scheme: "http", Steps: []gates.Step{{Path: "/", Method: "GET", Status: []int{200}}}},
	}
	if !reflect.DeepEqual(n, want) {
		t.Errorf("got %+v,\nwant %+v", n, want)
	}
}

func TestDecodeNamedTakesWhatIsSet(t *testing.T) {
	n := gate(t, `
		attempts         = 5
		interval         = "250ms"
		timeout          = "2s"
		deadline         = "1h"
		every            = "preview"
		url              = "https://edge:8080"
		path             = "/x"
		method           = "PUT"
		headers          = { A = "b" }
		body             = "hello"
		status           = [204, 200, 204]
		body_contains    = "y"
		json             = { a = 1, v = "{version}" }
		follow_redirects = true
		tls {
			ca_file     = "/ca.pem"
			cert_file   = "/cert.pem"
			key_file    = "/key.pem"
			server_name = "edge"
		}
	`)
	want := gates.Named{
		Kind: "http", Name: "smoke", Attempts: 5, Interval: 250 * time.Millisecond, Timeout: 2 * time.Second, Deadline: time.Hour,
		Gate: gates.HTTP{
			Every: "preview", URL: "https://edge:8080", Scheme: "http", FollowRedirects: true,
			Steps: []gates.Step{{
				Path: "/x", Method: "PUT", Headers: map[string]string{"A": "b"},
				Body: "hello", Status: []int{200, 204}, BodyContains: "y", JSON: map[string]string{"a": "1", "v": "{version}"},
			}},
			TLS: &measure.TLS{CAFile: "/ca.pem", CertFile: "/cert.pem", KeyFile: "/key.pem", ServerName: "edge"},
		},
	}
	if !reflect.DeepEqual(n, want) {
		t.Errorf("got %+v,\nwant %+v", n, want)
	}
}

// The policy's hash is taken over a gate's JSON: every setting shows in it, and
// the same settings always read the same.
func TestAGatesJSONChangesWithItsSettings(t *testing.T) {
	text := func(body string) string {
		raw, err := json.Marshal(gate(t, body))
		if err != nil {
			t.Fatal(err)
		}
		return string(raw)
	}
	if text(`status = [200, 204]`) != text(`status = [204, 200, 204]`) {
		t.Error("the order of statuses means nothing, but changes the JSON")
	}
	if text(`headers = { a = "1", b = "2" }`) != text(`headers = { b = "2", a = "1" }`) {
		t.Error("the order of headers means nothing, but changes the JSON")
	}
	seen := map[string]string{}
	for _, body := range []string{
		``, `attempts = 4`, `interval = "2s"`, `timeout = "2s"`, `deadline = "2m"`,
		`every = "any"`, `scheme = "https"`, `port = 81`, `path = "/x"`, `method = "HEAD"`, `method = "POST"`, `headers = { a = "1" }`, `headers = { a = "2" }`,
		`body = "x"`, `status = 201`, `status = [200, 201]`, `body_regex = "x"`, `body_regex = "y"`, `body_contains = "x"`, `json = { a = "1" }`, `json = { b = "1" }`,
		"scheme = \"https\"\ntls {\ninsecure_skip_verify = true\n}", "scheme = \"https\"\ntls {\nserver_name = \"a\"\n}", `follow_redirects = true`,
		`step "a" {}`, `step "b" {}`, "step \"a\" {}\nstep \"b\" {}", "step \"a\" {\npath = \"/x\"\n}",
		"step \"a\" {\nsave \"v\" { json = \"a\" }\n}", "step \"a\" {\nsave \"v\" { json = \"b\" }\n}", "step \"a\" {\nsave \"w\" { json = \"b\" }\n}",
		"step \"a\" {\nsave \"v\" { header = \"b\" }\n}", "step \"a\" {\nsave \"v\" { regex = \"b\" }\n}", "step \"a\" {\nsave \"v\" { regex = \"c\" }\n}",
		fmt.Sprintf(preview, "http://a"), fmt.Sprintf(preview, "http://b"),
	} {
		now := text(body)
		if other, ok := seen[now]; ok {
			t.Errorf("%q and %q have the same JSON %s", body, other, now)
		}
		seen[now] = body
	}
}

// Each mistake is told with its line and the way out. The messages are in
// testdata/mistakes.golden; -update writes them anew, to be read before they
// are committed.
func TestMistakes(t *testing.T) {
	mistakes := []string{
		`gate "htp" "smoke" {}`,
		`gate "consul-health" "mine" {}`,
		`gate "http" "" {}`,
		`gate "http" "smoke" {
  pth = "/health"
}`,
		`gate "http" "smoke" {
  attempts = 0
  interval = "1"
  timeout  = "-1s"
  deadline = 5
}`,
		`gate "http" "smoke" {
  interval = "1ns"
}`,
		`gate "http" "smoke" {
  timeout  = "2m"
  deadline = "1m"
}`,
		`gate "http" "smoke" {
  deadline = "1s"
}`,
		`gate "http" "smoke" {
  every  = "instances"
  scheme = "ftp"
  port   = 70000
  method = "get"
  status = [200, 2000]
}`,
		`gate "http" "smoke" {
  path = "health"
}`,
		`gate "http" "smoke" {
  path = "/{versoin}"
}`,
		`gate "http" "smoke" {
  path = "/%zz"
}`,
		`gate "http" "smoke" {
  body_regex = "a(b"
}`,
		`gate "http" "smoke" {
  every = "preview"
}`,
		`gate "http" "smoke" {
  url = "http://edge"
}`,
		`gate "http" "smoke" {
  every  = "preview"
  url    = "edge:8080"
  port   = 80
  scheme = "https"
}`,
		`gate "http" "smoke" {
  every = "preview"
  url   = "http://alice:hunter2@edge"
}`,
		`gate "http" "smoke" {
  every   = "preview"
  url     = "http://edge/?a=b"
  headers = { "x-teal-colour" = "blue" }
}`,
		`gate "http" "smoke" {
  tls {
    insecure_skip_verify = true
  }
}`,
		`gate "http" "smoke" {
  scheme = "https"
  tls {
    ca_file              = "ca.pem"
    cert_file            = "/cert.pem"
    insecure_skip_verify = true
    skip                 = true
  }
}`,
		`gate "http" "smoke" {
  tls {
    key_file = "/key.pem"
  }
}`,
		`gate "http" "smoke" {
  path = "/"
  body = "x"
  step "a" {
    save "v" { json = "a" }
  }
}`,
		`gate "http" "smoke" {
  path = "/{saved.v}"
  body = "{saved.w}"
}`,
		`gate "http" "smoke" {
  step "login" {
    path    = "/{saved.token}"
    headers = { x = "{saved.token}" }
    json    = { a = "{saved.token}" }
    pth     = "/"
    save "token" { json = "token" }
    save "token" { header = "X-Token" }
  }
  step "call" {
    path = "/{saved.tokn}?t={saved.token}"
  }
}`,
		`gate "http" "smoke" {
  step "" {}
  step "a" {}
  step "a" {
    save "a.b" { json = "a..b" }
    save "none" {}
    save "both" {
      json  = "a"
      regex = "a"
    }
    save "re" { regex = "(a)(b" }
    save "groups" { regex = "(a)(b)" }
    save "header" { header = "a b" }
    save "what" { cookie = "sid" }
  }
  step "head" {
    method = "HEAD"
    save "x" { regex = "a" }
  }
}`,
		`gate "http" "smoke" {
  method        = "HEAD"
  body_contains = "x"
}`,
		`gate "http" "smoke" {
  headers = { "a b" = "1", "c" = "2\n" }
}`,
		`gate "http" "smoke" {
  headers = { "x-a" = "1", "X-A" = "2" }
}`,
		`gate "http" "smoke" {
  json = { "a..b" = "1" }
}`,
		`gate "http" "smoke" {
  status = []
  json   = "ok"
  body   = null
  path   = nosuch
}`,
		`gate "http" "smoke" {
  retry {
  }
}`,
		`gate "prometheus" "p" {
  url   = "http://p"
  query = "up"
}`,
		`gate "prometheus" "p" {
  url   = "http://p"
  query = "up"
  above = 1
  below = 2
  ratio = 3
}`,
		`gate "http-json" "orders" {
  url   = "https://alice:hunter2@x"
  path  = "a"
  above = 1
  empty = "fine"
}`,
		`gate "grpc" "health" {
  every   = "preview"
  service = "/shop.v1.Orders"
  scheme  = "https"
}`,
		`gate "metrics" "warm" {
  metric          = "sum(x)"
  above           = 1
  path            = "metrics"
  tls {}
}`,
	}
	var out bytes.Buffer
	for _, text := range mistakes {
		_, diags := decode(t, text)
		if !diags.HasErrors() {
			t.Errorf("no mistake found in\n%s", text)
		}
		out.WriteString(strings.Repeat("-", 72) + "\n")
		writer := hcl.NewDiagnosticTextWriter(&out, map[string]*hcl.File{"policy.hcl": {Bytes: []byte(text)}}, 100, false)
		if err := writer.WriteDiagnostics(diags); err != nil {
			t.Fatal(err)
		}
		if strings.Contains(diags.Error(), "hunter2") { // the quoted line may: it is the file's own
			t.Errorf("a message shows a password: %s", diags)
		}
	}
	path := filepath.Join("testdata", "mistakes.golden")
	if *update {
		if err := os.MkdirAll("testdata", 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, out.Bytes(), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if out.String() != string(want) {
		t.Errorf("the messages changed; run with -update and read what they say now:\n%s", out.String())
	}
}

func TestABlockWithoutItsLabels(t *testing.T) {
	for _, labels := range [][]string{nil, {"http"}, {"http", "smoke", "more"}} {
		_, diags := gates.DecodeNamed(&hcl.Block{Type: "gate", Labels: labels, Body: hcl.EmptyBody()}, nil)
		if !diags.HasErrors() || !strings.Contains(diags.Error(), "A gate needs a kind and a name") {
			t.Errorf("%v: %v", labels, diags)
		}
	}
}
