package consul

import (
	"context"
	"fmt"
	"sort"

	"github.com/hashicorp/consul/api"

	"github.com/tealdeploy/teal/agent/deployment"
)

// ColourMeta is the service meta that gives an instance its colour.
const ColourMeta = "teal_colour"

// Instances reads what Connect routes a service's requests to, ordered by
// node and ID.
//
// Health and colour are those of what the proxies see: a Connect-native
// instance itself, or else its sidecar, whose own meta the subset filters
// look at. ID, address and port are the application's, so that gates can talk
// plain HTTP to it: for a sidecar they are looked up by DestinationServiceID
// on the same node. When the application is not in the catalog, they are the
// sidecar's own.
func (c *Client) Instances(ctx context.Context, service string, index uint64) ([]deployment.Instance, uint64, error) {
	return c.instances(ctx, service, true, index)
}

// PlainInstances reads a service's instances as registered, whether or not
// they take part in the mesh. A sidecar is a service of its own and not among
// them.
func (c *Client) PlainInstances(ctx context.Context, service string, index uint64) ([]deployment.Instance, uint64, error) {
	return c.instances(ctx, service, false, index)
}

func (c *Client) instances(ctx context.Context, service string, connect bool, index uint64) ([]deployment.Instance, uint64, error) {
	op, rule := fmt.Sprintf("read instances of %q", service), Rule{"service", service, "read"}
	from, give := c.held.Hold(index) // or Watch asks again, in three seconds at most
	defer give()
	ctx, done := c.bound(ctx, from)
	defer done()
	health := c.api.Health()
	ask := health.Service
	if connect {
		ask = health.Connect
	}
	var entries []*api.ServiceEntry
	last, err := c.newest(ctx, from, func(q *api.QueryOptions) (meta *api.QueryMeta, err error) {
		if entries, meta, err = ask(service, "", false, q); err == nil {
			err = filtered(op, Rule{"node_prefix", "", "read"}, meta)
		}
		return meta, err
	})
	if err != nil {
		return nil, 0, c.wrap(ctx, op, &rule, err)
	}
	var apps []*api.ServiceEntry
	for _, e := range entries {
		if e.Service.Kind == api.ServiceKindConnectProxy {
			if apps, _, err = health.Service(service, "", false, c.read(ctx, 0)); err != nil {
				return nil, 0, c.wrap(ctx, op, &rule, err)
			}
			break
		}
	}
	return fold(entries, apps), last, nil
}

// fold turns health entries into instances, giving sidecars the address of
// the application behind them.
func fold(entries, apps []*api.ServiceEntry) []deployment.Instance {
	type place struct{ node, id string }
	behind := make(map[place]*api.ServiceEntry, len(apps))
	for _, a := range apps {
		behind[place{a.Node.Node, a.Service.ID}] = a
	}
	out := make([]deployment.Instance, 0, len(entries))
	for _, e := range entries {
		at := e
		if e.Service.Kind == api.ServiceKindConnectProxy && e.Service.Proxy != nil {
			if app := behind[place{e.Node.Node, e.Service.Proxy.DestinationServiceID}]; app != nil {
				at = app
			}
		}
		i := deployment.Instance{
			ID: at.Service.ID, Node: at.Node.Node, Address: at.Service.Address, Port: at.Service.Port,
			Colour: deployment.None, Health: deployment.Health(e.Checks.AggregatedStatus()), Meta: e.Service.Meta,
		}
		if i.Address == "" {
			i.Address = at.Node.Address
		}
		if colour, err := deployment.ParseColour(e.Service.Meta[ColourMeta]); err == nil {
			i.Colour = colour
		}
		if i.Health == api.HealthMaint {
			i.Health = deployment.Critical
		}
		out = append(out, i)
	}
	sort.Slice(out, func(a, b int) bool {
		if out[a].Node != out[b].Node {
			return out[a].Node < out[b].Node
		}
		return out[a].ID < out[b].ID
	})
	return out
}
