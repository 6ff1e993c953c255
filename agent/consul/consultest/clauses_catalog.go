package consultest

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/hashicorp/consul/api"

	"github.com/tealdeploy/teal/agent/consul"
	"github.com/tealdeploy/teal/agent/deployment"
)

// outline is a chain as lines of text, with x's service as "svc": what each
// node leads to.
func (x *trial) outline(service string) (lines []string) {
	x.t.Helper()
	chain, err := x.Chain(x.ctx, service, "")
	x.must(err)
	lines = append(lines, fmt.Sprintf("%s %s default=%v meta=%v", chain.Protocol, chain.StartNode, chain.Default, chain.ServiceMeta))
	for name, n := range chain.Nodes {
		line := name + " ->"
		if n.Type+":"+n.Name != name {
			line += " (" + n.Type + " " + n.Name + ")"
		}
		for _, r := range n.Routes {
			line += " " + r.NextNode
		}
		for _, s := range n.Splits {
			line += fmt.Sprintf(" %v%%%s", s.Weight, s.NextNode)
		}
		if n.Resolver != nil {
			target := chain.Targets[n.Resolver.Target]
			line += fmt.Sprintf(" %s (%s of %s in %s, %q, %s)", target.ID, target.ServiceSubset, target.Service, target.Datacenter,
				target.Subset.Filter, n.Resolver.ConnectTimeout)
			if n.Resolver.Failover != nil {
				line += " else " + strings.Join(n.Resolver.Failover.Targets, " ")
			}
		}
		lines = append(lines, line)
	}
	slices.Sort(lines[1:])
	for i := range lines {
		lines[i] = strings.ReplaceAll(strings.ReplaceAll(lines[i], x.id, "svc"), ".default.default", "")
	}
	return lines
}

func (x *trial) chains() {
	check := func(service string, want ...string) {
		x.t.Helper()
		if got := x.outline(service); !slices.Equal(got, want) {
			x.t.Errorf("chain of %s:\n%s\nwant\n%s", strings.ReplaceAll(service, x.id, "svc"), strings.Join(got, "\n"), strings.Join(want, "\n"))
		}
	}
	bare := `resolver:svc.dc1 -> svc.dc1 ( of svc in dc1, "", 5s)`
	check(x.id, "tcp resolver:svc.dc1 default=true meta=map[]", bare)
	defaults := x.defaults("http")
	defaults.Meta = map[string]string{"team": "web"}
	x.setEntry(defaults)
	check(x.id, "http resolver:svc.dc1 default=true meta=map[team:web]", bare)

	x.setEntry(x.resolver("blue", "green"))
	router := x.router("green")
	router.Routes = append([]api.ServiceRoute{
		{Match: router.Routes[0].Match, Destination: &api.ServiceRouteDestination{ServiceSubset: "blue"}}, {},
	}, router.Routes...)
	x.setEntry(router)
	blue := `resolver:blue.svc.dc1 -> blue.svc.dc1 (blue of svc in dc1, "Service.Meta.teal_colour == blue", 5s)`
	green := `resolver:green.svc.dc1 -> green.svc.dc1 (green of svc in dc1, "Service.Meta.teal_colour == green", 5s)`
	check(x.id, "http router:svc default=false meta=map[team:web]", blue, green, bare,
		"router:svc -> resolver:blue.svc.dc1 resolver:svc.dc1 resolver:green.svc.dc1 resolver:svc.dc1")

	resolver := x.resolver("blue", "green")
	resolver.DefaultSubset, resolver.ConnectTimeout = "blue", 2*time.Second
	x.setEntry(resolver)
	blue, green = strings.ReplaceAll(blue, "5s)", "2s)"), strings.ReplaceAll(green, "5s)", "2s)")
	check(x.id, "http router:svc default=false meta=map[team:web]", blue, green,
		"router:svc -> resolver:blue.svc.dc1 resolver:blue.svc.dc1 resolver:green.svc.dc1 resolver:blue.svc.dc1")

	x.setEntry(x.splitter())
	check(x.id, "http router:svc default=false meta=map[team:web]", blue, green,
		"router:svc -> resolver:blue.svc.dc1 splitter:svc resolver:green.svc.dc1 splitter:svc",
		"splitter:svc -> 90%resolver:blue.svc.dc1 10%resolver:green.svc.dc1")

	// Other services go around the router: they get splitter and resolver.
	other := x.service("-other")
	x.setEntry(&api.ServiceConfigEntry{Kind: api.ServiceDefaults, Name: other, Protocol: "http"})
	x.setEntry(&api.ServiceResolverConfigEntry{Kind: api.ServiceResolver, Name: other, Redirect: &api.ServiceResolverRedirect{Service: x.id}})
	check(other, "http resolver:blue.svc.dc1 default=false meta=map[]", blue)
	resolver.Failover = map[string]api.ServiceResolverFailover{"blue": {Service: x.id, ServiceSubset: "green"}, "*": {Datacenters: []string{"dc2"}}}
	x.setEntry(resolver)
	check(other, "http resolver:blue.svc.dc1 default=false meta=map[]", blue+" else green.svc.dc1")
	check(x.id, "http router:svc default=false meta=map[team:web]", blue+" else green.svc.dc1", green+" else green.svc.dc2",
		"router:svc -> resolver:blue.svc.dc1 splitter:svc resolver:green.svc.dc1 splitter:svc",
		"splitter:svc -> 90%resolver:blue.svc.dc1 10%resolver:green.svc.dc1")
}

