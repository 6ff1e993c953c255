// Package nomad is Teal's adapter to Nomad: parse, plan, register, watch,
// scale and stop jobs, and follow the event stream. Every method does one
// thing once; retrying, deadlines and what to do next are the caller's
// business, who learns from the kind of an error whether trying again helps.
//
// It knows nothing of colours: what a job looks like is package jobspec's.
package nomad

import (
	"context"
	"net/http"
	"strings"
	"time"

	"github.com/hashicorp/nomad/api"

	"github.com/tealdeploy/teal/agent/held"
	"github.com/tealdeploy/teal/agent/trust"
)

const (
	// requestTimeout bounds a request that is answered at once.
	requestTimeout = 30 * time.Second
	// waitTime is how long Nomad may hold a blocking query; it adds up to a
	// sixteenth of it.
	waitTime = 5 * time.Minute

	// mostHeld bounds the blocking queries: there are three for each job that
	// is launched. mostConnections bounds those and all others. Nomad takes 100
	// of a client (limits.http_max_conns_per_client), and there may be more
	// than one agent behind an address.
	mostHeld        = 45
	mostConnections = 75
	// lookEvery is how often Nomad is asked where too many queries are held.
	lookEvery = time.Second
)

// Client talks to one Nomad agent. It is safe for concurrent use.
type Client struct {
	api       *api.Client
	region    string
	namespace string // of jobspecs that name none; empty: default
	token     func() string
	failures  func(operation string) // may be nil
	trust     *trust.Settings
	held      held.Queries
}

// New makes a client from Nomad's own settings; api.DefaultConfig reads the
// standard environment variables. An address may be a unix socket
// (unix:///secrets/api.sock, Nomad's Task API). It does no I/O.
func New(config *api.Config) (*Client, error) {
	return NewOver(config, func(t http.RoundTripper) http.RoundTripper { return t })
}

// trustOf says which settings decide over TLS. Besides their names in the
// agent's config there are those that the nomad command takes from the
// environment.
func trustOf(config *api.Config) *trust.Settings {
	t := config.TLSConfig
	return &trust.Settings{
		Server: "Nomad", HTTPS: strings.HasPrefix(config.Address, "https://"),
		Certificate: t != nil && (t.ClientCert != "" || len(t.ClientCertPEM) > 0),
		CA:          "ca_file or NOMAD_CACERT", ServerName: "tls_server_name or NOMAD_TLS_SERVER_NAME",
		Client: "cert_file and key_file, or NOMAD_CLIENT_CERT and NOMAD_CLIENT_KEY,", Address: "address or NOMAD_ADDR",
	}
}

// Counting is the same client that tells of each request that failed, by a
// word for what was asked. What was only changed in the meantime, or is not
// there, has not failed.
func (c *Client) Counting(failures func(operation string)) *Client {
	other := *c
	other.failures = failures
	return &other
}

// In is the same client for the jobs of another region; empty and "global",
// which is what Nomad's parser writes when a jobspec names none, mean the
// agent's own.
func (c *Client) In(region string) *Client {
	other := *c
	if region != "" && region != api.GlobalRegion {
		other.region = region
	}
	return &other
}

// Region is the region a job asks for, as In takes it.
func Region(job *api.Job) string {
	if r := value(job.Region); r != api.GlobalRegion {
		return r
	}
	return ""
}

// WithToken is the same client that asks for its token before every request,
// for a workload identity that rotates.
func (c *Client) WithToken(token func() string) *Client {
	other := *c
	other.token = token
	return &other
}

// Ping says whether Nomad answers and has a leader.
func (c *Client) Ping(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, requestTimeout)
	defer cancel()
	var leader string
	_, err := c.api.Raw().Query("/v1/status/leader", &leader, c.reading(ctx, ""))
	if err == nil && leader == "" {
		err = errNoLeader
	}
	return request{c: c, operation: "ping", what: "ask Nomad for its leader"}.failed(ctx, err)
}

func (c *Client) reading(ctx context.Context, namespace string) *api.QueryOptions {
	q := &api.QueryOptions{Namespace: namespace, Region: c.region}
	if c.token != nil {
		q.AuthToken = c.token()
	}
	return q.WithContext(ctx)
}

func (c *Client) writing(ctx context.Context, namespace string) *api.WriteOptions {
	w := &api.WriteOptions{Namespace: namespace, Region: c.region}
	if c.token != nil {
		w.AuthToken = c.token()
	}
	return w.WithContext(ctx)
}

// blocking holds a read until something newer than index exists. Its own
// bound ends it when Nomad neither answers nor lets the wait run out. Where too
// many are held, it waits for a moment and then is a read like any other.
func (c *Client) blocking(ctx context.Context, namespace string, index uint64) (*api.QueryOptions, context.CancelFunc) {
	from, give := c.held.Hold(index)
	if from < index {
		select {
		case <-ctx.Done():
		case <-time.After(lookEvery):
		}
	}
	ctx, cancel := context.WithTimeout(ctx, waitTime+waitTime/16+requestTimeout)
	q := c.reading(ctx, namespace)
	q.WaitIndex, q.WaitTime = from, waitTime
	return q, func() { cancel(); give() }
}

// home is the region and namespace a job asks for.
func (c *Client) home(job *api.Job) (at *Client, namespace, id string) {
	return c.In(value(job.Region)), value(job.Namespace), value(job.ID)
}

func value[T any](p *T) T {
	if p == nil {
		var zero T
		return zero
	}
	return *p
}
