package consultest

import (
	"context"
	"slices"
	"strings"
	"time"

	"github.com/hashicorp/consul/api"

	"github.com/tealdeploy/teal/agent/consul"
)

// service is the clause's own, by a suffix.
func (x *trial) service(suffix string) string { return x.id + suffix }

func (x *trial) defaults(protocol string) *api.ServiceConfigEntry {
	return &api.ServiceConfigEntry{Kind: api.ServiceDefaults, Name: x.id, Protocol: protocol}
}

func (x *trial) resolver(subsets ...string) *api.ServiceResolverConfigEntry {
	e := &api.ServiceResolverConfigEntry{Kind: api.ServiceResolver, Name: x.id, Subsets: map[string]api.ServiceResolverSubset{}}
	for _, s := range subsets {
		e.Subsets[s] = api.ServiceResolverSubset{Filter: "Service.Meta.teal_colour == " + s}
	}
	return e
}

// router sends everything to a subset.
func (x *trial) router(subset string) *api.ServiceRouterConfigEntry {
	return &api.ServiceRouterConfigEntry{Kind: api.ServiceRouter, Name: x.id, Routes: []api.ServiceRoute{
		{Match: &api.ServiceRouteMatch{HTTP: &api.ServiceRouteHTTPMatch{PathPrefix: "/"}},
			Destination: &api.ServiceRouteDestination{ServiceSubset: subset}},
	}}
}

func (x *trial) splitter() *api.ServiceSplitterConfigEntry {
	return &api.ServiceSplitterConfigEntry{Kind: api.ServiceSplitter, Name: x.id, Splits: []api.ServiceSplit{
		{Weight: 90, ServiceSubset: "blue"}, {Weight: 10, ServiceSubset: "green"},
	}}
}

// entry is an entry as it is now.
func (x *trial) entry(kind, name string) api.ConfigEntry {
	x.t.Helper()
	e, err := x.Entry(x.ctx, kind, name)
	x.must(err)
	return e
}

// setEntry writes an entry over whatever there is and reads it back.
func (x *trial) setEntry(e api.ConfigEntry) api.ConfigEntry {
	x.t.Helper()
	var index uint64
	if now := x.entry(e.GetKind(), e.GetName()); now != nil {
		index = now.GetModifyIndex()
	}
	x.says(true)(x.SetEntry(x.ctx, e, index))
	return x.entry(e.GetKind(), e.GetName())
}

func (x *trial) casEntry() {
	first := x.defaults("http")
	x.says(false)(x.SetEntry(x.ctx, first, 7))
	x.says(true)(x.SetEntry(x.ctx, first, 0))
	was := x.entry(api.ServiceDefaults, x.id)
	if was.GetCreateIndex() == 0 || was.GetCreateIndex() != was.GetModifyIndex() {
		x.t.Errorf("created %d, modified %d", was.GetCreateIndex(), was.GetModifyIndex())
	}
	second := x.defaults("grpc")
	x.says(false)(x.SetEntry(x.ctx, second, 0))
	x.says(false)(x.SetEntry(x.ctx, second, was.GetModifyIndex()+1))
	x.says(true)(x.SetEntry(x.ctx, second, was.GetModifyIndex()))
	x.says(false)(x.SetEntry(x.ctx, x.defaults("http2"), was.GetModifyIndex()))
	now := x.entry(api.ServiceDefaults, x.id).(*api.ServiceConfigEntry)
	if now.Protocol != "grpc" || now.CreateIndex != was.GetCreateIndex() || now.ModifyIndex <= was.GetModifyIndex() {
		x.t.Errorf("now %+v, was %+v", now, was)
	}
}

// sameEntry is the trap: the answer true is no proof that the index was right.
func (x *trial) sameEntry() {
	was := x.setEntry(x.defaults("http"))
	for _, index := range []uint64{was.GetModifyIndex(), was.GetModifyIndex() + 1, 1, 0} {
		x.says(true)(x.SetEntry(x.ctx, x.defaults("http"), index))
	}
	if now := x.entry(api.ServiceDefaults, x.id); now.GetModifyIndex() != was.GetModifyIndex() {
		x.t.Errorf("index %d, was %d", now.GetModifyIndex(), was.GetModifyIndex())
	}
	// One word in Meta makes it another content, with a new index.
	marked := x.defaults("http")
	marked.Meta = map[string]string{"teal_epoch": "2"}
	x.says(false)(x.SetEntry(x.ctx, marked, was.GetModifyIndex()+1))
	x.says(true)(x.SetEntry(x.ctx, marked, was.GetModifyIndex()))
	if now := x.entry(api.ServiceDefaults, x.id); now.GetModifyIndex() <= was.GetModifyIndex() {
		x.t.Errorf("index %d, was %d", now.GetModifyIndex(), was.GetModifyIndex())
	}
}

