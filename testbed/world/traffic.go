package world

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/tealdeploy/teal/testbed/cluster"
	"github.com/tealdeploy/teal/testbed/dataplane"
	"github.com/tealdeploy/teal/testbed/load"
	"github.com/tealdeploy/teal/testbed/xds"
)

// Traffic is a caller of one service: a proxy that follows Consul's xDS
// stream, and requests through it at a steady rate.
type Traffic struct {
	Follower *xds.Follower
	Proxy    *dataplane.Proxy
	Load     *load.Generator

	service string
	group   *errgroup.Group
	ctx     context.Context // of the data plane
	cancel  context.CancelFunc

	stopLoad context.CancelFunc
	loaded   chan error

	mu     sync.Mutex
	routes []RouteChange
}

// RouteChange is the data plane learning whom requests go to.
type RouteChange struct {
	Subset string
	At     time.Time // the response from Consul arrived
}

// TrafficOptions say how a service is asked.
type TrafficOptions struct {
	Rate       int    // requests a second; 50 when 0
	Path       string // "/" when empty
	Uncoloured string // see load.Config
	Follow     int    // follow this Consul server; the local Consul when 0
}

// NewTraffic follows the routes to a service and listens for requests. The
// load is not begun yet.
func (w *World) NewTraffic(service string, o TrafficOptions) (*Traffic, error) {
	if o.Rate == 0 {
		o.Rate = 50
	}
	if o.Path == "" {
		o.Path = "/"
	}
	t := &Traffic{service: service}
	server := w.Local
	if o.Follow > 0 {
		server = w.Consul[o.Follow]
	}
	t.Follower = xds.New(xds.Config{
		Consul: w.ConsulClientOf(server), GRPC: server.GRPC, Token: w.Token,
		Caller: "caller-of-" + service, Upstream: service, OnChange: t.changed,
	})
	var err error
	if t.Proxy, err = dataplane.New("127.0.0.1:0", t.Follower.Table); err != nil {
		return nil, err
	}
	t.Load = load.New(load.Config{URL: t.Proxy.URL() + o.Path, Rate: o.Rate, Uncoloured: o.Uncoloured})
	t.ctx, t.cancel = context.WithCancel(context.Background())
	t.group, t.ctx = errgroup.WithContext(t.ctx)
	t.group.Go(func() error { return t.Follower.Run(t.ctx) })
	t.group.Go(func() error { return t.Proxy.Run(t.ctx) })
	return t, nil
}

// changed keeps the order of subsets that requests went to. It sees every
// change, also those that WaitRoute is too slow for.
func (t *Traffic) changed(c xds.Change) {
	subset := c.Table.Subset()
	if subset == "" {
		return
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if n := len(t.routes); n > 0 && t.routes[n-1].Subset == subset {
		return
	}
	t.routes = append(t.routes, RouteChange{subset, c.At})
	t.Load.RouteChanged(subset, c.Applied)
}

// Routes are the subsets that requests went to so far, oldest first.
func (t *Traffic) Routes() []RouteChange {
	t.mu.Lock()
	defer t.mu.Unlock()
	return append([]RouteChange(nil), t.routes...)
}

// Begin starts the load and returns once requests are being answered.
func (t *Traffic) Begin(ctx context.Context) error {
	if t.loaded != nil {
		return fmt.Errorf("the load on %s has begun already", t.service)
	}
	asking, stop := context.WithCancel(t.ctx)
	t.stopLoad, t.loaded = stop, make(chan error, 1)
	go func() { t.loaded <- t.Load.Run(asking) }()
	return t.AwaitCount(ctx, "an answer", func(n load.Count) bool { return n.Requests-n.Lost > 0 })
}

// AwaitCount waits until the load has seen something, without looking at
// latencies and wrong colours.
func (t *Traffic) AwaitCount(ctx context.Context, what string, seen func(load.Count) bool) error {
	return cluster.Await(ctx, func(context.Context) error {
		if now := t.Load.Tally(); !seen(now) {
			return fmt.Errorf("%s not seen in the answers of %s: %s", what, t.service, now)
		}
		return nil
	})
}

// Serves waits until requests go to a subset that has so many healthy
// instances.
func (t *Traffic) Serves(ctx context.Context, subset string, healthy int) error {
	_, err := t.Follower.WaitRoute(ctx, func(x xds.Table) bool {
		return x.Subset() == subset && x.Healthy(subset) >= healthy
	})
	return err
}

// Arrival waits until the data plane has the route to a subset, and tells since
// when. One that was there before it was asked for is an error.
func (t *Traffic) Arrival(ctx context.Context, subset string, after time.Time) (at time.Time, err error) {
	if err := t.Serves(ctx, subset, 1); err != nil {
		return time.Time{}, err
	}
	noting, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	err = cluster.Await(noting, func(context.Context) error { // it is noted right after it is in the table
		routes := t.Routes()
		last := routes[len(routes)-1]
		if at = last.At; last.Subset != subset || at.Before(after) {
			return fmt.Errorf("the data plane has had the route to %s since %s, before it was asked for", last.Subset, at)
		}
		return nil
	})
	return at, err
}

// Reachable waits until ordinary requests lead to a healthy instance, with
// subsets or without.
func (t *Traffic) Reachable(ctx context.Context) error {
	_, err := t.Follower.WaitRoute(ctx, serving)
	return err
}

func serving(x xds.Table) bool {
	ordinary := &http.Request{Method: http.MethodGet, URL: &url.URL{Path: "/"}, Header: http.Header{}}
	route, ok := x.Route(ordinary)
	return ok && slices.ContainsFunc(route.Targets, func(target xds.Target) bool {
		return slices.ContainsFunc(x.Clusters[target.Cluster].Endpoints, func(e xds.Endpoint) bool { return e.Healthy })
	})
}

// Ask sends one request, with a header when name is not empty, and gives the
// status and which colour's subset the data plane chose.
func (t *Traffic) Ask(ctx context.Context, path, name, value string) (status int, subset string, err error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, t.Proxy.URL()+path, nil)
	if err != nil {
		return 0, "", err
	}
	if name != "" {
		request.Header.Set(name, value)
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return 0, "", err
	}
	response.Body.Close()
	return response.StatusCode, response.Header.Get(dataplane.ClusterHeader), nil
}

// EndLoad ends the load and waits for its last answer.
func (t *Traffic) EndLoad() error {
	if t.stopLoad == nil {
		return nil
	}
	t.stopLoad()
	t.stopLoad = nil
	return <-t.loaded
}

// Close ends the load, then the data plane.
func (t *Traffic) Close() error {
	err := t.EndLoad()
	t.cancel()
	return errors.Join(err, t.group.Wait())
}
