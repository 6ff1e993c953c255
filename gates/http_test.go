package gates_test

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/hashicorp/hcl/v2"
	"github.com/hashicorp/hcl/v2/hclsyntax"

	"github.com/tealdeploy/teal/agent/deployment"
	"github.com/tealdeploy/teal/gates"
)

// gate decodes the body of an http gate that must be right.
func gate(t *testing.T, body string) gates.Named {
	t.Helper()
	n, diags := decode(t, "gate \"http\" \"smoke\" {\n"+body+"\n}\n")
	if diags.HasErrors() {
		t.Fatalf("%s\n%s", body, diags)
	}
	return n
}

// decode reads the first block of a text.
func decode(t *testing.T, text string) (gates.Named, hcl.Diagnostics) {
	t.Helper()
	file, diags := hclsyntax.ParseConfig([]byte(text), "policy.hcl", hcl.InitialPos)
	if diags.HasErrors() {
		t.Fatal(diags)
	}
	content, diags := file.Body.Content(&hcl.BodySchema{Blocks: []hcl.BlockHeaderSchema{{Type: "gate", LabelNames: []string{"kind", "name"}}}})
	if diags.HasErrors() {
		t.Fatal(diags)
	}
	return gates.DecodeNamed(content.Blocks[0], nil)
}

// app starts an instance that answers with handler.
func app(t *testing.T, handler http.HandlerFunc) deployment.Instance {
	t.Helper()
	server := httptest.NewServer(handler)
	t.Cleanup(server.Close)
	return instanceAt(t, server.Listener.Addr().String())
}

func instanceAt(t *testing.T, address string) deployment.Instance {
	t.Helper()
	host, port, err := net.SplitHostPort(address)
	if err != nil {
		t.Fatal(err)
	}
	n, err := strconv.Atoi(port)
	if err != nil {
		t.Fatal(err)
	}
	return deployment.Instance{ID: "api-" + port, Node: "node", Address: host, Port: n, Colour: deployment.Green, Health: deployment.Passing}
}

func green(instances ...deployment.Instance) gates.Target {
	return gates.Target{Service: "api", Colour: deployment.Green, Version: "2.0.0", Hash: "h1", Instances: instances, Expected: len(instances)}
}

func answers(status int, body string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(status)
		_, _ = io.WriteString(w, body)
	}
}

