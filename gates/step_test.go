package gates_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/tealdeploy/teal/agent/deployment"
	"github.com/tealdeploy/teal/gates"
)

// shop is an application with a login: it gives a session as a cookie and a
// proof in a page, a token for these in JSON, and takes orders of whoever has
// all of them.
type shop struct {
	mu     sync.Mutex
	logins int
	asked  []string
	tokens map[string]string // by session
}

func (s *shop) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.asked = append(s.asked, r.Method+" "+r.URL.Path)
	session := ""
	if c, err := r.Cookie("session"); err == nil {
		session = c.Value
	}
	switch {
	case r.URL.Path == "/login":
		var who struct{ User, Password string }
		if err := json.NewDecoder(r.Body).Decode(&who); err != nil || who.User != "smoke" || who.Password != "hunter22" || session != "" {
			http.Error(w, fmt.Sprintf("wrong password %s (session %q)", who.Password, session), http.StatusUnauthorized)
			return
		}
		s.logins++
		session = fmt.Sprintf("%s-session-%d", r.Host, s.logins)
		s.tokens[session] = fmt.Sprintf("t0ken/%s+%d", r.Host, s.logins)
		http.SetCookie(w, &http.Cookie{Name: "session", Value: session, Path: "/"})
		_, _ = io.WriteString(w, `<form><input name="proof" value="pr00f"></form>`)
	case r.URL.Path == "/token" && s.tokens[session] != "":
		w.Header().Set("X-Shard", "shard-7")
		_ = json.NewEncoder(w).Encode(map[string]any{"token": map[string]any{"value": s.tokens[session], "id": 4711}})
	case r.URL.Path == "/orders/4711" && r.Header.Get("Authorization") == "Bearer "+s.tokens[session] && r.URL.Query().Get("proof") == "pr00f" && r.Header.Get("X-Shard") == "shard-7":
		body, _ := io.ReadAll(r.Body)
		_ = json.NewEncoder(w).Encode(map[string]string{"said": string(body)})
	default:
		http.Error(w, fmt.Sprintf("%s has no session %q, %s", r.URL, session, r.Header), http.StatusForbidden)
	}
}

func openShop(t *testing.T) (*shop, deployment.Instance) {
	s := &shop{tokens: map[string]string{}}
	return s, app(t, s.ServeHTTP)
}

const (
	login = `
	step "login" {
		path = "/login"
		body = "{\"user\": \"smoke\", \"password\": \"hunter22\"}"
		save "proof" { regex = "name=\"proof\" value=\"([^\"]+)\"" }
	}`
	token = `
	step "token" {
		path = "/token"
		json = { "token.id" = 4711 }
		save "token" { json = "token.value" }
		save "id" { json = "token.id" }
		save "shard" { header = "x-shard" }
	}`
	order = `
	step "order" {
		method  = "PUT"
		path    = "/orders/{saved.id}?proof={saved.proof}"
		headers = { Authorization = "Bearer {saved.token}", X-Shard = "{saved.shard}" }
		body    = "{service} {saved.id}"
		json    = { said = "api {saved.id}" }
	}`
)

// Each instance is asked the whole sequence, with cookies and values of its own,
// and each look begins anew.
func TestStepsCarryValuesOver(t *testing.T) {
	one, first := openShop(t)
	two, second := openShop(t)
	g := gate(t, login+token+order).Gate
	for range 2 {
		finding, err := g.Check(t.Context(), green(first, second))
		if err != nil || finding.Verdict != gates.Pass || finding.Reason != "steps login, token, order: 2 of 2 instances answered as expected" || finding.Figures["step"] != "order" {
			t.Fatalf("got %+v, %v", finding, err)
		}
	}
	for _, s := range []*shop{one, two} {
		if got := strings.Join(s.asked, ", "); s.logins != 2 || got != "POST /login, GET /token, PUT /orders/4711, POST /login, GET /token, PUT /orders/4711" {
			t.Errorf("%d logins, asked %s", s.logins, got)
		}
	}
}