func (x *trial) deleteEntry() {
	if e := x.entry(api.ServiceDefaults, x.id); e != nil {
		x.t.Fatalf("found %+v", e)
	}
	x.says(true)(x.DeleteEntry(x.ctx, api.ServiceDefaults, x.id, 7))
	was := x.setEntry(x.defaults("http"))
	x.says(false)(x.DeleteEntry(x.ctx, api.ServiceDefaults, x.id, was.GetModifyIndex()+1))
	x.says(false)(x.DeleteEntry(x.ctx, api.ServiceDefaults, x.id, 0))
	x.says(true)(x.DeleteEntry(x.ctx, api.ServiceDefaults, x.id, was.GetModifyIndex()))
	x.says(true)(x.DeleteEntry(x.ctx, api.ServiceDefaults, x.id, was.GetModifyIndex()))
	if e := x.entry(api.ServiceDefaults, x.id); e != nil {
		x.t.Errorf("deleted, and there: %+v", e)
	}
	again := x.setEntry(x.defaults("http"))
	if again.GetCreateIndex() <= was.GetModifyIndex() {
		x.t.Errorf("written anew at %d, deleted after %d", again.GetCreateIndex(), was.GetModifyIndex())
	}
}

func (x *trial) roundTrip() {
	x.setEntry(&api.ServiceConfigEntry{Kind: api.ServiceDefaults, Name: x.service("-other"), Protocol: "http"})
	defaults := x.defaults("HTTP")
	defaults.Meta = map[string]string{"team": "web"}
	defaults.MaxInboundConnections = 7
	read := x.setEntry(defaults).(*api.ServiceConfigEntry)
	if read.Protocol != "http" || read.TransparentProxy == nil || read.Meta["team"] != "web" || read.MaxInboundConnections != 7 {
		x.t.Errorf("service-defaults: %s", text(x.t, read))
	}
	resolver := x.resolver("blue", "green")
	resolver.DefaultSubset = "blue"
	resolver.ConnectTimeout, resolver.RequestTimeout = 2*time.Second, 90*time.Second
	resolver.Subsets["v1"] = api.ServiceResolverSubset{Filter: "Service.Meta.version == v1", OnlyPassing: true}
	resolver.Failover = map[string]api.ServiceResolverFailover{"*": {Datacenters: []string{"dc2"}}, "blue": {ServiceSubset: "v1", Service: x.id}}
	resolver.LoadBalancer = &api.LoadBalancer{Policy: "least_request", LeastRequestConfig: &api.LeastRequestConfig{ChoiceCount: 3}}
	resolver.Meta = map[string]string{"team": "web"}
	x.same(resolver)
	router := x.router("green")
	router.Meta = map[string]string{"team": "web"}
	router.Routes = append([]api.ServiceRoute{
		{},
		{Match: &api.ServiceRouteMatch{HTTP: &api.ServiceRouteHTTPMatch{PathExact: "/a", CaseInsensitive: true, Methods: []string{"GET", "PUT"}}}},
		{Match: &api.ServiceRouteMatch{HTTP: &api.ServiceRouteHTTPMatch{PathRegex: "/b.*",
			Header: []api.ServiceRouteHTTPMatchHeader{{Name: "x-a", Present: true}, {Name: "x-b", Regex: "c+", Invert: true}}}}},
		{Match: &api.ServiceRouteMatch{HTTP: &api.ServiceRouteHTTPMatch{PathPrefix: "/d",
			QueryParam: []api.ServiceRouteHTTPMatchQueryParam{{Name: "q", Exact: "1"}}}},
			Destination: &api.ServiceRouteDestination{PrefixRewrite: "/", RequestTimeout: 3 * time.Second, IdleTimeout: time.Minute,
				NumRetries: 2, RetryOnConnectFailure: true, RetryOnStatusCodes: []uint32{502, 503}, RetryOn: []string{"reset"},
				RequestHeaders:  &api.HTTPHeaderModifiers{Add: map[string]string{"a": "b"}, Remove: []string{"c"}},
				ResponseHeaders: &api.HTTPHeaderModifiers{Set: map[string]string{"a": "b"}}}},
		{Match: &api.ServiceRouteMatch{HTTP: &api.ServiceRouteHTTPMatch{PathPrefix: "/e"}},
			Destination: &api.ServiceRouteDestination{Service: x.service("-other")}},
	}, router.Routes...)
	x.same(router)
	router.Routes[1].Match.HTTP.Methods = []string{"get"}
	written := x.setEntry(router).(*api.ServiceRouterConfigEntry)
	if m := written.Routes[1].Match.HTTP.Methods; !slices.Equal(m, []string{"GET"}) {
		x.t.Errorf("methods %v", m)
	}
	x.same(x.splitter())
	x.same(&api.ServiceRouterConfigEntry{Kind: api.ServiceRouter, Name: x.service("-other")})
}

