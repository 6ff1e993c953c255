package traffic

import (
	"bufio"
	"context"
	"errors"
	"io"
	"net/http"
	"strings"
	"testing"
	"unicode"
	"unicode/utf8"
)

// wire answers each request with the bytes that a server would send.
type wire struct {
	answer []byte
	asked  int
}

func (w *wire) RoundTrip(req *http.Request) (*http.Response, error) {
	w.asked++
	return http.ReadResponse(bufio.NewReader(strings.NewReader(string(w.answer))), req)
}

// FuzzProbe: whatever an entry point answers, it is asked once, nothing but a 2xx with
// what is expected of it in the part that is read is an answer as expected, and what is
// told of another is a short line.
func FuzzProbe(f *testing.F) {
	for _, answer := range []string{"HTTP/1.1 200 OK\r\n\r\n2.0.0", "HTTP/1.1 302 Found\r\nLocation: http://evil.example/\r\n\r\n2.0.0", "HTTP/1.1 200 \r\nContent-Length: 99\r\n\r\n2.0.0",
		"HTTP/1.1 204 \r\n\r\n2.0.0", "HTTP/1.1 503 \x1b[2J\r\n\r\n\x1b[2J2.0.0", "HTTP/1.1 200 OK\r\n\r\n\x1b[2J\xff\u202e", "HTTP/1.1 99999 x\r\n\r\n", "\x16\x03\x01", "",
		"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\n2.0.0\r\nz\r\n", "HTTP/1.1 200 OK\r\n\r\n" + strings.Repeat("x", probeBody-2) + "2.0.0",
		"HTTP/1.1 301 x\r\nLocation: 0%\r\n\r\n", strings.Repeat("n", 3000), "HTTP/1.1 200 OK\r\n\x1b[2J" + strings.Repeat("n", 3000) + "\r\n\r\n"} {
		f.Add([]byte(answer), "2.0.0")
		f.Add([]byte(answer), "")
	}
	real := *probeClient
	f.Cleanup(func() { *probeClient = real })
	f.Fuzz(func(t *testing.T, answer []byte, expect string) {
		w := &wire{answer: answer}
		probeClient.Transport = w
		err := Probe{URL: "http://edge:8080/version", Expect: expect}.Check(context.Background())
		if w.asked != 1 {
			t.Fatalf("%d requests", w.asked)
		}
		resp, none := http.ReadResponse(bufio.NewReader(strings.NewReader(string(answer))), nil)
		answered, as := none == nil, false
		if answered {
			body, broken := io.ReadAll(io.LimitReader(resp.Body, probeBody))
			answered = broken == nil
			if _, lost := resp.Location(); resp.StatusCode/100 == 3 && lost != nil && !errors.Is(lost, http.ErrNoLocation) {
				answered = errors.Is(err, ErrWrongAnswer) // some redirects to nowhere are no answer of HTTP's
			}
			as = answered && resp.StatusCode/100 == 2 && strings.Contains(string(body), expect)
		}
		if (err == nil) != as || errors.Is(err, ErrWrongAnswer) != (answered && !as) {
			t.Fatalf("%v of %q", err, answer)
		}
		if err == nil {
			return
		}
		text := err.Error()
		if len(expect) < 100 && len(text) > 1200 || !utf8.ValidString(text) || strings.ContainsFunc(text, unicode.IsControl) {
			t.Fatalf("no short line: %q", text)
		}
	})
}
