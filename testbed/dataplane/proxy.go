// Package dataplane carries requests as Consul's mesh would.
//
// A Proxy is an HTTP reverse proxy on loopback that is driven by nothing but
// an xds.Follower: the real stream of routes and endpoints that Consul sends
// to proxies. It is not Envoy and there is no mTLS: it speaks plain HTTP/1.1
// to the instances, knows the matchers, rewrites, timeouts, header changes
// and retries that Consul emits, and balances round-robin over the healthy
// endpoints. It has no outlier detection, no circuit breaking and no
// failover. What it does show truly is when a change of routes takes effect
// and whether a request is lost over it.
package dataplane

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httputil"
	"sync"
	"sync/atomic"
	"time"

	"github.com/tealdeploy/teal/testbed/xds"
)

// ClusterHeader is the response header that names the subset that answered.
const ClusterHeader = "X-Served-By-Cluster"

// Proxy listens from New on and serves in Run.
type Proxy struct {
	table    func() xds.Table
	listener net.Listener
	server   *http.Server
	next     atomic.Uint64 // round-robin over endpoints and weights
	retried  atomic.Int64
	stats    stats
	cut      sync.Map // addresses of instances that it cannot reach
}

// nowhere is a port where nobody listens.
const nowhere = "127.0.0.1:1"

// Cut has connections to an instance, at host:port, refused from now on, as a firewall
// between the two would. The instance knows nothing of it.
func (p *Proxy) Cut(address string) { p.cut.Store(address, true) }

// New listens on address, host:port; port 0 takes any. The table is asked
// anew for each request; it is a Follower's Table.
func New(address string, table func() xds.Table) (*Proxy, error) {
	listener, err := net.Listen("tcp", address)
	if err != nil {
		return nil, fmt.Errorf("data plane: %w", err)
	}
	p := &Proxy{table: table, listener: listener}
	forward := &httputil.ReverseProxy{
		Rewrite:      rewrite,
		Transport:    &retrying{proxy: p, next: instances()},
		BufferPool:   &buffers{},
		ErrorHandler: p.failed,
		ErrorLog:     log.New(io.Discard, "", 0), // the caller sees the status
	}
	p.server = &http.Server{Handler: p.stats.counted(p.route(forward)), ReadHeaderTimeout: 10 * time.Second}
	return p, nil
}

// instances keeps connections to instances. One that an instance closed while
// it was idle is no failure: the transport sends the request again on another
// when nothing of an answer has come and the request may be repeated.
func instances() *http.Transport {
	return &http.Transport{
		DialContext:           (&net.Dialer{Timeout: 5 * time.Second}).DialContext, // Consul's connect timeout
		MaxIdleConns:          1024,
		MaxIdleConnsPerHost:   256,
		IdleConnTimeout:       time.Minute,
		ExpectContinueTimeout: time.Second,
		DisableCompression:    true,
	}
}

// URL is where the proxy listens.
func (p *Proxy) URL() string { return "http://" + p.listener.Addr().String() }

// Retries counts the tries after the first, by the routes' retry policies.
func (p *Proxy) Retries() int64 { return p.retried.Load() }

// Run serves until ctx ends, then finishes what is in flight.
func (p *Proxy) Run(ctx context.Context) error {
	served := make(chan error, 1)
	go func() { served <- p.server.Serve(p.listener) }()
	select {
	case err := <-served:
		return fmt.Errorf("data plane: %w", err)
	case <-ctx.Done():
	}
	deadline, cancel := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
	defer cancel()
	if err := p.server.Shutdown(deadline); err != nil {
		p.server.Close()
	}
	if err := <-served; !errors.Is(err, http.ErrServerClosed) {
		return fmt.Errorf("data plane: %w", err)
	}
	return nil
}

// Close stops listening at once, for a proxy that is not Run.
func (p *Proxy) Close() error { return errors.Join(p.server.Close(), p.listener.Close()) }

type buffers struct{ pool sync.Pool }

// Get implements httputil.BufferPool.
func (b *buffers) Get() []byte {
	if buffer, ok := b.pool.Get().(*[]byte); ok {
		return *buffer
	}
	return make([]byte, 32<<10)
}

// Put implements httputil.BufferPool.
func (b *buffers) Put(buffer []byte) { b.pool.Put(&buffer) }
