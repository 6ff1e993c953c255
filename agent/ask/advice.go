package ask

import (
	"strings"

	"github.com/tealdeploy/teal/agent/measure"
	"github.com/tealdeploy/teal/agent/trust"
)

// Advice is which setting of a block `tls` mends an error of somebody who was to be
// asked over TLS; empty where it is about something else. Who is whom the request went
// to, as a sentence begins with it.
func Advice(err error, who string, t *measure.TLS) string {
	text := err.Error()
	if strings.Contains(text, "server gave HTTP response to HTTPS client") || strings.Contains(text, "first record does not look like a TLS handshake") {
		return who + " does not speak TLS there: port has to be one where it does, or it is to be asked without"
	}
	s := &trust.Settings{
		Server: who, HTTPS: true, Certificate: t.Settings().CertFile != "",
		CA: "ca_file of tls", ServerName: "server_name of tls", Client: "cert_file and key_file of tls",
	}
	return s.Advice(err)
}