// A step that is not answered as expected ends the sequence, and is named.
func TestAStepThatFails(t *testing.T) {
	for name, c := range map[string]struct{ steps, reason, asked string }{
		"the first":  {strings.ReplaceAll(login, "hunter22", "letmein!") + token + order, "at step login answered 401, expected 200", "POST /login"},
		"the second": {login + strings.ReplaceAll(token, "4711", "4712") + order, `at step token answered JSON where token.id is [redacted], expected "4712"`, "POST /login, GET /token"},
		"the last":   {login + token + strings.ReplaceAll(order, "Bearer", "Basic"), "at step order answered 403, expected 200", "POST /login, GET /token, PUT /orders/4711"},
	} {
		s, instance := openShop(t)
		finding, err := gate(t, c.steps).Gate.Check(t.Context(), green(instance))
		if err != nil || finding.Verdict != gates.Fail || !strings.Contains(finding.Reason, c.reason) || !strings.Contains(finding.Reason, instance.ID) {
			t.Errorf("%s: got %+v, %v, want %q", name, finding, err, c.reason)
		}
		if got := strings.Join(s.asked, ", "); got != c.asked {
			t.Errorf("%s: asked %s, want %s", name, got, c.asked)
		}
	}
}

// saving is a gate whose first step saves, and whose second sends what was
// saved in a header.
func saving(from string) string {
	return fmt.Sprintf(`
	step "one" {
		path = "/one"
		save "v" { %s }
	}
	step "two" {
		path    = "/two/{saved.v}"
		headers = { X-Saved = "{saved.v}" }
	}`, from)
}

func TestWhatIsSaved(t *testing.T) {
	const nothingMatches = `answered without a match of "token=(.*)", which is to be saved as v`
	for name, c := range map[string]struct {
		from   string
		answer string // of the first step
		saved  string // what the second step is asked with
		reason string // else why there is none
	}{
		"a text":                      {`json = "a.0.b"`, `{"a": [{"b": "x/y z"}]}`, "x/y z", ""},
		"a number, as it is written":  {`json = "id"`, `{"id": 12345678901234567890}`, "12345678901234567890", ""},
		"truth":                       {`json = "ok"`, `{"ok": false}`, "false", ""},
		"a group":                     {`regex = "token=([a-z]+)"`, "my token=abc!", "abc", ""},
		"a whole match":               {`regex = "[a-z]{3}-[0-9]+"`, "my abc-12!", "abc-12", ""},
		"a header":                    {`header = "x-token"`, "", "of the header", ""},
		"braces are no placeholder":   {`json = "a"`, `{"a": "{version} {saved.v} {saved.w}"}`, "{version} {saved.v} {saved.w}", ""},
		"nothing at the path":         {`json = "a.b"`, `{"a": {}}`, "", "answered without a.b in its JSON, which is to be saved as v"},
		"an empty text":               {`json = "a"`, `{"a": ""}`, "", "answered without a in its JSON"},
		"null":                        {`json = "a"`, `{"a": null}`, "", "answered JSON where a is null, which is to be saved as v"},
		"an array":                    {`json = "a"`, `{"a": []}`, "", "answered JSON where a is an array"},
		"an object":                   {`json = "a"`, `{"a": {}}`, "", "answered JSON where a is an object"},
		"no JSON":                     {`json = "a"`, `<html>`, "", "answered a body that is not JSON: invalid character '<' looking for beginning of value, which is to be saved as v"},
		"not a number":                {`json = "a"`, `{"a": NaN}`, "", "answered a body that is not JSON: invalid character 'N'"},
		"half a document":             {`json = "a"`, `{"a": "b"`, "", "answered a body that is not JSON: unexpected EOF"},
		"no match":                    {`regex = "token=(.*)"`, "", "", nothingMatches},
		"an empty group":              {`regex = "token=(.*)"`, "token=", "", nothingMatches},
		"no header":                   {`header = "X-Nothing"`, "", "", "answered without header X-Nothing, which is to be saved as v"},
		"too much":                    {`regex = "x+"`, strings.Repeat("x", 5000), "", `answered 5000 bytes in a match of "x+", more than 4096, which is to be saved as v`},
		"more than is looked at":      {`json = "a"`, `{"b": "` + strings.Repeat("x", 2<<20) + `", "a": "c"}`, "", "(the body is larger than 1 MiB, and only that much was looked at)"},
		"what no header can hold":     {`json = "a"`, `{"a": "x\r\nX-Admin: yes"}`, "", "at step two gave a value that cannot be sent: the value of header X-Saved holds a control character"},
		"what would end a URL's path": {`json = "a"`, `{"a": "../?x=1&y#z"}`, "../?x=1&y#z", ""},
	} {
		t.Run(name, func(t *testing.T) {
			var path, header atomic.Value
			instance := app(t, func(w http.ResponseWriter, r *http.Request) {
				w.Header().Set("X-Token", "of the header")
				if r.URL.Path == "/one" {
					_, _ = io.WriteString(w, c.answer)
					return
				}
				path.Store(r.URL.Path)
				header.Store(r.Header.Get("X-Saved"))
			})
			finding, err := gate(t, saving(c.from)).Gate.Check(t.Context(), green(instance))
			if err != nil {
				t.Fatal(err)
			}
			if c.reason != "" {
				if finding.Verdict != gates.Fail || !strings.Contains(finding.Reason, c.reason) || path.Load() != nil {
					t.Errorf("got %+v, and the second step was asked for %v; want %q", finding, path.Load(), c.reason)
				}
				return
			}
			if finding.Verdict != gates.Pass || path.Load() != "/two/"+c.saved || header.Load() != c.saved {
				t.Errorf("got %+v; the second step was asked for %v with %v, want %q", finding, path.Load(), header.Load(), c.saved)
			}
		})
	}
}

