package consultest

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/hashicorp/consul/api"

	"github.com/tealdeploy/teal/agent/deep"
)

const (
	scope      = "default" // the only namespace and the only partition
	datacenter = "dc1"
)

// compiler builds a service's discovery chain: its router, below that
// splitters, below those resolvers, and what they lead to.
type compiler struct {
	service string
	look    func(kind, name string) api.ConfigEntry // nil when there is none
	chain   *api.CompiledDiscoveryChain
	layered bool     // it routes or splits
	open    []string // splitters being followed: one met twice is a circle
}

// compile is the chain of a service, or why Consul would refuse the entries.
// Splitters below splitters are not flattened, and targets have no SNI.
func compile(service string, look func(kind, name string) api.ConfigEntry) (*api.CompiledDiscoveryChain, error) {
	c := &compiler{service: service, look: look, chain: &api.CompiledDiscoveryChain{
		ServiceName: service, Namespace: scope, Datacenter: datacenter,
		Nodes: map[string]*api.DiscoveryGraphNode{}, Targets: map[string]*api.DiscoveryTarget{},
	}}
	var err error
	if router, ok := look(api.ServiceRouter, service).(*api.ServiceRouterConfigEntry); ok {
		c.chain.StartNode, err = c.router(router)
	} else {
		c.chain.StartNode, err = c.split(service)
	}
	if err != nil {
		return nil, err
	}
	if c.layered && !slices.Contains([]string{"http", "http2", "grpc"}, c.chain.Protocol) {
		return nil, fmt.Errorf("discovery chain %q uses a protocol %q that does not permit advanced routing or splitting behavior",
			service, c.chain.Protocol)
	}
	if defaults, ok := look(api.ServiceDefaults, service).(*api.ServiceConfigEntry); ok {
		c.chain.ServiceMeta = defaults.Meta
	}
	start := c.chain.Nodes[c.chain.StartNode]
	c.chain.Default = start.Resolver != nil && start.Resolver.Default && c.chain.Targets[start.Resolver.Target].Service == service
	return shared(c.chain), nil
}

// shared is a copy that shares nothing with what is stored.
func shared(chain *api.CompiledDiscoveryChain) *api.CompiledDiscoveryChain {
	return deep.Copy(chain)
}

// speaks notes a service's protocol: all of a chain must speak the same.
func (c *compiler) speaks(service string) error {
	protocol := ""
	if proxy, ok := c.look(api.ProxyDefaults, api.ProxyConfigGlobal).(*api.ProxyConfigEntry); ok {
		protocol, _ = proxy.Config["protocol"].(string)
	}
	if defaults, ok := c.look(api.ServiceDefaults, service).(*api.ServiceConfigEntry); ok {
		protocol = defaults.Protocol // also an empty one
	}
	if protocol = strings.ToLower(protocol); protocol == "" {
		protocol = "tcp"
	}
	switch c.chain.Protocol {
	case protocol:
	case "":
		c.chain.Protocol = protocol
	default:
		return fmt.Errorf("discovery chain %q uses inconsistent protocols; service %q has %q which is not %q",
			c.service, service, protocol, c.chain.Protocol)
	}
	return nil
}

func (c *compiler) add(node *api.DiscoveryGraphNode) string {
	name := node.Type + ":" + node.Name
	c.chain.Nodes[name] = node
	return name
}

func nodeName(service string) string { return service + "." + scope + "." + scope }

// router compiles the routes, and the one that Consul appends for requests
// that none of them takes.
func (c *compiler) router(e *api.ServiceRouterConfigEntry) (string, error) {
	c.layered = true
	if err := c.speaks(e.Name); err != nil {
		return "", err
	}
	node := &api.DiscoveryGraphNode{Type: api.DiscoveryGraphNodeTypeRouter, Name: nodeName(e.Name)}
	routes := append(slices.Clone(e.Routes), api.ServiceRoute{
		Match:       &api.ServiceRouteMatch{HTTP: &api.ServiceRouteHTTPMatch{PathPrefix: "/"}},
		Destination: &api.ServiceRouteDestination{Service: e.Name, Namespace: scope, Partition: scope},
	})
	for i, r := range routes {
		to, subset := e.Name, ""
		if r.Destination != nil {
			to, subset = orElse(r.Destination.Service, e.Name), r.Destination.ServiceSubset
		}
		var next string
		var err error
		if subset == "" {
			next, err = c.split(to)
		} else {
			next, err = c.resolve(target{service: to, subset: subset})
		}
		if err != nil {
			return "", err
		}
		node.Routes = append(node.Routes, &api.DiscoveryRoute{Definition: &routes[i], NextNode: next})
	}
	return c.add(node), nil
}

// split is the node of a service's splitter or, without one, its resolver.
func (c *compiler) split(service string) (string, error) {
	e, ok := c.look(api.ServiceSplitter, service).(*api.ServiceSplitterConfigEntry)
	if !ok {
		return c.resolve(target{service: service})
	}
	c.layered = true
	if slices.Contains(c.open, service) {
		return "", fmt.Errorf("detected circular reference: [%s]", strings.Join(append(c.open, service), " -> "))
	}
	c.open = append(c.open, service)
	defer func() { c.open = c.open[:len(c.open)-1] }()
	node := &api.DiscoveryGraphNode{Type: api.DiscoveryGraphNodeTypeSplitter, Name: nodeName(service)}
	for _, split := range e.Splits {
		to := orElse(split.Service, service)
		var next string
		var err error
		if to != service && split.ServiceSubset == "" {
			next, err = c.split(to)
		} else {
			next, err = c.resolve(target{service: to, subset: split.ServiceSubset})
		}
		if err != nil {
			return "", err
		}
		node.Splits = append(node.Splits, &api.DiscoverySplit{Weight: split.Weight, NextNode: next})
	}
	return c.add(node), nil
}

func orElse(s, other string) string {
	if s == "" {
		return other
	}
	return s
}

// defaultTimeout is what a resolver that names none connects within.
const defaultTimeout = 5 * time.Second
