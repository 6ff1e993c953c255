package traffic

import (
	"strings"
	"testing"
	"time"

	"github.com/hashicorp/consul/api"

	"github.com/tealdeploy/teal/agent/deployment"
)

// richRouter is a router with everything a route can have, and destinations
// at another service.
func richRouter(w *world) *api.ServiceRouterConfigEntry {
	match := func(m api.ServiceRouteHTTPMatch) *api.ServiceRouteMatch { return &api.ServiceRouteMatch{HTTP: &m} }
	return &api.ServiceRouterConfigEntry{
		Kind: api.ServiceRouter, Name: w.service, Meta: map[string]string{"team": "web"},
		Routes: []api.ServiceRoute{
			{Match: match(api.ServiceRouteHTTPMatch{PathPrefix: "/v1/"}),
				Destination: &api.ServiceRouteDestination{PrefixRewrite: "/", RequestTimeout: 3 * time.Second, IdleTimeout: time.Minute,
					NumRetries: 4, RetryOnConnectFailure: true, RetryOnStatusCodes: []uint32{502, 503}, RetryOn: []string{"reset"}}},
			{Match: match(api.ServiceRouteHTTPMatch{PathExact: "/login", CaseInsensitive: true, Methods: []string{"POST"}}),
				Destination: &api.ServiceRouteDestination{Service: w.service,
					RequestHeaders:  &api.HTTPHeaderModifiers{Add: map[string]string{"x-a": "1"}, Remove: []string{"x-b"}},
					ResponseHeaders: &api.HTTPHeaderModifiers{Set: map[string]string{"x-c": "2"}}}},
			{Match: match(api.ServiceRouteHTTPMatch{PathRegex: "/u/[0-9]+",
				Header: []api.ServiceRouteHTTPMatchHeader{{Name: "x-beta", Present: true}, {Name: "x-debug", Regex: "on|1", Invert: true}}})},
			{Match: match(api.ServiceRouteHTTPMatch{QueryParam: []api.ServiceRouteHTTPMatchQueryParam{{Name: "v", Exact: "1"}}}),
				Destination: &api.ServiceRouteDestination{}},
			{Match: match(api.ServiceRouteHTTPMatch{PathPrefix: "/admin"}),
				Destination: &api.ServiceRouteDestination{Service: w.service + "-admin", NumRetries: 1}},
			{Match: match(api.ServiceRouteHTTPMatch{PathPrefix: "/old"}),
				Destination: &api.ServiceRouteDestination{Service: w.service + "-admin", ServiceSubset: "v1"}},
			{Match: match(api.ServiceRouteHTTPMatch{PathPrefix: "/mine"}),
				Destination: &api.ServiceRouteDestination{ServiceSubset: "v1", RequestTimeout: time.Second}},
			{Destination: &api.ServiceRouteDestination{RequestTimeout: 9 * time.Second}},
		},
	}
}

// rich puts all of a user's entries there.
func (w *world) rich() {
	w.Helper()
	admin := usersResolver(w)
	admin.Name = w.service + "-admin"
	protocol := defaults(w, "http")
	protocol.MaxInboundConnections, protocol.Meta = 7, map[string]string{"team": "web"}
	for _, e := range []api.ConfigEntry{
		&api.ServiceConfigEntry{Kind: api.ServiceDefaults, Name: admin.Name, Protocol: "http"},
		admin, protocol, usersResolver(w), richRouter(w),
	} {
		w.put(e)
	}
}

// contents are the service's entries without their indexes.
func (w *world) contents() map[string]string {
	w.Helper()
	all := map[string]string{}
	for _, kind := range []string{api.ServiceDefaults, api.ServiceResolver, api.ServiceRouter} {
		e, err := w.consul.Consul.Entry(w.ctx, kind, w.service)
		w.must(err)
		if e != nil {
			all[kind] = content(w.T, e)
		}
	}
	return all
}