// An application behind an entry point sets cookies for that one's name, and for
// https alone. They are kept all the same, and for nobody else.
func TestCookies(t *testing.T) {
	for name, c := range map[string]struct {
		cookie http.Cookie
		kept   bool
	}{
		"plain":                  {http.Cookie{}, true},
		"for https":              {http.Cookie{Secure: true, HttpOnly: true, SameSite: http.SameSiteStrictMode}, true},
		"for the entry point":    {http.Cookie{Domain: "shop.example.com"}, true},
		"for the whole domain":   {http.Cookie{Domain: "example.com"}, true},
		"for somebody else":      {http.Cookie{Domain: "other.example"}, false},
		"for another path":       {http.Cookie{Path: "/three"}, false},
		"taken back":             {http.Cookie{MaxAge: -1}, false},
		"until a time long gone": {http.Cookie{Expires: time.Unix(1, 0)}, false},
	} {
		var had atomic.Bool
		instance := app(t, func(w http.ResponseWriter, r *http.Request) {
			if r.URL.Path == "/one" {
				cookie := c.cookie
				cookie.Name, cookie.Value = "c", "abcdef"
				http.SetCookie(w, &cookie)
				return
			}
			_, err := r.Cookie("c")
			had.Store(err == nil)
		})
		const headers = `headers = { Host = "shop.example.com" }`
		body := fmt.Sprintf("step \"one\" {\npath = \"/one\"\n%s\n}\nstep \"two\" {\npath = \"/two\"\n%s\n}", headers, headers)
		finding, err := gate(t, body).Gate.Check(t.Context(), green(instance))
		if err != nil || finding.Verdict != gates.Pass || had.Load() != c.kept {
			t.Errorf("%s: kept %t, want %t; %+v, %v", name, had.Load(), c.kept, finding, err)
		}
	}
}

// However many cookies an instance sets, some are kept, and the look is as quick.
func TestManyCookies(t *testing.T) {
	var had atomic.Int64
	instance := app(t, func(w http.ResponseWriter, r *http.Request) {
		had.Store(int64(len(r.Cookies())))
		for i := range 2900 {
			w.Header().Add("Set-Cookie", fmt.Sprintf("%s%d=abcd%d", r.URL.Path[1:], i, i))
		}
	})
	finding, err := gate(t, "step \"a\" { path = \"/a\" }\nstep \"b\" { path = \"/b\" }\nstep \"c\" { path = \"/c\" }").Gate.Check(t.Context(), green(instance))
	if err != nil || finding.Verdict != gates.Pass || had.Load() != 200 {
		t.Errorf("%d cookies came back; %+v, %v", had.Load(), finding, err)
	}
}

