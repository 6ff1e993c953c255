package cluster

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"time"
)

// Authority signs certificates, which live no longer than a test does.
type Authority struct {
	File string // its own certificate, PEM

	dir  string
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
}

// TLS is what a client of a cluster with Options.TLS needs, and where more
// certificates come from.
type TLS struct {
	*Authority
	Cert, Key string // files, of a client that the servers trust
}

// NewAuthority makes an authority that nobody trusts yet. Its files, and those
// of what it issues, are in dir.
func NewAuthority(dir, name string) (*Authority, error) {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, err
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	a := &Authority{File: filepath.Join(dir, name+".pem"), dir: dir, key: key}
	template := certificate(name)
	template.IsCA, template.BasicConstraintsValid = true, true
	template.KeyUsage = x509.KeyUsageCertSign
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		return nil, err
	}
	if a.cert, err = x509.ParseCertificate(der); err != nil {
		return nil, err
	}
	return a, writePEM(a.File, "CERTIFICATE", der)
}

// Issue gives the files of a certificate, good for client and server, and of
// its key. hosts are names and addresses.
func (a *Authority) Issue(name string, hosts ...string) (cert, key string, err error) {
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return "", "", err
	}
	template := certificate(name)
	template.KeyUsage = x509.KeyUsageDigitalSignature
	template.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth, x509.ExtKeyUsageServerAuth}
	for _, host := range hosts {
		if ip := net.ParseIP(host); ip != nil {
			template.IPAddresses = append(template.IPAddresses, ip)
		} else {
			template.DNSNames = append(template.DNSNames, host)
		}
	}
	signed, err := x509.CreateCertificate(rand.Reader, template, a.cert, &private.PublicKey, a.key)
	if err != nil {
		return "", "", err
	}
	der, err := x509.MarshalECPrivateKey(private)
	if err != nil {
		return "", "", err
	}
	cert, key = filepath.Join(a.dir, name+"-cert.pem"), filepath.Join(a.dir, name+"-key.pem")
	if err := writePEM(cert, "CERTIFICATE", signed); err != nil {
		return "", "", err
	}
	return cert, key, writePEM(key, "EC PRIVATE KEY", der)
}

func certificate(name string) *x509.Certificate {
	now := time.Now()
	return &x509.Certificate{
		SerialNumber: big.NewInt(now.UnixNano()), Subject: pkix.Name{CommonName: name},
		NotBefore: now.Add(-time.Hour), NotAfter: now.Add(24 * time.Hour),
	}
}

func writePEM(file, kind string, der []byte) error {
	return os.WriteFile(file, pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}), 0o600)
}

// Names that the servers' own rules want in their certificates.
const (
	consulName = "server.dc1.consul"
	nomadName  = "server.global.nomad"
)

// startTLS makes the cluster's authority, and one certificate for all servers
// and for Nomad's client, and one for everybody who talks to them.
func (c *Cluster) startTLS() error {
	authority, err := NewAuthority(filepath.Join(c.Dir, "tls"), "ca")
	if err != nil {
		return fmt.Errorf("make the cluster's certificates: %w", err)
	}
	c.TLS = &TLS{Authority: authority}
	hosts := []string{"localhost", consulName, nomadName, "client.global.nomad"}
	for i := range 5 {
		hosts = append(hosts, fmt.Sprintf("127.0.0.%d", i+1))
	}
	if c.serverCert, c.serverKey, err = authority.Issue("server", hosts...); err != nil {
		return fmt.Errorf("make the servers' certificate: %w", err)
	}
	if c.TLS.Cert, c.TLS.Key, err = authority.Issue("client"); err != nil {
		return fmt.Errorf("make the clients' certificate: %w", err)
	}
	return nil
}

// URL is the address of a server with its scheme.
func (c *Cluster) URL(s *Server) string {
	if c.TLS != nil {
		return "https://" + s.HTTP
	}
	return "http://" + s.HTTP
}

// consulTLS is what a Consul server's configuration has more with TLS: it
// speaks nothing else on its HTTP port, and with nobody whom the authority
// does not vouch for. xDS for the tests' data plane stays plain beside it.
func (c *Cluster) consulTLS(config map[string]any) {
	ports := config["ports"].(map[string]any)
	ports["https"], ports["http"] = ports["http"], -1
	ports["grpc_tls"] = c.slot.port(4)
	config["tls"] = map[string]any{
		"defaults": map[string]any{
			"ca_file": c.TLS.File, "cert_file": c.serverCert, "key_file": c.serverKey,
			"verify_incoming": true, "verify_outgoing": true,
		},
		"internal_rpc": map[string]any{"verify_server_hostname": true},
		"grpc":         map[string]any{"use_auto_cert": false},
	}
}

// nomadTLS is the same for Nomad. %[1] is the CA, %[2] and %[3] are the
// server's own.
const nomadTLS = `
tls {
  http                   = true
  rpc                    = true
  ca_file                = %[1]q
  cert_file              = %[2]q
  key_file               = %[3]q
  verify_server_hostname = true
  verify_https_client    = true
}
`

// nomadConsulTLS goes into Nomad's consul block.
const nomadConsulTLS = `
  ssl       = true
  ca_file   = %[1]q
  cert_file = %[2]q
  key_file  = %[3]q
`

// tlsEnv is the part of Env that TLS needs.
func (t *TLS) env() []string {
	return []string{
		"CONSUL_CACERT=" + t.File, "CONSUL_CLIENT_CERT=" + t.Cert, "CONSUL_CLIENT_KEY=" + t.Key,
		"NOMAD_CACERT=" + t.File, "NOMAD_CLIENT_CERT=" + t.Cert, "NOMAD_CLIENT_KEY=" + t.Key,
	}
}
