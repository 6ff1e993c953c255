package xds

import (
	"fmt"

	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	endpointv3 "github.com/envoyproxy/go-control-plane/envoy/config/endpoint/v3"
	listenerv3 "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	discoveryv3 "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	"google.golang.org/protobuf/proto"
)

// The four discovery services, by the type of their resources.
const (
	clusterType  = "type.googleapis.com/envoy.config.cluster.v3.Cluster"
	endpointType = "type.googleapis.com/envoy.config.endpoint.v3.ClusterLoadAssignment"
	listenerType = "type.googleapis.com/envoy.config.listener.v3.Listener"
	routeType    = "type.googleapis.com/envoy.config.route.v3.RouteConfiguration"
)

// short names a discovery service as people do.
var short = map[string]string{clusterType: "CDS", endpointType: "EDS", listenerType: "LDS", routeType: "RDS"}

// state is everything Consul has sent on one stream.
type state struct {
	clusters  map[string]bool // those whose endpoints come by EDS
	endpoints map[string][]Endpoint
	listeners map[string]outbound
	routes    map[string][]Route
	active    map[string]active // what each listener serves
}

// active is what a listener serves. As in Envoy, one that is replaced goes on
// until the new one's routes are there (it "warms"), and then for good.
type active struct {
	tcp    bool
	routes []Route
}

func newState() *state {
	return &state{
		clusters:  map[string]bool{},
		endpoints: map[string][]Endpoint{},
		listeners: map[string]outbound{},
		routes:    map[string][]Route{},
		active:    map[string]active{},
	}
}

// apply takes a response in.
func (s *state) apply(r *discoveryv3.DeltaDiscoveryResponse) error {
	for _, name := range r.GetRemovedResources() {
		switch r.GetTypeUrl() {
		case clusterType:
			delete(s.clusters, name)
			delete(s.endpoints, name)
		case endpointType:
			delete(s.endpoints, name)
		case listenerType:
			delete(s.listeners, name)
		case routeType:
			delete(s.routes, name)
		}
	}
	for _, resource := range r.GetResources() {
		if err := s.add(r.GetTypeUrl(), resource); err != nil {
			return fmt.Errorf("%s %s: %w", short[r.GetTypeUrl()], resource.GetName(), err)
		}
	}
	return nil
}

func (s *state) add(kind string, resource *discoveryv3.Resource) error {
	name, body := resource.GetName(), resource.GetResource().GetValue()
	switch kind {
	case clusterType:
		var c clusterv3.Cluster
		if err := proto.Unmarshal(body, &c); err != nil {
			return err
		}
		if c.GetType() == clusterv3.Cluster_EDS {
			s.clusters[name] = true
		}
	case endpointType:
		var e endpointv3.ClusterLoadAssignment
		if err := proto.Unmarshal(body, &e); err != nil {
			return err
		}
		s.endpoints[name] = decodeEndpoints(&e)
	case listenerType:
		var l listenerv3.Listener
		if err := proto.Unmarshal(body, &l); err != nil {
			return err
		}
		out, ok, err := decodeListener(&l)
		if err != nil {
			return err
		}
		if ok {
			s.listeners[name] = out
		}
	case routeType:
		var c routev3.RouteConfiguration
		if err := proto.Unmarshal(body, &c); err != nil {
			return err
		}
		s.routes[name] = decodeRoutes(&c)
	}
	return nil
}

// table is the state as a proxy would use it. There is one upstream, hence
// one outbound listener.
func (s *state) table() Table {
	t := Table{Clusters: make(map[string]Cluster, len(s.clusters))}
	for name := range s.clusters {
		subset, service := names(name)
		t.Clusters[name] = Cluster{Name: name, Subset: subset, Service: service, Endpoints: s.endpoints[name]}
	}
	for name := range s.active {
		if _, ok := s.listeners[name]; !ok {
			delete(s.active, name)
		}
	}
	for name, l := range s.listeners {
		if now, ok := s.warm(l); ok {
			s.active[name] = now
		}
		t.TCP, t.Routes = s.active[name].tcp, s.active[name].routes
	}
	return t
}

// warm is what a listener is to serve; ok is false while its routes have not
// come.
func (s *state) warm(l outbound) (now active, ok bool) {
	switch {
	case l.tcp != "":
		return active{tcp: true, routes: []Route{{Path: Match{Kind: Prefix, Value: "/"}, Targets: []Target{{Cluster: l.tcp, Weight: 1}}}}}, true
	case l.inline != nil:
		return active{routes: decodeRoutes(l.inline)}, true
	}
	routes, ok := s.routes[l.rds]
	return active{routes: routes}, ok
}

// whole says whether the upstream's requests lead somewhere.
func (s *state) whole() bool {
	t := s.table()
	for _, r := range t.Routes {
		for _, target := range r.Targets {
			if _, ok := s.endpoints[target.Cluster]; !ok {
				return false
			}
		}
	}
	return len(t.Routes) > 0
}

// warmed says whether the endpoints of every cluster have come, be they none.
func (s *state) warmed() bool {
	for name := range s.clusters {
		if _, ok := s.endpoints[name]; !ok {
			return false
		}
	}
	return true
}

// wanted are the names to subscribe to, by type.
func (s *state) wanted() map[string]map[string]bool {
	routes := map[string]bool{}
	for _, l := range s.listeners {
		if l.rds != "" {
			routes[l.rds] = true
		}
	}
	for name := range s.routes { // no listener wants them any more
		if !routes[name] {
			delete(s.routes, name)
		}
	}
	clusters := make(map[string]bool, len(s.clusters))
	for name := range s.clusters {
		clusters[name] = true
	}
	return map[string]map[string]bool{endpointType: clusters, routeType: routes}
}
