package main

import (
	"context"
	"fmt"
	"time"

	consulapi "github.com/hashicorp/consul/api"

	"github.com/tealdeploy/teal/testbed/world"
)

// floor is a service that nobody but the bench routes: two subsets, a router,
// and an instance of each colour that no check watches.
type floor struct {
	*world.Traffic
	world *world.World
	index uint64 // of the router
	now   string
}

const floorService = "bench-floor"

func newFloor(ctx context.Context, w *world.World) (*floor, error) {
	f := &floor{world: w, now: "blue"}
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
	if f.Traffic, err = w.NewTraffic(floorService, world.TrafficOptions{}); err != nil {
		return nil, err
	}
	return f, f.Serves(ctx, "blue", 1)
}

// router has the routes that Teal's have.
func (f *floor) router(active string) *consulapi.ServiceRouterConfigEntry {
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

func (f *floor) read() error {
	e, _, err := f.world.ConsulClient().ConfigEntries().Get(consulapi.ServiceRouter, floorService, nil)
	if err == nil {
		f.index = e.GetModifyIndex()
	}
	return err
}

// sample is one bare compare-and-set, with the index known beforehand as it is
// to Teal, until the route is at the data plane.
func (f *floor) sample(ctx context.Context) (time.Duration, error) {
	f.now = map[string]string{"blue": "green", "green": "blue"}[f.now]
	entry := f.router(f.now)
	began := time.Now()
	ok, _, err := f.world.ConsulClient().ConfigEntries().CAS(entry, f.index, (&consulapi.WriteOptions{}).WithContext(ctx))
	if err != nil || !ok {
		return 0, fmt.Errorf("floor: compare-and-set of the router: %t, %w", ok, err)
	}
	at, err := arrival(ctx, f.Traffic, f.now, began)
	if err != nil {
		return 0, err
	}
	return at.Sub(began), f.read()
}
