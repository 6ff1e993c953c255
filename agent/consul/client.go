// Package consul is Teal's adapter to Consul: key/value store, config
// entries, health, sessions, the fenced store and the loop that watches.
// It translates errors into few kinds that callers branch on, bounds every
// request, and otherwise speaks in the consul/api types. It decides nothing:
// what is written, and when, is its callers' business.
//
// Every read takes an index. 0 reads at once; greater than 0 blocks until
// something newer is there or the wait has passed, and then returns the same
// index again. Reads are answered by Consul's leader (the "default" mode);
// those that must not be stale even for the moment of a leader's change say
// so and use the "consistent" mode.
package consul

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/hashicorp/consul/api"

	"github.com/tealdeploy/teal/agent/held"
	"github.com/tealdeploy/teal/agent/trust"
)

const (
	// DefaultWait is how long a blocking query waits.
	DefaultWait = 60 * time.Second
	// DefaultTimeout bounds every request that does not block.
	DefaultTimeout = 10 * time.Second
	// grace is what a blocking query may take beyond its wait and the jitter
	// of a sixteenth that Consul adds, before its connection counts as dead.
	grace = 5 * time.Second

	// mostHeld bounds the queries for instances that are held open: there is
	// one for each release in flight. mostConnections bounds those and all
	// others. Consul takes 200 of a client (limits.http_max_conns_per_client).
	mostHeld        = 100
	mostConnections = 160
)

// Config is how to reach Consul.
type Config struct {
	// API is the api package's own config; nil takes CONSUL_HTTP_ADDR and the
	// other standard environment variables.
	API *api.Config
	// Token, when set, is asked for the ACL token at each request, so that a
	// rotated one takes effect without a restart.
	Token func() string
	// Over, when set, is what requests go over, made of the connection: it may
	// add the token to them instead.
	Over func(http.RoundTripper) http.RoundTripper
	// Failures, when set, is told of each request that failed, by a word for
	// what was asked. A compare-and-set that somebody else was faster at has
	// not failed.
	Failures func(operation string)
	// Wait and Timeout default to DefaultWait and DefaultTimeout.
	Wait, Timeout time.Duration
}

// Client is one agent's connection to Consul. It is safe for concurrent use.
type Client struct {
	api           *api.Client
	token         func() string
	failures      func(operation string)
	trust         *trust.Settings
	wait, timeout time.Duration
	held          held.Queries
	// namespace and partition override the connection's own; see In.
	namespace, partition string
}

// New makes a client. It sends nothing: Consul need not be there yet.
func New(cfg Config) (*Client, error) {
	if cfg.API == nil {
		cfg.API = api.DefaultConfig()
	}
	if err := trust.CheckAddress(cfg.API.Address, "CONSUL_HTTP_AUTH"); err != nil {
		return nil, fmt.Errorf("consul client: %w", err)
	}
	c, err := api.NewClient(cfg.API)
	if err != nil {
		return nil, fmt.Errorf("consul client: %w", err)
	}
	// The api package has put it there, unless the caller did.
	own := transport(cfg.API.HttpClient)
	if pooled, ok := own.(*http.Transport); ok && pooled != http.DefaultTransport {
		held.Bound(pooled, mostConnections)
	}
	if cfg.Over != nil {
		own = cfg.Over(own)
	}
	cfg.API.HttpClient.Transport = sieving{own}
	if cfg.Wait <= 0 || cfg.Wait > DefaultWait {
		cfg.Wait = DefaultWait
	}
	if cfg.Timeout <= 0 {
		cfg.Timeout = DefaultTimeout
	}
	return &Client{api: c, trust: trustOf(cfg.API), token: cfg.Token, failures: cfg.Failures,
		wait: cfg.Wait, timeout: cfg.Timeout,
		held: held.Most(mostHeld)}, nil
}

