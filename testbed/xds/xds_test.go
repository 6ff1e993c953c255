package xds_test

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"slices"
	"sync"
	"testing"
	"time"

	consulapi "github.com/hashicorp/consul/api"

	"github.com/tealdeploy/teal/testbed/cluster"
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

// A cutover of a service that has both subsets routed is one RDS response;
// nothing else is sent.
func TestCutoverIsOneRouteChange(t *testing.T) {
	setUp(t, "one", "http")
	var log changes
	f := follow(t, "one", &log)
	wait(t, f, func(x xds.Table) bool {
		return x.Subset() == "blue" && x.Healthy("blue") == 1 && x.Healthy("green") == 1
	})
	log.reset()
	began := time.Now()
	write(t, router("one", "green"))
	written := time.Now()
	at := wait(t, f, func(x xds.Table) bool { return x.Subset() == "green" })
	t.Logf("write took %s, route arrived %s after it began", written.Sub(began), at.Sub(began))
	// Whatever else was sent for this write would come by the next one.
	write(t, router("one", "blue"))
	wait(t, f, func(x xds.Table) bool { return x.Subset() == "blue" })
	if got := log.kinds(); !slices.Equal(got, []string{"RDS", "RDS"}) {
		t.Errorf("two cutovers sent %v, want one RDS each", got)
	}
}

// A preview header leads to its colour whatever is active.
func TestRoutesAreTriedInOrder(t *testing.T) {
	setUp(t, "ordered", "http")
	entry := router("ordered", "green")
	entry.Routes = slices.Insert(entry.Routes, 2,
		consulapi.ServiceRoute{
			Match: &consulapi.ServiceRouteMatch{HTTP: &consulapi.ServiceRouteHTTPMatch{
				PathPrefix: "/old", Methods: []string{"GET", "HEAD"},
				QueryParam: []consulapi.ServiceRouteHTTPMatchQueryParam{{Name: "v", Exact: "1"}},
			}},
			Destination: &consulapi.ServiceRouteDestination{
				ServiceSubset: "blue", PrefixRewrite: "/", RequestTimeout: 3 * time.Second, NumRetries: 2,
				RetryOn: []string{"5xx"}, RetryOnConnectFailure: true,
				RequestHeaders: &consulapi.HTTPHeaderModifiers{Set: map[string]string{"x-a": "1"}, Add: map[string]string{"x-b": "2"}},
			},
		},
		consulapi.ServiceRoute{
			Match: &consulapi.ServiceRouteMatch{HTTP: &consulapi.ServiceRouteHTTPMatch{
				PathRegex: "/r[0-9]+",
				Header:    []consulapi.ServiceRouteHTTPMatchHeader{{Name: "x-staff", Present: true}, {Name: "x-no", Exact: "1", Invert: true}},
			}},
			Destination: &consulapi.ServiceRouteDestination{ServiceSubset: "blue"},
		})
	write(t, entry)
	f := follow(t, "ordered", nil)
	wait(t, f, func(x xds.Table) bool { return x.Subset() == "green" && len(x.Routes) >= 5 })
	for _, c := range []struct {
		method, url string
		header      []string
		want        string
	}{
		{"GET", "/", nil, "green"},
		{"GET", "/", []string{"x-teal-colour", "blue"}, "blue"},
		{"GET", "/", []string{"x-teal-colour", "red"}, "green"},
		{"GET", "/old/x?v=1", nil, "blue"},
		{"POST", "/old/x?v=1", nil, "green"},
		{"GET", "/old/x?v=2", nil, "green"},
		{"GET", "/r12", []string{"x-staff", "y"}, "blue"},
		{"GET", "/r12", []string{"x-staff", "y", "x-no", "1"}, "green"},
		{"GET", "/r12/x", []string{"x-staff", "y"}, "green"},
		{"GET", "/r12", nil, "green"},
	} {
		r := httptest.NewRequest(c.method, c.url, nil)
		for i := 0; i+1 < len(c.header); i += 2 {
			r.Header.Set(c.header[i], c.header[i+1])
		}
		table := f.Table()
		route, ok := table.Route(r)
		if !ok {
			t.Errorf("%s %s %v: no route", c.method, c.url, c.header)
			continue
		}
		if got := table.Clusters[route.Targets[0].Cluster].Subset; got != c.want {
			t.Errorf("%s %s %v: %q, want %q", c.method, c.url, c.header, got, c.want)
		}
	}
	table := f.Table()
	route, _ := table.Route(httptest.NewRequest(http.MethodGet, "/old?v=1", nil))
	if route.PrefixRewrite != "/" || route.Timeout != 3*time.Second || route.Retry.Times != 2 ||
		!slices.Equal(route.Retry.On, []string{"5xx", "connect-failure"}) ||
		route.RequestHeaders.Set["x-a"] != "1" || route.RequestHeaders.Add["x-b"] != "2" {
		t.Errorf("the route lost some of its settings: %+v", route)
	}
}

