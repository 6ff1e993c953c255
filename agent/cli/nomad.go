package cli

import (
	"cmp"
	"errors"
	"fmt"
	"net"
	"net/url"
	"strings"

	"github.com/hashicorp/nomad/api"

	"github.com/tealdeploy/teal/agent/trust"
)

// nomadFlags are the nomad command's own flags. What is not given comes from
// Nomad's own environment variables.
type nomadFlags struct {
	address, region, namespace, token     string
	caCert, caPath, clientCert, clientKey string
	tlsServerName                         string
	tlsSkipVerify                         bool
	opened, inside                        string // the address and the namespace that are asked
	trust                                 *trust.Settings
}

func (n *nomadFlags) define(set *flagSet) {
	set.StringVar(&n.address, "address", "", "The `address` of Nomad's HTTP API; also NOMAD_ADDR. Defaults to http://127.0.0.1:4646.")
	set.StringVar(&n.region, "region", "", "The job's `region`; also NOMAD_REGION.")
	set.StringVar(&n.namespace, "namespace", "", "The job's `namespace`; also NOMAD_NAMESPACE.")
	set.StringVar(&n.token, "token", "", "The ACL `token`; also NOMAD_TOKEN.")
	set.StringVar(&n.caCert, "ca-cert", "", "A `file` with the CA for TLS; also NOMAD_CACERT.")
	set.StringVar(&n.caPath, "ca-path", "", "A `directory` with CAs for TLS; also NOMAD_CAPATH.")
	set.StringVar(&n.clientCert, "client-cert", "", "The client's certificate `file` for TLS; also NOMAD_CLIENT_CERT.")
	set.StringVar(&n.clientKey, "client-key", "", "The client's key `file` for TLS; also NOMAD_CLIENT_KEY.")
	set.StringVar(&n.tlsServerName, "tls-server-name", "", "The server `name` for SNI over TLS; also NOMAD_TLS_SERVER_NAME.")
	set.BoolVar(&n.tlsSkipVerify, "tls-skip-verify", false, "Trust any certificate; also NOMAD_SKIP_VERIFY.")
}

func (n *nomadFlags) open() (*api.Client, error) {
	cfg := api.DefaultConfig()
	for _, f := range []struct {
		to   *string
		from string
	}{
		{&cfg.Address, n.address}, {&cfg.Region, n.region}, {&cfg.Namespace, n.namespace}, {&cfg.SecretID, n.token},
		{&cfg.TLSConfig.CACert, n.caCert}, {&cfg.TLSConfig.CAPath, n.caPath},
		{&cfg.TLSConfig.ClientCert, n.clientCert}, {&cfg.TLSConfig.ClientKey, n.clientKey},
		{&cfg.TLSConfig.TLSServerName, n.tlsServerName},
	} {
		if f.from != "" {
			*f.to = f.from
		}
	}
	cfg.TLSConfig.Insecure = cfg.TLSConfig.Insecure || n.tlsSkipVerify
	n.opened, n.inside = cfg.Address, cmp.Or(cfg.Namespace, api.DefaultNamespace)
	n.trust = &trust.Settings{
		Server: "Nomad", HTTPS: strings.HasPrefix(cfg.Address, "https://"), Certificate: cfg.TLSConfig.ClientCert != "",
		CA: "-ca-cert or NOMAD_CACERT", ServerName: "-tls-server-name or NOMAD_TLS_SERVER_NAME",
		Client: "-client-cert and -client-key, or NOMAD_CLIENT_CERT and NOMAD_CLIENT_KEY,", Address: "-address or NOMAD_ADDR",
	}
	if err := trust.CheckAddress(cfg.Address, "NOMAD_HTTP_AUTH"); err != nil {
		return nil, err
	}
	return api.NewClient(cfg)
}

// explain says what went wrong with Nomad, and the way out.
func (n *nomadFlags) explain(err error, job string) error {
	var status api.UnexpectedResponseError
	if errors.As(err, &status) && status.HasStatusCode() {
		switch status.StatusCode() {
		case 404:
			return fmt.Errorf("Nomad has no job %s here. -namespace and -region say where it is; 'nomad status' lists the jobs", job)
		case 401, 403:
			return denied{fmt.Sprintf("Nomad's ACLs do not allow to read %s. The token needs:\n\n    namespace %q { capabilities = [\"read-job\"] }\n\nNOMAD_TOKEN or -token gives the token.", job, n.inside)}
		}
		if advice := n.trust.Advice(err); advice != "" {
			return fmt.Errorf("Nomad at %s: %s. %s.", n.opened, strings.TrimSuffix(safe(status.Body()), "."), advice)
		}
		return fmt.Errorf("Nomad at %s refused to tell of %s: %d %s", n.opened, job, status.StatusCode(), safe(status.Body()))
	}
	why := err
	var u *url.Error
	if errors.As(err, &u) {
		why = u.Err
	}
	var op *net.OpError
	if errors.As(err, &op) && op.Err != nil {
		why = op.Err
	}
	if advice := n.trust.Advice(err); advice != "" {
		return unreachable{fmt.Sprintf("cannot reach Nomad at %s: %v. %s.", n.opened, why, sentence(advice))}
	}
	return unreachable{fmt.Sprintf("cannot reach Nomad at %s: %v. Is it running there? -address or NOMAD_ADDR says where.", n.opened, why)}
}

func deref(s *string) string {
	if s == nil {
		return ""
	}
	return *s
}
