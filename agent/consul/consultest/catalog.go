package consultest

import (
	"context"
	"fmt"
	"maps"
	"sort"

	"github.com/hashicorp/consul/api"

	"github.com/tealdeploy/teal/agent/consul"
	"github.com/tealdeploy/teal/agent/deployment"
)

// instance is one of a service's instances in the catalog.
type instance struct {
	deployment.Instance
	mesh bool // Connect routes to it
}

// SetInstance registers an instance that takes part in the mesh, or replaces
// it, as whatever runs the job does. Its colour is that of its Meta, where
// that has none it is written there.
func (s *Server) SetInstance(service string, i deployment.Instance) {
	s.mu.Lock()
	defer s.mu.Unlock()
	i.Meta = maps.Clone(i.Meta)
	if i.Colour.Valid() && i.Meta[consul.ColourMeta] == "" {
		if i.Meta == nil {
			i.Meta = map[string]string{}
		}
		i.Meta[consul.ColourMeta] = string(i.Colour)
	}
	s.putInstance(service, i, true)
	s.wake()
}

// RemoveInstance deregisters an instance.
func (s *Server) RemoveInstance(service, node, id string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.storeInstance(instanceKey(service, node, id), nil)
	s.wake()
}

func instanceKey(service, node, id string) string { return service + "/" + node + "/" + id }

func (s *Server) putInstance(service string, i deployment.Instance, mesh bool) {
	i.Colour = deployment.None
	if c, err := deployment.ParseColour(i.Meta[consul.ColourMeta]); err == nil {
		i.Colour = c
	}
	s.storeInstance(instanceKey(service, i.Node, i.ID), &instance{i, mesh})
}

// storeInstance stores an instance as it is from now on, nil for none.
func (s *Server) storeInstance(key string, i *instance) {
	s.instances.put(key, i, s.next())
	if s.observe == nil {
		return
	}
	change := Change{Agent: s.writer, Of: Instances, Key: key}
	if i != nil {
		seen := i.Instance
		change.Instance = &seen
	}
	s.observe(change)
}

// Instances is consul.Client's.
func (c *Client) Instances(ctx context.Context, service string, index uint64) ([]deployment.Instance, uint64, error) {
	return c.list(ctx, "Instances", service, index, func(i *instance) bool { return i.mesh })
}

// PlainInstances is consul.Client's.
func (c *Client) PlainInstances(ctx context.Context, service string, index uint64) ([]deployment.Instance, uint64, error) {
	return c.list(ctx, "PlainInstances", service, index, func(*instance) bool { return true })
}

func (c *Client) list(ctx context.Context, op, service string, index uint64, want func(*instance) bool) (all []deployment.Instance, last uint64, err error) {
	last, err = c.read(ctx, op, service, index, func(s *Server, at uint64) found {
		all = []deployment.Instance{}
		newest := s.instances.under(service+"/", at, func(_ string, v version[instance]) {
			if want(v.value) {
				i := v.value.Instance
				i.Meta = maps.Clone(i.Meta)
				all = append(all, i)
			}
		})
		if len(all) == 0 { // Consul knows only when any service last went
			newest = max(min(s.instances.last, at), 1)
		}
		return found{index: newest}
	})
	if err != nil {
		return nil, 0, err
	}
	sort.Slice(all, func(a, b int) bool {
		if all[a].Node != all[b].Node {
			return all[a].Node < all[b].Node
		}
		return all[a].ID < all[b].ID
	})
	return all, last, nil
}

// Ping is consul.Client's.
func (c *Client) Ping(ctx context.Context) error {
	const op = "ping Consul"
	_, err := c.read(ctx, "Ping", "", 0, func(s *Server, _ uint64) found { return found{index: s.index} })
	if err != nil {
		return fmt.Errorf("%s: %w", op, err)
	}
	return nil
}

// worst is the health of what has these checks.
func worst(statuses ...string) deployment.Health {
	health := deployment.Passing
	for _, s := range statuses {
		switch {
		case s == api.HealthCritical:
			return deployment.Critical
		case s == api.HealthWarning:
			health = deployment.Warning
		}
	}
	return health
}