func TestHTTPExpectations(t *testing.T) {
	for _, c := range []struct {
		name    string
		gate    string
		status  int
		body    string
		verdict gates.Verdict
		reason  string // contained
	}{
		{"200 is expected when nothing is said", ``, 200, "", gates.Pass, "GET /: 1 of 1 instances answered as expected"},
		{"another status", ``, 204, "", gates.Fail, "answered 204, expected 200"},
		{"a server error", ``, 500, "out of memory", gates.Fail, "answered 500, expected 200"},
		{"what a small wrong answer says is shown to its end, also beside secrets", `headers = { X-Secret = "s3cr3t-s3cr3t" }`, 500, "out of memory", gates.Fail, "answered 500"},
		{"one status", `status = 204`, 204, "", gates.Pass, ""},
		{"a list of statuses", `status = [204, 200]`, 200, "", gates.Pass, ""},
		{"not in the list of statuses", `status = [204, 200, 204]`, 503, "", gates.Fail, "answered 503, expected 200 or 204"},
		{"an error may be what is expected", `status = 401`, 401, "", gates.Pass, ""},
		{"contains", `body_contains = "ready"`, 200, "I am ready now", gates.Pass, ""},
		{"does not contain", `body_contains = "ready"`, 200, "I am not", gates.Fail, `answered a body without "ready"`},
		{"an empty body contains nothing", `body_contains = "ready"`, 200, "", gates.Fail, `answered a body without "ready"`},
		{"regular expression", `body_regex = "^v[0-9]+$"`, 200, "v12", gates.Pass, ""},
		{"regular expression that does not match", `body_regex = "^v[0-9]+$"`, 200, "v12 or so", gates.Fail, `answered a body that does not match "^v[0-9]+$"`},
		{"JSON", `json = { "status" = "ok", "db.up" = true, "n" = 3 }`, 200, `{"status":"ok","db":{"up":true},"n":3.0}`, gates.Pass, ""},
		{"other JSON", `json = { "status" = "ok" }`, 200, `{"status":"down"}`, gates.Fail, `answered JSON where status is "down", expected "ok"`},
		{"no JSON", `json = { "status" = "ok" }`, 200, `<html>`, gates.Fail, "answered a body that is not JSON"},
		{"all expectations together", "body_contains = \"o\"\nbody_regex = \"k\"\njson = { s = \"ok\" }", 200, `{"s":"ok"}`, gates.Pass, ""},
		{"one of several expectations", "body_contains = \"o\"\nbody_regex = \"K\"\njson = { s = \"ok\" }", 200, `{"s":"ok"}`, gates.Fail, `does not match "K"`},
		{"a right body with a wrong status", `body_contains = "ok"`, 500, "ok", gates.Fail, "answered 500, expected 200"},
		{"a version that is the candidate's", `body_contains = "version {version}"`, 200, "version 2.0.0", gates.Pass, ""},
		{"a version that is another's", `body_contains = "version {version}"`, 200, "version 1.0.0", gates.Fail, `without "version 2.0.0"`},
		{"JSON of the candidate", `json = { colour = "{colour}", version = "{version}", name = "{service}" }`, 200, `{"colour":"green","version":"2.0.0","name":"api"}`, gates.Pass, ""},
		{"JSON of the other colour", `json = { colour = "{colour}" }`, 200, `{"colour":"blue"}`, gates.Fail, `colour is "blue", expected "green"`},
	} {
		t.Run(c.name, func(t *testing.T) {
			instance := app(t, answers(c.status, c.body))
			finding, err := gate(t, c.gate).Gate.Check(t.Context(), green(instance))
			if err != nil {
				t.Fatal(err)
			}
			if finding.Verdict != c.verdict || !strings.Contains(finding.Reason, c.reason) {
				t.Errorf("got %s %q, want %s with %q", finding.Verdict, finding.Reason, c.verdict, c.reason)
			}
			if finding.Figures["status"] != strconv.Itoa(c.status) || finding.Figures["took_ms"] == "" {
				t.Errorf("figures %v do not tell status and time", finding.Figures)
			}
			if c.verdict == gates.Fail && finding.Figures["body"] != c.body {
				t.Errorf("figures %v do not show the wrong body %q", finding.Figures, c.body)
			}
			if c.verdict == gates.Fail && !strings.Contains(finding.Reason, instance.ID+" ("+instance.HostPort()+")") {
				t.Errorf("%q does not say which instance", finding.Reason)
			}
		})
	}
}

// request is what the candidate was asked.
type request struct {
	method, uri, host, body string
	header                  http.Header
}

// recorder is an instance that remembers what it was asked.
func recorder(t *testing.T) (deployment.Instance, func() []request) {
	var mu sync.Mutex
	var all []request
	instance := app(t, func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		_, _ = io.WriteString(w, "2.0.0")
		mu.Lock()
		defer mu.Unlock()
		all = append(all, request{r.Method, r.RequestURI, r.Host, string(body), r.Header})
	})
	return instance, func() []request {
		mu.Lock()
		defer mu.Unlock()
		return slices.Clone(all)
	}
}

