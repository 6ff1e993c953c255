package gates_test

import (
	"bytes"
	"compress/gzip"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"runtime"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/tealdeploy/teal/agent/deployment"
	"github.com/tealdeploy/teal/gates"
)

// raw is an instance that does what it likes with a connection.
func raw(t *testing.T, handle func(net.Conn)) deployment.Instance {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer conn.Close()
				handle(conn)
			}()
		}
	}()
	return instanceAt(t, l.Addr().String())
}

// says answers every connection with a text, once something was asked.
func says(text string) func(net.Conn) {
	return func(conn net.Conn) {
		_, _ = conn.Read(make([]byte, 4096))
		_, _ = io.WriteString(conn, text)
	}
}

// drips answers with a beginning and then one byte at a time, for ever.
func drips(beginning string) func(net.Conn) {
	return func(conn net.Conn) {
		_, _ = conn.Read(make([]byte, 4096))
		_, err := io.WriteString(conn, beginning)
		for tick := time.NewTicker(20 * time.Millisecond); err == nil; <-tick.C {
			_, err = io.WriteString(conn, " ")
		}
	}
}

// pours answers with a beginning and then as fast as it can, for ever.
func pours(beginning, more string) func(net.Conn) {
	return func(conn net.Conn) {
		_, _ = conn.Read(make([]byte, 4096))
		_, err := io.WriteString(conn, beginning)
		for chunk := strings.Repeat(more, 4096/len(more)); err == nil; {
			_, err = io.WriteString(conn, chunk)
		}
	}
}

const head = "HTTP/1.1 200 OK\r\n\r\n"

// What an instance can do instead of answering: each is its own failure, seen
// within the look's timeout, and none of them is a pass.
func TestAnInstanceThatDoesNotAnswerFails(t *testing.T) {
	closed := func() deployment.Instance {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		defer l.Close()
		return instanceAt(t, l.Addr().String())
	}
	for _, c := range []struct {
		name, gate string
		instance   deployment.Instance
		reason     string
		hangs      bool // until its time is up
	}{
		{"nothing listens", ``, closed(), "did not answer: dial tcp", false},
		{"accepts and says nothing", ``, raw(t, func(conn net.Conn) { _, _ = io.Copy(io.Discard, conn) }), "did not answer: context deadline exceeded", true},
		{"hangs up", ``, raw(t, says("")), "did not answer: EOF", false},
		{"garbage", ``, raw(t, says("SSH-2.0-OpenSSH_9.9\r\n")), "did not answer: net/http: HTTP/1.x transport connection broken: malformed HTTP", false},
		{"a status that is none", ``, raw(t, says("HTTP/1.1 999999 \x1b[31mred\r\n\r\n")), "did not answer: net/http: HTTP/1.x transport connection broken", false},
		{"a header without end", ``, raw(t, pours("HTTP/1.1 200 OK\r\nX: ", "x")), "server response headers exceeded 262144 bytes", false},
		{"headers without end", ``, raw(t, pours("HTTP/1.1 200 OK\r\n", "X: x\r\n")), "server response headers exceeded 262144 bytes", false},
		{"a header that comes a byte at a time", ``, raw(t, drips("HTTP/1.1 200 OK\r\nX: ")), "did not answer: context deadline exceeded", true},
		{"a body that comes a byte at a time", `body_contains = "x"`, raw(t, drips(head)), "did not answer: reading the body: context deadline exceeded", true},
		{"less body than promised", `body_contains = "x"`, raw(t, says("HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nx")), "did not answer: reading the body: unexpected EOF", false},
		{"a body without end", `body_contains = "y"`, raw(t, pours(head, "x")), `answered a body without "y" (the body is larger than 1 MiB, and only that much was looked at)`, false},
		{"JSON without end", `json = { a = 1 }`, raw(t, pours(head+`{"b":"`, "x")), "answered a body that is not JSON: unexpected EOF (the body is larger", false},
		{"a wrong status with a body without end", ``, raw(t, pours("HTTP/1.1 500 Oops\r\n\r\n", "x")), "answered 500, expected 200", false},
		{"a wrong status with a body that comes a byte at a time", ``, raw(t, drips("HTTP/1.1 500 Oops\r\n\r\nwell")), "answered 500, expected 200", true},
		{"TLS where none is expected", ``, tlsApp(t), "answered 400, expected 200", false},
		{"no TLS where it is expected", `scheme = "https"`, app(t, answers(200, "")), "did not answer: http: server gave HTTP response to HTTPS client", false},
		{"a certificate nobody knows", `scheme = "https"`, tlsApp(t), "did not answer: tls: failed to verify certificate", false},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			timeout := 20 * time.Second
			if c.hangs {
				timeout = 300 * time.Millisecond
			}
			ctx, cancel := context.WithTimeout(t.Context(), timeout)
			defer cancel()
			finding, err := gate(t, c.gate).Gate.Check(ctx, green(c.instance))
			if err != nil || finding.Verdict != gates.Fail || !strings.Contains(finding.Reason, c.reason) {
				t.Errorf("got %s %q, %v, want a failure with %q", finding.Verdict, finding.Reason, err, c.reason)
			}
			for key, value := range finding.Figures {
				if len(value) > 1000 || strings.Contains(value, "\x1b") {
					t.Errorf("figure %s: %.100q", key, value)
				}
			}
		})
	}
}

