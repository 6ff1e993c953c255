package cluster

import (
	"context"
	"fmt"

	consulapi "github.com/hashicorp/consul/api"
	nomadapi "github.com/hashicorp/nomad/api"
)

// ConsulClient talks to the local Consul with the cluster's token.
func (c *Cluster) ConsulClient() *consulapi.Client {
	return c.ConsulClientOf(c.Local)
}

// ConsulClientOf talks to the given agent of Consul's with the cluster's token.
// Each has one client: a client is a pool of connections, and Consul
// bounds how many one address may hold.
func (c *Cluster) ConsulClientOf(s *Server) *consulapi.Client {
	s.once.Do(func() {
		config := &consulapi.Config{Address: c.URL(s), Token: c.Token}
		if c.TLS != nil {
			config.TLSConfig = consulapi.TLSConfig{CAFile: c.TLS.File, CertFile: c.TLS.Cert, KeyFile: c.TLS.Key}
		}
		client, err := consulapi.NewClient(config)
		if err != nil { // only a malformed address or TLS setting can be the cause
			panic(fmt.Sprintf("consul client for %s: %v", s.HTTP, err))
		}
		s.consul = client
	})
	return s.consul
}

// NomadClient talks to Nomad with the cluster's token.
func (c *Cluster) NomadClient() *nomadapi.Client {
	s := c.Nomad
	s.once.Do(func() {
		config := &nomadapi.Config{Address: c.URL(s), SecretID: c.NomadToken}
		if c.TLS != nil {
			config.TLSConfig = &nomadapi.TLSConfig{CACert: c.TLS.File, ClientCert: c.TLS.Cert, ClientKey: c.TLS.Key}
		}
		client, err := nomadapi.NewClient(config)
		if err != nil { // only a malformed address or TLS setting can be the cause
			panic(fmt.Sprintf("nomad client for %s: %v", s.HTTP, err))
		}
		s.nomad = client
	})
	return s.nomad
}

func query(ctx context.Context) *consulapi.QueryOptions {
	return (&consulapi.QueryOptions{}).WithContext(ctx)
}
