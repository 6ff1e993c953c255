package measure

import (
	"path/filepath"

	"github.com/tealdeploy/teal/agent/hclbody"
)

// TLS is how somebody is spoken to over TLS. Its files are on the agents'
// machines; agent/ask reads them anew at each question, since certificates are
// renewed.
type TLS struct {
	CAFile             string // certificates to trust instead of the machine's own
	CertFile, KeyFile  string // what the client shows
	ServerName         string // the name to look for in the server's certificate
	InsecureSkipVerify bool
}

// Declare adds the arguments of a `tls` block to its decoder.
func (t *TLS) Declare(d *hclbody.Decoder) {
	d.String("ca_file", &t.CAFile, hclbody.NotEmpty)
	d.String("cert_file", &t.CertFile, hclbody.NotEmpty)
	d.String("key_file", &t.KeyFile, hclbody.NotEmpty)
	d.String("server_name", &t.ServerName, hclbody.NotEmpty)
	d.Bool("insecure_skip_verify", &t.InsecureSkipVerify)
}

// Validate reports values that are of the right type and cannot work.
func (t *TLS) Validate(d *hclbody.Decoder) {
	for name, path := range map[string]string{"ca_file": t.CAFile, "cert_file": t.CertFile, "key_file": t.KeyFile} {
		absolute(d, name, path)
	}
	if t.InsecureSkipVerify && t.CAFile != "" {
		d.Errorf("insecure_skip_verify", "Contradictory certificates", "ca_file says whom to trust, and insecure_skip_verify trusts everybody.")
	}
	if (t.CertFile == "") != (t.KeyFile == "") {
		at := "cert_file"
		if t.CertFile == "" {
			at = "key_file"
		}
		d.Errorf(at, "Certificate and key belong together", "Set both cert_file and key_file, or neither.")
	}
}

// absolute reports a file's path that depends on where an agent was started.
func absolute(d *hclbody.Decoder, name, path string) {
	if path != "" && !filepath.IsAbs(path) {
		d.Errorf(name, "Relative path", "%q has to be an absolute path: it is read on the machine of whichever agent leads.", path)
	}
}
