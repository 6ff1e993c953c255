package consultest

import (
	"fmt"
	"slices"
	"strings"

	"github.com/hashicorp/consul/api"
)

// target is some of a service's instances: a subset of it, in a datacenter.
type target struct{ service, subset, datacenter string }

func (t target) id() string {
	id := strings.Join([]string{t.service, scope, scope, orElse(t.datacenter, datacenter)}, ".")
	if t.subset != "" {
		id = t.subset + "." + id
	}
	return id
}

// rewritten is t with whatever is said of it; another service's default subset
// is its own affair.
func (t target) rewritten(service, subset, dc string) target {
	if service != "" && service != t.service {
		t.service, t.subset = service, ""
	}
	return target{t.service, orElse(subset, t.subset), orElse(dc, t.datacenter)}
}

// resolve is the node that leads to a target.
func (c *compiler) resolve(t target) (string, error) {
	t, resolver, err := c.settle(t)
	if err != nil {
		return "", err
	}
	node := &api.DiscoveryGraphNode{Type: api.DiscoveryGraphNodeTypeResolver, Name: t.id(), LoadBalancer: resolver.LoadBalancer,
		Resolver: &api.DiscoveryResolver{Default: plain(resolver), Target: t.id(), ConnectTimeout: c.chain.Targets[t.id()].ConnectTimeout}}
	for _, to := range failover(t, resolver) {
		if to, _, err = c.settle(to); err != nil {
			return "", err
		}
		if node.Resolver.Failover == nil {
			node.Resolver.Failover = &api.DiscoveryFailover{}
		}
		node.Resolver.Failover.Targets = append(node.Resolver.Failover.Targets, to.id())
	}
	return c.add(node), nil
}

// settle follows redirects and default subsets to where a target really is,
// and keeps it in the chain.
func (c *compiler) settle(t target) (target, *api.ServiceResolverConfigEntry, error) {
	var seen []string
	for {
		if slices.Contains(seen, t.id()) {
			return t, nil, fmt.Errorf("detected circular resolver redirect: [%s]", strings.Join(append(seen, t.id()), " -> "))
		}
		seen = append(seen, t.id())
		if err := c.speaks(t.service); err != nil {
			return t, nil, err
		}
		resolver, ok := c.look(api.ServiceResolver, t.service).(*api.ServiceResolverConfigEntry)
		if !ok {
			resolver = &api.ServiceResolverConfigEntry{}
		}
		next := t
		if r := resolver.Redirect; r != nil {
			next = t.rewritten(r.Service, r.ServiceSubset, r.Datacenter)
		}
		if next.id() == t.id() && t.subset == "" {
			next.subset = resolver.DefaultSubset
		}
		if next.id() != t.id() {
			t = next
			continue
		}
		subset, defined := resolver.Subsets[t.subset]
		if t.subset != "" && !defined {
			return t, nil, fmt.Errorf("service %q does not have a subset named %q", t.service, t.subset)
		}
		timeout := resolver.ConnectTimeout
		if timeout <= 0 {
			timeout = defaultTimeout
		}
		c.chain.Targets[t.id()] = &api.DiscoveryTarget{ID: t.id(), Service: t.service, ServiceSubset: t.subset,
			Namespace: scope, Datacenter: orElse(t.datacenter, datacenter), Subset: subset, ConnectTimeout: timeout}
		return t, resolver, nil
	}
}

// failover are the targets that stand in for one whose instances all fail.
func failover(t target, resolver *api.ServiceResolverConfigEntry) (targets []target) {
	f, ok := resolver.Failover[t.subset]
	if !ok {
		if f, ok = resolver.Failover["*"]; !ok {
			return nil
		}
	}
	add := func(to target) {
		if to.id() != t.id() {
			targets = append(targets, to)
		}
	}
	switch {
	case len(f.Datacenters) > 0:
		for _, dc := range f.Datacenters {
			add(t.rewritten(f.Service, f.ServiceSubset, dc))
		}
	case len(f.Targets) > 0:
		for _, to := range f.Targets {
			add(t.rewritten(to.Service, to.ServiceSubset, to.Datacenter))
		}
	default:
		add(t.rewritten(f.Service, f.ServiceSubset, ""))
	}
	return targets
}

// plain says whether a resolver changes nothing.
func plain(e *api.ServiceResolverConfigEntry) bool {
	return e.DefaultSubset == "" && len(e.Subsets) == 0 && e.Redirect == nil && len(e.Failover) == 0 &&
		e.ConnectTimeout == 0 && e.RequestTimeout == 0 && e.LoadBalancer == nil
}