// same writes an entry and checks that it comes back as it is.
func (x *trial) same(e api.ConfigEntry) {
	x.t.Helper()
	read := x.setEntry(e)
	setIndexes(read, 0, 0)
	x.equal(e.GetKind(), read, e)
}

func (x *trial) entries() {
	// Others write entries too.
	mine := func(list []api.ConfigEntry) (names []string) {
		for _, e := range list {
			if strings.HasPrefix(e.GetName(), x.id) {
				names = append(names, strings.TrimPrefix(e.GetName(), x.id))
			}
		}
		return names
	}
	listed := func(want ...string) {
		x.t.Helper()
		list, index, err := x.list(x.ctx, api.ServiceResolver)
		x.must(err)
		if got := mine(list); !slices.Equal(got, want) || index == 0 {
			x.t.Fatalf("%v at %d, want %v", got, index, want)
		}
		for _, e := range list {
			if e.GetModifyIndex() > index {
				x.t.Errorf("%s of %d in a list at %d", e.GetName(), e.GetModifyIndex(), index)
			}
		}
	}
	x.setEntry(x.defaults("http"))
	listed()
	e := x.resolver("blue")
	e.Name = x.service("-b")
	x.setEntry(e)
	listed("-b")
	other := x.resolver("blue")
	other.Name = x.service("-a")
	x.setEntry(other)
	listed("-a", "-b")
	_, err := x.DeleteEntry(x.ctx, other.Kind, other.Name, x.entry(other.Kind, other.Name).GetModifyIndex())
	x.must(err)
	listed("-b")
	var shown []api.ConfigEntry
	left := x.entry(e.Kind, e.Name)
	for _, known := range []uint64{left.GetModifyIndex(), left.GetModifyIndex() - 1} {
		shown = nil
		_, err = x.EachEntry(x.ctx, e.Kind, func(name string, modified uint64) bool {
			return name == e.Name && modified == known
		}, func(e api.ConfigEntry) { shown = append(shown, e) })
		x.must(err)
		if got := mine(shown); (len(got) == 0) != (known == left.GetModifyIndex()) {
			x.t.Errorf("%v is shown to who knows %d of %d", got, known, left.GetModifyIndex())
		}
	}
	x.equal("an entry of a list", shown[slices.IndexFunc(shown, func(one api.ConfigEntry) bool { return one.GetName() == e.Name })], left)
	_, _, err = x.list(x.ctx, "no-such-kind")
	x.is(err, consul.ErrInvalid)
}

// list is all entries of a kind.
func (x *trial) list(ctx context.Context, kind string) (list []api.ConfigEntry, index uint64, err error) {
	index, err = x.EachEntry(ctx, kind, func(string, uint64) bool { return false },
		func(e api.ConfigEntry) { list = append(list, e) })
	return list, index, err
}

// entriesIndex grows with each write and deletion of an entry of any kind, and
// a list is at least as new as what it was before.
func (x *trial) entriesIndex() {
	x.setEntry(x.defaults("http"))
	was, err := x.EntriesIndex(x.ctx)
	x.must(err)
	if written := x.entry(api.ServiceDefaults, x.service("")).GetModifyIndex(); was < written {
		x.t.Errorf("%d after a write at %d", was, written)
	}
	grows := func(what string) {
		x.t.Helper()
		index, err := x.EntriesIndex(x.ctx)
		x.must(err)
		_, list, err := x.list(x.ctx, api.ServiceRouter)
		x.must(err)
		if index <= was || list < index {
			x.t.Errorf("after %s %d, and %d of a list; before it was %d", what, index, list, was)
		}
		was = index
	}
	e := x.resolver("blue")
	x.setEntry(e)
	grows("a write")
	e.Meta = map[string]string{"teal_epoch": "2"}
	_, err = x.SetEntry(x.ctx, e, x.entry(e.Kind, e.Name).GetModifyIndex())
	x.must(err)
	grows("another")
	_, err = x.DeleteEntry(x.ctx, e.Kind, e.Name, x.entry(e.Kind, e.Name).GetModifyIndex())
	x.must(err)
	grows("a deletion")
}
