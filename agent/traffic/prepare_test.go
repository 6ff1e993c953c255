package traffic

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/hashicorp/consul/api"

	"github.com/tealdeploy/teal/agent/deployment"
)

// usersRouter is a router as people have them.
func usersRouter(w *world) *api.ServiceRouterConfigEntry {
	return &api.ServiceRouterConfigEntry{
		Kind: api.ServiceRouter, Name: w.service, Meta: map[string]string{"team": "web"},
		Routes: []api.ServiceRoute{
			{Match: &api.ServiceRouteMatch{HTTP: &api.ServiceRouteHTTPMatch{PathPrefix: "/v1/"}},
				Destination: &api.ServiceRouteDestination{PrefixRewrite: "/", RequestTimeout: 3 * time.Second, NumRetries: 2,
					RetryOnStatusCodes: []uint32{503}}},
			{Match: &api.ServiceRouteMatch{HTTP: &api.ServiceRouteHTTPMatch{PathPrefix: "/old"}},
				Destination: &api.ServiceRouteDestination{Service: w.service, ServiceSubset: "v1"}},
			{Match: &api.ServiceRouteMatch{HTTP: &api.ServiceRouteHTTPMatch{Methods: []string{"PUT"}}}},
			{Destination: &api.ServiceRouteDestination{IdleTimeout: time.Minute}},
		},
	}
}

func usersResolver(w *world) *api.ServiceResolverConfigEntry {
	return &api.ServiceResolverConfigEntry{
		Kind: api.ServiceResolver, Name: w.service, ConnectTimeout: 2 * time.Second, RequestTimeout: 9 * time.Second,
		Subsets:      map[string]api.ServiceResolverSubset{"v1": {Filter: "Service.Meta.version == v1", OnlyPassing: true}},
		Failover:     map[string]api.ServiceResolverFailover{"*": {Datacenters: []string{"dc2"}}},
		LoadBalancer: &api.LoadBalancer{Policy: "least_request", LeastRequestConfig: &api.LeastRequestConfig{ChoiceCount: 3}},
	}
}

func defaults(w *world, protocol string) *api.ServiceConfigEntry {
	return &api.ServiceConfigEntry{Kind: api.ServiceDefaults, Name: w.service, Protocol: protocol}
}

// content is an entry without its indexes.
func content(t *testing.T, e api.ConfigEntry) string {
	t.Helper()
	c := indexed(copied(e), 0)
	switch c := c.(type) {
	case *api.ServiceRouterConfigEntry:
		c.CreateIndex = 0
	case *api.ServiceResolverConfigEntry:
		c.CreateIndex = 0
	case *api.ServiceConfigEntry:
		c.CreateIndex = 0
	}
	return text(t, c)
}

func TestPrepareWrapsAUsersEntriesAndReleaseGivesThemBack(t *testing.T) {
	w := newWorld(t)
	r := w.router(api.ServiceRouter)
	w.put(defaults(w, "http"))
	w.put(usersResolver(w))
	w.put(usersRouter(w))
	beforeResolver, beforeRouter := content(t, w.resolverEntry()), content(t, w.routerEntry())

	target := w.prepare(r, 1)
	w.must(r.Verify(w.ctx, target, move(blue, "adopt")))
	for i, want := range []string{"blue", "green", "blue", "v1", "blue", "blue", "blue"} {
		if got := w.routerEntry().Routes[i].Destination.ServiceSubset; got != want {
			t.Errorf("route %d goes to %s, want %s", i, got, want)
		}
	}
	if got := w.routerEntry().Routes[2].Destination; got.PrefixRewrite != "/" || got.RequestTimeout != 3*time.Second || got.NumRetries != 2 {
		t.Errorf("the user's route lost something: %s", text(t, got))
	}
	if got := w.resolverEntry(); got.ConnectTimeout != 2*time.Second || got.Subsets["v1"].Filter == "" || got.Failover["*"].Datacenters == nil {
		t.Errorf("the user's resolver lost something: %s", text(t, got))
	}
	for _, c := range []deployment.Colour{green, blue, green} {
		_, err := r.Shift(w.ctx, target, move(c, string(c)))
		w.must(err)
		w.must(r.Verify(w.ctx, target, move(c, string(c))))
		if got := w.resolverEntry().DefaultSubset; got != string(c) {
			t.Fatalf("those who go around the router get %s", got)
		}
	}
	w.must(r.Release(w.ctx, target))
	w.must(r.Release(w.ctx, target))
	if got := content(t, w.routerEntry()); got != beforeRouter {
		t.Errorf("router given back:\n%s\nfound\n%s", got, beforeRouter)
	}
	if got := content(t, w.resolverEntry()); got != beforeResolver {
		t.Errorf("resolver given back:\n%s\nfound\n%s", got, beforeResolver)
	}
}