// A body nobody asked for is not waited for.
func TestAStatusIsEnough(t *testing.T) {
	for name, handle := range map[string]func(net.Conn){"endless": pours(head, "x"), "slow": drips(head)} {
		finding, err := gate(t, ``).Gate.Check(t.Context(), green(raw(t, handle)))
		if err != nil || finding.Verdict != gates.Pass {
			t.Errorf("%s: %+v, %v", name, finding, err)
		}
	}
}

func TestALargeBodyIsLookedAtUpToALimit(t *testing.T) {
	for _, c := range []struct {
		before  int
		verdict gates.Verdict
	}{{1<<20 - 6, gates.Pass}, {1<<20 - 5, gates.Fail}} {
		body := strings.Repeat("x", c.before) + "needle" + strings.Repeat("x", 1<<20)
		finding, err := gate(t, `body_contains = "needle"`).Gate.Check(t.Context(), green(app(t, answers(200, body))))
		if err != nil || finding.Verdict != c.verdict {
			t.Errorf("after %d bytes: %+v, %v", c.before, finding, err)
		}
		if finding.Figures["body_looked_at"] == "" {
			t.Errorf("figures %v do not say that not all was looked at", finding.Figures)
		}
	}
}

// A small answer that unpacks into a large one is bounded as well.
func TestACompressedBody(t *testing.T) {
	var packed bytes.Buffer
	w := gzip.NewWriter(&packed)
	zeros := make([]byte, 1<<20)
	for range 64 {
		if _, err := w.Write(zeros); err != nil {
			t.Fatal(err)
		}
	}
	w.Close()
	instance := app(t, func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Encoding", "gzip")
		_, _ = w.Write(packed.Bytes())
	})
	finding, err := gate(t, `body_contains = "x"`).Gate.Check(t.Context(), green(instance))
	if err != nil || finding.Verdict != gates.Fail || finding.Figures["body_looked_at"] == "" {
		t.Errorf("got %+v, %v", finding, err)
	}
}

func tlsApp(t *testing.T) deployment.Instance {
	server := httptest.NewUnstartedServer(answers(200, "hello"))
	server.Config.ErrorLog = log.New(io.Discard, "", 0)
	server.EnableHTTP2 = true
	server.StartTLS()
	t.Cleanup(server.Close)
	return instanceAt(t, server.Listener.Addr().String())
}

