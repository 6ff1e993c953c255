package gates

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"slices"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/hashicorp/hcl/v2"
	"github.com/hashicorp/hcl/v2/hclsyntax"
	"google.golang.org/grpc/codes"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/status"

	"github.com/tealdeploy/teal/agent/deployment"
	"github.com/tealdeploy/teal/agent/redact"
)

// candidateUnderTest is what these targets look at.
var candidateUnderTest = Target{Service: "api", Colour: deployment.Green, Version: "2.0.0", Hash: "h+p", Expected: 1,
	Instances: []deployment.Instance{{ID: "i", Address: "10.0.0.1", Port: 80, Colour: deployment.Green, Health: deployment.Passing}}}

// shortLine holds a text against what may stand in a record.
func shortLine(t *testing.T, text string, most int) {
	t.Helper()
	if text != redact.Line(text) || utf8.RuneCountInString(text) > most {
		t.Fatalf("no short printable line: %q", text)
	}
}

// wire answers each request with the bytes that a server would send.
type wire struct {
	answer string
	asked  []*http.Request
}

func (w *wire) RoundTrip(req *http.Request) (*http.Response, error) {
	w.asked = append(w.asked, req)
	return http.ReadResponse(bufio.NewReader(strings.NewReader(w.answer)), req)
}

// session is a gate that keeps and sends whatever an answer holds.
const session = `
follow_redirects = true
step "login" {
  path = "/login"
  method = "POST"
  headers = { Authorization = "Bearer s3cr3t-0f-the-p0licy" }
  body = "{\"password\": \"hunter22\"}"
  status = [200, 403]
  save "token" { header = "x-token" }
  save "proof" { regex = "proof=([^&]*)" }
}
step "order" {
  path = "/orders/{saved.token}?proof={saved.proof}"
  headers = { X-Token = "{saved.token}", X-Proof = "{saved.proof}" }
  json = { "said" = "{saved.proof}" }
}`

// planted is what an answer hands out; {planted} stands for it in a seed, and {secret}
// for what the policy sends.
const planted = "pl4nted-by-an-answer"