func TestReleaseLeavesNothingWhereNothingWas(t *testing.T) {
	for name, route := range map[string]func(deployment.Route) deployment.Route{
		"with the record": func(r deployment.Route) deployment.Route { return r },
		"record lost":     func(deployment.Route) deployment.Route { return deployment.Route{} },
	} {
		t.Run(name, func(t *testing.T) {
			everyKind(t, func(w *world, r Router) {
				target := w.prepare(r, 1)
				_, err := r.Shift(w.ctx, target, move(green, "cutover"))
				w.must(err)
				target.Route = route(target.Route)
				w.must(r.Release(w.ctx, target))
				for _, kind := range []string{api.ServiceRouter, api.ServiceResolver, api.ServiceDefaults} {
					if e, err := w.consul.Consul.Entry(w.ctx, kind, w.service); err != nil || e != nil {
						w.Errorf("%s is left: %v %v", kind, e, err)
					}
				}
				w.must(r.Release(w.ctx, target))
			})
		})
	}
}

// A crash between any two requests of Prepare, or of Release, is made good by
// doing it again.
func TestPrepareAndReleaseResumeAnywhere(t *testing.T) {
	crash := errors.New("crash")
	for n := 1; n <= 6; n++ {
		w := newWorld(t)
		w.put(usersResolver(w))
		before := content(t, w.resolverEntry())
		dying := w.router(api.ServiceRouter)
		if n <= 3 {
			w.crashAt(n, crash)
			_, err := dying.Prepare(w.ctx, w.setup(deployment.Route{}, 1))
			w.wants(err, crash)
		}
		w.consul.onWrite = nil
		target := w.prepare(w.router(api.ServiceRouter), 2)
		if n > 3 {
			w.crashAt(n-3, crash)
			_ = w.router(api.ServiceRouter).Release(w.ctx, target)
		}
		w.consul.onWrite = nil
		w.must(w.router(api.ServiceRouter).Release(w.ctx, target))
		if w.routerEntry() != nil || content(t, w.resolverEntry()) != before {
			t.Fatalf("crash %d: %s", n, text(t, w.resolverEntry()))
		}
	}
}

// crashAt lets n-1 writes pass and carries out the n-th without an answer.
func (w *world) crashAt(n int, err error) {
	w.consul.onWrite = func(write func() (bool, error)) (bool, error) {
		ok, e := write()
		if n == 1 {
			return false, err
		}
		w.crashAt(n-1, err)
		return ok, e
	}
}

func TestPrepareAgainMovesAndWritesNothing(t *testing.T) {
	everyKind(t, func(w *world, r Router) {
		target := w.prepare(r, 1)
		_, err := r.Shift(w.ctx, target, move(green, "cutover"))
		w.must(err)
		w.must(r.Verify(w.ctx, target, move(green, "cutover")))
		w.consul.writes = 0
		for _, route := range []deployment.Route{target.Route, {}} {
			again, err := r.Prepare(w.ctx, w.setup(route, 1))
			w.must(err)
			if text(w.T, again) != text(w.T, target.Route) {
				w.Errorf("route %s, was %s", text(w.T, again), text(w.T, target.Route))
			}
		}
		if w.consul.writes != 0 {
			w.Errorf("%d writes", w.consul.writes)
		}
		w.serves(r, target, green)
	})
}

