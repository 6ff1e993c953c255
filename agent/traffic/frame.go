package traffic

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"

	"github.com/hashicorp/consul/api"

	"github.com/tealdeploy/teal/agent/deployment"
)

// Header is the request header that reaches a colour whatever serves: the
// preview route, and what keeps both colours' clusters warm in every proxy.
const Header = "x-teal-colour"

// ColourMeta is the service meta key by which subsets tell colours apart.
const ColourMeta = "teal_colour"

// frame wraps a user's routes for one active colour: a preview route for each
// colour, the user's own routes with the active subset filled in where they
// go to this service without naming a subset, and the catch-all.
//
// The user's routes are what the service's router would hold without Teal;
// frame and unframe are inverses of each other.
type frame struct {
	name, namespace, partition string // of the router, to know its own destinations

	active deployment.Colour
	routes []api.ServiceRoute // the user's, with no colour filled in
}

// build is the whole list of routes.
func (f frame) build() []api.ServiceRoute {
	routes := make([]api.ServiceRoute, 0, len(f.routes)+3)
	for _, c := range deployment.Colours {
		routes = append(routes, preview(c))
	}
	for _, r := range f.routes {
		routes = append(routes, f.fill(r))
	}
	return append(routes, catchAll(f.active))
}

// preview is the route that a request with Header takes.
func preview(c deployment.Colour) api.ServiceRoute {
	return api.ServiceRoute{
		Match: &api.ServiceRouteMatch{HTTP: &api.ServiceRouteHTTPMatch{
			Header: []api.ServiceRouteHTTPMatchHeader{{Name: Header, Exact: string(c)}},
		}},
		Destination: &api.ServiceRouteDestination{ServiceSubset: string(c)},
	}
}

// catchAll is the last route: every request no other route took.
func catchAll(c deployment.Colour) api.ServiceRoute {
	return api.ServiceRoute{
		Match:       &api.ServiceRouteMatch{HTTP: &api.ServiceRouteHTTPMatch{PathPrefix: "/"}},
		Destination: &api.ServiceRouteDestination{ServiceSubset: string(c)},
	}
}

// unframe takes a list of routes apart. It never fails: what is not ours by
// its exact shape is the user's, wherever it stands, so that a person's edit
// of one of our own routes survives as a route of theirs. active is the colour
// of the catch-all; if that is gone, known is believed, which is what the
// entry's meta says.
func unframe(e *api.ServiceRouterConfigEntry, known deployment.Colour) frame {
	f := frame{name: e.Name, namespace: e.Namespace, partition: e.Partition, active: known}
	routes := e.Routes
	if n := len(routes); n > 0 {
		if c := f.isCatchAll(routes[n-1]); c.Valid() {
			f.active, routes = c, routes[:n-1]
		}
	}
	seen := map[deployment.Colour]bool{} // a user's own route may come to look like the second
	for _, r := range routes {
		if c := f.isPreview(r); c.Valid() && !seen[c] {
			seen[c] = true
			continue
		}
		f.routes = append(f.routes, f.unfill(r, f.active))
	}
	return f
}

// shift is the same frame for another colour. Routes that still name a colour
// (a person pinned them) and name the one that is left move along: after a
// rollback nothing of ours may go to the colour it left.
func (f frame) shift(to deployment.Colour) frame {
	moved := f
	moved.active = to
	moved.routes = make([]api.ServiceRoute, len(f.routes))
	for i, r := range f.routes {
		moved.routes[i] = f.unfill(f.unfill(r, to), to.Other())
	}
	return moved
}

// pinned lists the routes that name a colour of their own accord. They would
// let an unproven version serve, so they are never adopted.
func (f frame) pinned() []string {
	var names []string
	for i, r := range f.routes {
		if c := f.colourOf(r); c.Valid() {
			names = append(names, fmt.Sprintf("route %d (%s) names subset %s, where Teal fills in the active colour", i+1, describeMatch(r), c))
		}
	}
	return names
}

// partial lists the user's routes that go to a subset of this service other
// than the colours: they do not follow a cutover.
func (f frame) partial() []string {
	var names []string
	for i, r := range f.routes {
		if r.Destination != nil && f.own(r.Destination) && r.Destination.ServiceSubset != "" && !f.colourOf(r).Valid() {
			names = append(names, fmt.Sprintf("route %d (%s) stays on subset %s", i+1, describeMatch(r), r.Destination.ServiceSubset))
		}
	}
	return names
}

