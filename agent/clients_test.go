package agent

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"math/big"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"testing"
	"time"

	consulapi "github.com/hashicorp/consul/api"
	"github.com/hashicorp/go-hclog"

	"github.com/tealdeploy/teal/agent/api"
	"github.com/tealdeploy/teal/agent/settings"
)

// Every request of the agent's that fails is in its metrics, with either
// server, whatever it asked for.
func TestFailedRequestsAreInTheMetrics(t *testing.T) {
	noEnvironment(t)
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		http.Error(w, "no", http.StatusInternalServerError)
	}))
	defer server.Close()
	s := settings.Defaults()
	s.Consul.Address, s.Nomad.Address = server.URL, server.URL
	m := api.NewMetrics("1.2.3")
	consul, _, err := newConsul(&s, m, hclog.NewNullLogger(), nil)
	if err != nil {
		t.Fatal(err)
	}
	nomad, err := newNomad(&s, m, hclog.NewNullLogger())
	if err != nil {
		t.Fatal(err)
	}
	for range 2 {
		_, _ = consul.In("shop", "").SetEntry(t.Context(), &consulapi.ServiceRouterConfigEntry{Name: "api"}, 1)
		_, _ = nomad.In("eu").Parse(t.Context(), "job", "")
	}
	answer := httptest.NewRecorder()
	api.New(api.Config{Metrics: m}).Handler().ServeHTTP(answer, httptest.NewRequest(http.MethodGet, "/v1/metrics", nil))
	for _, line := range []string{`teal_consul_request_errors_total{operation="write"} 2`, `teal_nomad_request_errors_total{operation="parse"} 2`} {
		if !strings.Contains(answer.Body.String(), "\n"+line+"\n") {
			t.Errorf("no %q in\n%s", line, answer.Body)
		}
	}
}

// certified makes a certificate for a name, which is its own CA, and its key.
func certified(t *testing.T, name string) (cert, key string) {
	t.Helper()
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	about := &x509.Certificate{
		SerialNumber: big.NewInt(1), DNSNames: []string{name}, IsCA: true, BasicConstraintsValid: true,
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
		KeyUsage:    x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign,
	}
	der, err := x509.CreateCertificate(rand.Reader, about, about, &private.PublicKey, private)
	if err != nil {
		t.Fatal(err)
	}
	secret, err := x509.MarshalECPrivateKey(private)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	return write(t, filepath.Join(dir, "cert.pem"), string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}))),
		write(t, filepath.Join(dir, "key.pem"), string(pem.EncodeToMemory(&pem.Block{Type: "EC PRIVATE KEY", Bytes: secret})))
}

// Servers that speak TLS, and ask for a certificate, are reached with what the
// environment of the consul and nomad commands says.
func TestTLSOfTheEnvironment(t *testing.T) {
	noEnvironment(t)
	cert, key := certified(t, "server.of.the.test")
	pair, err := tls.LoadX509KeyPair(cert, key)
	if err != nil {
		t.Fatal(err)
	}
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		_, _ = w.Write([]byte(`"127.0.0.1:8300"`))
	}))
	pool := x509.NewCertPool()
	pool.AddCert(pair.Leaf)
	server.TLS = &tls.Config{Certificates: []tls.Certificate{pair}, ClientAuth: tls.RequireAndVerifyClientCert, ClientCAs: pool}
	server.Config.ErrorLog = hclog.NewNullLogger().StandardLogger(nil)
	server.StartTLS()
	defer server.Close()
	ping := func() (ofConsul, ofNomad error) {
		t.Helper()
		s := settings.Defaults()
		consul, _, err := newConsul(&s, nil, hclog.NewNullLogger(), nil)
		if err != nil {
			t.Fatal(err)
		}
		nomad, err := newNomad(&s, nil, hclog.NewNullLogger())
		if err != nil {
			t.Fatal(err)
		}
		return consul.Ping(t.Context()), nomad.Ping(t.Context())
	}
	t.Setenv("CONSUL_HTTP_ADDR", server.URL)
	t.Setenv("NOMAD_ADDR", server.URL)
	// Each of these is needed: without any one of them neither is reached.
	for _, add := range []struct{ consul, nomad, value, key string }{
		{"CONSUL_CACERT", "NOMAD_CACERT", cert, ""},
		{"CONSUL_TLS_SERVER_NAME", "NOMAD_TLS_SERVER_NAME", "server.of.the.test", ""},
		{"CONSUL_CLIENT_CERT", "NOMAD_CLIENT_CERT", cert, key},
	} {
		if ofConsul, ofNomad := ping(); ofConsul == nil || ofNomad == nil {
			t.Errorf("reached before %s is set: %v, %v", add.consul, ofConsul, ofNomad)
		}
		t.Setenv(add.consul, add.value)
		t.Setenv(add.nomad, add.value)
		t.Setenv("CONSUL_CLIENT_KEY", add.key)
		t.Setenv("NOMAD_CLIENT_KEY", add.key)
	}
	if ofConsul, ofNomad := ping(); ofConsul != nil || ofNomad != nil {
		t.Errorf("consul: %v; nomad: %v", ofConsul, ofNomad)
	}
}
