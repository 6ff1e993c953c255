package measure

import (
	"path/filepath"

	"github.com/hashicorp/hcl/v2"

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

// TLSIn reads the block `tls` of a body whose decoder has declared it; nil when there
// is none.
func TLSIn(d *hclbody.Decoder, eval *hcl.EvalContext) *TLS {
	for _, block := range d.Found("tls") {
		t := &TLS{}
		inner := hclbody.New("tls", eval)
		t.Declare(inner)
		inner.Decode(block.Body)
		t.Validate(inner)
		d.Append(inner.Diagnostics())
		return t
	}
	return nil
}

// CheckScheme reports a block `tls`, which was found in the body, where TLS is not
// spoken.
func (t *TLS) CheckScheme(d *hclbody.Decoder, scheme string) {
	if t == nil || scheme == "https" {
		return
	}
	d.Append(hcl.Diagnostics{{
		Severity: hcl.DiagError,
		Summary:  "Certificate of nobody",
		Detail:   `tls says how to speak TLS, but the scheme is http. Write scheme = "https", or leave tls out.`,
		Subject:  d.Found("tls")[0].DefRange.Ptr(),
	}})
}

// Settings are those of a block that may be absent.
func (t *TLS) Settings() TLS {
	if t == nil {
		return TLS{}
	}
	return *t
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
