package gates

import (
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/tealdeploy/teal/agent/redact"
)

func TestScrubbing(t *testing.T) {
	s := secretsOf(map[string]string{
		"authorization": "Bearer s3cr3t+/=",
		"X-Api-Key":     `quo"te<d>`,
		"Proxy-Auth":    "Basic YWxpY2U6aHVudGVyMg==", // alice:hunter2
		"X-Two":         "two  words",
		"Accept":        "application/json",
		"Host":          "api.example.com",
		"X-Empty":       " ",
	}, "/health?token=qu3ry&deep=a%20b", `{"user":"bob"}`)
	s = append(s, secretsOf(nil, "/health?k3y", "")...)
	for _, c := range []struct{ body, want string }{
		{"healthy", "healthy"},
		{"", ""},
		{"no s3cr3t+/= here", "no [redacted] here"},
		{"Bearer s3cr3t+/=", "[redacted]"},
		{"escaped s3cr3t%2B%2F%3D", "escaped [redacted]"},
		{`{"key":"quo\"te\u003cd\u003e"}`, `{"key":"[redacted]"}`},
		{"<p>quo&#34;te&lt;d&gt;</p>", "<p>[redacted]</p>"},
		{"wrong password hunter2 for alice", "wrong password [redacted] for alice"},
		{"alice:hunter2", "[redacted]"},
		{"token qu3ry is not known, nor is a b, nor a%20b", "token [redacted] is not known, nor is [redacted], nor [redacted]"},
		{"no such token: k3y", "no such token: [redacted]"},
		{`you sent {"user":"bob"}`, "you sent [redacted]"},
		{"two words on one line", "[redacted] on one line"},
		{"two\n\t words", "two [redacted]"},
		{"api.example.com wants application/json", "api.example.com wants application/json"},
		// Whatever is echoed of headers that nobody configured.
		{"Authorization: Basic abc\r\nCookie: sid=1\r\nHost: x", "Authorization: [redacted] Cookie: [redacted] Host: x"},
		{`{"Set-Cookie":"sid=1; path=/","ok":true}`, `{"Set-Cookie":[redacted]","ok":true}`},
		{`{"X-Consul-Token": ["abc"], "ok": true}`, `{"X-Consul-Token": [[redacted]"], "ok": true}`},
		{"x-api-key=abc def", "x-api-key=[redacted]"},
		{"\x1b[31mred\x00\x7f\u200b\xff", ".[31mred[redacted]..."},
	} {
		if got := s.Scrub(c.body); got != c.want {
			t.Errorf("%q\n got %q\nwant %q", c.body, got, c.want)
		}
	}
}

// What was not read to its end may end in the middle of a secret.
func TestAnExcerptDoesNotShowHalfASecret(t *testing.T) {
	s := secretsOf(map[string]string{"Authorization": "s3cr3t-s3cr3t"}, "", "")
	if got := excerpt(s, []byte("token s3cr3t-s3c"), false); strings.Contains(got, "s3c") {
		t.Errorf("cut off by the peer: %q", got)
	}
	blanks := strings.Repeat(" ", maxRead-10)
	if got := excerpt(s, []byte("x"+blanks+"s3cr3t-s3cr3t"), true); strings.Contains(got, "s3c") {
		t.Errorf("cut off by the limit: %q", got)
	}
	if got := excerpt(s, []byte("all of it"), true); got != "all of it" {
		t.Errorf("a short body: %q", got)
	}
	if got := excerpt(s, []byte(strings.Repeat("é", 1000)), true); utf8.RuneCountInString(got) != maxExcerpt || !strings.HasSuffix(got, "é…") {
		t.Errorf("a long body: %q", got)
	}
}

// No configured value comes out again, whatever an instance answers.
func FuzzScrubbing(f *testing.F) {
	f.Add("Bearer s3cr3t", "you said ", " and I do not like it")
	f.Add("Basic YWxpY2U6aHVudGVyMg==", "Authorization: ", "\r\n")
	f.Add("two  words", "two\nwords ", "two words")
	f.Add("a\u200bb", "a.b", "")
	f.Add("\"", "\\\"", "%22")
	f.Add("redacted", "[redacted]", "")
	f.Fuzz(func(t *testing.T, secret, before, after string) {
		secret = strings.TrimSpace(secret)
		if !validHeaderValue(secret) || redact.Line(secret) == "" {
			return
		}
		s := secretsOf(map[string]string{"X-Secret": secret}, "", "")
		for _, whole := range []bool{true, false} {
			out := excerpt(s, []byte(before+secret+after+strings.ReplaceAll(secret, " ", "\n\t")), whole)
			shown, cut := strings.CutSuffix(out, "…") // which is our own, and holds the byte 0x80
			for n := len(redact.Redacted) - 1; cut && n > 0; n-- {
				if rest, half := strings.CutSuffix(shown, redact.Redacted[:n]); half {
					shown = rest // our own word, cut short
					break
				}
			}
			for _, piece := range strings.Split(shown, redact.Redacted) {
				if strings.Contains(piece, secret) || strings.Contains(piece, redact.Line(secret)) {
					t.Fatalf("%q shows %q", out, secret)
				}
			}
			if utf8.RuneCountInString(out) > maxExcerpt {
				t.Fatalf("%d characters", utf8.RuneCountInString(out))
			}
			if redact.Line(out) != out {
				t.Fatalf("%q is not one printable line", out)
			}
		}
	})
}
