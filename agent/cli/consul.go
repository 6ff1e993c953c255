package cli

import (
	"flag"
	"os"

	"github.com/hashicorp/consul/api"

	"github.com/tealdeploy/teal/agent/kv"
	"github.com/tealdeploy/teal/agent/trust"
)

// consulFlags are the consul command's own flags. What is not given comes
// from Consul's own environment variables.
type consulFlags struct {
	address, token, tokenFile        string
	caFile, caPath                   string
	clientCert, clientKey, tlsServer string
	datacenter, namespace, partition string
	prefix                           string
}

func (c *consulFlags) define(set *flag.FlagSet) {
	set.StringVar(&c.address, "http-addr", "", "The `address` and port of Consul's HTTP API; also CONSUL_HTTP_ADDR. Defaults to http://127.0.0.1:8500; unix:///path works too.")
	set.StringVar(&c.token, "token", "", "The ACL `token`; also CONSUL_HTTP_TOKEN.")
	set.StringVar(&c.tokenFile, "token-file", "", "A `file` that holds the ACL token; also CONSUL_HTTP_TOKEN_FILE.")
	set.StringVar(&c.caFile, "ca-file", "", "A `file` with the CA for TLS; also CONSUL_CACERT.")
	set.StringVar(&c.caPath, "ca-path", "", "A `directory` with CAs for TLS; also CONSUL_CAPATH.")
	set.StringVar(&c.clientCert, "client-cert", "", "The client's certificate `file` for TLS; also CONSUL_CLIENT_CERT.")
	set.StringVar(&c.clientKey, "client-key", "", "The client's key `file` for TLS; also CONSUL_CLIENT_KEY.")
	set.StringVar(&c.tlsServer, "tls-server-name", "", "The server `name` for SNI over TLS; also CONSUL_TLS_SERVER_NAME.")
	set.StringVar(&c.datacenter, "datacenter", "", "The `datacenter` to ask; defaults to the Consul agent's own.")
	set.StringVar(&c.namespace, "namespace", "", "The `namespace` that holds Teal's keys (Consul Enterprise); also CONSUL_NAMESPACE.")
	set.StringVar(&c.partition, "partition", "", "The admin `partition` that holds Teal's keys (Consul Enterprise); also CONSUL_PARTITION.")
	set.StringVar(&c.prefix, "prefix", "", "The `prefix` of Teal's keys; also TEAL_PREFIX. Defaults to "+kv.DefaultPrefix+".")
}

// config is Consul's client configuration: its environment, then the flags.
func (c *consulFlags) config() *api.Config {
	cfg := api.DefaultConfig()
	for _, f := range []struct {
		to   *string
		from string
	}{
		{&cfg.Address, c.address}, {&cfg.Token, c.token}, {&cfg.TokenFile, c.tokenFile},
		{&cfg.TLSConfig.CAFile, c.caFile}, {&cfg.TLSConfig.CAPath, c.caPath},
		{&cfg.TLSConfig.CertFile, c.clientCert}, {&cfg.TLSConfig.KeyFile, c.clientKey},
		{&cfg.TLSConfig.Address, c.tlsServer}, {&cfg.Datacenter, c.datacenter},
		{&cfg.Namespace, c.namespace}, {&cfg.Partition, c.partition},
	} {
		if f.from != "" {
			*f.to = f.from
		}
	}
	if c.token != "" && c.tokenFile == "" {
		cfg.TokenFile = "" // a token given by hand beats the environment's file
	}
	return cfg
}

func (c *consulFlags) keys() kv.Keys {
	if c.prefix != "" {
		return kv.NewKeys(c.prefix)
	}
	return kv.NewKeys(os.Getenv("TEAL_PREFIX"))
}

// trustOfConsul says which flags decide over TLS.
func trustOfConsul(cfg *api.Config) *trust.Settings {
	return &trust.Settings{
		Server: "Consul", HTTPS: cfg.Scheme == "https", Certificate: cfg.TLSConfig.CertFile != "",
		CA: "-ca-file or CONSUL_CACERT", ServerName: "-tls-server-name or CONSUL_TLS_SERVER_NAME",
		Client: "-client-cert and -client-key, or CONSUL_CLIENT_CERT and CONSUL_CLIENT_KEY,", Address: "-http-addr or CONSUL_HTTP_ADDR",
	}
}

// open makes the client of Teal's keys.
func (c *consulFlags) open() (*store, error) {
	cfg := c.config()
	if err := trust.CheckAddress(cfg.Address, "CONSUL_HTTP_AUTH"); err != nil {
		return nil, err
	}
	client, err := api.NewClient(cfg)
	if err != nil {
		return nil, err
	}
	return &store{kv: client.KV(), txn: client.Txn(), keys: c.keys(), address: cfg.Address, trust: trustOfConsul(cfg)}, nil
}
