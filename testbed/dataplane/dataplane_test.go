package dataplane_test

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	consulapi "github.com/hashicorp/consul/api"

	"github.com/tealdeploy/teal/testbed/cluster"
	"github.com/tealdeploy/teal/testbed/dataplane"
	"github.com/tealdeploy/teal/testbed/load"
	"github.com/tealdeploy/teal/testbed/xds"
)

var shared *cluster.Cluster

func TestMain(m *testing.M) { os.Exit(run(m)) }

func run(m *testing.M) int {
	var err error
	if shared, err = cluster.Start(context.Background(), cluster.Options{WithoutNomad: true, Log: os.Stderr}); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	code := m.Run()
	if err := shared.Stop(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return code
}

// Twenty flips under load lose no request, and no request begun after a new
// route arrived is answered by the old colour. The instances close idle
// connections all the time.
func TestFlipsLoseNothing(t *testing.T) {
	const flips, rate = 20, 400
	for _, colour := range []string{"blue", "green"} {
		for i := range 2 {
			instance(t, "api", colour, i)
		}
	}
	configure(t, "api")
	var watching atomic.Pointer[load.Generator]
	f, url := serve(t, "api", func(c xds.Change) {
		if g := watching.Load(); g != nil && c.Kind == "RDS" {
			g.RouteChanged(c.Table.Subset(), c.Applied)
		}
	})
	wait(t, f, func(x xds.Table) bool {
		return x.Subset() == "blue" && x.Healthy("blue") == 2 && x.Healthy("green") == 2
	})
	generator := load.New(load.Config{URL: url, Rate: rate})
	watching.Store(generator)
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- generator.Run(ctx) }()
	colours := []string{"green", "blue"}
	for i := range flips {
		to := colours[i%2]
		write(t, router("api", to))
		wait(t, f, func(x xds.Table) bool { return x.Subset() == to })
		before := generator.Count().Colours[to]
		await(t, func(context.Context) error { // the new colour has served for a while
			if got := generator.Count().Colours[to]; got < before+50 {
				return fmt.Errorf("%d answers of %s", got-before, to)
			}
			return nil
		})
	}
	stop()
	if err := <-ended; err != nil {
		t.Fatal(err)
	}
	c := generator.Count()
	t.Log(c)
	if c.Lost != 0 || c.Injected != 0 || c.WrongColour != 0 || c.Requests < 2000 {
		t.Errorf("want at least 2000 requests, none lost, none of the wrong colour")
	}
}

// What the load generator asks of the data plane at most: 2,000 a second.
func TestCarriesTwoThousandRequestsASecond(t *testing.T) {
	server := httptest.NewServer(answering("blue"))
	defer server.Close()
	table := tableOf(xds.Route{}, strings.TrimPrefix(server.URL, "http://"))
	p := proxy(t, func() xds.Table { return table })
	g := load.New(load.Config{URL: p.URL(), Rate: 2000})
	ctx, cancel := context.WithTimeout(t.Context(), 3*time.Second)
	defer cancel()
	if err := g.Run(ctx); err != nil {
		t.Fatal(err)
	}
	c := g.Count()
	t.Log(c)
	if c.Lost != 0 || c.Requests < 5500 {
		t.Errorf("want about 6000 requests and none lost")
	}
}

// An instance that closes its idle connections costs no request.
func TestClosedIdleConnectionsCostNothing(t *testing.T) {
	server := httptest.NewServer(answering("blue"))
	defer server.Close()
	table := tableOf(xds.Route{}, strings.TrimPrefix(server.URL, "http://"))
	p := proxy(t, func() xds.Table { return table })
	g := load.New(load.Config{URL: p.URL(), Rate: 500})
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second)
	defer cancel()
	ended := make(chan error, 1)
	go func() { ended <- g.Run(ctx) }()
	for ctx.Err() == nil {
		before := g.Count().Requests
		await(t, func(context.Context) error {
			if ctx.Err() == nil && g.Count().Requests < before+20 {
				return fmt.Errorf("no load")
			}
			return nil
		})
		server.Config.SetKeepAlivesEnabled(false) // closes what is idle
		server.Config.SetKeepAlivesEnabled(true)
	}
	if err := <-ended; err != nil {
		t.Fatal(err)
	}
	if c := g.Count(); c.Lost != 0 || c.Requests < 900 {
		t.Errorf("want none lost: %s", c)
	}
}

