package nomad

import (
	"context"
	"crypto/tls"
	"fmt"
	"net"
	"net/http"
	"strings"

	"github.com/hashicorp/nomad/api"

	"github.com/tealdeploy/teal/agent/held"
	"github.com/tealdeploy/teal/agent/trust"
)

// NewOver makes a client, as New does, whose requests go over what over makes of
// the connection. The api package lets nobody at the transport that it makes for
// itself, so an equal one is made here, with a bound.
func NewOver(config *api.Config, over func(http.RoundTripper) http.RoundTripper) (*Client, error) {
	if config == nil {
		config = api.DefaultConfig()
	}
	if err := trust.CheckAddress(config.Address, "NOMAD_HTTP_AUTH"); err != nil {
		return nil, fmt.Errorf("nomad client: %w", err)
	}
	pooled := http.DefaultTransport.(*http.Transport).Clone()
	held.Bound(pooled, mostConnections)
	pooled.TLSClientConfig = &tls.Config{MinVersion: tls.VersionTLS12}
	pooled.ForceAttemptHTTP2 = false
	if socket, ok := strings.CutPrefix(config.Address, "unix://"); ok {
		pooled.Proxy = nil
		pooled.DialContext = func(ctx context.Context, _, _ string) (net.Conn, error) {
			return (&net.Dialer{}).DialContext(ctx, "unix", socket)
		}
	}
	client := &http.Client{Transport: pooled}
	if err := api.ConfigureTLS(client, config.TLSConfig); err != nil {
		return nil, fmt.Errorf("nomad client for %s: %w", config.Address, err)
	}
	client.Transport = over(pooled)
	config.HttpClient = client
	c, err := api.NewClient(config)
	if err != nil {
		return nil, fmt.Errorf("nomad client for %s: %w", config.Address, err)
	}
	return &Client{api: c, region: config.Region, namespace: config.Namespace, trust: trustOf(config), held: held.Most(mostHeld)}, nil
}