func (w *world) sameContents(what string, want map[string]string) {
	w.Helper()
	for kind, got := range w.contents() {
		if got != want[kind] {
			w.Errorf("%s: %s is\n%s\nwas\n%s", what, kind, got, want[kind])
		}
	}
	for kind := range want {
		if _, ok := w.contents()[kind]; !ok {
			w.Errorf("%s: %s is gone", what, kind)
		}
	}
}

// A route of the user's differs from what they wrote in one thing: where it
// goes to this service without a subset, it goes to the active one.
func TestAUsersRoutesFollowEveryMoveAndLoseNothing(t *testing.T) {
	w := newWorld(t)
	w.rich()
	before := w.contents()
	user := richRouter(w).Routes
	r := w.router(api.ServiceRouter)
	target := w.prepare(r, 1)
	check := func(active deployment.Colour) {
		t.Helper()
		routes := w.routerEntry().Routes
		if len(routes) != len(user)+3 {
			t.Fatalf("%d routes", len(routes))
		}
		for i, own := range user {
			got := routes[i+2]
			if text(t, got.Match) != text(t, own.Match) {
				t.Errorf("route %d matches %s, the user's %s", i, text(t, got.Match), text(t, own.Match))
			}
			want := api.ServiceRouteDestination{}
			if own.Destination != nil {
				want = *own.Destination
			}
			if want.ServiceSubset == "" && (want.Service == "" || want.Service == w.service) {
				want.ServiceSubset = string(active)
			}
			if text(t, got.Destination) != text(t, &want) {
				t.Errorf("route %d goes to %s, want %s", i, text(t, got.Destination), text(t, &want))
			}
		}
	}
	check(blue)
	for n, c := range []deployment.Colour{green, blue, green} {
		m := move(c, strings.Repeat("x", n+1))
		_, err := r.Shift(w.ctx, target, m)
		w.must(err)
		w.must(r.Verify(w.ctx, target, m))
		check(c)
	}
	w.must(r.Release(w.ctx, target))
	w.sameContents("given back", before)
}

// What Teal creates it deletes, what it found it gives back, routes first:
// Consul refuses to lose a subset that a route still names, and a protocol
// that routes need.
func TestReleaseGoesFromTheRoutesDown(t *testing.T) {
	t.Run("nothing was there", func(t *testing.T) {
		w := newWorld(t)
		r := w.router(api.ServiceRouter)
		target := w.prepare(r, 1)
		w.consul.forget()
		w.must(r.Release(w.ctx, target))
		w.asked("read service-router", "delete service-router", "read service-resolver", "delete service-resolver",
			"read service-defaults", "delete service-defaults")
	})
	t.Run("all was there", func(t *testing.T) {
		w := newWorld(t)
		w.rich()
		r := w.router(api.ServiceRouter)
		target := w.prepare(r, 1)
		w.consul.forget()
		w.must(r.Release(w.ctx, target))
		w.asked("read service-router", "write service-router", "read service-resolver", "write service-resolver", "read service-defaults")
	})
	t.Run("only settings without a protocol", func(t *testing.T) {
		w := newWorld(t)
		e := defaults(w, "")
		e.MaxInboundConnections, e.Meta = 7, map[string]string{"team": "web"}
		w.put(e)
		before := w.contents()
		r := w.router(api.ServiceRouter)
		target := w.prepare(r, 1)
		w.must(r.Verify(w.ctx, target, move(blue, "adopt")))
		w.must(r.Release(w.ctx, target))
		w.sameContents("given back", before)
	})
}

func TestATcpServicesResolverIsAdoptedAndGivenBack(t *testing.T) {
	w := newWorld(t)
	w.put(usersResolver(w))
	before := w.contents()
	r := w.router(api.ServiceResolver)
	target := w.prepare(r, 1)
	if _, ok := w.contents()[api.ServiceDefaults]; ok {
		t.Error("a protocol was written")
	}
	for _, c := range []deployment.Colour{green, blue} {
		_, err := r.Shift(w.ctx, target, move(c, string(c)))
		w.must(err)
		w.must(r.Verify(w.ctx, target, move(c, string(c))))
		e := w.resolverEntry()
		if e.DefaultSubset != string(c) || e.Subsets["v1"].Filter == "" || e.ConnectTimeout != 2*time.Second || len(e.Subsets) != 3 {
			t.Fatalf("with %s: %s", c, text(t, e))
		}
	}
	w.must(r.Release(w.ctx, target))
	w.sameContents("given back", before)
}