// Without a healthy instance the answer is 503, without a route 404.
func TestNothingToSendTo(t *testing.T) {
	var table xds.Table
	p := proxy(t, func() xds.Table { return table })
	if code, _, _ := get(t, p.URL()); code != http.StatusNotFound {
		t.Errorf("no route: %d, want 404", code)
	}
	table = tableOf(xds.Route{})
	if code, subset, _ := get(t, p.URL()); code != http.StatusServiceUnavailable || subset != "blue" {
		t.Errorf("no endpoint: %d from %q, want 503 from blue", code, subset)
	}
	server := httptest.NewServer(answering("blue"))
	defer server.Close()
	table = tableOf(xds.Route{}, strings.TrimPrefix(server.URL, "http://"))
	for _, c := range table.Clusters {
		c.Endpoints[0].Healthy = false
	}
	if code, _, _ := get(t, p.URL()); code != http.StatusServiceUnavailable {
		t.Errorf("a critical endpoint only: %d, want 503", code)
	}
}

// Retries, rewrites, headers and timeouts are those of the route.
func TestRouteSettings(t *testing.T) {
	var tries atomic.Int64
	mux := http.NewServeMux()
	mux.HandleFunc("/flaky", func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		if tries.Add(1) < 3 {
			w.WriteHeader(http.StatusServiceUnavailable)
			return
		}
		fmt.Fprintf(w, "%s after %d", body, tries.Load())
	})
	mux.HandleFunc("/new/x", func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprint(w, r.Header.Get("x-a"), r.Header.Get("x-drop"))
	})
	mux.HandleFunc("/slow", func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() })
	server := httptest.NewServer(mux)
	defer server.Close()
	table := tableOf(xds.Route{Retry: xds.Retry{On: []string{"gateway-error"}, Times: 2}}, strings.TrimPrefix(server.URL, "http://"))
	rewriting := tableOf(xds.Route{
		Path: xds.Match{Kind: xds.Prefix, Value: "/old"}, PrefixRewrite: "/new",
		RequestHeaders: xds.Headers{Set: map[string]string{"x-a": "set"}, Remove: []string{"x-drop"}},
	})
	slow := tableOf(xds.Route{Path: xds.Match{Kind: xds.Exact, Value: "/slow"}, Timeout: 50 * time.Millisecond})
	table.Routes = append(append(rewriting.Routes, slow.Routes...), table.Routes...)
	p := proxy(t, func() xds.Table { return table })

	response, err := http.Post(p.URL()+"/flaky", "text/plain", strings.NewReader("body"))
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	if body, _ := io.ReadAll(response.Body); string(body) != "body after 3" || p.Retries() != 2 {
		t.Errorf("retried %d times: %d %s", p.Retries(), response.StatusCode, body)
	}
	if code, _, body := get(t, p.URL()+"/old/x", "x-drop", "y"); code != http.StatusOK || body != "set" {
		t.Errorf("rewritten: %d %q", code, body)
	}
	if code, _, _ := get(t, p.URL()+"/slow"); code != http.StatusGatewayTimeout {
		t.Errorf("slow: %d, want 504", code)
	}
}

func tableOf(route xds.Route, endpoints ...string) xds.Table {
	const name = "blue.api.default.dc1.internal.x.consul"
	if route.Path.Kind == "" {
		route.Path = xds.Match{Kind: xds.Prefix, Value: "/"}
	}
	route.Targets = []xds.Target{{Cluster: name, Weight: 1}}
	c := xds.Cluster{Name: name, Subset: "blue", Service: "api"}
	for _, address := range endpoints {
		c.Endpoints = append(c.Endpoints, xds.Endpoint{Address: address, Healthy: true})
	}
	return xds.Table{Routes: []xds.Route{route}, Clusters: map[string]xds.Cluster{name: c}}
}

func proxy(t *testing.T, table func() xds.Table) *dataplane.Proxy {
	t.Helper()
	p, err := dataplane.New("127.0.0.1:0", table)
	if err != nil {
		t.Fatal(err)
	}
	running(t, p.Run)
	return p
}