func TestTLS(t *testing.T) {
	finding, err := gate(t, "scheme = \"https\"\ntls {\ninsecure_skip_verify = true\n}\nbody_contains = \"hello\"").Gate.Check(t.Context(), green(tlsApp(t)))
	if err != nil || finding.Verdict != gates.Pass {
		t.Errorf("got %+v, %v", finding, err)
	}
}

func TestRedirects(t *testing.T) {
	elsewhere, reached := recorder(t)
	instance := app(t, func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/here":
			http.Redirect(w, r, "/there?token=abc", http.StatusFound)
		case "/there":
			if r.Header.Get("X-Secret") != "s3cr3t" {
				w.WriteHeader(http.StatusUnauthorized)
			}
		case "/round":
			http.Redirect(w, r, "/round?s3cr3t", http.StatusTemporaryRedirect)
		case "/away":
			http.Redirect(w, r, "http://"+elsewhere.HostPort()+"/", http.StatusFound)
		case "/tls":
			http.Redirect(w, r, "https://"+r.Host+"/there", http.StatusFound)
		}
	})
	for _, c := range []struct {
		gate    string
		verdict gates.Verdict
		reason  string
	}{
		{`path = "/here"`, gates.Fail, "answered 302, expected 200 (redirects are not followed)"},
		{"path = \"/here\"\nstatus = 302", gates.Pass, ""},
		{"path = \"/here\"\nfollow_redirects = true", gates.Pass, ""},
		{"path = \"/round\"\nfollow_redirects = true", gates.Fail, "redirected more than 10 times, at last to /round"},
		{"path = \"/away\"\nfollow_redirects = true", gates.Fail, "redirected to http://" + elsewhere.HostPort() + ", which is not the candidate"},
		{"path = \"/tls\"\nfollow_redirects = true", gates.Fail, "redirected to https://" + instance.HostPort() + ", which is not the candidate"},
	} {
		finding, err := gate(t, c.gate+"\nheaders = { X-Secret = \"s3cr3t\" }").Gate.Check(t.Context(), green(instance))
		if err != nil || finding.Verdict != c.verdict || !strings.Contains(finding.Reason, c.reason) {
			t.Errorf("%s:\ngot %s %q, %v, want %s with %q", c.gate, finding.Verdict, finding.Reason, err, c.verdict, c.reason)
		}
	}
	if n := len(reached()); n != 0 {
		t.Errorf("another host was asked %d times, and shown the headers", n)
	}
}

// proxied counts what reaches the proxy of this process' environment.
var proxied atomic.Int32

// TestMain names a proxy in the environment, which Go reads once a process.
func TestMain(m *testing.M) {
	proxy := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { proxied.Add(1) }))
	for _, name := range []string{"HTTP_PROXY", "http_proxy"} {
		if err := os.Setenv(name, proxy.URL); err != nil {
			panic(err)
		}
	}
	code := m.Run()
	proxy.Close()
	os.Exit(code)
}

// What the agent's own environment says of proxies is not for instances.
func TestNoProxyComesBetween(t *testing.T) {
	// Go asks no proxy for a loopback address in any case.
	instance := deployment.Instance{ID: "api-1", Address: "api.invalid", Port: 80, Health: deployment.Passing}
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
	defer cancel()
	if finding, _ := gate(t, ``).Gate.Check(ctx, green(instance)); finding.Verdict == gates.Pass || proxied.Load() != 0 {
		t.Errorf("got %+v; the proxy was asked %d times", finding, proxied.Load())
	}
}

