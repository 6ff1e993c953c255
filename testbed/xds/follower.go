// Package xds follows what Consul tells the proxies of a service.
//
// A Follower registers a proxy of a calling service with one upstream and
// speaks to Consul what Envoy speaks, delta ADS over gRPC. It so sees the very
// routes and endpoints that an Envoy would be given, when it would be given
// them. It reads routes, clusters and endpoints only; certificates, intentions
// and filters are left aside.
package xds

import (
	"context"
	"fmt"
	"math/rand/v2"
	"sync"
	"time"

	consulapi "github.com/hashicorp/consul/api"
	"google.golang.org/grpc"
	"google.golang.org/grpc/backoff"
	"google.golang.org/grpc/credentials/insecure"
)

// Config says whom to follow.
type Config struct {
	Consul   *consulapi.Client // of the agent that the proxy registers with
	GRPC     string            // address of that agent's xDS, host:port
	Token    string            // for the stream; may be empty
	Caller   string            // service on whose behalf the proxy calls, such as "web"
	Upstream string            // service it calls
	OnChange func(Change)      // called for each change, in order; must return soon; may be nil
}

// Change is one response from Consul that was taken in.
type Change struct {
	At      time.Time // of arrival, wall clock and monotonic
	Applied time.Time // from when on Table gives it, microseconds later
	Kind    string    // CDS, EDS, LDS or RDS
	Table   Table     // as it is after the change
}

// Follower is a proxy without a data plane.
type Follower struct {
	config Config

	mu      sync.Mutex
	last    Change
	changed chan struct{} // closed and replaced at each change
	fault   error         // why there is no stream, or nil
}

// New makes a follower; Run follows.
func New(config Config) *Follower {
	return &Follower{config: config, changed: make(chan struct{})}
}

// Table is what is known now. It is empty before the first response, and the
// last that was known while Consul is away.
func (f *Follower) Table() Table {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.last.Table
}

// WaitRoute waits until the table is as wanted, and tells when the response
// that made it so arrived. It looks at the newest table only: one that was
// there and is gone again may be missed. OnChange sees them all.
func (f *Follower) WaitRoute(ctx context.Context, wanted func(Table) bool) (time.Time, error) {
	for {
		f.mu.Lock()
		last, changed, fault := f.last, f.changed, f.fault
		f.mu.Unlock()
		if !last.At.IsZero() && wanted(last.Table) {
			return last.At, nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			if fault != nil {
				return time.Time{}, fmt.Errorf("routes of %s: %w: %w", f.config.Upstream, ctx.Err(), fault)
			}
			return time.Time{}, fmt.Errorf("routes of %s: %w; last known subset %q, %d routes, %d clusters",
				f.config.Upstream, ctx.Err(), last.Table.Subset(), len(last.Table.Routes), len(last.Table.Clusters))
		}
	}
}

// Run registers the proxy and follows until ctx ends, over any failure of
// Consul. Then it removes the proxy.
func (f *Follower) Run(ctx context.Context) error {
	conn, err := grpc.NewClient(f.config.GRPC,
		grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithConnectParams(grpc.ConnectParams{
			Backoff:           backoff.Config{BaseDelay: 100 * time.Millisecond, Multiplier: 1.6, Jitter: .2, MaxDelay: time.Second},
			MinConnectTimeout: time.Second,
		}))
	if err != nil {
		return fmt.Errorf("xds %s: %w", f.config.GRPC, err)
	}
	defer conn.Close()
	defer f.deregister(ctx)
	delay := 100 * time.Millisecond
	for {
		began := time.Now()
		err := f.follow(ctx, conn)
		if ctx.Err() != nil {
			return nil
		}
		f.mu.Lock()
		f.fault = err
		f.mu.Unlock()
		if time.Since(began) > 5*time.Second { // it worked for a while
			delay = 100 * time.Millisecond
		}
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(delay/2 + rand.N(delay)):
		}
		delay = min(2*delay, 2*time.Second)
	}
}

// follow is one stream, from registration to its end. What a new stream tells
// is taken in once it is whole: until then the last that was known stays, for
// a Consul that has just started tells of a proxy's upstreams bit by bit.
func (f *Follower) follow(ctx context.Context, conn *grpc.ClientConn) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	if err := f.register(ctx); err != nil {
		return fmt.Errorf("register proxy of %s: %w", f.config.Caller, err)
	}
	s, err := openStream(ctx, conn, f.proxy(), f.config.Caller, f.config.Token)
	if err != nil {
		return fmt.Errorf("open xDS stream: %w", err)
	}
	known, taken := newState(), f.Table().Clusters == nil
	for {
		kind, at, err := s.next(known)
		if err != nil {
			return fmt.Errorf("xDS stream: %w", err)
		}
		if !taken && !known.whole() {
			continue
		}
		taken = true
		f.publish(Change{At: at, Kind: short[kind], Table: known.table()})
	}
}

func (f *Follower) publish(c Change) {
	f.mu.Lock()
	f.last, f.fault = c, nil
	close(f.changed)
	f.changed = make(chan struct{})
	f.mu.Unlock()
	c.Applied = time.Now()
	if f.config.OnChange != nil {
		f.config.OnChange(c)
	}
}

func (f *Follower) proxy() string { return f.config.Caller + "-to-" + f.config.Upstream + "-proxy" }

// register is repeated with each stream: an agent that lost its data has
// forgotten the proxy. Nobody listens on the upstream's port.
func (f *Follower) register(ctx context.Context) error {
	registration := &consulapi.AgentServiceRegistration{
		Kind: consulapi.ServiceKindConnectProxy,
		ID:   f.proxy(),
		Name: f.config.Caller + "-proxy",
		Port: 1,
		Proxy: &consulapi.AgentServiceConnectProxyConfig{
			DestinationServiceName: f.config.Caller,
			Upstreams: []consulapi.Upstream{{
				DestinationType: consulapi.UpstreamDestTypeService,
				DestinationName: f.config.Upstream,
				LocalBindPort:   1,
			}},
		},
	}
	return f.config.Consul.Agent().ServiceRegisterOpts(registration, consulapi.ServiceRegisterOpts{}.WithContext(ctx))
}

func (f *Follower) deregister(ctx context.Context) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 2*time.Second)
	defer cancel()
	// An agent that is gone has no proxy to remove.
	_ = f.config.Consul.Agent().ServiceDeregisterOpts(f.proxy(), (&consulapi.QueryOptions{}).WithContext(ctx))
}