// A tcp service has no routes; its default subset comes with the listener.
func TestTCPServiceFollowsTheDefaultSubset(t *testing.T) {
	setUp(t, "plain", "tcp")
	f := follow(t, "plain", nil)
	wait(t, f, func(x xds.Table) bool { return x.TCP && x.Subset() == "blue" && x.Healthy("blue") == 1 })
	r := resolver("plain")
	r.DefaultSubset = "green"
	write(t, r)
	wait(t, f, func(x xds.Table) bool { return x.TCP && x.Subset() == "green" && x.Healthy("green") == 1 })
}

// A service that gets its first routes, and loses them again, can be reached
// all the while, as with Envoy: clusters are acknowledged once they have their
// endpoints, and a listener goes on with what it had until its new routes are
// there. The resolver's default subset has to come last: it takes the cluster
// away that the old listener leads to.
func TestFirstRoutesLoseNothing(t *testing.T) {
	setUp(t, "bare", "http")
	remove := func(kind string) {
		if _, err := shared.ConsulClient().ConfigEntries().Delete(kind, "bare", nil); err != nil {
			t.Fatal(err)
		}
	}
	remove(consulapi.ServiceRouter)
	remove(consulapi.ServiceResolver)
	var log changes
	f := follow(t, "bare", &log)
	wait(t, f, func(x xds.Table) bool { return reachable(x, "") })
	log.reset()
	open := resolver("bare")
	open.DefaultSubset = ""
	clusters := func(n int) func(xds.Table) bool { return func(x xds.Table) bool { return len(x.Clusters) == n } }
	for range 3 {
		write(t, open)
		write(t, router("bare", "blue"))
		wait(t, f, func(x xds.Table) bool { return reachable(x, "blue") && x.Subset() == "blue" })
		write(t, resolver("bare"))
		wait(t, f, clusters(2))
		remove(consulapi.ServiceRouter)
		remove(consulapi.ServiceResolver)
		wait(t, f, func(x xds.Table) bool { return reachable(x, "") && len(x.Clusters) == 1 })
	}
	kinds := log.kinds()
	for i, x := range log.tables() {
		if !reachable(x, "") && !reachable(x, "blue") {
			t.Errorf("after change %d of %v nothing is reachable", i+1, kinds)
		}
	}
}

// reachable says whether an ordinary request leads to a healthy instance of a
// subset.
func reachable(x xds.Table, subset string) bool {
	route, ok := x.Route(httptest.NewRequest(http.MethodGet, "/", nil))
	if !ok || len(route.Targets) != 1 {
		return false
	}
	c, ok := x.Clusters[route.Targets[0].Cluster]
	return ok && c.Subset == subset && slices.ContainsFunc(c.Endpoints, func(e xds.Endpoint) bool { return e.Healthy })
}

// A critical instance stays in the table and gets no requests.
func TestCriticalInstanceIsNotHealthy(t *testing.T) {
	setUp(t, "ill", "http")
	f := follow(t, "ill", nil)
	wait(t, f, func(x xds.Table) bool { return x.Healthy("green") == 1 })
	if err := shared.ConsulClient().Agent().UpdateTTL("ill-green-ttl", "", "critical"); err != nil {
		t.Fatal(err)
	}
	wait(t, f, func(x xds.Table) bool { return x.Healthy("green") == 0 && x.Healthy("blue") == 1 })
}

