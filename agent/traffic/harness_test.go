package traffic

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/hashicorp/consul/api"

	"github.com/tealdeploy/teal/agent/consul"
	"github.com/tealdeploy/teal/agent/deployment"
)

// world is one service in one Consul, with what people and earlier leaders do
// to it. TEAL_TEST_CONSUL names a real Consul to use instead of the fake.
type world struct {
	*testing.T
	ctx     context.Context
	consul  *spy
	service string
}

func newWorld(t *testing.T) *world {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	t.Cleanup(cancel)
	name := strings.ToLower(strings.NewReplacer("/", "-", "_", "-").Replace(t.Name()))
	return &world{t, ctx, &spy{Consul: anyConsul(t)}, fmt.Sprintf("%.60s-%d", name, time.Now().UnixNano()%1e6)}
}

func anyConsul(t *testing.T) Consul {
	t.Helper()
	address := os.Getenv("TEAL_TEST_CONSUL")
	if address == "" {
		return fakeConsul()
	}
	c, err := consul.New(consul.Config{API: &api.Config{Address: address}})
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// spy counts requests, and does to the next write what a test asks for.
type spy struct {
	Consul
	reads, writes int      // of config entries
	asked         []string // every request, in order
	onWrite       func(write func() (bool, error)) (bool, error)
}

func (s *spy) Entry(ctx context.Context, kind, name string) (api.ConfigEntry, error) {
	s.reads++
	s.asked = append(s.asked, "read "+kind)
	return s.Consul.Entry(ctx, kind, name)
}

func (s *spy) SetEntry(ctx context.Context, e api.ConfigEntry, index uint64) (bool, error) {
	s.writes++
	s.asked = append(s.asked, "write "+e.GetKind())
	return s.suffer(func() (bool, error) { return s.Consul.SetEntry(ctx, e, index) })
}

func (s *spy) DeleteEntry(ctx context.Context, kind, name string, index uint64) (bool, error) {
	s.asked = append(s.asked, "delete "+kind)
	return s.suffer(func() (bool, error) { return s.Consul.DeleteEntry(ctx, kind, name, index) })
}

func (s *spy) Chain(ctx context.Context, service, namespace string) (*api.CompiledDiscoveryChain, error) {
	s.asked = append(s.asked, "chain")
	return s.Consul.Chain(ctx, service, namespace)
}

func (s *spy) suffer(write func() (bool, error)) (bool, error) {
	if f := s.onWrite; f != nil {
		s.onWrite = nil
		return f(write)
	}
	return write()
}

// forget begins the counts anew.
func (s *spy) forget() { s.reads, s.writes, s.asked = 0, 0, nil }

func (w *world) router(kind string) Router {
	return Kinds[kind](func(string, string) Consul { return w.consul })
}

func (w *world) target(route deployment.Route, epoch uint64) Target {
	return Target{Service: w.service, Route: route, Owner: "teal/", Epoch: epoch}
}

func (w *world) setup(route deployment.Route, epoch uint64) Setup {
	return Setup{Target: w.target(route, epoch), Protocol: "http", Serve: deployment.Blue, Loose: true}
}

// prepare prepares the service and returns its target.
func (w *world) prepare(r Router, epoch uint64) Target {
	w.Helper()
	route, err := r.Prepare(w.ctx, w.setup(deployment.Route{}, epoch))
	w.must(err)
	return w.target(route, epoch)
}

func (w *world) must(err error) {
	w.Helper()
	if err != nil {
		w.Fatal(err)
	}
}

func (w *world) wants(err, target error) {
	w.Helper()
	if !errors.Is(err, target) {
		w.Fatalf("got %v, want %v", err, target)
	}
	w.Log(err)
}

func (w *world) wantsEdited(err error) {
	w.Helper()
	var edited *EditedError
	if !errors.As(err, &edited) {
		w.Fatalf("got %v, want an edit", err)
	}
	w.Log(err)
}

// put writes an entry as a person does: over whatever there is.
func (w *world) put(e api.ConfigEntry) {
	w.Helper()
	now, err := w.consul.Consul.Entry(w.ctx, e.GetKind(), e.GetName())
	w.must(err)
	var index uint64
	if now != nil {
		index = now.GetModifyIndex()
	}
	ok, err := w.consul.Consul.SetEntry(w.ctx, e, index)
	if err != nil || !ok {
		w.Fatalf("put %s: %v %v", e.GetKind(), ok, err)
	}
}

func (w *world) remove(kind string) {
	w.Helper()
	now, err := w.consul.Consul.Entry(w.ctx, kind, w.service)
	w.must(err)
	ok, err := w.consul.Consul.DeleteEntry(w.ctx, kind, w.service, now.GetModifyIndex())
	if err != nil || !ok {
		w.Fatalf("delete %s: %v %v", kind, ok, err)
	}
}

func (w *world) routerEntry() *api.ServiceRouterConfigEntry {
	w.Helper()
	e, err := w.consul.Consul.Entry(w.ctx, api.ServiceRouter, w.service)
	w.must(err)
	if e == nil {
		return nil
	}
	return e.(*api.ServiceRouterConfigEntry)
}

func (w *world) resolverEntry() *api.ServiceResolverConfigEntry {
	w.Helper()
	e, err := w.consul.Consul.Entry(w.ctx, api.ServiceResolver, w.service)
	w.must(err)
	if e == nil {
		return nil
	}
	return e.(*api.ServiceResolverConfigEntry)
}

// asked checks what Consul was asked since the counts began.
func (w *world) asked(want ...string) {
	w.Helper()
	if !slices.Equal(w.consul.asked, want) {
		w.Fatalf("asked %q, want %q", w.consul.asked, want)
	}
}

func (w *world) serves(r Router, t Target, want deployment.Colour) Observed {
	w.Helper()
	o, err := r.Observe(w.ctx, t)
	w.must(err)
	if o.Colour != want {
		w.Fatalf("%s serves, want %s: %+v", o.Colour, want, o)
	}
	return o
}

func move(to deployment.Colour, nonce string) Move {
	return Move{To: to, Deployment: "d1", Nonce: nonce}
}

func rollback(to deployment.Colour) Move {
	return Move{To: to, Deployment: "d1", Nonce: "rollback", Rollback: true}
}
