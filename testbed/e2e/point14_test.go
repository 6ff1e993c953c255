package e2e

import (
	"os"
	"path/filepath"
	"reflect"
	"testing"
	"time"

	consulapi "github.com/hashicorp/consul/api"

	"github.com/tealdeploy/teal/agent/deployment"
	"github.com/tealdeploy/teal/testbed/world"
)

// forget removes a service's policy and jobspec.
func (s *stage) forget(service string) {
	s.t.Helper()
	s.must(os.Remove(filepath.Join(s.Policies, service+".hcl")))
	s.must(os.Remove(filepath.Join(s.Policies, service+".nomad.hcl")))
}

// A policy that is removed leaves traffic and jobs as they are. Giving the
// service back restores the entries that were there before Teal, byte for
// byte, and the active colour goes on serving.
func TestPoint14PolicyRemovedAndServiceGivenBack(t *testing.T) {
	s := open(t, "p14")
	s.http("p14")
	original := &consulapi.ServiceRouterConfigEntry{
		Kind: consulapi.ServiceRouter, Name: "p14",
		Meta: map[string]string{"owner": "shop"},
		Routes: []consulapi.ServiceRoute{{
			Match: &consulapi.ServiceRouteMatch{HTTP: &consulapi.ServiceRouteHTTPMatch{PathPrefix: "/v1/"}},
			Destination: &consulapi.ServiceRouteDestination{
				PrefixRewrite: "/", RequestTimeout: 3 * time.Second, NumRetries: 2, RetryOnConnectFailure: true,
			},
		}},
	}
	_, _, err := s.ConsulClient().ConfigEntries().Set(original, nil)
	s.must(err)
	v := world.Service{Name: "p14", Version: "1.0.0"}
	s.must(s.RunPlain(s.soon(), v))
	before := s.router("p14")
	c := s.calls("p14", world.TrafficOptions{Uncoloured: "blue"})

	s.agent("a")
	s.write(v)
	s.record("p14", "that it is adopted", func(r deployment.Service) bool { return r.Managed && r.Route.Prepared })
	v.Version, v.Then = "2.0.0", "stop"
	s.write(v)
	d := s.ends("p14", "2.0.0", deployment.Succeeded)
	c.serves(d.To)
	s.must(s.edited("p14", "/v1/")) // the user's own route was kept

	s.forget("p14")
	c.answers("2.0.0", 100)
	running, err := s.Running(s.soon(), "p14-"+string(d.To))
	s.must(err)
	if len(running) != 2 {
		t.Errorf("without a policy %d instances run, want 2", len(running))
	}

	s.teal(0, "release", "p14")
	s.record("p14", "that it was given back", func(r deployment.Service) bool { return !r.Managed })
	after := s.router("p14")
	before.CreateIndex, before.ModifyIndex = 0, 0
	after.CreateIndex, after.ModifyIndex = 0, 0
	if !reflect.DeepEqual(before, after) {
		t.Errorf("the router before Teal:\n%+v\nand after it:\n%+v", before, after)
	}
	if entry, _, err := s.ConsulClient().ConfigEntries().Get(consulapi.ServiceResolver, "p14", nil); err == nil {
		t.Errorf("a resolver is left that was not there before: %+v", entry)
	}
	c.answers("2.0.0", 100)
	c.s.must(c.EndLoad())
	n := c.Load.Count()
	t.Log(n)
	if n.Lost != 0 || n.Versions["1.0.0"]+n.Versions["2.0.0"]+n.Lost != n.Requests {
		t.Errorf("requests were lost: %s", n)
	}
}

// A service that had no entries at all has none after it was given back.
func TestPoint14NothingIsLeft(t *testing.T) {
	s := open(t, "p14b")
	s.agent("a")
	v := world.Service{Name: "p14b", Version: "1.0.0"}
	s.begin(v)
	c := s.calls("p14b", world.TrafficOptions{})
	s.forget("p14b")
	s.teal(0, "release", "p14b")
	for _, kind := range []string{consulapi.ServiceRouter, consulapi.ServiceResolver} {
		if entry, _, err := s.ConsulClient().ConfigEntries().Get(kind, "p14b", nil); err == nil {
			t.Errorf("left over: %+v", entry)
		}
	}
	c.answers("1.0.0", 50)
	s.must(c.EndLoad())
	if n := c.Load.Count(); n.Lost != 0 {
		t.Errorf("requests were lost: %s", n)
	}
	s.says(s.teal(0, "status").Out, "p14b", "released")
}

// A route that a person added, and that Teal was told to accept, stays when the
// service is given back, and with it the protocol that it needs.
func TestPoint14AcceptedRouteStays(t *testing.T) {
	s := open(t, "p14c")
	s.agent("a")
	s.begin(world.Service{Name: "p14c", Version: "1.0.0"})
	c := s.calls("p14c", world.TrafficOptions{})
	s.editRouter("p14c", "/admin/")
	s.record("p14c", "that the edit is seen", func(r deployment.Service) bool { return r.Held != nil })
	s.teal(0, "resume", "p14c")
	s.record("p14c", "that the edit is accepted", func(r deployment.Service) bool { return r.Held == nil })
	s.forget("p14c")
	s.teal(0, "release", "p14c")
	if routes := s.router("p14c").Routes; len(routes) != 1 || routes[0].Match.HTTP.PathPrefix != "/admin/" {
		t.Errorf("routes that are left: %+v", routes)
	}
	entry, _, err := s.ConsulClient().ConfigEntries().Get(consulapi.ServiceDefaults, "p14c", nil)
	s.must(err)
	if d := entry.(*consulapi.ServiceConfigEntry); d.Protocol != "http" || len(d.Meta) != 0 {
		t.Errorf("service-defaults that are left: %+v", d)
	}
	c.answers("1.0.0", 50)
	s.must(c.EndLoad())
	if n := c.Load.Count(); n.Lost != 0 {
		t.Errorf("requests were lost: %s", n)
	}
}