// trustOf says which settings decide over TLS. Besides their names in the
// agent's config there are those that the consul command takes from the
// environment.
func trustOf(config *api.Config) *trust.Settings {
	t := config.TLSConfig
	return &trust.Settings{
		Server: "Consul", HTTPS: config.Scheme == "https", Certificate: t.CertFile != "" || len(t.CertPEM) > 0,
		CA: "ca_file or CONSUL_CACERT", ServerName: "tls_server_name or CONSUL_TLS_SERVER_NAME",
		Client: "cert_file and key_file, or CONSUL_CLIENT_CERT and CONSUL_CLIENT_KEY,", Address: "address or CONSUL_HTTP_ADDR",
	}
}

func transport(c *http.Client) http.RoundTripper {
	if c.Transport == nil {
		return http.DefaultTransport
	}
	return c.Transport
}

// In is the same connection for the services and entries of another namespace
// and admin partition, which only Consul Enterprise has. Empty ones mean the
// connection's own.
func (c *Client) In(namespace, partition string) *Client {
	other := *c
	if namespace != "" {
		other.namespace = namespace
	}
	if partition != "" {
		other.partition = partition
	}
	return &other
}

// Ping says whether Consul answers and has a leader; nil means both.
func (c *Client) Ping(ctx context.Context) error {
	const op = "ping Consul"
	ctx, done := c.bound(ctx, 0)
	defer done()
	leader, err := c.api.Status().LeaderWithQueryOptions(c.options(ctx))
	if err == nil && leader == "" {
		err = fmt.Errorf("no cluster leader: %w", ErrUnavailable)
	}
	return c.wrap(ctx, op, nil, err)
}

// options are those of any request that reads.
func (c *Client) options(ctx context.Context) *api.QueryOptions {
	q := &api.QueryOptions{Namespace: c.namespace, Partition: c.partition}
	if c.token != nil {
		q.Token = c.token()
	}
	return q.WithContext(ctx)
}

// read builds the options of a read, in the consistent mode if it does not wait
// for something newer. In the default mode a server of Consul's that was deposed
// and does not know it yet answers what was, and one that has only just come to
// lead answers before it has applied its own log: after the only server's restart,
// that there is no key and no instance.
func (c *Client) read(ctx context.Context, index uint64) *api.QueryOptions {
	q := c.options(ctx)
	if index > 0 {
		q.WaitIndex, q.WaitTime = index, c.wait
	} else {
		q.RequireConsistent = true
	}
	return q
}

// newest asks, and asks again for what is there now when an answer to a held
// query is older than what its caller knows. Consul gives such a one when the
// wait is over and whoever gives it is behind, or was restored from a snapshot.
func (c *Client) newest(ctx context.Context, index uint64, ask func(*api.QueryOptions) (*api.QueryMeta, error)) (uint64, error) {
	meta, err := ask(c.read(ctx, index))
	if err == nil && meta.LastIndex < index {
		meta, err = ask(c.read(ctx, 0))
	}
	if err != nil {
		return 0, err
	}
	return meta.LastIndex, nil
}

func (c *Client) write(ctx context.Context) *api.WriteOptions {
	w := &api.WriteOptions{Namespace: c.namespace, Partition: c.partition}
	if c.token != nil {
		w.Token = c.token()
	}
	return w.WithContext(ctx)
}

// errBound is the cause of a context that this package ended, as opposed to
// one its caller ended.
var errBound = errors.New("no answer in time")

// bound limits one request: a connection that silently died must not hold a
// caller for ever.
func (c *Client) bound(ctx context.Context, index uint64) (context.Context, context.CancelFunc) {
	limit := c.timeout
	if index > 0 {
		limit = c.wait + c.wait/16 + grace
	}
	return context.WithTimeoutCause(ctx, limit, errBound)
}

// wrap gives an error of one of the client's requests its kind, and counts it.
func (c *Client) wrap(ctx context.Context, op string, rule *Rule, err error) error {
	err = wrap(ctx, op, rule, err)
	if advice := c.trust.Advice(err); advice != "" {
		err = fmt.Errorf("%w; %s", err, advice)
	}
	failed := errors.Is(err, ErrUnavailable) || errors.Is(err, ErrForbidden) || errors.Is(err, ErrInvalid)
	if failed && c.failures != nil {
		operation, _, _ := strings.Cut(op, " ")
		c.failures(operation)
	}
	return err
}