func TestHTTPRequest(t *testing.T) {
	for _, c := range []struct {
		name, gate string
		version    string // of the candidate, 2.0.0 when empty
		want       request
	}{
		{"plain", `path = "/health"`, "", request{method: "GET", uri: "/health"}},
		{"with a query", `path = "/health?deep=1&x=a%20b"`, "", request{method: "GET", uri: "/health?deep=1&x=a%20b"}},
		{"method", `method = "DELETE"`, "", request{method: "DELETE", uri: "/"}},
		{"HEAD", `method = "HEAD"`, "", request{method: "HEAD", uri: "/"}},
		{"a body makes it a POST", `body = "hello"`, "", request{method: "POST", uri: "/", body: "hello"}},
		{"a body with a method", "body = \"hello\"\nmethod = \"PUT\"", "", request{method: "PUT", uri: "/", body: "hello"}},
		{"headers", `headers = { "x-one" = "1", Authorization = "Bearer s3cr3t" }`, "", request{method: "GET", uri: "/",
			header: http.Header{"X-One": {"1"}, "Authorization": {"Bearer s3cr3t"}, "User-Agent": {"teal-gate"}}}},
		{"the gate's own user agent", `headers = { user-agent = "curl" }`, "", request{method: "GET", uri: "/", header: http.Header{"User-Agent": {"curl"}}}},
		{"host", `headers = { host = "api.example.com" }`, "", request{method: "GET", uri: "/", host: "api.example.com"}},
		{"placeholders", "path = \"/{service}/{version}?c={colour}\"\nbody = \"{colour} {version}\"\nheaders = { X-V = \"{version}\" }", "",
			request{method: "POST", uri: "/api/2.0.0?c=green", body: "green 2.0.0", header: http.Header{"X-V": {"2.0.0"}}}},
		{"a version cannot leave its place in the path", `path = "/v/{version}"`, "../x?y=1&z 2#3", request{method: "GET", uri: "/v/..%2Fx%3Fy%3D1%26z%202%233"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			instance, asked := recorder(t)
			target := green(instance)
			if c.version != "" {
				target.Version = c.version
			}
			finding, err := gate(t, c.gate).Gate.Check(t.Context(), target)
			if err != nil || finding.Verdict != gates.Pass {
				t.Fatalf("%+v, %v", finding, err)
			}
			got := asked()[0]
			if got.method != c.want.method || got.uri != c.want.uri || got.body != c.want.body {
				t.Errorf("asked %+v, want %+v", got, c.want)
			}
			if c.want.host == "" {
				c.want.host = instance.HostPort()
			}
			if got.host != c.want.host {
				t.Errorf("asked host %s, want %s", got.host, c.want.host)
			}
			for name, want := range c.want.header {
				if !slices.Equal(got.header[name], want) {
					t.Errorf("header %s is %q, want %q", name, got.header[name], want)
				}
			}
			if _, ok := got.header[http.CanonicalHeaderKey(gates.PreviewHeader)]; ok {
				t.Error("an instance was asked with the preview header")
			}
		})
	}
}

func TestWhatIsNotKnownOfTheCandidateIsNotMadeUp(t *testing.T) {
	instance, asked := recorder(t)
	for _, body := range []string{`path = "/{version}"`, `body = "{version}"`, `body_contains = "{version}"`, `headers = { x = "{version}" }`, `json = { v = "{version}" }`} {
		target := green(instance)
		target.Version = ""
		finding, err := gate(t, body).Gate.Check(t.Context(), target)
		if err == nil || finding.Verdict != gates.Hold || !strings.Contains(err.Error(), "{version}, but the candidate's version is not known") {
			t.Errorf("%s: got %+v, %v", body, finding, err)
		}
	}
	// A version that would add a header of its own.
	target := green(instance)
	target.Version = "1\r\nX-Admin: yes"
	if finding, err := gate(t, `headers = { x = "{version}" }`).Gate.Check(t.Context(), target); err == nil || finding.Verdict != gates.Hold {
		t.Errorf("got %+v, %v", finding, err)
	}
	if n := len(asked()); n != 0 {
		t.Errorf("the instance was asked %d times", n)
	}
}