// Through an entry point, every step asks for the candidate's colour.
func TestStepsThroughAnEntryPoint(t *testing.T) {
	s, instance := openShop(t)
	entry := app(t, func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get(gates.PreviewHeader) != "green" {
			http.Error(w, "the active colour", http.StatusTeapot)
			return
		}
		if r.URL.Path == "/version" {
			answers(200, "2.0.0")(w, r)
			return
		}
		s.ServeHTTP(w, r)
	})
	const version = "\nstep \"version\" {\npath = \"/version\"\nbody_contains = \"{version}\"\n}\n"
	preview := fmt.Sprintf("every = \"preview\"\nurl = \"http://%s\"\n", entry.HostPort())
	finding, err := gate(t, preview+login+token+order+version).Gate.Check(t.Context(), green(instance))
	if err != nil || finding.Verdict != gates.Pass || !strings.Contains(finding.Reason, "steps login, token, order, version through http://") {
		t.Errorf("got %+v, %v", finding, err)
	}
	finding, err = gate(t, preview+login+strings.ReplaceAll(token, "/token", "/tokens")+version).Gate.Check(t.Context(), green(instance))
	if err != nil || finding.Verdict != gates.Fail || !strings.Contains(finding.Reason, "at step token answered 403") {
		t.Errorf("got %+v, %v", finding, err)
	}
	gone := fmt.Sprintf("every = \"preview\"\nurl = \"http://127.0.0.1:%d\"\n", closedPort(t))
	finding, err = gate(t, gone+login+version).Gate.Check(t.Context(), green(instance))
	if err == nil || finding.Verdict != gates.Hold || !strings.Contains(err.Error(), "at step login dial tcp") {
		t.Errorf("got %+v, %v", finding, err)
	}
}

// closedPort is one where nobody listens.
func closedPort(t *testing.T) int {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().(*net.TCPAddr).Port
}

// What an instance can do to a sequence: each is its own failure, within the
// look's timeout and with a bound on what is kept of its answers.
func TestBadAnswersToASecondStep(t *testing.T) {
	for name, c := range map[string]struct {
		second, reason string
		answer         http.HandlerFunc
		hangs          bool
	}{
		"hangs": {``, "at step two did not answer: context deadline exceeded", func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() }, true},
		"hangs up": {``, "at step two did not answer: EOF", func(http.ResponseWriter, *http.Request) {
			panic(http.ErrAbortHandler)
		}, false},
		"a redirect loop": {``, "at step two redirected more than 10 times, at last to /two", func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, "/two", http.StatusFound)
		}, false},
		"a redirect elsewhere": {``, "at step two redirected to http://elsewhere.example, which is not the candidate", func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, "http://elsewhere.example/", http.StatusFound)
		}, false},
		"a body that stops": {`body_contains = "x"`, "at step two did not answer: reading the body: context deadline exceeded", func(w http.ResponseWriter, r *http.Request) {
			_, _ = io.WriteString(w, "y")
			_ = http.NewResponseController(w).Flush()
			<-r.Context().Done()
		}, true},
		"a body without end": {`save "x" { regex = "zz" }`, "at step two answered without a match of \"zz\", which is to be saved as x (the body is larger than 1 MiB", func(w http.ResponseWriter, _ *http.Request) {
			for err := error(nil); err == nil; {
				_, err = io.WriteString(w, strings.Repeat("x", 4096))
			}
		}, false},
		"cookies without end": {``, "server response headers exceeded 262144 bytes", func(w http.ResponseWriter, _ *http.Request) {
			for range 20_000 {
				w.Header().Add("Set-Cookie", "a="+strings.Repeat("x", 40))
			}
		}, false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			instance := app(t, func(w http.ResponseWriter, r *http.Request) {
				if r.URL.Path == "/two" {
					c.answer(w, r)
				}
			})
			timeout := 20 * time.Second
			if c.hangs {
				timeout = 500 * time.Millisecond
			}
			ctx, cancel := context.WithTimeout(t.Context(), timeout)
			defer cancel()
			body := "follow_redirects = true\nstep \"one\" {}\nstep \"two\" {\npath = \"/two\"\n" + c.second + "\n}"
			finding, err := gate(t, body).Gate.Check(ctx, green(instance))
			if err != nil || finding.Verdict != gates.Fail || !strings.Contains(finding.Reason, c.reason) || finding.Figures["step"] != "two" {
				t.Errorf("got %s %q %v, %v, want %q", finding.Verdict, finding.Reason, finding.Figures, err, c.reason)
			}
		})
	}
}

// A look that is broken off is no evidence, at whichever step.
func TestASequenceThatIsCancelled(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	instance := app(t, func(_ http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/two" {
			cancel()
			<-r.Context().Done()
		}
	})
	finding, err := gate(t, "step \"one\" {}\nstep \"two\" { path = \"/two\" }").Gate.Check(ctx, green(instance))
	if !errors.Is(err, context.Canceled) || finding.Verdict != gates.Hold {
		t.Errorf("got %+v, %v", finding, err)
	}
}

