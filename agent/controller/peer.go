package controller

import (
	"context"
	"fmt"

	"github.com/tealdeploy/teal/agent/deployment"
	"github.com/tealdeploy/teal/gates"
)

// peer tells of another service: its record as Consul has it, and its active
// colour's instances. nil: Teal has no record of it.
func (j job) peer(ctx context.Context, service string) (*gates.Peer, error) {
	raw, err := j.read(ctx, j.l.t.c.cfg.Keys.State(service))
	if err != nil || raw == nil {
		return nil, err
	}
	rec, err := deployment.Decode(service, raw)
	if err != nil {
		return nil, err
	}
	slot := rec.Slots[rec.Active]
	p := &gates.Peer{Managed: rec.Managed, Active: rec.Active, Version: slot.Version, Releasing: unsettled(rec), Expected: slot.Expected}
	if !p.Managed || !p.Active.Valid() || p.Releasing != "" {
		return p, nil
	}
	list, _, err := j.l.t.c.cfg.Catalog.Instances(ctx, service, 0)
	if err != nil {
		return nil, fmt.Errorf("instances of %s: %w", service, err)
	}
	p.Instances = view{instances: list}.of(rec.Active, rec.Route.Loose)
	return p, nil
}

// unsettled says what is being released, or nothing. A version whose watch has
// passed is settled: the soak keeps the way back, and judges it no more than
// any other.
func unsettled(rec deployment.Service) string {
	if !rec.InFlight() {
		return ""
	}
	switch d := rec.Deployment; d.State {
	case deployment.Soaking, deployment.Retiring:
		return ""
	default:
		return fmt.Sprintf("%s is %s", named(d.Candidate), d.State)
	}
}