// While Consul is away the last table is kept; afterwards changes arrive again.
func TestFollowerOutlivesConsul(t *testing.T) {
	setUp(t, "away", "http")
	f := follow(t, "away", nil)
	wait(t, f, func(x xds.Table) bool { return x.Subset() == "blue" && x.Healthy("blue") == 1 })
	if err := shared.Consul[0].Kill(); err != nil {
		t.Fatal(err)
	}
	if x := f.Table(); x.Subset() != "blue" || x.Healthy("blue") != 1 {
		t.Errorf("without Consul: subset %q, %d healthy", x.Subset(), x.Healthy("blue"))
	}
	if err := shared.Consul[0].Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	write(t, router("away", "green"))
	began := time.Now()
	at := wait(t, f, func(x xds.Table) bool { return x.Subset() == "green" })
	t.Logf("following again %s after the write", at.Sub(began))
	// A TTL check is critical after an agent's restart until it is updated.
	for _, colour := range []string{"blue", "green"} {
		if err := shared.ConsulClient().Agent().UpdateTTL("away-"+colour+"-ttl", "", "passing"); err != nil {
			t.Fatal(err)
		}
	}
	wait(t, f, func(x xds.Table) bool { return x.Healthy("blue") == 1 && x.Healthy("green") == 1 })
}

// changes collects the changes that a follower reports.
type changes struct {
	mu   sync.Mutex
	seen []xds.Change
}

func (c *changes) add(x xds.Change) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.seen = append(c.seen, x)
}

func (c *changes) reset() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.seen = nil
}

func (c *changes) kinds() []string {
	c.mu.Lock()
	defer c.mu.Unlock()
	var kinds []string
	for _, x := range c.seen {
		kinds = append(kinds, x.Kind)
	}
	return kinds
}

func (c *changes) tables() []xds.Table {
	c.mu.Lock()
	defer c.mu.Unlock()
	var tables []xds.Table
	for _, x := range c.seen {
		tables = append(tables, x.Table)
	}
	return tables
}

func follow(t *testing.T, service string, log *changes) *xds.Follower {
	t.Helper()
	config := xds.Config{Consul: shared.ConsulClient(), GRPC: shared.Consul[0].GRPC, Caller: "web", Upstream: service}
	if log != nil {
		config.OnChange = log.add
	}
	f := xds.New(config)
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- f.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
	return f
}

func wait(t *testing.T, f *xds.Follower, wanted func(xds.Table) bool) time.Time {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	at, err := f.WaitRoute(ctx, wanted)
	if err != nil {
		t.Fatal(err)
	}
	return at
}

// setUp registers an instance of each colour and routes the service to blue.
func setUp(t *testing.T, service, protocol string) {
	t.Helper()
	for i, colour := range []string{"blue", "green"} {
		if err := shared.ConsulClient().Agent().ServiceRegister(&consulapi.AgentServiceRegistration{
			ID: service + "-" + colour, Name: service, Address: "127.0.0.1", Port: 9 + i,
			Meta:    map[string]string{"teal_colour": colour},
			Connect: &consulapi.AgentServiceConnect{Native: true},
			Check:   &consulapi.AgentServiceCheck{CheckID: service + "-" + colour + "-ttl", TTL: "1h", Status: "passing"},
		}); err != nil {
			t.Fatal(err)
		}
	}
	write(t, &consulapi.ServiceConfigEntry{Kind: consulapi.ServiceDefaults, Name: service, Protocol: protocol})
	write(t, resolver(service))
	if protocol == "http" {
		write(t, router(service, "blue"))
	}
}

func write(t *testing.T, entry consulapi.ConfigEntry) {
	t.Helper()
	if ok, _, err := shared.ConsulClient().ConfigEntries().Set(entry, nil); err != nil || !ok {
		t.Fatalf("write %s %s: %v %v", entry.GetKind(), entry.GetName(), ok, err)
	}
}

func resolver(service string) *consulapi.ServiceResolverConfigEntry {
	return &consulapi.ServiceResolverConfigEntry{
		Kind: consulapi.ServiceResolver, Name: service, DefaultSubset: "blue",
		Subsets: map[string]consulapi.ServiceResolverSubset{
			"blue":  {Filter: "Service.Meta.teal_colour != green"},
			"green": {Filter: "Service.Meta.teal_colour == green"},
		},
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
