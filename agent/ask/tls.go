package ask

import (
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"time"

	"github.com/tealdeploy/teal/agent/measure"
	"github.com/tealdeploy/teal/agent/plainfile"
)

// TLS reads the files that settings name. An error begins with the setting that
// mends it, and is never the fault of who is to be asked.
func TLS(t measure.TLS) (*tls.Config, error) {
	c := &tls.Config{ServerName: t.ServerName, InsecureSkipVerify: t.InsecureSkipVerify} //nolint:gosec // the policy's choice
	if t.CAFile != "" {
		pem, err := plainfile.Read(t.CAFile, maxSecret)
		if err != nil {
			return nil, fmt.Errorf("ca_file: %w", err)
		}
		c.RootCAs = x509.NewCertPool()
		if !c.RootCAs.AppendCertsFromPEM(pem) {
			return nil, fmt.Errorf("ca_file: there is no certificate in %s", t.CAFile)
		}
	}
	if t.CertFile == "" {
		return c, nil
	}
	cert, err := plainfile.Read(t.CertFile, maxSecret)
	if err != nil {
		return nil, fmt.Errorf("cert_file: %w", err)
	}
	key, err := plainfile.Read(t.KeyFile, maxSecret)
	if err != nil {
		return nil, fmt.Errorf("key_file: %w", err)
	}
	pair, err := tls.X509KeyPair(cert, key)
	if err != nil {
		return nil, fmt.Errorf("cert_file and key_file: %s and %s are no certificate with its key: %w", t.CertFile, t.KeyFile, err)
	}
	switch now := time.Now(); { // else whoever is asked would be blamed for it
	case now.After(pair.Leaf.NotAfter):
		return nil, fmt.Errorf("cert_file: the certificate in %s was valid until %s: renew it", t.CertFile, pair.Leaf.NotAfter.UTC().Format(time.DateTime))
	case now.Before(pair.Leaf.NotBefore):
		return nil, fmt.Errorf("cert_file: the certificate in %s is not valid before %s", t.CertFile, pair.Leaf.NotBefore.UTC().Format(time.DateTime))
	}
	c.Certificates = []tls.Certificate{pair}
	return c, nil
}
