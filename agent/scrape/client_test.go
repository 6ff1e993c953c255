package scrape

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"io"
	"log"
	"math/big"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/tealdeploy/teal/agent/deployment"
	"github.com/tealdeploy/teal/agent/measure"
	"github.com/tealdeploy/teal/rollback"
)

// secureEndpoint is one that speaks TLS, with the file of who signed for it. It wants
// to see some certificate if shown says so.
func secureEndpoint(t *testing.T, shown bool) (i deployment.Instance, ca string) {
	t.Helper()
	server := httptest.NewUnstartedServer(http.HandlerFunc(plain))
	server.Config.ErrorLog = log.New(io.Discard, "", 0)
	if shown {
		server.TLS = &tls.Config{ClientAuth: tls.RequireAnyClientCert}
	}
	server.StartTLS()
	t.Cleanup(server.Close)
	return at(t, server.Listener.Addr()), pemFile(t, "CERTIFICATE", server.Certificate().Raw)
}

func pemFile(t *testing.T, kind string, der []byte) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "a.pem")
	if err := os.WriteFile(path, pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// strangers are the files of a certificate that nobody knows, and of its key.
func strangers(t *testing.T) (cert, key string) {
	t.Helper()
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour), IsCA: true, BasicConstraintsValid: true}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &private.PublicKey, private)
	if err != nil {
		t.Fatal(err)
	}
	text, err := x509.MarshalECPrivateKey(private)
	if err != nil {
		t.Fatal(err)
	}
	return pemFile(t, "CERTIFICATE", der), pemFile(t, "EC PRIVATE KEY", text)
}

// Metrics by TLS are read from whom the settings trust, and from nobody else; what is
// wrong is said with the argument that mends it.
func TestScrapeByTLS(t *testing.T) {
	i, ca := secureEndpoint(t, false)
	wary, _ := secureEndpoint(t, true)
	cleartext := endpoint(t, plain)
	cert, key := strangers(t)
	for what, c := range map[string]struct {
		of   deployment.Instance
		tls  measure.TLS
		want string // of the error
	}{
		"whom it trusts":        {i, measure.TLS{CAFile: ca}, ""},
		"anybody":               {i, measure.TLS{InsecureSkipVerify: true}, ""},
		"nobody known":          {i, measure.TLS{}, "ca_file of tls says whom to trust"},
		"the wrong authority":   {i, measure.TLS{CAFile: cert}, "ca_file of tls says whom to trust"},
		"another name":          {i, measure.TLS{CAFile: ca, ServerName: "example.com"}, ""},
		"the wrong name":        {i, measure.TLS{CAFile: ca, ServerName: "api.internal"}, "server_name of tls must be a name that stands in it"},
		"no file":               {i, measure.TLS{CAFile: ca + "x"}, "ca_file: open "},
		"no certificate in it":  {i, measure.TLS{CAFile: key}, "ca_file: there is no certificate in " + key},
		"with a certificate":    {wary, measure.TLS{CAFile: ca, CertFile: cert, KeyFile: key}, ""},
		"without a certificate": {wary, measure.TLS{CAFile: ca}, "cert_file and key_file of tls"},
		"who speaks no TLS":     {cleartext, measure.TLS{CAFile: ca}, "the instance does not speak TLS there"},
	} {
		got := scrape(t, New(Config{}), rollback.ScrapeSource{Scheme: "https", Path: "/metrics", TLS: c.tls}, c.of)
		switch {
		case c.want == "" && (got.Err != nil || len(got.Families[metric]) != 2):
			t.Errorf("%s: %v, %v", what, got.Families, got.Err)
		case c.want != "" && (got.Err == nil || !strings.Contains(got.Err.Error(), c.want) || !strings.Contains(got.Err.Error(), "metrics at https://127.0.0.1:") || got.Families != nil):
			t.Errorf("%s: %v, want %q", what, got.Err, c.want)
		}
	}
}

// Who speaks TLS says so to whom does not.
func TestScrapeWithoutTLSOfWhoSpeaksIt(t *testing.T) {
	i, _ := secureEndpoint(t, false)
	got := scrape(t, New(Config{}), rollback.ScrapeSource{Path: "/metrics"}, i)
	if got.Err == nil || !strings.Contains(got.Err.Error(), "answered 400, expected 200: Client sent an HTTP request to an HTTPS server") {
		t.Errorf("%v", got.Err)
	}
}

// Certificates are renewed: their files are read anew after a while, and at once where
// they were of no use. Until then connections are kept.
func TestCertificatesAreReadAnew(t *testing.T) {
	i, ca := secureEndpoint(t, false)
	cert, _ := strangers(t)
	file := filepath.Join(t.TempDir(), "ca.pem")
	put := func(from string) {
		t.Helper()
		text, err := os.ReadFile(from)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, text, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	s := New(Config{})
	source := rollback.ScrapeSource{Scheme: "https", Path: "/metrics", TLS: measure.TLS{CAFile: file}}
	if got := scrape(t, s, source, i); got.Err == nil {
		t.Error("read without the file")
	}
	put(ca)
	if got := scrape(t, s, source, i); got.Err != nil {
		t.Errorf("the file is there: %v", got.Err)
	}
	first, err := s.clients.of(source)
	if err != nil {
		t.Fatal(err)
	}
	put(cert)
	if again, err := s.clients.of(source); err != nil || again != first {
		t.Errorf("another client, %v", err)
	}
	s.clients.secure[source.TLS].until = time.Now()
	if got := scrape(t, s, source, i); got.Err == nil || !strings.Contains(got.Err.Error(), "ca_file of tls") {
		t.Errorf("who signed before is trusted still: %v", got.Err)
	}
	other := source
	other.TLS.ServerName = "example.com"
	s.clients.secure[source.TLS].until = time.Now()
	if _, err := s.clients.of(other); err != nil || len(s.clients.secure) != 1 {
		t.Errorf("%d clients are kept: %v", len(s.clients.secure), err)
	}
}