// Secrets of the policy come back in no form, whatever is done with them.
func TestSecretsAreNeverEvidence(t *testing.T) {
	const secret, query, login = `s3cr3t/"<x>`, "qu3ry", "l0gin"
	basic := "Basic " + base64.StdEncoding.EncodeToString([]byte("alice:hunter2"))
	body := fmt.Sprintf(`
		path    = "/health/{service}?token=%s"
		method  = "POST"
		body    = %q
		headers = { Authorization = %q, X-Secret = %q }
	`, query, login, basic, secret)
	forms := []string{secret, query, login, "hunter2", basic, strings.TrimPrefix(basic, "Basic "), `s3cr3t/\"<x>`, "s3cr3t%2F%22%3Cx%3E", "s3cr3t/&#34;&lt;x&gt;"}
	echo := func(status int) http.HandlerFunc {
		return func(w http.ResponseWriter, r *http.Request) {
			w.WriteHeader(status)
			sent, _ := io.ReadAll(r.Body)
			_, _ = fmt.Fprintf(w, "%s %s\n%s\n", r.Method, r.RequestURI, sent)
			_ = r.Header.Write(w)
			_ = json.NewEncoder(w).Encode(r.Header)
			_, _ = io.WriteString(w, "I know: "+strings.Join(forms, " | "))
		}
	}
	away := app(t, func(w http.ResponseWriter, r *http.Request) {
		http.Redirect(w, r, "http://"+strings.ReplaceAll("x-"+query+"-x", "_", "-")+".invalid/"+secret, http.StatusFound)
	})
	for _, c := range []struct {
		name, more string
		instance   deployment.Instance
	}{
		{"echoed with an error", ``, app(t, echo(500))},
		{"a password of basic auth, by itself", ``, app(t, answers(500, "hunter2"))},
		{"echoed in a body that does not match", `body_contains = "no such thing"`, app(t, echo(200))},
		{"echoed as JSON", `json = { token = "other" }`, app(t, func(w http.ResponseWriter, r *http.Request) {
			_ = json.NewEncoder(w).Encode(map[string]string{"token": r.Header.Get("X-Secret")})
		})},
		{"echoed as the name of what does not match", fmt.Sprintf("body_contains = %q", "xx "+secret), app(t, answers(200, "y"))},
		{"echoed as the pattern that does not match", `body_regex = "xx l0gin"`, app(t, answers(200, "y"))},
		{"echoed as a status line", ``, raw(t, says("HTTP/1.1 xyz "+secret+" "+query+"\r\n\r\n"))},
		{"echoed as a malformed header", ``, raw(t, says("HTTP/1.1 200 OK\r\n"+secret+" "+query+"\r\n\r\n"))},
		{"echoed as a redirect's path", `follow_redirects = true`, app(t, func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, "/"+secret+query, http.StatusFound)
		})},
		{"echoed as a redirect's host", `follow_redirects = true`, away},
		{"nobody answers", ``, deployment.Instance{ID: "api-1", Address: "127.0.0.1", Port: 1, Health: deployment.Passing}},
	} {
		t.Run(c.name, func(t *testing.T) {
			n := gate(t, body+c.more)
			n.Attempts = 1
			out, err := gates.Run(t.Context(), []gates.Named{n}, func(context.Context) (gates.Target, error) { return green(c.instance), nil }, nil)
			if err != nil || out.Verdict != gates.Fail {
				t.Fatalf("got %+v, %v", out, err)
			}
			text := out.Reason + fmt.Sprint(out.Gates)
			for _, form := range forms {
				if strings.Contains(text, form) {
					t.Errorf("%q shows %q", text, form)
				}
			}
			if !strings.Contains(text, "/health/api?…") {
				t.Errorf("%q does not say what was asked", text)
			}
		})
	}
}

// Retries are the runner's: an instance that answers at its third look passes.
func TestRetries(t *testing.T) {
	var looks atomic.Int32
	instance := app(t, func(w http.ResponseWriter, _ *http.Request) {
		if looks.Add(1) < 3 {
			w.WriteHeader(http.StatusServiceUnavailable)
		}
	})
	n := gate(t, "attempts = 3\ninterval = \"10ms\"")
	target := func(context.Context) (gates.Target, error) { return green(instance), nil }
	out, err := gates.Run(t.Context(), []gates.Named{n}, target, nil)
	if err != nil || out.Verdict != gates.Pass || out.Gates[0].Attempts != 3 || out.Gates[0].Failures != 2 {
		t.Errorf("got %+v, %v", out, err)
	}
	looks.Store(0)
	n.Attempts = 2
	out, err = gates.Run(t.Context(), []gates.Named{n}, target, nil)
	if err != nil || out.Verdict != gates.Fail || out.Gates[0].Attempts != 2 {
		t.Errorf("got %+v, %v", out, err)
	}
}

