package scale

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	consulapi "github.com/hashicorp/consul/api"
	"golang.org/x/sync/errgroup"

	"github.com/tealdeploy/teal/agent/deployment"
	"github.com/tealdeploy/teal/agent/policy"
	"github.com/tealdeploy/teal/agent/traffic"
	"github.com/tealdeploy/teal/testbed/world"
)

// population is the managed services of a run. The first of them is real: its
// two colours run in Nomad, and an agent released both. All others are copies
// of what it left behind: its record, its other keys, its config entries, its
// policy and its jobspec, each under a name of the same length. To an agent they
// are services like any other, idle since their last release; only their jobs
// do not run, and an agent looks at no job of an idle service.
type population struct {
	site  *world.Site
	model world.Service
	n     int

	keys    consulapi.KVPairs // of the model
	entries []consulapi.ConfigEntry
}

// serviceName is the name of one of them; all are of one length.
func serviceName(i int) string { return fmt.Sprintf("idle-%05d", i) }

// modelService is what each of them says of itself. Each has a jobspec of its
// own, and two gates; watch and soak have no length, so that a cutover by hand
// is over at once.
func modelService() world.Service {
	return world.Service{
		Name: serviceName(0), Version: "1.0.0", Count: 1, Watch: -1, Soak: -1, Deadline: patience,
		Gates: `  gate "http" "smoke" {
    path = "/health"
  }
  gate "http" "version" {
    path          = "/version"
    body_contains = "{version}"
  }`,
	}
}

// found reads what the agent left behind of the model.
func (p *population) found(ctx context.Context) error {
	client, q := p.site.ConsulClient(), (&consulapi.QueryOptions{RequireConsistent: true}).WithContext(ctx)
	var err error
	if p.keys, _, err = client.KV().List(p.site.Keys.Service(p.model.Name), q); err != nil {
		return err
	}
	for _, kind := range []string{consulapi.ServiceDefaults, consulapi.ServiceResolver, consulapi.ServiceRouter} {
		e, _, err := client.ConfigEntries().Get(kind, p.model.Name, q)
		if err != nil {
			return err
		}
		p.entries = append(p.entries, e)
	}
	p.n = 1
	return nil
}

// grow makes copies until there are n services. No agent may run: it would
// see policies without records.
func (p *population) grow(ctx context.Context, n int) error {
	first := p.n
	for i := first; i < n; i++ {
		v := p.model
		v.Name = serviceName(i)
		if err := p.site.Write(v); err != nil {
			return err
		}
	}
	set, diags := policy.Load(p.site.Policies)
	if diags.HasErrors() {
		return fmt.Errorf("the copies' policies: %w", diags)
	}
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(16)
	for batch := range slices.Chunk(names(first, n), 8) {
		g.Go(func() error { return p.copy(ctx, set, batch) })
	}
	if err := g.Wait(); err != nil {
		return err
	}
	p.n = max(p.n, n)
	return nil
}

func names(from, to int) []string {
	var all []string
	for i := from; i < to; i++ {
		all = append(all, serviceName(i))
	}
	return all
}

func (p *population) copy(ctx context.Context, set *policy.Set, names []string) error {
	client := p.site.ConsulClient()
	var ops consulapi.TxnOps
	for _, name := range names {
		for _, e := range p.entries {
			entry, err := renamedEntry(e, p.model.Name, name)
			if err != nil {
				return err
			}
			if _, _, err := client.ConfigEntries().Set(entry, (&consulapi.WriteOptions{}).WithContext(ctx)); err != nil {
				return fmt.Errorf("copy %s to %s: %w", e.GetKind(), name, err)
			}
		}
		for _, pair := range p.keys {
			key := strings.Replace(pair.Key, p.model.Name, name, 1)
			value := strings.ReplaceAll(string(pair.Value), p.model.Name, name)
			if key == p.site.Keys.State(name) {
				var err error
				if value, err = seen(name, value, set.Policy(name)); err != nil {
					return err
				}
			}
			ops = append(ops, &consulapi.TxnOp{KV: &consulapi.KVTxnOp{Verb: consulapi.KVSet, Key: key, Value: []byte(value)}})
		}
	}
	for part := range slices.Chunk(ops, 64) {
		ok, answer, _, err := client.Txn().Txn(part, (&consulapi.QueryOptions{}).WithContext(ctx))
		if err != nil || !ok {
			return fmt.Errorf("copy keys to %s: %v, %w", names[0], answer, err)
		}
	}
	return nil
}

// seen is a record that says that its service was released from this policy:
// what a policy is known by has the service's name in it.
func seen(name, value string, p *policy.Policy) (string, error) {
	rec, err := deployment.Decode(name, []byte(value))
	if err != nil {
		return "", err
	}
	if p == nil {
		return "", fmt.Errorf("there is no policy of %s", name)
	}
	rec.Seen[len(rec.Seen)-1] = p.SourceHash(nil)
	text, err := json.Marshal(rec)
	return string(text), err
}

// renamedEntry is an entry of another service, with the digest that Teal gives
// to what it wrote: the name is part of some.
func renamedEntry(e consulapi.ConfigEntry, from, to string) (consulapi.ConfigEntry, error) {
	text, err := json.Marshal(e)
	if err != nil {
		return nil, err
	}
	entry, err := consulapi.DecodeConfigEntryFromJSON([]byte(strings.ReplaceAll(string(text), from, to)))
	if err != nil {
		return nil, err
	}
	if digest := traffic.Inspect(entry).Digest; digest != "" {
		entry.GetMeta()["teal_digest"] = digest
	}
	return entry, nil
}
