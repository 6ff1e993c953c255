package gates_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"io"
	"log"
	"math/big"
	"net"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/tealdeploy/teal/agent/deployment"
	"github.com/tealdeploy/teal/gates"
)

// authority signs certificates for a test, and writes them into its folder.
type authority struct {
	t    *testing.T
	dir  string
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
	file string
	pool *x509.CertPool
}

func newAuthority(t *testing.T) *authority {
	t.Helper()
	a := &authority{t: t, dir: t.TempDir(), pool: x509.NewCertPool()}
	template := &x509.Certificate{Subject: pkix.Name{CommonName: "authority"}, IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign}
	a.cert, a.key, a.file, _ = a.sign("ca", template, time.Hour)
	a.pool.AddCert(a.cert)
	return a
}

// sign makes a certificate that is valid for this long, or was until then, and
// gives the files of both its parts.
func (a *authority) sign(name string, template *x509.Certificate, valid time.Duration) (*x509.Certificate, *ecdsa.PrivateKey, string, string) {
	a.t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		a.t.Fatal(err)
	}
	template.SerialNumber = big.NewInt(time.Now().UnixNano())
	template.NotBefore, template.NotAfter = time.Now().Add(-24*time.Hour), time.Now().Add(valid)
	parent, signer := a.cert, a.key
	if parent == nil {
		parent, signer = template, key
	}
	der, err := x509.CreateCertificate(rand.Reader, template, parent, &key.PublicKey, signer)
	if err != nil {
		a.t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		a.t.Fatal(err)
	}
	private, err := x509.MarshalECPrivateKey(key)
	if err != nil {
		a.t.Fatal(err)
	}
	return cert, key, a.write(name+"-cert.pem", "CERTIFICATE", der), a.write(name+"-key.pem", "EC PRIVATE KEY", private)
}

func (a *authority) write(name, kind string, der []byte) string {
	a.t.Helper()
	path := filepath.Join(a.dir, name)
	if err := os.WriteFile(path, pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}), 0o600); err != nil {
		a.t.Fatal(err)
	}
	return path
}

// issue is a certificate for a client, or for a server of these names.
func (a *authority) issue(name string, valid time.Duration, hosts ...string) (cert, key string) {
	template := &x509.Certificate{
		Subject: pkix.Name{CommonName: name}, KeyUsage: x509.KeyUsageDigitalSignature,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth, x509.ExtKeyUsageServerAuth},
	}
	for _, host := range hosts {
		if ip := net.ParseIP(host); ip != nil {
			template.IPAddresses = append(template.IPAddresses, ip)
		} else {
			template.DNSNames = append(template.DNSNames, host)
		}
	}
	_, _, cert, key = a.sign(name, template, valid)
	return cert, key
}

// config is a server's, that shows these files and wants to see a certificate
// signed by clients, if there are any.
func (a *authority) config(cert, key string, clients *authority) *tls.Config {
	a.t.Helper()
	pair, err := tls.LoadX509KeyPair(cert, key)
	if err != nil {
		a.t.Fatal(err)
	}
	c := &tls.Config{Certificates: []tls.Certificate{pair}, NextProtos: []string{"h2", "http/1.1"}}
	if clients != nil {
		c.ClientAuth, c.ClientCAs = tls.RequireAndVerifyClientCert, clients.pool
	}
	return c
}

// kin is a way to ask instances over TLS: a kind of gate, and a server for it.
type kin struct {
	gate  string // a body without the block tls
	serve func(t *testing.T, config *tls.Config) deployment.Instance
	plain func(t *testing.T) deployment.Instance
}

func secureApp(t *testing.T, config *tls.Config) deployment.Instance {
	t.Helper()
	server := httptest.NewUnstartedServer(answers(200, "up 1\n"))
	server.Config.ErrorLog = log.New(io.Discard, "", 0)
	server.EnableHTTP2 = true
	server.TLS = config
	server.StartTLS()
	t.Cleanup(server.Close)
	return instanceAt(t, server.Listener.Addr().String())
}

func secureGRPC(t *testing.T, config *tls.Config) deployment.Instance {
	t.Helper()
	return grpcApp(t, healthy(nil), config)
}