// FuzzAnswer: whatever an instance answers, with whatever cookies, redirects and
// values that later steps send, nobody else is asked, what is sent is well-formed,
// and what is told of it is short, printable, and free of what was sent or saved.
func FuzzAnswer(f *testing.F) {
	ok := "HTTP/1.1 200 OK\r\n"
	for _, seed := range []string{
		ok + "X-Token: {planted}\r\nSet-Cookie: sid={planted}; Path=/; Secure; Domain=evil.example\r\n\r\nproof={planted}-2&you sent {secret} and {planted}",
		ok + "X-Token: a\tb\r\nSet-Cookie: =\r\nSet-Cookie: a=\"{planted}\"\r\nSet-Cookie: __Host-x={planted}; Path=/a; Max-Age=-1\r\n\r\nproof=\r\n\x00{planted}",
		ok + "X-Token: @evil.example/\r\n\r\nproof=?a=b#c",
		ok + "X-Token: ../../..\r\n\r\nproof={colour}{saved.token}%00",
		ok + "X-Token: 1\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nproof\r\n6\r\n={plant\r\nffffffffffffffff\r\n",
		ok + "X-Token: {planted}\r\nContent-Length: 99999\r\n\r\nproof={planted}& and pl4nted-by-an-ans",
		"HTTP/1.1 302 Found\r\nLocation: http://evil.example/{secret}\r\nSet-Cookie: a={planted}\r\n\r\n",
		"HTTP/1.1 302 Found\r\nLocation: /again?{planted}\r\n\r\n",
		"HTTP/1.1 307 \r\nLocation: //10.0.0.1:80@evil.example/\r\n\r\n",
		"HTTP/1.1 308 x\r\nLocation: \x1b[2J%zz\r\n\r\n",
		"HTTP/1.1 301 x\r\nLocation: HTTP://10.0.0.1:80:80/\r\n\r\n",
		"HTTP/1.1 403 no\r\nX-Token: {planted}\r\n\r\n{\"said\": \"{planted}\"} proof={planted}&\x1b]0;{secret}\x07\u202e",
		"HTTP/1.1 500 {secret}\r\n\r\nAuthorization: Bearer {secret}, hunter22",
		"HTTP/1.1 500 no\r\nX-Token: {planted}\r\n\r\nthe token is {planted}",
		"HTTP/1.1 500 no\r\nSet-Cookie: sid={planted}; Path=/\r\n\r\nthe session is {planted}",
		"HTTP/1.0 999 \r\n\r\n", "HTTP/1.1 200\r\n{secret}: x\r\n\r\n", "HTTP/1.1 101 Switching\r\n\r\n", "\x16\x03\x01", "",
	} {
		f.Add([]byte(seed))
	}
	file, diags := hclsyntax.ParseConfig([]byte(session), "gate.hcl", hcl.InitialPos)
	if diags.HasErrors() {
		f.Fatal(diags)
	}
	gate, diags := decodeHTTP(file.Body, nil)
	if diags.HasErrors() {
		f.Fatal(diags)
	}
	const secret = "s3cr3t-0f-the-p0licy"
	f.Fuzz(func(t *testing.T, answer []byte) {
		l, err := gate.(HTTP).prepare(candidateUnderTest)
		if err != nil {
			t.Fatal(err)
		}
		v, w := l.visit(), &wire{answer: strings.NewReplacer("{planted}", planted, "{secret}", secret).Replace(string(answer))}
		client := v.client()
		client.Transport = w
		a := v.steps(context.Background(), client, "http://10.0.0.1:80")

		if len(w.asked) == 0 || len(w.asked) > 2*(maxRedirects+1) {
			t.Fatalf("%d requests", len(w.asked))
		}
		hidden := []string{secret, "hunter22"}
		for _, value := range v.saved {
			hidden = append(hidden, value)
		}
		for _, req := range w.asked {
			if req.URL.Scheme+"://"+req.URL.Host != "http://10.0.0.1:80" || req.URL.User != nil || req.Host != "" && req.Host != "10.0.0.1:80" {
				t.Fatalf("%s of %s was asked", req.URL, req.Host)
			}
			for name, values := range req.Header {
				if !validHeaderName(name) || slices.ContainsFunc(values, func(v string) bool { return !validHeaderValue(v) }) {
					t.Fatalf("%q: %q is sent", name, values)
				}
			}
			if _, second := req.Header["X-Proof"]; second && req.Response == nil { // no redirect
				query := req.URL.Query()
				if req.URL.Path != "/orders/"+v.saved["token"] || len(query) != 1 || query.Get("proof") != v.saved["proof"] || req.URL.Fragment != "" {
					t.Fatalf("%s is asked with %q", req.URL, v.saved)
				}
			}
			for _, c := range v.cookies.Cookies(req.URL) {
				hidden = append(hidden, c.Value)
			}
		}
		if a.wrong == "" && a.err == nil && a.unknown == "" && (a.status != 200 || len(v.saved) != 2) {
			t.Fatalf("passed: %+v, saved %v", a, v.saved)
		}
		shown := []string{a.wrong}
		if a.err != nil {
			shown = append(shown, redact.Line(a.err.Error())) // as the runner has it
		}
		for key, figure := range bounded(a.figures()) {
			shortLine(t, figure, maxFigure)
			if key == "body" {
				shortLine(t, figure, maxExcerpt)
			}
			shown = append(shown, figure)
		}
		for _, text := range shown {
			for _, value := range hidden {
				// What else was saved may be a word that stands everywhere.
				if (strings.Contains(value, planted) || value == secret || value == "hunter22") && strings.Contains(text, value) {
					t.Fatalf("%q shows %q", text, value)
				}
			}
		}
	})
}

// FuzzKVWord: whatever somebody writes into the key of a gate "kv", it passes or fails
// only the candidate that it names, and only by one of the words.
func FuzzKVWord(f *testing.F) {
	for _, seed := range []string{"yes", "NO: two holes\n", "", "{}", `{"verdict":"yes","hash":"h+p"}`, `{"verdict":"yes","hash":"h"}`, `{"verdict":"yes","hash":"h+p"}{}`,
		`{"Hash":"h","hash":"h+p","verdict":"fail","reason":"\u001b[2J\u202e"}`, `{"verdict":["yes"],"hash":"h+p"}`, "yes\x00", "no:\x1b]0;x\x07", "yes " + strings.Repeat("é", 900),
		`{"verdict":"no","hash":"h+p","reason":"Authorization: Bearer x"}`} {
		f.Add(seed, true)
		f.Add(seed, false)
	}
	f.Fuzz(func(t *testing.T, text string, named bool) {
		target, key := candidateUnderTest, "verdicts/{service}"
		if named {
			key += "/{hash}"
		}
		target.Read = func(context.Context, string) ([]byte, error) { return []byte(text), nil }
		got, err := KV{Key: key}.Check(context.Background(), target)
		if err != nil {
			t.Fatal(err)
		}
		shortLine(t, redact.Cut(redact.Line(got.Reason), maxReason), maxReason)
		if got.Reason == "" || got.Reason != redact.Line(got.Reason) {
			t.Fatalf("reason %q", got.Reason)
		}
		if got.Verdict == Hold {
			return
		}
		said := struct{ Verdict, Hash string }{}
		if trimmed := strings.TrimSpace(text); !strings.HasPrefix(trimmed, "{") {
			said.Verdict = trimmed[:strings.IndexAny(trimmed+":", ": \t\r\n")]
		} else if err := json.Unmarshal([]byte(trimmed), &said); err != nil {
			t.Fatalf("%q is %s", text, got.Verdict)
		}
		words := map[Verdict][]string{Pass: yes, Fail: no}[got.Verdict]
		if !slices.ContainsFunc(words, func(w string) bool { return strings.EqualFold(w, strings.TrimSpace(said.Verdict)) }) {
			t.Fatalf("%q is %s", text, got.Verdict)
		}
		if said.Hash != target.Hash && (said.Hash != "" || !named) {
			t.Fatalf("%q, about another candidate, is %s", text, got.Verdict)
		}
	})
}

