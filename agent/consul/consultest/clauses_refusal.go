package consultest

import (
	"strings"

	"github.com/hashicorp/consul/api"

	"github.com/tealdeploy/teal/agent/consul"
)

func (x *trial) badEntries() {
	x.setEntry(x.defaults("http"))
	x.setEntry(x.resolver("blue"))
	match := func(m api.ServiceRouteHTTPMatch) api.ConfigEntry {
		e := x.router("blue")
		e.Routes[0].Match.HTTP = &m
		return e
	}
	long := x.router("blue")
	long.Meta = map[string]string{"teal_move": strings.Repeat("x", longestValue+1)}
	many := x.router("blue")
	many.Meta = map[string]string{}
	for i := range mostMeta + 1 {
		many.Meta["k"+strings.Repeat("x", i)] = "v"
	}
	key := x.router("blue")
	key.Meta = map[string]string{strings.Repeat("k", longestKey+1): "v"}
	rewrite := x.router("blue")
	rewrite.Routes[0].Match, rewrite.Routes[0].Destination.PrefixRewrite = nil, "/"
	lopsided, single := x.splitter(), x.splitter()
	lopsided.Splits[0].Weight = 95
	single.Splits = nil
	def, fail, redirect := x.resolver("blue"), x.resolver("blue"), x.resolver("blue")
	def.DefaultSubset = "green"
	fail.Failover = map[string]api.ServiceResolverFailover{"green": {Datacenters: []string{"dc2"}}}
	redirect.Redirect = &api.ServiceResolverRedirect{}
	for name, e := range map[string]api.ConfigEntry{
		"path without slash":    match(api.ServiceRouteHTTPMatch{PathExact: "a"}),
		"prefix without slash":  match(api.ServiceRouteHTTPMatch{PathPrefix: "a"}),
		"two paths":             match(api.ServiceRouteHTTPMatch{PathPrefix: "/a", PathRegex: "/b"}),
		"nameless header":       match(api.ServiceRouteHTTPMatch{Header: []api.ServiceRouteHTTPMatchHeader{{Exact: "a"}}}),
		"header without a rule": match(api.ServiceRouteHTTPMatch{Header: []api.ServiceRouteHTTPMatchHeader{{Name: "a"}}}),
		"header with two rules": match(api.ServiceRouteHTTPMatch{Header: []api.ServiceRouteHTTPMatchHeader{{Name: "a", Exact: "a", Present: true}}}),
		"nameless parameter":    match(api.ServiceRouteHTTPMatch{QueryParam: []api.ServiceRouteHTTPMatchQueryParam{{Exact: "a"}}}),
		"parameter without":     match(api.ServiceRouteHTTPMatch{QueryParam: []api.ServiceRouteHTTPMatchQueryParam{{Name: "a"}}}),
		"rewrite of no path":    rewrite,
		"long meta":             long,
		"long meta key":         key,
		"much meta":             many,
		"no name":               &api.ServiceRouterConfigEntry{Kind: api.ServiceRouter},
		"protocol":              x.defaults("htpt"),
		"weights":               lopsided,
		"no splits":             single,
		"default subset":        def,
		"failover of a subset":  fail,
		"empty redirect":        redirect,
	} {
		if _, err := x.SetEntry(x.ctx, e, 0); err == nil {
			x.t.Errorf("%s: not refused", name)
		} else {
			x.is(err, consul.ErrInvalid)
		}
	}
	if e := x.entry(api.ServiceRouter, x.id); e != nil {
		x.t.Errorf("written: %+v", e)
	}
}

// refuses checks that a write is refused, by what Consul says.
func (x *trial) refuses(says string) func(ok bool, err error) {
	x.t.Helper()
	return func(ok bool, err error) {
		x.t.Helper()
		x.is(err, consul.ErrInvalid)
		if ok || !strings.Contains(err.Error(), says) {
			x.t.Errorf("%v %v, want %q", ok, err, says)
		}
	}
}

func (x *trial) badGraphs() {
	index := func(kind, name string) uint64 { return x.entry(kind, name).GetModifyIndex() }
	other := x.service("-other")
	x.refuses("does not permit advanced routing")(x.SetEntry(x.ctx, &api.ServiceRouterConfigEntry{Kind: api.ServiceRouter, Name: x.id}, 0))
	x.setEntry(x.defaults("http"))
	x.refuses(`does not have a subset named "green"`)(x.SetEntry(x.ctx, x.router("green"), 0))
	x.setEntry(x.resolver("blue"))
	x.refuses(`does not have a subset named "green"`)(x.SetEntry(x.ctx, x.router("green"), 0))
	x.says(false)(x.SetEntry(x.ctx, x.router("green"), 7)) // the index is asked first
	x.setEntry(x.resolver("blue", "green"))
	x.setEntry(x.router("green"))

	x.refuses("subset named")(x.SetEntry(x.ctx, x.resolver("blue"), index(api.ServiceResolver, x.id)))
	x.refuses("subset named")(x.DeleteEntry(x.ctx, api.ServiceResolver, x.id, index(api.ServiceResolver, x.id)))
	x.refuses("does not permit")(x.DeleteEntry(x.ctx, api.ServiceDefaults, x.id, index(api.ServiceDefaults, x.id)))
	x.refuses("does not permit")(x.SetEntry(x.ctx, x.defaults("tcp"), index(api.ServiceDefaults, x.id)))

	// Another service's entries count as well.
	x.says(true)(x.DeleteEntry(x.ctx, api.ServiceRouter, x.id, index(api.ServiceRouter, x.id)))
	across := x.router("green")
	across.Name, across.Routes[0].Destination.Service = other, x.id
	x.refuses("inconsistent protocols")(x.SetEntry(x.ctx, across, 0))
	x.setEntry(&api.ServiceConfigEntry{Kind: api.ServiceDefaults, Name: other, Protocol: "grpc"})
	x.refuses("inconsistent protocols")(x.SetEntry(x.ctx, across, 0))
	x.setEntry(&api.ServiceConfigEntry{Kind: api.ServiceDefaults, Name: other, Protocol: "http"})
	x.setEntry(across)
	x.refuses("subset named")(x.DeleteEntry(x.ctx, api.ServiceResolver, x.id, index(api.ServiceResolver, x.id)))
	x.refuses("inconsistent protocols")(x.SetEntry(x.ctx, x.defaults("http2"), index(api.ServiceDefaults, x.id)))
	x.says(true)(x.DeleteEntry(x.ctx, api.ServiceRouter, other, index(api.ServiceRouter, other)))
	x.says(true)(x.DeleteEntry(x.ctx, api.ServiceResolver, x.id, index(api.ServiceResolver, x.id)))

	there := &api.ServiceResolverConfigEntry{Kind: api.ServiceResolver, Name: other, Redirect: &api.ServiceResolverRedirect{Service: x.id}}
	x.setEntry(there)
	back := &api.ServiceResolverConfigEntry{Kind: api.ServiceResolver, Name: x.id, Redirect: &api.ServiceResolverRedirect{Service: other}}
	x.refuses("circular resolver redirect")(x.SetEntry(x.ctx, back, 0))
	there.Redirect.ServiceSubset = "blue"
	x.refuses("subset named")(x.SetEntry(x.ctx, there, index(api.ServiceResolver, other)))
}
