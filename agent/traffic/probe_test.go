package traffic

import (
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
)

func TestProbe(t *testing.T) {
	var asked *http.Request
	edge := httptest.NewServer(http.HandlerFunc(func(out http.ResponseWriter, in *http.Request) {
		asked = in
		switch in.URL.Path {
		case "/version":
			_, _ = out.Write([]byte(`{"version":"2.0.0"}`))
		case "/gone":
			out.WriteHeader(http.StatusServiceUnavailable)
			_, _ = out.Write([]byte("2.0.0"))
		case "/moved":
			http.Redirect(out, in, "/version", http.StatusFound)
		case "/long":
			_, _ = out.Write([]byte(strings.Repeat("x", probeBody) + "2.0.0"))
		}
	}))
	defer edge.Close()
	for name, c := range map[string]struct {
		path, expect, says string
	}{
		"sees the version":     {"/version", "2.0.0", ""},
		"expects nothing":      {"/version", "", ""},
		"the old version":      {"/version", "3.0.0", `"{\"version\":\"2.0.0\"}" does not contain "3.0.0"`},
		"an error that has it": {"/gone", "2.0.0", "status 503"},
		"a redirect":           {"/moved", "2.0.0", "status 302"},
		"too far down":         {"/long", "2.0.0", "does not contain"},
	} {
		err := Probe{URL: edge.URL + c.path, Expect: c.expect}.Check(t.Context())
		if c.says == "" && err != nil || c.says != "" && (!errors.Is(err, ErrWrongAnswer) || !strings.Contains(err.Error(), c.says)) {
			t.Errorf("%s: %v, want %q", name, err, c.says)
		}
	}
	err := Probe{URL: edge.URL + "/version", Header: map[string]string{"Host": "api.example.org", "x-teal-colour": "green"}}.Check(t.Context())
	if err != nil || asked.Host != "api.example.org" || asked.Header.Get(Header) != "green" {
		t.Errorf("host %q, header %q: %v", asked.Host, asked.Header.Get(Header), err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := (Probe{URL: edge.URL + "/version"}).Check(ctx); err == nil || errors.Is(err, ErrWrongAnswer) {
		t.Errorf("under an ended context: %v", err)
	}
	if err := (Probe{URL: "http://a b/"}).Check(t.Context()); err == nil || errors.Is(err, ErrWrongAnswer) {
		t.Errorf("of no URL: %v", err)
	}
}

// An error of HTTP's quotes what was answered, which may be long and hold anything.
func TestAProbeQuotesLittle(t *testing.T) {
	edge := httptest.NewServer(http.HandlerFunc(func(out http.ResponseWriter, _ *http.Request) {
		conn, _, err := out.(http.Hijacker).Hijack()
		if err != nil {
			t.Error(err)
			return
		}
		_, _ = conn.Write([]byte("HTTP/1.1 200 OK\r\n\x1b[2J" + strings.Repeat("n", 3000) + "\r\n\r\n"))
		conn.Close()
	}))
	defer edge.Close()
	err := Probe{URL: edge.URL}.Check(t.Context())
	if err == nil || errors.Is(err, ErrWrongAnswer) || len(err.Error()) > 600 || strings.Contains(err.Error(), "\x1b") {
		t.Errorf("%.900q", err)
	}
}
