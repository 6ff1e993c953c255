package consul

import (
	"context"
	"fmt"

	"github.com/hashicorp/consul/api"
)

// RegisterService registers a service, with its checks, at the local Consul
// agent; registering it again replaces it.
func (c *Client) RegisterService(ctx context.Context, reg *api.AgentServiceRegistration) error {
	ctx, done := c.bound(ctx, 0)
	defer done()
	opts := api.ServiceRegisterOpts{}.WithContext(ctx)
	if c.token != nil {
		opts.Token = c.token()
	}
	err := c.api.Agent().ServiceRegisterOpts(reg, opts)
	return c.wrap(ctx, fmt.Sprintf("register service %q", reg.Name), &Rule{"service", reg.Name, "write"}, err)
}

// DeregisterService removes a service from the local Consul agent; one that
// is not registered there is no error.
func (c *Client) DeregisterService(ctx context.Context, id string) error {
	ctx, done := c.bound(ctx, 0)
	defer done()
	err := c.api.Agent().ServiceDeregisterOpts(id, c.options(ctx))
	if code := status(err); code == 404 {
		return nil
	}
	return c.wrap(ctx, fmt.Sprintf("deregister service %q", id), &Rule{"service_prefix", "", "write"}, err)
}