// That there are many instances is no fault of theirs: those whose turn came
// too late are unknown. One that hangs from the beginning is wrong.
func TestManyInstances(t *testing.T) {
	const timeout = 2 * time.Second
	for _, c := range []struct {
		name    string
		many    func(over time.Time) []deployment.Instance
		verdict gates.Verdict
		passed  string
		says    string // the reason or the error
	}{
		{"quick ones", func(time.Time) []deployment.Instance {
			return slices.Repeat([]deployment.Instance{app(t, answers(200, ""))}, 40)
		}, gates.Pass, "40", "40 of 40 instances answered as expected"},
		{"slow ones, of which only the first have their turn in time", func(over time.Time) []deployment.Instance {
			var asked atomic.Int32
			slow := app(t, func(_ http.ResponseWriter, r *http.Request) {
				wait := time.Hour
				if asked.Add(1) <= 8 { // as many as are asked at a time
					wait = time.Until(over) - timeout*4/10
				}
				select {
				case <-time.After(wait):
				case <-r.Context().Done():
				}
			})
			return slices.Repeat([]deployment.Instance{slow}, 40)
		}, gates.Hold, "8", "too little time; a longer timeout lets all be asked"},
		{"quick ones and one that hangs", func(time.Time) []deployment.Instance {
			hangs := raw(t, func(conn net.Conn) { _, _ = io.Copy(io.Discard, conn) })
			return append(slices.Repeat([]deployment.Instance{app(t, answers(200, ""))}, 9), hangs)
		}, gates.Fail, "9", "did not answer: context deadline exceeded"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			over := time.Now().Add(timeout)
			ctx, cancel := context.WithDeadline(t.Context(), over)
			defer cancel()
			finding, err := gate(t, ``).Gate.Check(ctx, green(c.many(over)...))
			says := finding.Reason
			if err != nil {
				says = err.Error()
			}
			if finding.Verdict != c.verdict || finding.Figures["passed"] != c.passed || !strings.Contains(says, c.says) {
				t.Errorf("got %+v, %v", finding, err)
			}
		})
	}
}

func TestACancelledLookIsNoEvidence(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	instance := raw(t, func(conn net.Conn) {
		_, _ = conn.Read(make([]byte, 4096))
		cancel()
		_, _ = io.Copy(io.Discard, conn)
	})
	finding, err := gate(t, ``).Gate.Check(ctx, green(instance))
	if !errors.Is(err, context.Canceled) || finding.Verdict != gates.Hold {
		t.Errorf("got %+v, %v", finding, err)
	}
}

// A gate leaves nothing behind: no connection, no goroutine.
func TestNothingIsLeftBehind(t *testing.T) {
	instance := app(t, answers(200, "hello"))
	secure := tlsApp(t)
	before := runtime.NumGoroutine()
	for range 20 {
		if f, err := gate(t, `body_contains = "hello"`).Gate.Check(t.Context(), green(instance)); err != nil || f.Verdict != gates.Pass {
			t.Fatal(f, err)
		}
		if f, err := gate(t, "scheme = \"https\"\ntls {\ninsecure_skip_verify = true\n}").Gate.Check(t.Context(), green(secure)); err != nil || f.Verdict != gates.Pass {
			t.Fatal(f, err)
		}
	}
	for deadline := time.Now().Add(5 * time.Second); runtime.NumGoroutine() > before+2; runtime.Gosched() {
		if time.Now().After(deadline) {
			t.Fatalf("%d goroutines more than before", runtime.NumGoroutine()-before)
		}
		time.Sleep(time.Millisecond)
	}
}
