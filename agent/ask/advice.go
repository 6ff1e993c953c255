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

// ofService is which argument of a query mends an error of the service that was asked;
// empty where it is about something else than TLS.
func ofService(err error) string {
	if strings.Contains(err.Error(), "remote error: tls: ") {
		return "perhaps it wants to see a certificate of whoever asks, and none can be shown to it from here"
	}
	s := &trust.Settings{Server: "the server", CA: "ca_file", ServerName: "the host in url", Address: "url"}
	return s.Advice(err)
}