func TestTightenMakesBlueExact(t *testing.T) {
	everyKind(t, func(w *world, r Router) {
		target := w.prepare(r, 1)
		if got := w.resolverEntry().Subsets["blue"].Filter; got != "Service.Meta.teal_colour != green" {
			w.Fatal(got)
		}
		route, err := r.Tighten(w.ctx, target)
		w.must(err)
		if got := w.resolverEntry().Subsets["blue"].Filter; got != "Service.Meta.teal_colour == blue" || route.Loose {
			w.Fatal(got)
		}
		target.Route = route
		if o := w.serves(r, target, blue); o.Edited || o.Digest != route.Digest {
			w.Fatalf("%+v, digest %s", o, route.Digest)
		}
		_, err = r.Shift(w.ctx, target, move(green, "cutover"))
		w.must(err)
	})
}

func TestRefusals(t *testing.T) {
	for name, c := range map[string]struct {
		kind, protocol string
		found          func(w *world) []api.ConfigEntry
		says           string
	}{
		"protocol not said": {api.ServiceRouter, "", func(*world) []api.ConfigEntry { return nil }, `set protocol = "http"`},
		"protocol is tcp": {api.ServiceRouter, "http", func(w *world) []api.ConfigEntry {
			return []api.ConfigEntry{defaults(w, "tcp")}
		}, `says protocol = "tcp"`},
		"protocol unknown": {api.ServiceRouter, "htpt", func(*world) []api.ConfigEntry { return nil }, "one of http, http2, grpc"},
		"kubernetes owns it": {api.ServiceRouter, "", func(w *world) []api.ConfigEntry {
			e := usersRouter(w)
			e.Routes, e.Meta = e.Routes[:1], map[string]string{"external-source": "kubernetes"}
			return []api.ConfigEntry{defaults(w, "http"), e}
		}, "external-source = kubernetes"},
		"another Teal owns it": {api.ServiceRouter, "", func(w *world) []api.ConfigEntry {
			e := usersRouter(w)
			e.Routes, e.Meta = e.Routes[:1], map[string]string{metaOwner: "staging/"}
			return []api.ConfigEntry{defaults(w, "http"), e}
		}, "staging/"},
		"redirect": {api.ServiceRouter, "", func(w *world) []api.ConfigEntry {
			return []api.ConfigEntry{defaults(w, "http"), &api.ServiceResolverConfigEntry{Kind: api.ServiceResolver, Name: w.service,
				Redirect: &api.ServiceResolverRedirect{Datacenter: "dc2"}}}
		}, "redirect"},
		"own default subset": {api.ServiceResolver, "", func(w *world) []api.ConfigEntry {
			e := usersResolver(w)
			e.DefaultSubset = "v1"
			return []api.ConfigEntry{e}
		}, "default subset v1"},
		"own subset named blue": {api.ServiceResolver, "", func(w *world) []api.ConfigEntry {
			return []api.ConfigEntry{&api.ServiceResolverConfigEntry{Kind: api.ServiceResolver, Name: w.service,
				Subsets: map[string]api.ServiceResolverSubset{"blue": {Filter: "Service.Tags contains blue"}}}}
		}, "rename it"},
		"splitter": {api.ServiceRouter, "", func(w *world) []api.ConfigEntry {
			return []api.ConfigEntry{defaults(w, "http"), &api.ServiceSplitterConfigEntry{Kind: api.ServiceSplitter, Name: w.service,
				Splits: []api.ServiceSplit{{Weight: 100}}}}
		}, "service-splitter"},
		"router before the resolver": {api.ServiceResolver, "", func(w *world) []api.ConfigEntry {
			return []api.ConfigEntry{defaults(w, "http"), &api.ServiceRouterConfigEntry{Kind: api.ServiceRouter, Name: w.service}}
		}, `router = "service-router"`},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			for _, e := range c.found(w) {
				w.put(e)
			}
			setup := w.setup(deployment.Route{}, 1)
			setup.Protocol = c.protocol
			_, err := w.router(c.kind).Prepare(w.ctx, setup)
			w.wants(err, ErrRefused)
			if w.consul.writes != 0 {
				t.Errorf("%d writes before the refusal", w.consul.writes)
			}
			if !strings.Contains(err.Error(), c.says) {
				t.Errorf("does not say %q", c.says)
			}
		})
	}
}

