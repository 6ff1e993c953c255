package gates

import (
	"fmt"
	"strings"

	"github.com/hashicorp/hcl/v2"

	"github.com/tealdeploy/teal/agent/hclbody"
	"github.com/tealdeploy/teal/agent/measure"
	"github.com/tealdeploy/teal/agent/trust"
)

// decodeTLS reads the block tls of a gate's body, which has declared it; nil
// when there is none.
func decodeTLS(d *hclbody.Decoder, eval *hcl.EvalContext) *measure.TLS {
	for _, block := range d.Found("tls") {
		t := &measure.TLS{}
		inner := hclbody.New("tls", eval)
		t.Declare(inner)
		inner.Decode(block.Body)
		t.Validate(inner)
		d.Append(inner.Diagnostics())
		return t
	}
	return nil
}

// checkTLS reports a block tls where TLS is not spoken.
func checkTLS(d *hclbody.Decoder, t *measure.TLS, scheme string) {
	if t == nil || scheme == "https" {
		return
	}
	d.Append(hcl.Diagnostics{{
		Severity: hcl.DiagError,
		Summary:  "Contradictory gate",
		Detail:   `tls says how to speak TLS, but the scheme is http. Write scheme = "https", or leave tls out.`,
		Subject:  d.Found("tls")[0].DefRange.Ptr(),
	}})
}

// settings are those of a block that may be absent.
func settings(t *measure.TLS) measure.TLS {
	if t == nil {
		return measure.TLS{}
	}
	return *t
}

// advised is the text of an error with the setting that mends it, where it is
// about TLS, which secure says was to be spoken. Who is whom the request went to,
// as a sentence begins with it.
func advised(err error, who string, secure bool, t *measure.TLS) string {
	text := err.Error()
	advice := ""
	switch {
	case !secure:
	case strings.Contains(text, "server gave HTTP response to HTTPS client"), strings.Contains(text, "first record does not look like a TLS handshake"):
		advice = who + " does not speak TLS there: port has to be one where it does, or it is to be asked without"
	default:
		s := &trust.Settings{
			Server: who, HTTPS: true, Certificate: settings(t).CertFile != "",
			CA: "ca_file of tls", ServerName: "server_name of tls", Client: "cert_file and key_file of tls",
		}
		advice = s.Advice(err)
	}
	if advice == "" {
		return text
	}
	return fmt.Sprintf("%s (%s)", text, advice)
}
