// Package trust says in an operator's words why a connection over TLS does not
// come about, and which setting is the way out. It opens nothing.
package trust

import (
	"crypto/x509"
	"errors"
	"fmt"
	"strings"
	"sync/atomic"
)

// Settings are how somebody is reached who is asked over TLS: the name to call
// him by, and what a person calls the settings that matter.
type Settings struct {
	Server string // Consul or Nomad

	HTTPS       bool // the address begins with https://
	Certificate bool // the client has one to show

	CA         string // the file of the authority
	ServerName string
	Client     string // the files of the client's certificate and key
	Address    string

	answered atomic.Bool
}

// refusals are the alerts by which a server says that it does not like the
// certificate it was shown, or was not shown: a client keeps one back that
// nobody signed whom the server trusts.
var refusals = []string{
	"tls: certificate required",
	"tls: bad certificate", "tls: unknown certificate", "tls: expired certificate", "tls: revoked certificate", "tls: unsupported certificate",
}

// Advice is what the error of a request calls for, empty when it is not about
// TLS. No error means that the server has answered. Of an error that has come
// through somebody who keeps only its words, those will do.
func (s *Settings) Advice(err error) string {
	if err == nil {
		s.answered.Store(true)
		return ""
	}
	text := err.Error()
	says := func(words ...string) bool {
		for _, w := range words {
			if strings.Contains(text, w) {
				return true
			}
		}
		return false
	}
	var unknown x509.UnknownAuthorityError
	var host x509.HostnameError
	var invalid x509.CertificateInvalidError
	switch {
	case errors.As(err, &unknown) || says("x509: certificate signed by unknown authority"):
		return fmt.Sprintf("%s's certificate is signed by nobody who is trusted here: %s says whom to trust", s.Server, s.CA)
	case errors.As(err, &host):
		return fmt.Sprintf("%s's certificate is not for %q: %s must be a name that stands in it", s.Server, host.Host, s.ServerName)
	case says("x509: cannot validate certificate for", "x509: certificate is valid for", "x509: certificate is not valid for any names"):
		return fmt.Sprintf("%s's certificate is not for the name that it was asked by: %s must be a name that stands in it", s.Server, s.ServerName)
	case errors.As(err, &invalid) && invalid.Reason == x509.Expired || says("x509: certificate has expired or is not yet valid"):
		return fmt.Sprintf("%s's certificate is not valid now: renew it, or set the clock here right", s.Server)
	case says(refusals...) && !s.Certificate:
		return s.unshown()
	case says(refusals...):
		return s.unaccepted()
	case says("server gave HTTP response to HTTPS client"):
		return fmt.Sprintf("%s does not speak TLS at this address: %s must name the port where it does, or begin with http://", s.Server, s.Address)
	case says("Client sent an HTTP request to an HTTPS server"):
		return fmt.Sprintf("%s speaks TLS at this address: %s must begin with https://", s.Server, s.Address)
	case s.HTTPS && !s.answered.Load() && says("connection reset by peer", "broken pipe", "client conn could not be established"):
		// The alert is lost when the server closes while the request comes in.
		// Of a server that has answered before, it was but a connection.
		if s.Certificate {
			return "perhaps " + s.unaccepted()
		}
		return "perhaps " + s.unshown()
	}
	return ""
}

func (s *Settings) unshown() string {
	return fmt.Sprintf("%s wants to see a certificate of the client: %s give it", s.Server, s.Client)
}

func (s *Settings) unaccepted() string {
	return fmt.Sprintf("%s does not accept the client's certificate: %s must give one that is in date and signed by whom %[1]s trusts", s.Server, s.Client)
}
