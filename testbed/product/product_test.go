package product_test

import (
	"context"
	"fmt"
	"os"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	consulapi "github.com/hashicorp/consul/api"
	nomadapi "github.com/hashicorp/nomad/api"

	"github.com/tealdeploy/teal/testbed/cluster"
	"github.com/tealdeploy/teal/testbed/dataplane"
	"github.com/tealdeploy/teal/testbed/load"
	"github.com/tealdeploy/teal/testbed/product"
	"github.com/tealdeploy/teal/testbed/xds"
)

const jobspec = `
job "api-%[1]s" {
  group "api" {
    count = 2
    network {
      mode = "host"
      port "http" {}
    }
    service {
      name = "api"
      port = "http"
      meta { teal_colour = "%[1]s" }
      connect { native = true }
      check {
        type     = "http"
        path     = "/health"
        interval = "1s"
        timeout  = "1s"
      }
    }
    update { min_healthy_time = "0s" }
    task "app" {
      driver = "raw_exec"
      config { command = %[2]q }
      env {
        APP_VERSION          = "%[3]s"
        ENVIRONMENT_NAME     = "%[1]s"
        FAULT                = "%[4]s"
        FAULT_AFTER_REQUESTS = "100"
      }
    }
  }
}`

// The whole testbed in one story: Nomad runs two versions of the app, green
// passes its checks, gets the traffic, fails after a hundred requests and the
// traffic goes back; every bad answer is the app's and no request is lost.
func TestReleaseThatFailsLaterGoesBack(t *testing.T) {
	dir := t.TempDir()
	app, err := product.App(t.Context(), dir)
	if err != nil {
		t.Fatal(err)
	}
	c, err := cluster.Start(t.Context(), cluster.Options{Log: os.Stderr})
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := c.Stop(); err != nil {
			t.Error(err)
		}
	}()
	entries := c.ConsulClient().ConfigEntries()
	set := func(e consulapi.ConfigEntry) {
		t.Helper()
		if _, _, err := entries.Set(e, nil); err != nil {
			t.Fatal(err)
		}
	}
	set(&consulapi.ServiceConfigEntry{Kind: consulapi.ServiceDefaults, Name: "api", Protocol: "http"})
	set(&consulapi.ServiceResolverConfigEntry{
		Kind: consulapi.ServiceResolver, Name: "api", DefaultSubset: "blue",
		Subsets: map[string]consulapi.ServiceResolverSubset{
			"blue":  {Filter: "Service.Meta.teal_colour != green", OnlyPassing: true},
			"green": {Filter: "Service.Meta.teal_colour == green", OnlyPassing: true},
		},
	})
	routeTo := func(active string) *consulapi.ServiceRouterConfigEntry {
		return &consulapi.ServiceRouterConfigEntry{Kind: consulapi.ServiceRouter, Name: "api", Routes: []consulapi.ServiceRoute{
			preview("blue"), preview("green"), {Destination: &consulapi.ServiceRouteDestination{ServiceSubset: active}},
		}}
	}
	set(routeTo("blue"))
	register(t, c.NomadClient(), fmt.Sprintf(jobspec, "blue", app, "1", ""))
	register(t, c.NomadClient(), fmt.Sprintf(jobspec, "green", app, "2", "errors"))

	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 2)
	var watching atomic.Pointer[load.Generator]
	f := xds.New(xds.Config{
		Consul: c.ConsulClient(), GRPC: c.Consul[0].GRPC, Caller: "web", Upstream: "api",
		OnChange: func(change xds.Change) {
			if g := watching.Load(); g != nil && change.Kind == "RDS" {
				g.RouteChanged(change.Table.Subset(), change.Applied)
			}
		},
	})
	p, err := dataplane.New("127.0.0.1:0", f.Table)
	if err != nil {
		t.Fatal(err)
	}
	go func() { done <- f.Run(ctx) }()
	go func() { done <- p.Run(ctx) }()
	wait := func(wanted func(xds.Table) bool) {
		t.Helper()
		deadline, stop := context.WithTimeout(t.Context(), 30*time.Second)
		defer stop()
		if _, err := f.WaitRoute(deadline, wanted); err != nil {
			t.Fatal(err)
		}
	}
	wait(func(x xds.Table) bool {
		return x.Subset() == "blue" && x.Healthy("blue") == 2 && x.Healthy("green") == 2
	})

	g := load.New(load.Config{URL: p.URL(), Rate: 200})
	watching.Store(g)
	asking, stop := context.WithCancel(ctx)
	asked := make(chan error, 1)
	go func() { asked <- g.Run(asking) }()
	observe := func(what string, wanted func(load.Count) bool) {
		t.Helper()
		deadline, cancel := context.WithTimeout(t.Context(), 30*time.Second)
		defer cancel()
		if err := cluster.Await(deadline, func(context.Context) error {
			if now := g.Count(); !wanted(now) {
				return fmt.Errorf("%s not seen: %s", what, now)
			}
			return nil
		}); err != nil {
			t.Fatal(err)
		}
	}
	observe("blue serving", func(n load.Count) bool { return n.Colours["blue"] > 100 })
	set(routeTo("green"))
	observe("green failing", func(n load.Count) bool { return n.Injected > 10 })
	set(routeTo("blue"))
	wait(func(x xds.Table) bool { return x.Subset() == "blue" })
	back := g.Count().Colours["blue"]
	observe("blue serving again", func(n load.Count) bool { return n.Colours["blue"] > back+100 })
	stop()
	if err := <-asked; err != nil {
		t.Error(err)
	}
	n := g.Count()
	t.Log(n)
	if n.Lost != 0 || n.WrongColour != 0 || n.Versions["2"] < 150 {
		t.Error("want no request lost, none of the wrong colour, and green to have served before it failed")
	}
	cancel()
	for range 2 {
		if err := <-done; err != nil {
			t.Error(err)
		}
	}
}

func preview(colour string) consulapi.ServiceRoute {
	return consulapi.ServiceRoute{
		Match: &consulapi.ServiceRouteMatch{HTTP: &consulapi.ServiceRouteHTTPMatch{
			Header: []consulapi.ServiceRouteHTTPMatchHeader{{Name: "x-teal-colour", Exact: colour}},
		}},
		Destination: &consulapi.ServiceRouteDestination{ServiceSubset: colour},
	}
}

func register(t *testing.T, client *nomadapi.Client, text string) {
	t.Helper()
	job, err := client.Jobs().ParseHCL(text, true)
	if err != nil {
		t.Fatal(err)
	}
	if _, _, err := client.Jobs().Register(job, nil); err != nil {
		t.Fatal(err)
	}
}

// The product's module is found and is this checkout's.
func TestRoot(t *testing.T) {
	root, err := product.Root(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(root + "/go.mod")
	if err != nil || !slices.Contains(strings.Split(string(text), "\n"), "module github.com/tealdeploy/teal") {
		t.Errorf("%s: %v", root, err)
	}
}
