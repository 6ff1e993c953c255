package agent

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/hashicorp/go-hclog"

	"github.com/tealdeploy/teal/agent/settings"
)

// doorkeeper is a Consul or a Nomad, over TLS: it gives tokens for a JWT, and
// answers those who have one.
type doorkeeper struct {
	mu    sync.Mutex
	asked []string // "path token", or what a login showed
	gone  string   // a token that was deleted
	given int
}

func (d *doorkeeper) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	d.mu.Lock()
	defer d.mu.Unlock()
	token := r.Header.Get("X-Consul-Token") + r.Header.Get("X-Nomad-Token")
	if r.URL.Path == "/v1/acl/login" {
		var shown struct{ AuthMethod, BearerToken, AuthMethodName, LoginToken string }
		_ = json.NewDecoder(r.Body).Decode(&shown)
		d.asked = append(d.asked, fmt.Sprintf("%s%s by %s%s, token %q", shown.AuthMethod, shown.AuthMethodName, shown.BearerToken, shown.LoginToken, token))
		d.given++
		began := time.Now()
		_ = json.NewEncoder(w).Encode(map[string]any{
			"SecretID": fmt.Sprintf("token-%d", d.given), "CreateTime": began, "ExpirationTime": began.Add(time.Hour),
		})
		return
	}
	d.asked = append(d.asked, r.URL.Path+" "+token)
	if token == "" || token == d.gone {
		http.Error(w, "Permission denied", http.StatusForbidden)
		return
	}
	if r.URL.Path == "/v1/status/leader" {
		_, _ = w.Write([]byte(`"127.0.0.1:8300"`))
		return
	}
	_, _ = w.Write([]byte(`{}`))
}

func (d *doorkeeper) saw(t *testing.T, want ...string) {
	t.Helper()
	d.mu.Lock()
	defer d.mu.Unlock()
	if !slices.Equal(d.asked, want) {
		t.Errorf("asked %q\nwant  %q", d.asked, want)
	}
	d.asked = nil
}

// Both clients log in by the JWT in a file, and again when their token is gone;
// the token of the environment is not used. Consul's is given back at the end.
func TestClientsLogIn(t *testing.T) {
	noEnvironment(t)
	t.Setenv("CONSUL_HTTP_TOKEN", "of the environment")
	t.Setenv("NOMAD_TOKEN", "of the environment")
	cert, key := certified(t, "server.of.the.test")
	pair, err := tls.LoadX509KeyPair(cert, key)
	if err != nil {
		t.Fatal(err)
	}
	pool := x509.NewCertPool()
	pool.AddCert(pair.Leaf)
	serve := func() (*doorkeeper, string) {
		d := &doorkeeper{}
		server := httptest.NewUnstartedServer(d)
		server.TLS = &tls.Config{Certificates: []tls.Certificate{pair}, ClientAuth: tls.RequireAndVerifyClientCert, ClientCAs: pool}
		server.StartTLS()
		t.Cleanup(server.Close)
		return d, server.URL
	}
	inConsul, consulURL := serve()
	inNomad, nomadURL := serve()
	jwt := write(t, filepath.Join(t.TempDir(), "jwt"), "first")
	s := settings.Defaults()
	s.Consul = settings.Consul{Address: consulURL, AuthMethod: "teal", JWTFile: jwt, CAFile: cert, CertFile: cert, KeyFile: key, TLSServerName: "server.of.the.test"}
	s.Nomad = settings.Nomad{Address: nomadURL, AuthMethod: "teal", JWTFile: jwt, CAFile: cert, CertFile: cert, KeyFile: key, TLSServerName: "server.of.the.test"}
	renewed := 0
	consul, logOut, err := newConsul(&s, nil, hclog.NewNullLogger(), func() { renewed++ })
	if err != nil {
		t.Fatal(err)
	}
	nomad, err := newNomad(&s, nil, hclog.NewNullLogger())
	if err != nil {
		t.Fatal(err)
	}
	inConsul.saw(t)
	inNomad.saw(t)
	if err := logOut(t.Context()); err != nil {
		t.Error(err)
	}
	inConsul.saw(t) // there was nothing to give back
	ping := func() {
		t.Helper()
		if err := consul.Ping(t.Context()); err != nil {
			t.Error(err)
		}
		if err := nomad.Ping(t.Context()); err != nil {
			t.Error(err)
		}
	}
	const self, leader = "/v1/acl/token/self ", "/v1/status/leader "
	ping()
	ping()
	inConsul.saw(t, `teal by first, token ""`, self+"token-1", leader+"token-1", leader+"token-1")
	// The Task API's socket wants a token of who logs in, too.
	inNomad.saw(t, `teal by first, token "first"`, self+"token-1", leader+"token-1", leader+"token-1")

	inConsul.gone, inNomad.gone = "token-1", "token-1"
	write(t, jwt, "second\n")
	ping()
	inConsul.saw(t, leader+"token-1", self+"token-1", `teal by second, token ""`, self+"token-2", leader+"token-2")
	inNomad.saw(t, leader+"token-1", self+"token-1", `teal by second, token "second"`, self+"token-2", leader+"token-2")
	if renewed != 1 {
		t.Errorf("told of %d renewals", renewed)
	}
	if err := logOut(t.Context()); err != nil {
		t.Error(err)
	}
	inConsul.saw(t, "/v1/acl/logout token-2")
}
