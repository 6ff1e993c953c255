package settings

import (
	consulapi "github.com/hashicorp/consul/api"

	"github.com/tealdeploy/teal/agent/hclbody"
	"github.com/tealdeploy/teal/agent/trust"
)

// Consul is how Consul is reached. What is empty is left to the environment:
// CONSUL_HTTP_ADDR and the others that the consul command takes.
type Consul struct {
	Address       string // host:port, URL, or unix:///path
	Token         string
	TokenFile     string
	AuthMethod    string // a JWT auth method to log in at
	JWTFile       string // with what
	Datacenter    string
	Namespace     string
	Partition     string
	CAFile        string
	CAPath        string
	CertFile      string
	KeyFile       string
	TLSServerName string
	TLSSkipVerify bool
}

func (c *Consul) declare(d *hclbody.Decoder) {
	d.String("address", &c.Address)
	d.String("token", &c.Token)
	d.String("token_file", &c.TokenFile)
	d.String("auth_method", &c.AuthMethod)
	d.String("jwt_file", &c.JWTFile)
	d.String("datacenter", &c.Datacenter)
	d.String("namespace", &c.Namespace)
	d.String("partition", &c.Partition)
	d.String("ca_file", &c.CAFile)
	d.String("ca_path", &c.CAPath)
	d.String("cert_file", &c.CertFile)
	d.String("key_file", &c.KeyFile)
	d.String("tls_server_name", &c.TLSServerName)
	d.Bool("tls_skip_verify", &c.TLSSkipVerify)
}

func (c *Consul) check(d *hclbody.Decoder) {
	checkConnection(d, c.Address, c.CertFile, c.KeyFile)
	checkToken(d, c.Token, c.TokenFile, c.AuthMethod, c.JWTFile)
}

// checkConnection is what Consul's and Nomad's settings have in common.
func checkConnection(d *hclbody.Decoder, address, certFile, keyFile string) {
	if address != "" {
		if err := checkServer(address); err != nil {
			d.Errorf("address", "Wrong address", "This is not the address of a server: %s.", trust.Hide(err.Error()))
		} else if err := trust.CheckAddress(address, "CONSUL_HTTP_AUTH or NOMAD_HTTP_AUTH in the environment"); err != nil {
			d.Errorf("address", "Credentials in an address", "Credentials are shown with the address: %s.", err)
		}
	}
	if (certFile == "") != (keyFile == "") {
		at := "cert_file"
		if certFile == "" {
			at = "key_file"
		}
		d.Errorf(at, "Certificate and key belong together", "Set both cert_file and key_file, or neither.")
	}
}

// checkToken wants one token, from one place.
func checkToken(d *hclbody.Decoder, token, tokenFile, authMethod, jwtFile string) {
	if token != "" && tokenFile != "" {
		d.Errorf("token_file", "Two tokens", "Set either token or token_file.")
	}
	if (authMethod == "") != (jwtFile == "") {
		at := "auth_method"
		if authMethod == "" {
			at = "jwt_file"
		}
		d.Errorf(at, "Where to log in, and with what", "Set both auth_method and jwt_file, or neither.")
	}
	if authMethod != "" && token+tokenFile != "" {
		d.Errorf("auth_method", "Two tokens", "Set either auth_method and jwt_file, to log in, or a token.")
	}
}

// ConsulConfig is the client's configuration: the environment's, with these
// settings over it. A token file is read when the client is made. Who
// logs in has no token yet.
func (s *Settings) ConsulConfig() *consulapi.Config {
	c, config := s.Consul, consulapi.DefaultConfig()
	set(&config.Address, c.Address)
	set(&config.Datacenter, c.Datacenter)
	set(&config.Namespace, c.Namespace)
	set(&config.Partition, c.Partition)
	set(&config.TLSConfig.Address, c.TLSServerName)
	set(&config.TLSConfig.CAFile, c.CAFile)
	set(&config.TLSConfig.CAPath, c.CAPath)
	set(&config.TLSConfig.CertFile, c.CertFile)
	set(&config.TLSConfig.KeyFile, c.KeyFile)
	config.TLSConfig.InsecureSkipVerify = config.TLSConfig.InsecureSkipVerify || c.TLSSkipVerify
	switch {
	case c.AuthMethod != "":
		config.Token, config.TokenFile = "", ""
	case c.TokenFile != "":
		config.Token, config.TokenFile = "", c.TokenFile
	case c.Token != "":
		config.Token, config.TokenFile = c.Token, ""
	}
	return config
}

// set overrides only with something.
func set(into *string, value string) {
	if value != "" {
		*into = value
	}
}
