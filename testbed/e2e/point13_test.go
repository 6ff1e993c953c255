package e2e

import (
	"context"
	"fmt"
	"testing"
	"time"

	consulapi "github.com/hashicorp/consul/api"

	"github.com/tealdeploy/teal/agent/deployment"
	"github.com/tealdeploy/teal/testbed/cluster"
	"github.com/tealdeploy/teal/testbed/world"
)

// router reads a service's router entry as an operator does.
func (s *stage) router(service string) *consulapi.ServiceRouterConfigEntry {
	s.t.Helper()
	entry, _, err := s.ConsulClient().ConfigEntries().Get(consulapi.ServiceRouter, service, nil)
	s.must(err)
	return entry.(*consulapi.ServiceRouterConfigEntry)
}

// editRouter puts a route before the others, as a person in a hurry does.
func (s *stage) editRouter(service, path string) {
	s.t.Helper()
	entry := s.router(service)
	entry.Routes = append([]consulapi.ServiceRoute{pathRoute(path)}, entry.Routes...)
	_, _, err := s.ConsulClient().ConfigEntries().Set(entry, nil)
	s.must(err)
}

func pathRoute(path string) consulapi.ServiceRoute {
	return consulapi.ServiceRoute{
		Match:       &consulapi.ServiceRouteMatch{HTTP: &consulapi.ServiceRouteHTTPMatch{PathPrefix: path}},
		Destination: &consulapi.ServiceRouteDestination{RequestTimeout: 7 * time.Second, NumRetries: 3},
	}
}

// edited says whether a person's route is still there.
func (s *stage) edited(service, path string) error {
	entry, _, err := s.ConsulClient().ConfigEntries().Get(consulapi.ServiceRouter, service, nil)
	if err != nil {
		return err
	}
	for _, r := range entry.(*consulapi.ServiceRouterConfigEntry).Routes {
		if r.Match != nil && r.Match.HTTP != nil && r.Match.HTTP.PathPrefix == path {
			return nil
		}
	}
	return fmt.Errorf("the route for %s is gone", path)
}

// A router that somebody edits during the watch is noticed, shown, and holds
// the release; it is never overwritten in silence. Resume accepts the edit.
func TestPoint13RouterEditedByHand(t *testing.T) {
	s := open(t, "p13")
	s.agent("a")
	v := world.Service{Name: "p13", Version: "1.0.0"}
	s.begin(v)
	c := s.calls("p13", world.TrafficOptions{})
	v.Version, v.Watch = "2.0.0", 15*time.Second // among many moves an edit is found some 6 s late: docs/adr/0021
	s.write(v)
	d := s.comes("p13", "2.0.0", deployment.Watching)
	c.serves(d.To)
	s.editRouter("p13", "/by-hand")
	rec := s.record("p13", "that it is held", func(r deployment.Service) bool { return r.Held != nil })
	s.says(rec.Held.Reason, "/by-hand")
	s.says(s.teal(0, "status", "p13").Out, "/by-hand")
	s.remains("held", time.Until(rec.Deployment.Since.Add(18*time.Second)), func() error {
		now, err := s.Record(t.Context(), "p13")
		if err == nil && (now.Held == nil || now.Deployment.State != deployment.Watching) {
			err = fmt.Errorf("it went on to %s", now.Deployment.State)
		}
		if err != nil {
			return err
		}
		return s.edited("p13", "/by-hand")
	})
	s.teal(0, "resume", "p13")
	s.ends("p13", "2.0.0", deployment.Succeeded)
	s.must(s.edited("p13", "/by-hand"))

	// The route a person added follows the next cutover.
	v.Version, v.Watch = "3.0.0", 2*time.Second
	s.write(v)
	d = s.ends("p13", "3.0.0", deployment.Succeeded)
	c.serves(d.To)
	s.must(s.edited("p13", "/by-hand"))
	s.must(cluster.Await(s.soon(), func(ctx context.Context) error {
		_, subset, err := c.Ask(ctx, "/by-hand", "", "")
		if err == nil && subset != string(d.To) {
			err = fmt.Errorf("/by-hand goes to %q", subset)
		}
		return err
	}))
	c.unharmed()
}

// A rollback does not wait for the edit to be looked at: it keeps it.
func TestPoint13RollbackKeepsTheEdit(t *testing.T) {
	s := open(t, "p13b")
	s.agent("a")
	v := world.Service{Name: "p13b", Version: "1.0.0"}
	s.begin(v)
	c := s.calls("p13b", world.TrafficOptions{})
	v.Version, v.Watch = "2.0.0", time.Minute
	s.write(v)
	d := s.comes("p13b", "2.0.0", deployment.Watching)
	c.serves(d.To)
	s.editRouter("p13b", "/by-hand")
	s.record("p13b", "that it is held", func(r deployment.Service) bool { return r.Held != nil })
	s.teal(0, "rollback", "p13b")
	s.ends("p13b", "2.0.0", deployment.RolledBack)
	c.serves(d.From)
	s.must(s.edited("p13b", "/by-hand"))
	c.answers("1.0.0", 20)
	c.unharmed()
}

// Where the policy says repair, Teal writes its own routes back.
func TestPoint13PolicyMayRepair(t *testing.T) {
	s := open(t, "p13c")
	s.agent("a")
	v := world.Service{Name: "p13c", Version: "1.0.0", Cutover: `on_edit = "repair"`}
	s.begin(v)
	c := s.calls("p13c", world.TrafficOptions{})
	v.Version, v.Watch = "2.0.0", 5*time.Second
	s.write(v)
	d := s.comes("p13c", "2.0.0", deployment.Watching)
	c.serves(d.To)
	s.editRouter("p13c", "/by-hand")
	s.must(cluster.Await(s.soon(), func(context.Context) error {
		if s.edited("p13c", "/by-hand") == nil {
			return fmt.Errorf("the edit is still there")
		}
		return nil
	}))
	s.ends("p13c", "2.0.0", deployment.Succeeded)
	c.answers("2.0.0", 20)
	c.unharmed()
}
