package traffic

import (
	"context"
	"fmt"
	"slices"

	"github.com/hashicorp/consul/api"

	"github.com/tealdeploy/teal/agent/deployment"
)

// Plan says what Prepare would write, a line an entry, or why it would refuse.
// It writes nothing.
func (r *entries) Plan(ctx context.Context, s Setup) ([]string, error) {
	t := s.Target
	t.Route.Loose = s.Loose
	if err := r.unobstructed(ctx, t); err != nil {
		return nil, err
	}
	var lines []string
	if r.companion != nil {
		line, err := r.planProtocol(ctx, t, s.Protocol)
		if err != nil {
			return nil, err
		}
		lines = append(lines, line...)
	}
	for _, f := range r.forms() {
		e, err := r.consul(t).Entry(ctx, f.kind(), t.Service)
		if err != nil {
			return nil, err
		}
		if e != nil {
			if err := ourOwner(e, t.Owner); err != nil {
				return nil, err
			}
		}
		next, err := prepared(f, t, e, r.first(f, s.Serve, s.Busy))
		switch {
		case err != nil:
			return nil, err
		case next == nil:
			lines = append(lines, fmt.Sprintf("= %s %s", f.kind(), t.Service))
		case e == nil:
			lines = append(lines, fmt.Sprintf("+ %s %s: %s", f.kind(), t.Service, f.adds(next)))
		default:
			lines = append(lines, fmt.Sprintf("~ %s %s: %s; your own part is kept", f.kind(), t.Service, f.adds(next)))
		}
	}
	return lines, nil
}

// planProtocol tells whether service-defaults would be written.
func (r *entries) planProtocol(ctx context.Context, t Target, wanted string) ([]string, error) {
	chain, err := r.consul(t).Chain(ctx, t.Service, t.Route.Namespace)
	if err != nil || slices.Contains(protocols, chain.Protocol) {
		return nil, err
	}
	e, err := r.consul(t).Entry(ctx, api.ServiceDefaults, t.Service)
	if err != nil {
		return nil, err
	}
	if _, err := withProtocol(t, e, wanted, chain.Protocol); err != nil {
		return nil, err
	}
	return []string{fmt.Sprintf("+ %s %s: protocol %q", api.ServiceDefaults, t.Service, wanted)}, nil
}

// adds says what our part of an entry is.
func (routerForm) adds(e api.ConfigEntry) string {
	c, _, _ := routerForm{}.parts(e)
	return fmt.Sprintf("a preview route for each colour (header %s), and all requests to %s", Header, c)
}

func (resolverForm) adds(e api.ConfigEntry) string {
	blue := e.(*api.ServiceResolverConfigEntry).Subsets[string(deployment.Blue)].Filter
	return fmt.Sprintf("subsets blue (%s) and green", blue)
}