func (x *trial) instances() {
	node := x.id + "-node"
	instance := func(n int, health deployment.Health, meta map[string]string) deployment.Instance {
		return deployment.Instance{ID: fmt.Sprintf("%s-%d", x.id, n), Node: fmt.Sprintf("%s-%d", node, n), Address: "127.0.0.9", Port: 8000 + n,
			Health: health, Meta: meta}
	}
	// A watch may answer early: it goes on until it has what it wants.
	until := func(index uint64, f func() error, want ...deployment.Instance) uint64 {
		x.t.Helper()
		done := x.meanwhile(func() {
			if err := f(); err != nil {
				x.t.Error(err)
			}
		})
		defer done()
		for began := time.Now(); ; {
			x.looks()
			list, next, err := x.Instances(x.ctx, x.id, index)
			x.must(err)
			late := time.Since(began) > Wait*8/10
			if text(x.t, list) == text(x.t, append([]deployment.Instance{}, want...)) && !late {
				plain, _, err := x.PlainInstances(x.ctx, x.id, 0)
				x.must(err)
				x.equal("plain", plain, list)
				return next
			}
			if late {
				x.t.Fatalf("%s at %d, want %s after %d", text(x.t, list), next, text(x.t, want), index)
			}
			index = next
		}
	}
	set := func(i deployment.Instance) func() error {
		return func() error { return x.SetInstance(x.id, i) }
	}
	list, index, err := x.Instances(x.ctx, x.id, 0)
	x.must(err)
	if len(list) != 0 || index == 0 {
		x.t.Fatalf("%v at %d", list, index)
	}
	colourless := instance(2, deployment.Passing, map[string]string{"version": "1"})
	colourless.Colour = deployment.None
	index = until(index, set(colourless), colourless)
	green := instance(1, deployment.Critical, map[string]string{consul.ColourMeta: "green"})
	green.Colour = deployment.Green
	index = until(index, set(green), green, colourless)
	for _, health := range []deployment.Health{deployment.Warning, deployment.Passing} {
		green.Health = health
		index = until(index, set(green), green, colourless)
	}
	garbled := instance(2, deployment.Passing, map[string]string{consul.ColourMeta: "purple"})
	garbled.Colour = deployment.Blue // only its Meta counts
	give := set(garbled)
	garbled.Colour = deployment.None
	index = until(index, give, green, garbled)
	index = until(index, func() error { return x.RemoveInstance(x.id, green.Node, green.ID) }, garbled)
	index = until(index, func() error { return x.RemoveInstance(x.id, garbled.Node, garbled.ID) })
	until(index, set(green), green)
	x.must(x.RemoveInstance(x.id, green.Node, green.ID))
	x.must(x.Ping(x.ctx))
}

func (x *trial) registered() {
	reg := &api.AgentServiceRegistration{ID: x.id, Name: x.id, Port: 8000, Meta: map[string]string{"a": "b"},
		Check: &api.AgentServiceCheck{TTL: "10m"}}
	is := func(want string) {
		x.t.Helper()
		x.eventually("the catalog says "+want, func() bool {
			list, _, err := x.PlainInstances(x.ctx, x.id, 0)
			x.must(err)
			said := "nothing"
			if len(list) > 0 {
				said = fmt.Sprint(len(list), " ", list[0].ID, list[0].Node, list[0].Port, list[0].Health, list[0].Meta["a"])
			}
			return said == want
		})
	}
	session := func() (string, error) {
		return x.NewSession(x.ctx, &api.SessionEntry{Name: x.id, ServiceChecks: []api.ServiceCheck{{ID: "service:" + x.id}}})
	}
	x.must(x.RegisterService(x.ctx, reg))
	is(fmt.Sprint(1, " ", x.id, x.Node, 8000, deployment.Critical, "b"))
	_, err := session()
	x.is(err, consul.ErrInvalid)
	x.must(x.DeregisterService(x.ctx, x.id))
	x.must(x.DeregisterService(x.ctx, x.id))
	is("nothing")

	reg.Check.Status = api.HealthPassing
	x.must(x.RegisterService(x.ctx, reg))
	is(fmt.Sprint(1, " ", x.id, x.Node, 8000, deployment.Passing, "b"))
	if mesh, _, err := x.Instances(x.ctx, x.id, 0); err != nil || len(mesh) != 0 {
		x.t.Errorf("in the mesh: %v %v", mesh, err)
	}
	// Registered again it keeps its health.
	reg.Check.Status, reg.Port, reg.Connect = "", 8001, &api.AgentServiceConnect{Native: true}
	x.must(x.RegisterService(x.ctx, reg))
	is(fmt.Sprint(1, " ", x.id, x.Node, 8001, deployment.Passing, "b"))
	if mesh, _, err := x.Instances(x.ctx, x.id, 0); err != nil || len(mesh) != 1 {
		x.t.Errorf("not in the mesh: %v %v", mesh, err)
	}
	id, err := session()
	x.must(err)
	x.says(true)(x.Acquire(x.ctx, x.key("lock"), nil, id))
	x.must(x.DeregisterService(x.ctx, x.id))
	x.eventually("the lock is free", func() bool { return x.pair("lock").Session == "" })
}
