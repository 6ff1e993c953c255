package traffic

import (
	"fmt"

	"github.com/hashicorp/consul/api"

	"github.com/tealdeploy/teal/agent/deployment"
)

// NewServiceRouter moves traffic by the routes of a service-router, for http,
// http2 and grpc: the one write changes routes only, and both colours' clusters
// are known to every proxy before it.
//
// Consul asks only the router of the service a request is sent to. A router,
// splitter or failover of another service that names this one goes around it,
// to the service-resolver's default subset. Verify therefore takes the default
// subset along after the routes: until then such requests stay with the colour
// that served before, which is whole. (API gateways of some Consul versions
// answer 503 behind a service-router: consul issue 22575.)
func NewServiceRouter(scope Scope) Router {
	return newEntries(scope, routerForm{}, resolverForm{})
}

// routerForm is a service-router in our frame.
type routerForm struct{}

func (routerForm) kind() string { return api.ServiceRouter }

func (f routerForm) parts(e api.ConfigEntry) (deployment.Colour, string, []string) {
	router := e.(*api.ServiceRouterConfigEntry)
	u := unframe(router, readMark(e.GetMeta()).colour)
	var wrong []string
	if n := len(router.Routes); n == 0 || !u.isCatchAll(router.Routes[n-1]).Valid() {
		wrong = append(wrong, "its last route is not Teal's catch-all")
	}
	if missing := len(router.Routes) - len(u.routes); missing < 3 && len(wrong) == 0 {
		wrong = append(wrong, "a preview route ("+Header+") is gone")
	}
	return u.active, u.digest(router.Routes), wrong
}

func (routerForm) framed(e api.ConfigEntry, c deployment.Colour, _ bool) api.ConfigEntry {
	router := *e.(*api.ServiceRouterConfigEntry)
	router.Routes = unframe(&router, readMark(e.GetMeta()).colour).shift(c).build()
	return &router
}

func (f routerForm) moved(e api.ConfigEntry, c deployment.Colour, loose bool) api.ConfigEntry {
	return f.framed(e, c, loose)
}

func (routerForm) plain(e api.ConfigEntry) (api.ConfigEntry, bool) {
	router := *e.(*api.ServiceRouterConfigEntry)
	u := unframe(&router, readMark(e.GetMeta()).colour)
	router.Routes = u.shift(u.active).routes
	if len(router.Routes) == 0 {
		router.Routes = nil
	}
	router.Meta = eraseMark(e.GetMeta())
	router.CreateIndex, router.ModifyIndex = 0, 0
	return &router, len(router.Routes) == 0 && len(router.Meta) == 0
}

func (routerForm) blank(t Target) api.ConfigEntry {
	return &api.ServiceRouterConfigEntry{
		Kind: api.ServiceRouter, Name: t.Service, Namespace: t.Route.Namespace, Partition: t.Route.Partition,
	}
}

func (routerForm) pinned(e api.ConfigEntry) []string {
	router := e.(*api.ServiceRouterConfigEntry)
	return unframe(router, readMark(e.GetMeta()).colour).pinned()
}

func (routerForm) notes(e api.ConfigEntry) []string {
	router := e.(*api.ServiceRouterConfigEntry)
	u := unframe(router, readMark(e.GetMeta()).colour)
	return append(u.partial(), fmt.Sprintf("%d routes of your own", len(u.routes)))
}