func TestWhoIsAsked(t *testing.T) {
	good := func() deployment.Instance { return app(t, answers(200, "")) }
	bad := func() deployment.Instance { return app(t, answers(500, "")) }
	with := func(i deployment.Instance, h deployment.Health) deployment.Instance { i.Health = h; return i }
	gone := func() deployment.Instance {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		defer l.Close()
		return instanceAt(t, l.Addr().String())
	}
	unknown := func() deployment.Instance { i := good(); i.Address = ""; return i }
	for _, c := range []struct {
		name, gate string
		instances  []deployment.Instance
		expected   int
		verdict    gates.Verdict
		reason     string // of the finding or of the error
		asked      string
	}{
		{"every instance must pass", ``, []deployment.Instance{good(), good(), good()}, 3, gates.Pass, "3 of 3 instances answered as expected", "3"},
		{"one of them does not", ``, []deployment.Instance{good(), bad(), good()}, 3, gates.Fail, "1 of 3 instances did not pass", "3"},
		{"any one is enough", `every = "any"`, []deployment.Instance{bad(), good(), gone()}, 3, gates.Pass, "1 of 3 instances answered as expected", "3"},
		{"any, but none does", `every = "any"`, []deployment.Instance{bad(), gone()}, 2, gates.Fail, "2 of 2 instances did not pass", "2"},
		{"a warning instance serves, and is asked", ``, []deployment.Instance{good(), with(bad(), deployment.Warning)}, 2, gates.Fail, "1 of 2 instances did not pass", "2"},
		{"a critical one does not serve, and is not asked", ``, []deployment.Instance{good(), with(bad(), deployment.Critical)}, 1, gates.Pass, "1 of 1 instances", "1"},
		{"fewer than expected are ready: hold", ``, []deployment.Instance{good(), with(good(), deployment.Critical)}, 2, gates.Hold, "1 of 2 instances of api green are ready to be asked", ""},
		{"none is ready: hold", ``, nil, 0, gates.Hold, "0 of 1 instances of api green are ready to be asked", ""},
		{"any: one ready is enough", `every = "any"`, []deployment.Instance{good()}, 5, gates.Pass, "1 of 1 instances", "1"},
		{"any: none is ready: hold", `every = "any"`, nil, 5, gates.Hold, "0 of 5 instances of api green are ready to be asked", ""},
		{"one that nobody can be reached at: unknown", ``, []deployment.Instance{good(), unknown()}, 2, gates.Hold, "its address and port are not in Consul", "2"},
		{"unknown beside wrong: wrong", ``, []deployment.Instance{bad(), unknown()}, 2, gates.Fail, "1 of 2 instances did not pass", "2"},
		{"any: unknown beside wrong: unknown", `every = "any"`, []deployment.Instance{bad(), unknown()}, 2, gates.Hold, "its address and port are not in Consul", "2"},
		{"any: unknown beside right: right", `every = "any"`, []deployment.Instance{good(), unknown()}, 2, gates.Pass, "1 of 2 instances", "2"},
	} {
		t.Run(c.name, func(t *testing.T) {
			target := green(c.instances...)
			target.Expected = c.expected
			finding, err := gate(t, c.gate).Gate.Check(t.Context(), target)
			reason := finding.Reason
			if err != nil {
				reason = err.Error()
			}
			if finding.Verdict != c.verdict || !strings.Contains(reason, c.reason) {
				t.Errorf("got %s %q, %v, want %s with %q", finding.Verdict, finding.Reason, err, c.verdict, c.reason)
			}
			if finding.Figures["asked"] != c.asked {
				t.Errorf("figures %v, want %q asked", finding.Figures, c.asked)
			}
		})
	}
}

func TestAPortOfItsOwn(t *testing.T) {
	instance := app(t, answers(200, ""))
	admin := instance.Port
	instance.Port = 1 // nothing serves there
	finding, err := gate(t, fmt.Sprintf("port = %d", admin)).Gate.Check(t.Context(), green(instance))
	if err != nil || finding.Verdict != gates.Pass {
		t.Errorf("got %+v, %v", finding, err)
	}
}

