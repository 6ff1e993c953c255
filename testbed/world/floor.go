package world

import (
	"context"
	"fmt"
	"time"

	consulapi "github.com/hashicorp/consul/api"
)

// Floor is what a measured cutover is held against: a service that nobody but
// the bench routes, with two subsets, a router, and an instance of each colour
// that no check watches.
type Floor struct {
	*Traffic
	world *World
	index uint64 // of the router
	now   string
}

const floorService = "bench-floor"

// NewFloor registers it and waits until the data plane has its route.
func (w *World) NewFloor(ctx context.Context) (*Floor, error) {
	f := &Floor{world: w, now: "blue"}
	client := w.ConsulClient()
	for i, colour := range []string{"blue", "green"} {
		err := client.Agent().ServiceRegister(&consulapi.AgentServiceRegistration{
			ID: floorService + "-" + colour, Name: floorService, Address: "127.0.0.1", Port: i + 1,
			Meta: map[string]string{"teal_colour": colour}, Connect: &consulapi.AgentServiceConnect{Native: true},
		})
		if err != nil {
			return nil, err
		}
	}
	for _, e := range []consulapi.ConfigEntry{
		&consulapi.ServiceConfigEntry{Kind: consulapi.ServiceDefaults, Name: floorService, Protocol: "http"},
		&consulapi.ServiceResolverConfigEntry{
			Kind: consulapi.ServiceResolver, Name: floorService, DefaultSubset: "blue",
			Subsets: map[string]consulapi.ServiceResolverSubset{
				"blue":  {Filter: "Service.Meta.teal_colour == blue", OnlyPassing: true},
				"green": {Filter: "Service.Meta.teal_colour == green", OnlyPassing: true},
			},
		},
		f.router("blue"),
	} {
		if _, _, err := client.ConfigEntries().Set(e, nil); err != nil {
			return nil, err
		}
	}
	if err := f.read(); err != nil {
		return nil, err
	}
	var err error
	if f.Traffic, err = w.NewTraffic(floorService, TrafficOptions{}); err != nil {
		return nil, err
	}
	return f, f.Serves(ctx, "blue", 1)
}

// router has the routes that Teal's have.
func (f *Floor) router(active string) *consulapi.ServiceRouterConfigEntry {
	e := &consulapi.ServiceRouterConfigEntry{Kind: consulapi.ServiceRouter, Name: floorService}
	for _, colour := range []string{"blue", "green"} {
		e.Routes = append(e.Routes, consulapi.ServiceRoute{
			Match: &consulapi.ServiceRouteMatch{HTTP: &consulapi.ServiceRouteHTTPMatch{
				Header: []consulapi.ServiceRouteHTTPMatchHeader{{Name: "x-teal-colour", Exact: colour}},
			}},
			Destination: &consulapi.ServiceRouteDestination{ServiceSubset: colour},
		})
	}
	e.Routes = append(e.Routes, consulapi.ServiceRoute{
		Match:       &consulapi.ServiceRouteMatch{HTTP: &consulapi.ServiceRouteHTTPMatch{PathPrefix: "/"}},
		Destination: &consulapi.ServiceRouteDestination{ServiceSubset: active},
	})
	return e
}

func (f *Floor) read() error {
	e, _, err := f.world.ConsulClient().ConfigEntries().Get(consulapi.ServiceRouter, floorService, nil)
	if err == nil {
		f.index = e.GetModifyIndex()
	}
	return err
}

// Sample is one bare compare-and-set, with the index known beforehand as it is
// to Teal, until the route is at the data plane.
func (f *Floor) Sample(ctx context.Context) (time.Duration, error) {
	f.now = map[string]string{"blue": "green", "green": "blue"}[f.now]
	entry := f.router(f.now)
	began := time.Now()
	ok, _, err := f.world.ConsulClient().ConfigEntries().CAS(entry, f.index, (&consulapi.WriteOptions{}).WithContext(ctx))
	if err != nil || !ok {
		return 0, fmt.Errorf("floor: compare-and-set of the router: %t, %w", ok, err)
	}
	at, err := f.Arrival(ctx, f.now, began)
	if err != nil {
		return 0, err
	}
	return at.Sub(began), f.read()
}