func plainApp(t *testing.T) deployment.Instance { return app(t, answers(200, "up 1\n")) }

var kinds = map[string]kin{
	"http":    {"scheme = \"https\"\n", secureApp, plainApp},
	"metrics": {"scheme = \"https\"\nmetric = \"up\"\nbelow = 1\n", secureApp, plainApp},
	"grpc":    {"", secureGRPC, func(t *testing.T) deployment.Instance { return grpcApp(t, healthy(nil), nil) }},
	"load":    {"scheme = \"https\"\nrate = 5\nduration = \"1s\"\n", secureApp, plainApp},
}

// Every kind of gate that asks instances does so over TLS with certificates on
// both sides, and says which setting is wrong where that does not come about: a
// fault of ours holds the release, any other fails the look.
func TestTLSToInstances(t *testing.T) {
	ca, stranger := newAuthority(t), newAuthority(t)
	byAddress, byAddressKey := ca.issue("address", time.Hour, "127.0.0.1")
	byName, byNameKey := ca.issue("name", time.Hour, "api.internal")
	old, oldKey := ca.issue("old", -time.Hour, "127.0.0.1")
	client, clientKey := ca.issue("client", time.Hour)
	strange, strangeKey := stranger.issue("client", time.Hour)
	overdue, overdueKey := ca.issue("overdue", -time.Hour)
	garbage := filepath.Join(t.TempDir(), "garbage.pem")
	if err := os.WriteFile(garbage, []byte("no certificate"), 0o600); err != nil {
		t.Fatal(err)
	}
	huge := filepath.Join(t.TempDir(), "huge.pem")
	if err := os.WriteFile(huge, make([]byte, 1<<20), 0o600); err != nil {
		t.Fatal(err)
	}
	shows := func(cert, key string) string { return fmt.Sprintf("cert_file = %q\nkey_file = %q\n", cert, key) }
	trusts := fmt.Sprintf("ca_file = %q\n", ca.file)

	for name, c := range map[string]struct {
		server  *tls.Config // nil: speaks no TLS
		tls     string
		verdict gates.Verdict
		says    string
	}{
		"by its address":             {ca.config(byAddress, byAddressKey, nil), trusts, gates.Pass, ""},
		"by its name":                {ca.config(byName, byNameKey, nil), trusts + `server_name = "api.internal"`, gates.Pass, ""},
		"whoever it is":              {ca.config(old, oldKey, nil), `insecure_skip_verify = true`, gates.Pass, ""},
		"both show a certificate":    {ca.config(byAddress, byAddressKey, ca), trusts + shows(client, clientKey), gates.Pass, ""},
		"nobody's":                   {ca.config(byAddress, byAddressKey, nil), ``, gates.Fail, "is signed by nobody who is trusted here: ca_file of tls says whom to trust"},
		"somebody else's authority":  {ca.config(byAddress, byAddressKey, nil), fmt.Sprintf("ca_file = %q", stranger.file), gates.Fail, "ca_file of tls says whom to trust"},
		"another name's":             {ca.config(byName, byNameKey, nil), trusts, gates.Fail, `server_name of tls must be a name that stands in it`},
		"out of date":                {ca.config(old, oldKey, nil), trusts, gates.Fail, "is not valid now: renew it"},
		"no TLS is spoken":           {nil, trusts, gates.Fail, "does not speak TLS there"},
		"wants to see one":           {ca.config(byAddress, byAddressKey, ca), trusts, gates.Fail, "cert_file and key_file of tls give it"},
		"does not know ours":         {ca.config(byAddress, byAddressKey, ca), trusts + shows(strange, strangeKey), gates.Fail, "cert_file and key_file of tls must give one that is in date and signed by whom"},
		"ours is out of date":        {ca.config(byAddress, byAddressKey, ca), trusts + shows(overdue, overdueKey), gates.Hold, "cert_file: the certificate in " + overdue + " was valid until"},
		"ours is missing":            {ca.config(byAddress, byAddressKey, ca), trusts + shows(client+"x", clientKey), gates.Hold, "cert_file: open " + client + "x: no such file"},
		"our key is missing":         {ca.config(byAddress, byAddressKey, ca), trusts + shows(client, clientKey+"x"), gates.Hold, "key_file: open " + clientKey + "x: no such file"},
		"another one's key":          {ca.config(byAddress, byAddressKey, ca), trusts + shows(client, overdueKey), gates.Hold, "are no certificate with its key"},
		"an authority that is none":  {ca.config(byAddress, byAddressKey, nil), fmt.Sprintf("ca_file = %q", garbage), gates.Hold, "ca_file: there is no certificate in " + garbage},
		"a file that is no PEM file": {ca.config(byAddress, byAddressKey, nil), fmt.Sprintf("ca_file = %q", huge), gates.Hold, "it is larger than 64 KiB"},
	} {
		for kind, k := range kinds {
			t.Run(kind+" "+name, func(t *testing.T) {
				t.Parallel()
				var instance deployment.Instance
				if c.server == nil {
					instance = k.plain(t)
				} else {
					instance = k.serve(t, c.server)
				}
				n, diags := decode(t, fmt.Sprintf("gate %q \"tls\" {\n%s\ntls {\n%s\n}\n}", kind, k.gate, c.tls))
				if diags.HasErrors() {
					t.Fatal(diags)
				}
				target := green(instance)
				target.Say = func(string) {}
				finding, err := n.Gate.Check(t.Context(), target)
				for strings.Contains(finding.Reason, "could be sent") && t.Context().Err() == nil { // a busy machine's load
					finding, err = n.Gate.Check(t.Context(), target)
				}
				says := finding.Reason
				if err != nil {
					says = err.Error()
				}
				want := c.verdict
				if kind == "metrics" && want == gates.Fail {
					want = gates.Hold // a figure that cannot be read is unknown
				}
				if finding.Verdict != want || !strings.Contains(says, c.says) {
					t.Errorf("got %s %q, want %s with %q", finding.Verdict, says, want, c.says)
				}
			})
		}
	}
}