// A port at which Consul has an instance of the active colour is not the candidate's,
// whoever asks there.
func TestAPortOfTheActiveColour(t *testing.T) {
	instance, blue := app(t, answers(200, "")), app(t, answers(200, "m 1\n"))
	target := beside("1.0.0", instance)
	target.Others = []deployment.Instance{blue}
	for _, text := range []string{"gate \"http\" \"g\" {\nport = %d\n}", "gate \"grpc\" \"g\" {\nport = %d\n}", "gate \"metrics\" \"g\" {\nmetric = \"m\"\nbelow = 1\nport = %d\n}"} {
		n, diags := decode(t, fmt.Sprintf(text, blue.Port))
		if diags.HasErrors() {
			t.Fatal(diags)
		}
		finding, err := n.Gate.Check(t.Context(), target)
		if err == nil || finding.Verdict != gates.Hold || !strings.Contains(err.Error(), "an instance of blue, which serves: it is not the candidate") {
			t.Errorf("%s: %+v, %v", text, finding, err)
		}
	}
}

// preview asks through an entry point, and expects that the candidate says which
// version it is.
const preview = "every = \"preview\"\nurl = %q\nbody_contains = \"{version}\"\n"

func TestPreviewAsksTheEntryPoint(t *testing.T) {
	entry, asked := recorder(t)
	at := "http://" + entry.HostPort()
	instance := deployment.Instance{ID: "api-1", Address: "192.0.2.1", Port: 1, Health: deployment.Passing} // reached by the entry point alone
	n := gate(t, fmt.Sprintf(preview+"path = \"/health\"\nheaders = { X-One = \"1\" }", at+"/base/"))
	finding, err := n.Gate.Check(t.Context(), green(instance))
	if err != nil || finding.Verdict != gates.Pass || !strings.Contains(finding.Reason, "GET /health through "+at+"/base/ answered as expected") {
		t.Fatalf("got %+v, %v", finding, err)
	}
	got := asked()[0]
	if got.uri != "/base/health" || got.header.Get(gates.PreviewHeader) != "green" || got.header.Get("X-One") != "1" {
		t.Errorf("asked %+v", got)
	}
	if finding.Figures["url"] != at+"/base/" {
		t.Errorf("figures %v", finding.Figures)
	}

	wrong := app(t, answers(503, "no healthy upstream"))
	n = gate(t, fmt.Sprintf(preview, "http://"+wrong.HostPort()))
	finding, err = n.Gate.Check(t.Context(), green(instance))
	if err != nil || finding.Verdict != gates.Fail || !strings.Contains(finding.Reason, "answered 503, expected 200") {
		t.Errorf("a wrong answer: %+v, %v", finding, err)
	}

	// Nothing is asked before an instance is there to answer.
	before := len(asked())
	n = gate(t, fmt.Sprintf(preview, at))
	if finding, err := n.Gate.Check(t.Context(), green()); err != nil || finding.Verdict != gates.Hold || len(asked()) != before {
		t.Errorf("without instances: %+v, %v", finding, err)
	}
}

// An entry point that is away says nothing of the candidate.
func TestAnEntryPointThatIsAwayIsUnknown(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	at := (&url.URL{Scheme: "http", Host: l.Addr().String()}).String()
	l.Close()
	instance := app(t, answers(200, ""))
	n := gate(t, fmt.Sprintf(preview, at))
	finding, err := n.Gate.Check(t.Context(), green(instance))
	if err == nil || finding.Verdict != gates.Hold || !strings.Contains(err.Error(), "entry point "+at) || !strings.Contains(err.Error(), "connection refused") {
		t.Errorf("got %+v, %v", finding, err)
	}
	n.Deadline, n.Interval = 50*time.Millisecond, 10*time.Millisecond
	out, err := gates.Run(t.Context(), []gates.Named{n}, func(context.Context) (gates.Target, error) { return green(instance), nil }, nil)
	if err != nil || out.Verdict != gates.Hold {
		t.Errorf("as a run: %+v, %v", out, err)
	}
}