// FuzzHealthAnswer: whatever a gRPC server answers, only SERVING passes, and what does
// not speak the protocol proves nothing of the candidate.
func FuzzHealthAnswer(f *testing.F) {
	for code := range uint32(18) {
		f.Add(int32(code), code, "words\x1b[2J\u202e of it")
	}
	for said := range int32(5) {
		f.Add(said, uint32(0), "")
	}
	f.Add(int32(0), uint32(68), "")
	f.Add(int32(-1), uint32(1<<31), strings.Repeat("é\n", 500))
	f.Fuzz(func(t *testing.T, said int32, code uint32, words string) {
		var err error
		if code != 0 {
			err = status.Error(codes.Code(code), words)
		}
		g := GRPC{Every: EveryInstance, Service: "shop"}
		a := g.read(context.Background(), healthpb.HealthCheckResponse_ServingStatus(said), err, &failure{})
		passes := a.err == nil && a.wrong == "" && a.unknown == ""
		if passes != (err == nil && said == int32(healthpb.HealthCheckResponse_SERVING)) {
			t.Fatalf("status %d, code %d: %+v", said, code, a)
		}
		if err != nil && a.health != "" && a.health == "SERVING" {
			t.Fatalf("code %d: %+v", code, a)
		}
		for _, text := range []string{a.wrong, a.unknown, a.health} {
			shortLine(t, strings.TrimSpace(text), maxReason)
		}
		if a.err != nil && !errors.Is(a.err, context.DeadlineExceeded) && !errors.Is(a.err, context.Canceled) {
			shortLine(t, strings.TrimSpace(a.err.Error()), maxReason)
		}
	})
}

// FuzzOutput: whatever a test writes, in whatever pieces, its end is kept as one
// bounded line, and no secret it was given is in it, not even one of several lines.
func FuzzOutput(f *testing.F) {
	f.Add("all well\n", "s3cr3t", "\x1b[31mred\x1b[0m", 0)
	f.Add("token is ", "s3cr3t", " and\n", 7)
	f.Add("-----BEGIN\n", "first-line-of-it\nsecond-line-of-it", "\n\x00", 3000)
	f.Add("", "first-line-of-it\nsecond-line-of-it", "\nof it: second-line-of-it", 0)
	f.Add("", "two  words", strings.Repeat("two words ", 2000), 1)
	f.Add(strings.Repeat("x", maxRead), "s3cr3t-s3cr3t", "", 0)
	f.Fuzz(func(t *testing.T, before, secret, after string, times int) {
		if len(secret) > 200 || len(before)+len(after) > 2*maxRead || redact.Line(secret) == "" {
			return
		}
		hidden := spoken(map[string]string{"API_TOKEN": secret, "TRIES": "3"})
		e := &ending{most: maxRead}
		text := before + secret + after + strings.Repeat(" "+secret, min(max(times, 0), 3000))
		for rest := []byte(text); len(rest) > 0; {
			n := min(len(rest), 1+len(rest)/3)
			if wrote, err := e.Write(rest[:n]); wrote != n || err != nil || len(e.kept) > e.most {
				t.Fatalf("%d of %d bytes, %v, %d kept", wrote, n, err, len(e.kept))
			}
			rest = rest[n:]
		}
		shown := bounded(map[string]string{figureLog: hidden.Scrub(hidden.Beheaded(e.text()))})[figureLog]
		shortLine(t, shown, maxLog)
		for _, piece := range strings.Split(shown, "[redacted]") {
			for _, of := range append(strings.Split(secret, "\n"), secret) {
				if of = strings.TrimSpace(of); utf8.RuneCountInString(of) >= minLine && validHeaderValue(of) && strings.Contains(piece, of) {
					t.Fatalf("%q shows %q", shown, of)
				}
			}
		}
	})
}