// Files are read anew at each look: a certificate that was renewed is good.
func TestCertificatesAreReadAnew(t *testing.T) {
	ca := newAuthority(t)
	server, key := ca.issue("server", time.Hour, "127.0.0.1")
	instance := secureApp(t, ca.config(server, key, ca))
	cert, key := ca.issue("client", -time.Hour)
	g := gate(t, fmt.Sprintf("scheme = \"https\"\ntls {\nca_file = %q\ncert_file = %q\nkey_file = %q\n}", ca.file, cert, key)).Gate
	if finding, err := g.Check(t.Context(), green(instance)); err == nil || finding.Verdict != gates.Hold {
		t.Errorf("got %+v, %v", finding, err)
	}
	ca.issue("client", time.Hour) // into the same files
	if finding, err := g.Check(t.Context(), green(instance)); err != nil || finding.Verdict != gates.Pass {
		t.Errorf("got %+v, %v", finding, err)
	}
}

// Where no TLS is spoken, a connection that breaks is no matter of certificates.
func TestNoAdviceAboutTLSWithoutIt(t *testing.T) {
	resets := func(conn net.Conn) {
		_, _ = conn.Read(make([]byte, 4096))
		_ = conn.(*net.TCPConn).SetLinger(0) // closing resets it
	}
	for kind, body := range map[string]string{"http": "", "grpc": "", "load": "rate = 2\nduration = \"1s\"", "metrics": "metric = \"up\"\nbelow = 1"} {
		n, diags := decode(t, fmt.Sprintf("gate %q \"plain\" {\n%s\n}", kind, body))
		if diags.HasErrors() {
			t.Fatal(diags)
		}
		target := green(raw(t, resets))
		target.Say = func(string) {}
		finding, err := n.Gate.Check(t.Context(), target)
		said := fmt.Sprint(finding.Reason, err)
		broken := strings.Contains(said, "reset by peer") || strings.Contains(said, "broken pipe") // as the request is on its way
		if !broken || strings.Contains(said, "certificate") {
			t.Errorf("%s: %s", kind, said)
		}
	}
}
