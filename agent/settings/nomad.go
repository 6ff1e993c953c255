package settings

import (
	"fmt"
	"strings"

	nomadapi "github.com/hashicorp/nomad/api"

	"github.com/tealdeploy/teal/agent/hclbody"
	"github.com/tealdeploy/teal/agent/plainfile"
)

// Nomad is how Nomad is reached. What is empty is left to the environment:
// NOMAD_ADDR and the others that the nomad command takes.
type Nomad struct {
	Address       string // URL, or unix:///path as the Task API's socket
	Region        string
	Namespace     string
	Token         string
	TokenFile     string
	AuthMethod    string // a JWT auth method to log in at
	JWTFile       string // with what
	CAFile        string
	CAPath        string
	CertFile      string
	KeyFile       string
	TLSServerName string
	TLSSkipVerify bool
}

func (n *Nomad) declare(d *hclbody.Decoder) {
	d.String("address", &n.Address)
	d.String("region", &n.Region)
	d.String("namespace", &n.Namespace)
	d.String("token", &n.Token)
	d.String("token_file", &n.TokenFile)
	d.String("auth_method", &n.AuthMethod)
	d.String("jwt_file", &n.JWTFile)
	d.String("ca_file", &n.CAFile)
	d.String("ca_path", &n.CAPath)
	d.String("cert_file", &n.CertFile)
	d.String("key_file", &n.KeyFile)
	d.String("tls_server_name", &n.TLSServerName)
	d.Bool("tls_skip_verify", &n.TLSSkipVerify)
}

func (n *Nomad) check(d *hclbody.Decoder) {
	checkConnection(d, n.Address, n.CertFile, n.KeyFile)
	checkToken(d, n.Token, n.TokenFile, n.AuthMethod, n.JWTFile)
	if n.Address != "" && !strings.Contains(n.Address, "://") {
		d.Errorf("address", "Wrong address", "Nomad's address needs its scheme: http://%s.", n.Address)
	}
}

// NomadConfig is the client's configuration: the environment's, with these
// settings over it. The client itself knows unix:// addresses, but no token
// files: one is read here, and the error is that it cannot be.
func (s *Settings) NomadConfig() (*nomadapi.Config, error) {
	n, config := s.Nomad, nomadapi.DefaultConfig()
	set(&config.Address, n.Address)
	set(&config.Region, n.Region)
	set(&config.Namespace, n.Namespace)
	set(&config.SecretID, n.Token)
	set(&config.TLSConfig.TLSServerName, n.TLSServerName)
	set(&config.TLSConfig.CACert, n.CAFile)
	set(&config.TLSConfig.CAPath, n.CAPath)
	set(&config.TLSConfig.ClientCert, n.CertFile)
	set(&config.TLSConfig.ClientKey, n.KeyFile)
	config.TLSConfig.Insecure = config.TLSConfig.Insecure || n.TLSSkipVerify
	if n.AuthMethod != "" {
		config.SecretID = "" // the environment's: who logs in has no token yet
	}
	if n.TokenFile != "" {
		token, err := plainfile.Read(n.TokenFile, 64<<10)
		if err != nil {
			return nil, fmt.Errorf("read Nomad's token: %w", err)
		}
		config.SecretID = strings.TrimSpace(string(token))
		if config.SecretID == "" {
			return nil, fmt.Errorf("read Nomad's token: %s is empty", n.TokenFile)
		}
	}
	return config, nil
}
