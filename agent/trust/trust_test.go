package trust

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
)

func settings(shown bool) *Settings {
	return &Settings{
		Server: "Consul", HTTPS: true, Certificate: shown,
		CA: "-ca-file", ServerName: "-tls-server-name", Client: "-client-cert and -client-key", Address: "-http-addr",
	}
}

// Each way in which TLS fails with a real server of Go's is told apart, and
// the setting that mends it is named.
func TestAdvice(t *testing.T) {
	server := func(edit func(*httptest.Server)) *httptest.Server {
		s := httptest.NewUnstartedServer(http.NotFoundHandler())
		s.Config.ErrorLog = log.New(io.Discard, "", 0)
		edit(s)
		t.Cleanup(s.Close)
		return s
	}
	plain := server(func(s *httptest.Server) { s.Start() })
	secure := server(func(s *httptest.Server) { s.StartTLS() })
	strict := server(func(s *httptest.Server) {
		s.TLS = &tls.Config{ClientAuth: tls.RequireAndVerifyClientCert, ClientCAs: x509.NewCertPool()}
		s.StartTLS()
	})
	trusted := x509.NewCertPool()
	trusted.AddCert(secure.Certificate())
	trusted.AddCert(strict.Certificate())
	for name, c := range map[string]struct {
		url    string
		config *tls.Config
		shown  bool
		want   string
	}{
		"a wrong authority":              {secure.URL, &tls.Config{RootCAs: x509.NewCertPool()}, false, "-ca-file"},
		"a wrong name":                   {secure.URL, &tls.Config{RootCAs: trusted, ServerName: "elsewhere"}, false, `"elsewhere": -tls-server-name`},
		"no certificate":                 {strict.URL, &tls.Config{RootCAs: trusted}, false, "wants to see a certificate of the client: -client-cert"},
		"a certificate of somebody else": {strict.URL, &tls.Config{RootCAs: trusted, Certificates: strict.TLS.Certificates}, true, "does not accept the client's certificate: -client-cert"},
		"https where it is not spoken":   {strings.Replace(plain.URL, "http:", "https:", 1), nil, false, "-http-addr must name"},
		"nobody there":                   {"https://127.0.0.1:1", nil, false, ""},
	} {
		t.Run(name, func(t *testing.T) {
			client := &http.Client{Transport: &http.Transport{TLSClientConfig: c.config}}
			_, err := client.Get(c.url)
			if err == nil {
				t.Fatal("it came about")
			}
			got := settings(c.shown).Advice(fmt.Errorf("wrapped: %w", err))
			if c.want == "" && got != "" || !strings.Contains(got, c.want) {
				t.Errorf("%v\nadvice: %q, want %q", err, got, c.want)
			}
			_, setting, _ := strings.Cut(c.want, "-") // what is left of an error in a report
			if got := settings(c.shown).Advice(errors.New(err.Error())); (got == "") != (c.want == "") || !strings.Contains(got, setting) {
				t.Errorf("%q\nadvice: %q, want %q", err, got, setting)
			}
		})
	}
	resp, err := http.Get(strings.Replace(secure.URL, "https:", "http:", 1))
	if err != nil {
		t.Fatal(err)
	}
	body, _ := io.ReadAll(resp.Body)
	resp.Body.Close()
	if got := settings(false).Advice(errors.New(string(body))); !strings.Contains(got, "must begin with https://") {
		t.Errorf("%s: %q", body, got)
	}
	expired := x509.CertificateInvalidError{Reason: x509.Expired}
	for _, err := range []error{expired, errors.New("tls: failed to verify certificate: " + expired.Error())} {
		if got := settings(false).Advice(err); !strings.Contains(got, "not valid now") {
			t.Errorf("%v: %q", err, got)
		}
	}
	reset := errors.New("http2: client conn could not be established")
	for shown, want := range map[bool]string{false: "perhaps Consul wants", true: "perhaps Consul does not accept"} {
		s := settings(shown)
		if got := s.Advice(reset); !strings.Contains(got, want) {
			t.Errorf("certificate shown %t: %q, want %q", shown, got, want)
		}
		if got := s.Advice(nil) + s.Advice(reset); got != "" {
			t.Errorf("it has answered before, and yet: %q", got)
		}
	}
}

// Credentials in a URL are not shown, and as an address not taken.
func TestCredentialsInURLs(t *testing.T) {
	for text, want := range map[string]string{
		`url = "http://a:b@c/d@e"`:             `url = "http://…@c/d@e"`,
		"https://user@host and ftp://x:@y:1/z": "https://…@host and ftp://…@y:1/z",
		"http://host/a@b":                      "http://host/a@b",
		"a@b":                                  "a@b",
	} {
		if got := Hide(text); got != want {
			t.Errorf("%q: %q, want %q", text, got, want)
		}
	}
	for address, refused := range map[string]bool{
		"http://a:secret@host:1": true, "a:secret@host:1": true, "https://secret@%zz": true,
		"http://host:1": false, "host:1": false, "http://host/a@b": false, "unix:///a@b": false, "": false,
	} {
		err := CheckAddress(address, "CONSUL_HTTP_AUTH")
		if (err != nil) != refused || err != nil && (strings.Contains(err.Error(), "secret") || !strings.Contains(err.Error(), "CONSUL_HTTP_AUTH")) {
			t.Errorf("%s: %v", address, err)
		}
	}
}