func TestAnEditThatPinsAColourIsNotAccepted(t *testing.T) {
	w := newWorld(t)
	r := w.router(api.ServiceRouter)
	target := w.prepare(r, 1)
	e := w.routerEntry()
	e.Routes = append([]api.ServiceRoute{{
		Match:       &api.ServiceRouteMatch{HTTP: &api.ServiceRouteHTTPMatch{PathPrefix: "/beta"}},
		Destination: &api.ServiceRouteDestination{ServiceSubset: "green"},
	}}, e.Routes...)
	w.put(e)
	_, _, err := r.Accept(w.ctx, Setup{Target: target, Serve: blue})
	w.wants(err, ErrRefused)
}

func TestWhatWasDeletedIsHeldAndCanBeAccepted(t *testing.T) {
	everyKind(t, func(w *world, r Router) {
		target := w.prepare(r, 1)
		w.remove(r.Kind())
		_, err := r.Shift(w.ctx, target, move(green, "cutover"))
		w.wantsEdited(err)
		_, err = r.Prepare(w.ctx, w.setup(target.Route, 1))
		w.wantsEdited(err)
		if o, err := r.Observe(w.ctx, target); err != nil || !o.Edited {
			w.Fatalf("%+v %v", o, err)
		}
		target.Route, _, err = r.Accept(w.ctx, Setup{Target: target, Serve: blue})
		w.must(err)
		if o := w.serves(r, target, blue); o.Edited {
			w.Fatalf("%+v", o)
		}
	})
}

func TestVerifyIsNotSatisfiedByTheOldColour(t *testing.T) {
	everyKind(t, func(w *world, r Router) {
		target := w.prepare(r, 1)
		w.wants(r.Verify(w.ctx, target, move(green, "cutover")), ErrUnsettled)
	})
}

// Its leader did not live to record that an entry was prepared, and a person
// changed it then. No release rests on it: it is taken over as it is found, and
// what the person added is theirs, also when it is given back.
func TestAnEditOfAPreparationThatNobodyRemembers(t *testing.T) {
	w := newWorld(t)
	r := w.router(api.ServiceRouter)
	w.prepare(r, 1)
	e := w.routerEntry()
	theirs := api.ServiceRoute{Match: &api.ServiceRouteMatch{HTTP: &api.ServiceRouteHTTPMatch{PathPrefix: "/beta"}}}
	e.Routes = append([]api.ServiceRoute{theirs}, e.Routes...)
	w.put(e)

	target := w.prepare(r, 2)
	if o := w.serves(r, target, blue); o.Edited {
		t.Fatalf("%+v", o)
	}
	w.must(r.Release(w.ctx, target))
	if got := w.routerEntry(); got == nil || text(t, got.Routes) != text(t, []api.ServiceRoute{theirs}) {
		t.Errorf("given back as %s", text(t, got))
	}

	w.prepare(r, 3)
	e = w.routerEntry()
	theirs.Destination = &api.ServiceRouteDestination{ServiceSubset: "green"}
	e.Routes = append([]api.ServiceRoute{theirs}, e.Routes...)
	w.put(e)
	_, err := r.Prepare(w.ctx, w.setup(deployment.Route{}, 4))
	w.wants(err, ErrRefused)
}
