package traffic

import (
	"context"
	"fmt"

	"github.com/hashicorp/consul/api"

	"github.com/tealdeploy/teal/agent/deployment"
)

// Verify reads the entry back, then what Consul compiles from it for the
// proxies, then takes the resolver's default subset along.
func (r *entries) Verify(ctx context.Context, t Target, m Move) error {
	e, err := r.read(ctx, t, r.main)
	if err != nil {
		return err
	}
	if e == nil {
		return &EditedError{r.main.kind(), t.Service, []string{"it was deleted"}}
	}
	o := inspect(r.main, e)
	switch {
	case o.Epoch > t.Epoch:
		return deposed(r.main.kind(), t.Service, o.Epoch, t.Epoch)
	case o.Edited && !m.Rollback:
		return &EditedError{r.main.kind(), t.Service, o.Changes}
	case o.Colour != m.To:
		return fmt.Errorf("%s %s sends requests to %s, not to %s: %w", r.main.kind(), t.Service, o.Colour, m.To, ErrUnsettled)
	}
	chain, err := r.consul(t).Chain(ctx, t.Service, t.Route.Namespace)
	if err != nil {
		return err
	}
	if router, ok := e.(*api.ServiceRouterConfigEntry); ok {
		err = checkRoutes(chain, router)
	} else {
		err = checkTarget(chain, chain.StartNode, m.To)
	}
	if err != nil || r.companion == nil {
		return err
	}
	return r.follow(ctx, t, m)
}

// follow points the companion's default at the colour. It serves only those
// who do not come through the main entry, so it may lag; it must not be
// forgotten. What a person made of it is waited for, as in the main entry,
// unless this is a rollback.
func (r *entries) follow(ctx context.Context, t Target, m Move) error {
	_, err := r.update(ctx, t, r.companion, func(e api.ConfigEntry) (api.ConfigEntry, error) {
		if e == nil {
			return nil, &EditedError{r.companion.kind(), t.Service, []string{"it was deleted"}}
		}
		o := inspect(r.companion, e)
		switch {
		case o.Colour == m.To:
			return nil, nil
		case o.Edited && !m.Rollback:
			return nil, &EditedError{r.companion.kind(), t.Service, o.Changes}
		}
		move := m.id()
		if m.Deployment == "" {
			move = inspect(r.companion, e).Move // no move, only settling
		}
		return movedTo(r.companion, t, e, m.To, move), nil
	})
	return err
}

// checkRoutes checks that each route that names a colour leads there in the
// compiled chain. Consul appends a route of its own, to the default subset,
// that stands behind our catch-all and takes nothing.
func checkRoutes(chain *api.CompiledDiscoveryChain, e *api.ServiceRouterConfigEntry) error {
	node := chain.Nodes[chain.StartNode]
	if node == nil || node.Type != api.DiscoveryGraphNodeTypeRouter {
		return fmt.Errorf("the discovery chain of %s does not begin with its router: %w", e.Name, ErrUnsettled)
	}
	if len(node.Routes) < len(e.Routes) {
		return fmt.Errorf("the discovery chain of %s has %d routes, the router %d: %w",
			e.Name, len(node.Routes), len(e.Routes), ErrUnsettled)
	}
	u := unframe(e, deployment.None)
	for i, r := range e.Routes {
		if c := u.colourOf(r); c.Valid() {
			if err := checkTarget(chain, node.Routes[i].NextNode, c); err != nil {
				return fmt.Errorf("route %d (%s): %w", i+1, describeMatch(r), err)
			}
		}
	}
	return nil
}

// checkTarget checks that a node of the chain resolves to a colour's subset.
func checkTarget(chain *api.CompiledDiscoveryChain, name string, c deployment.Colour) error {
	node := chain.Nodes[name]
	if node == nil || node.Resolver == nil {
		return fmt.Errorf("the discovery chain of %s leads to %q, which resolves nothing: %w", chain.ServiceName, name, ErrUnsettled)
	}
	target := chain.Targets[node.Resolver.Target]
	if target == nil || target.ServiceSubset != string(c) {
		return fmt.Errorf("the discovery chain of %s leads to %s, not to %s: %w",
			chain.ServiceName, node.Resolver.Target, c, ErrUnsettled)
	}
	return nil
}