// serve runs a follower of the service and a data plane on it.
func serve(t *testing.T, service string, changed func(xds.Change)) (*xds.Follower, string) {
	t.Helper()
	f := xds.New(xds.Config{
		Consul: shared.ConsulClient(), GRPC: shared.Consul[0].GRPC, Caller: "web", Upstream: service, OnChange: changed,
	})
	running(t, f.Run)
	return f, proxy(t, f.Table).URL()
}

func running(t *testing.T, run func(context.Context) error) {
	ctx, cancel := context.WithCancel(context.Background())
	var done sync.WaitGroup
	done.Go(func() {
		if err := run(ctx); err != nil {
			t.Error(err)
		}
	})
	t.Cleanup(func() {
		cancel()
		done.Wait()
	})
}

func get(t *testing.T, url string, header ...string) (code int, subset, body string) {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	for i := 0; i+1 < len(header); i += 2 {
		r.Header.Set(header[i], header[i+1])
	}
	response, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	return response.StatusCode, response.Header.Get(dataplane.ClusterHeader), string(text)
}

func wait(t *testing.T, f *xds.Follower, wanted func(xds.Table) bool) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	if _, err := f.WaitRoute(ctx, wanted); err != nil {
		t.Fatal(err)
	}
}

func await(t *testing.T, ask func(context.Context) error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	if err := cluster.Await(ctx, ask); err != nil {
		t.Fatal(err)
	}
}

func answering(colour string) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		_ = json.NewEncoder(w).Encode(map[string]string{"colour": colour, "version": "1"})
	})
}

// instance serves one instance of the colour and registers it.
func instance(t *testing.T, service, colour string, n int) {
	t.Helper()
	server := httptest.NewServer(answering(colour))
	t.Cleanup(server.Close)
	host, port, err := net.SplitHostPort(strings.TrimPrefix(server.URL, "http://"))
	if err != nil {
		t.Fatal(err)
	}
	number, err := strconv.Atoi(port)
	if err != nil {
		t.Fatal(err)
	}
	if err := shared.ConsulClient().Agent().ServiceRegister(&consulapi.AgentServiceRegistration{
		ID: fmt.Sprintf("%s-%s-%d", service, colour, n), Name: service, Address: host, Port: number,
		Meta:    map[string]string{"teal_colour": colour},
		Connect: &consulapi.AgentServiceConnect{Native: true},
	}); err != nil {
		t.Fatal(err)
	}
}

func configure(t *testing.T, service string) {
	t.Helper()
	write(t, &consulapi.ServiceConfigEntry{Kind: consulapi.ServiceDefaults, Name: service, Protocol: "http"})
	write(t, &consulapi.ServiceResolverConfigEntry{
		Kind: consulapi.ServiceResolver, Name: service, DefaultSubset: "blue",
		Subsets: map[string]consulapi.ServiceResolverSubset{
			"blue":  {Filter: "Service.Meta.teal_colour != green"},
			"green": {Filter: "Service.Meta.teal_colour == green"},
		},
	})
	write(t, router(service, "blue"))
}

func write(t *testing.T, entry consulapi.ConfigEntry) {
	t.Helper()
	if ok, _, err := shared.ConsulClient().ConfigEntries().Set(entry, nil); err != nil || !ok {
		t.Fatalf("write %s %s: %v %v", entry.GetKind(), entry.GetName(), ok, err)
	}
}

func router(service, active string) *consulapi.ServiceRouterConfigEntry {
	entry := &consulapi.ServiceRouterConfigEntry{Kind: consulapi.ServiceRouter, Name: service}
	for _, colour := range []string{"blue", "green"} {
		entry.Routes = append(entry.Routes, consulapi.ServiceRoute{
			Match: &consulapi.ServiceRouteMatch{HTTP: &consulapi.ServiceRouteHTTPMatch{
				Header: []consulapi.ServiceRouteHTTPMatchHeader{{Name: "x-teal-colour", Exact: colour}},
			}},
			Destination: &consulapi.ServiceRouteDestination{ServiceSubset: colour},
		})
	}
	entry.Routes = append(entry.Routes, consulapi.ServiceRoute{
		Destination: &consulapi.ServiceRouteDestination{ServiceSubset: active},
	})
	return entry
}