// fill points a user's route at the active colour if it goes to this service
// and names no subset. The route given is not changed.
func (f frame) fill(r api.ServiceRoute) api.ServiceRoute {
	if r.Destination == nil {
		r.Destination = &api.ServiceRouteDestination{ServiceSubset: string(f.active)}
		return r
	}
	if f.own(r.Destination) && r.Destination.ServiceSubset == "" {
		d := *r.Destination
		d.ServiceSubset = string(f.active)
		r.Destination = &d
	}
	return r
}

// unfill takes the colour out of a route that fill pointed at it.
func (f frame) unfill(r api.ServiceRoute, c deployment.Colour) api.ServiceRoute {
	if !c.Valid() || f.colourOf(r) != c {
		return r
	}
	d := *r.Destination
	d.ServiceSubset = ""
	r.Destination = &d
	if saysNothing(&d) {
		r.Destination = nil
	}
	return r
}

// saysNothing says whether a destination is as good as none.
func saysNothing(d *api.ServiceRouteDestination) bool {
	if d.Service != "" || d.ServiceSubset != "" {
		return false // as most do: it is asked often
	}
	text, _ := json.Marshal(d)
	return string(text) == "{}"
}

// colourOf is the colour a route to this service names, None for all others.
func (f frame) colourOf(r api.ServiceRoute) deployment.Colour {
	if r.Destination == nil || !f.own(r.Destination) {
		return deployment.None
	}
	c, err := deployment.ParseColour(r.Destination.ServiceSubset)
	if err != nil {
		return deployment.None
	}
	return c
}

// own says whether a destination is the router's own service.
func (f frame) own(d *api.ServiceRouteDestination) bool {
	return (d.Service == "" || d.Service == f.name) &&
		sameScope(d.Namespace, f.namespace) && sameScope(d.Partition, f.partition)
}

// sameScope compares a destination's namespace or partition with the entry's:
// Consul fills an empty one with the entry's.
func sameScope(a, entry string) bool {
	return a == "" || orDefault(a) == orDefault(entry)
}

func orDefault(scope string) string {
	if scope == "" {
		return "default"
	}
	return scope
}

func (f frame) isCatchAll(r api.ServiceRoute) deployment.Colour {
	if r.Match == nil || r.Match.HTTP == nil || r.Match.HTTP.PathPrefix != "/" {
		return deployment.None
	}
	return f.same(r, catchAll(f.colourOf(r)), f.colourOf(r))
}

func (f frame) isPreview(r api.ServiceRoute) deployment.Colour {
	if r.Match == nil || r.Match.HTTP == nil || len(r.Match.HTTP.Header) != 1 {
		return deployment.None
	}
	return f.same(r, preview(f.colourOf(r)), f.colourOf(r))
}

// same answers c if r is exactly the route ours, None otherwise.
func (f frame) same(r, ours api.ServiceRoute, c deployment.Colour) deployment.Colour {
	if !c.Valid() || f.canonical(r) != f.canonical(ours) {
		return deployment.None
	}
	return c
}

// canonical is a route as text, without what Consul fills in by itself.
func (f frame) canonical(r api.ServiceRoute) string {
	if r.Destination != nil {
		d := *r.Destination
		if f.own(&d) {
			d.Service, d.Namespace, d.Partition = "", "", ""
		}
		r.Destination = &d
		if saysNothing(&d) {
			r.Destination = nil
		}
	}
	text, err := json.Marshal(r)
	if err != nil { // a route came from JSON and goes back to it
		panic(fmt.Sprintf("route is not JSON: %v", err))
	}
	return string(text)
}

// digest is the fingerprint of a list of routes that does not change when
// only the active colour does.
func (f frame) digest(routes []api.ServiceRoute) string {
	h := sha256.New()
	seen := map[deployment.Colour]bool{}
	for _, r := range routes {
		if c := f.isPreview(r); c.Valid() && !seen[c] {
			seen[c] = true
		} else {
			r = f.unfill(r, f.active)
		}
		fmt.Fprintln(h, f.canonical(r))
	}
	return hex.EncodeToString(h.Sum(nil)[:12])
}

// describeMatch names a route for a person.
func describeMatch(r api.ServiceRoute) string {
	if r.Match == nil || r.Match.HTTP == nil {
		return "every request"
	}
	m := r.Match.HTTP
	switch {
	case m.PathExact != "":
		return m.PathExact
	case m.PathPrefix != "":
		return m.PathPrefix + "*"
	case m.PathRegex != "":
		return "~" + m.PathRegex
	case len(m.Header) > 0:
		return "header " + m.Header[0].Name
	case len(m.QueryParam) > 0:
		return "parameter " + m.QueryParam[0].Name
	}
	return "every request"
}