// What people changed while Teal had the entries is theirs afterwards.
func TestReleaseKeepsWhatPeopleChangedMeanwhile(t *testing.T) {
	w := newWorld(t)
	w.rich()
	r := w.router(api.ServiceRouter)
	target := w.prepare(r, 1)
	e := w.routerEntry()
	e.Routes[3].Destination.NumRetries = 9
	w.put(e)
	resolver := w.resolverEntry()
	resolver.ConnectTimeout = 7 * time.Second
	w.put(resolver)
	w.must(r.Release(w.ctx, target))
	if got := w.routerEntry(); got.Routes[1].Destination.NumRetries != 9 || len(got.Routes) != len(richRouter(w).Routes) {
		t.Errorf("router: %s", text(t, got))
	}
	if got := w.resolverEntry(); got.ConnectTimeout != 7*time.Second || len(got.Subsets) != 1 {
		t.Errorf("resolver: %s", text(t, got))
	}
}

// Somebody's own route, added while Teal had the entries, needs the protocol that
// Teal wrote: both stay, and neither is Teal's any more.
func TestReleaseLeavesTheProtocolThatPeoplesRoutesNeed(t *testing.T) {
	w := newWorld(t)
	r := w.router(api.ServiceRouter)
	target := w.prepare(r, 1)
	e := w.routerEntry()
	e.Routes = append([]api.ServiceRoute{{
		Match:       &api.ServiceRouteMatch{HTTP: &api.ServiceRouteHTTPMatch{PathPrefix: "/admin"}},
		Destination: &api.ServiceRouteDestination{PrefixRewrite: "/"},
	}}, e.Routes...)
	w.put(e)
	for range 2 { // the second finds nothing to do
		w.must(r.Release(w.ctx, target))
		if got := w.routerEntry(); len(got.Routes) != 1 || got.Routes[0].Match.HTTP.PathPrefix != "/admin" || len(got.Meta) != 0 {
			t.Errorf("router: %s", text(t, got))
		}
		got, err := w.consul.Entry(w.ctx, api.ServiceDefaults, w.service)
		w.must(err)
		if got == nil || got.(*api.ServiceConfigEntry).Protocol != "http" || len(got.GetMeta()) != 0 {
			t.Errorf("defaults: %s", text(t, got))
		}
		if _, ok := w.contents()[api.ServiceResolver]; ok {
			t.Error("the subsets stay")
		}
	}
}

func TestARouteThatNamesAColourIsNotAdopted(t *testing.T) {
	w := newWorld(t)
	r := w.router(api.ServiceRouter)
	w.prepare(r, 1)
	// The record and the marks are lost, and somebody pinned a route.
	resolver, e := w.resolverEntry(), w.routerEntry()
	resolver.Meta, e.Meta = nil, nil
	e.Routes = append([]api.ServiceRoute{{
		Match:       &api.ServiceRouteMatch{HTTP: &api.ServiceRouteHTTPMatch{PathPrefix: "/beta"}},
		Destination: &api.ServiceRouteDestination{ServiceSubset: "green"},
	}}, e.Routes...)
	w.put(resolver)
	w.put(e)
	before := w.contents()
	_, err := w.router(api.ServiceRouter).Prepare(w.ctx, w.setup(deployment.Route{}, 2))
	w.wants(err, ErrRefused)
	if !strings.Contains(err.Error(), "(/beta*) names subset green") {
		t.Errorf("does not say which route: %v", err)
	}
	w.sameContents("refused", before)
}