// What was saved, what cookies held and what stood in a body comes back in no
// form, whichever step shows it.
func TestWhatIsSavedIsNeverEvidence(t *testing.T) {
	const token, session, password = `t0k3n/"<x>`, "s3ssi0n", "p4ssw0rd"
	forms := []string{token, session, password, `t0k3n/\"<x>`, "t0k3n%2F%22%3Cx%3E", "t0k3n/&#34;&lt;x&gt;", `t0k3n/\"\u003cx\u003e`, "t0k3n"}
	said := strings.Join(forms[:len(forms)-1], " | ")
	const one = `
	step "one" {
		path   = "/one"
		body   = "user=alice&password=p4ssw0rd&pin=7"
		save "token" { json = "token" }
		%s
	}`
	const two = `
	step "two" {
		path    = "/two/{saved.token}"
		headers = { X-Token = "{saved.token}" }
		%s
	}`
	whole := map[string]string{"token": token}
	for name, c := range map[string]struct {
		first, second string
		answers       func(w http.ResponseWriter, r *http.Request, step string)
		status        string // in figures
	}{
		"the next step shows all": {"", "", func(w http.ResponseWriter, r *http.Request, step string) {
			if step == "two" {
				w.WriteHeader(500)
				_ = r.Header.Write(w)
				_, _ = io.WriteString(w, said+r.RequestURI)
				return
			}
			_ = json.NewEncoder(w).Encode(whole)
		}, "500"},
		"the next step's redirect shows all": {"", "", func(w http.ResponseWriter, r *http.Request, step string) {
			if step == "two" {
				http.Redirect(w, r, "http://"+session+".example/"+password, http.StatusFound)
				return
			}
			_ = json.NewEncoder(w).Encode(whole)
		}, ""},
		"the same step, with another status": {"status = 201", "", func(w http.ResponseWriter, _ *http.Request, _ string) {
			_ = json.NewEncoder(w).Encode(whole)
		}, "200"},
		"the same step, with another value": {`json = { token = "x" }`, "", func(w http.ResponseWriter, _ *http.Request, _ string) {
			_ = json.NewEncoder(w).Encode(whole)
		}, "200"},
		"where it is not looked for": {"", "", func(w http.ResponseWriter, _ *http.Request, _ string) {
			_ = json.NewEncoder(w).Encode(map[string]string{"access_token": token})
		}, "200"},
		"where it is not looked for, with another status": {"status = 201", "", func(w http.ResponseWriter, _ *http.Request, _ string) {
			_ = json.NewEncoder(w).Encode(map[string]string{"access_token": token})
		}, "200"},
		"without the scheme that it was saved with": {`body_contains = "something else"`, "", func(w http.ResponseWriter, _ *http.Request, _ string) {
			_, _ = io.WriteString(w, `{"token": "Bearer t0k3n", "and": "t0k3n"}`)
		}, "200"},
		"in a refusal": {"", "", func(w http.ResponseWriter, _ *http.Request, _ string) {
			w.WriteHeader(http.StatusUnauthorized)
			_, _ = io.WriteString(w, "no such user with p4ssw0rd and s3ssi0n")
		}, "401"},
	} {
		t.Run(name, func(t *testing.T) {
			instance := app(t, func(w http.ResponseWriter, r *http.Request) {
				http.SetCookie(w, &http.Cookie{Name: "session", Value: session})
				step, _, _ := strings.Cut(strings.TrimPrefix(r.URL.Path, "/"), "/")
				c.answers(w, r, step)
			})
			n := gate(t, "attempts = 1\nfollow_redirects = true\n"+fmt.Sprintf(one, c.first)+fmt.Sprintf(two, c.second))
			out, err := gates.Run(t.Context(), []gates.Named{n}, func(context.Context) (gates.Target, error) { return green(instance), nil }, nil)
			if err != nil || out.Verdict != gates.Fail || out.Gates[0].Figures["status"] != c.status {
				t.Fatalf("got %+v, %v", out, err)
			}
			text := out.Reason + fmt.Sprint(out.Gates)
			for _, form := range forms {
				if strings.Contains(text, form) {
					t.Errorf("%q shows %q", text, form)
				}
			}
			if !strings.Contains(text, "at step ") {
				t.Errorf("%q does not say at which step", text)
			}
		})
	}
}
