package consul

import (
	"context"
	"fmt"
	"net/http"

	"github.com/hashicorp/consul/api"
)

// Entry reads one config entry; nil when there is none.
func (c *Client) Entry(ctx context.Context, kind, name string) (api.ConfigEntry, error) {
	ctx, done := c.bound(ctx, 0)
	defer done()
	entry, _, err := c.api.ConfigEntries().Get(kind, name, c.read(ctx, 0))
	if status(err) == http.StatusNotFound {
		return nil, nil
	}
	if err != nil {
		return nil, c.wrap(ctx, fmt.Sprintf("read %s %q", kind, name), entryRule(kind, name, "read"), err)
	}
	return entry, nil
}

// EntriesIndex is the index of the last write or deletion of any config entry,
// of whatever kind: Consul answers each read of entries with the index of the
// table of all of them (maxIndexTxn in its config_entry.go). It asks for
// the one entry of the kind "mesh", for which no token needs a rule: what the
// token may not see is left out of a list, and the index is not.
func (c *Client) EntriesIndex(ctx context.Context) (uint64, error) {
	ctx, done := c.bound(ctx, 0)
	defer done()
	_, meta, err := c.api.ConfigEntries().List(api.MeshConfig, c.read(ctx, 0))
	if err != nil {
		return 0, c.wrap(ctx, "read the index of config entries", nil, err)
	}
	return meta.LastIndex, nil
}

// SetEntry writes a config entry if its ModifyIndex is still index; 0 means
// that it must not exist. false: somebody else wrote first.
//
// Beware: Consul answers true, without looking at the index and without
// writing, when the content is what is already stored.
func (c *Client) SetEntry(ctx context.Context, entry api.ConfigEntry, index uint64) (bool, error) {
	ctx, done := c.bound(ctx, 0)
	defer done()
	ok, _, err := c.api.ConfigEntries().CAS(entry, index, c.write(ctx))
	return ok, c.wrap(ctx, fmt.Sprintf("write %s %q", entry.GetKind(), entry.GetName()),
		entryRule(entry.GetKind(), entry.GetName(), "write"), err)
}

// DeleteEntry deletes a config entry if its ModifyIndex is still index. true
// also when there is none.
func (c *Client) DeleteEntry(ctx context.Context, kind, name string, index uint64) (bool, error) {
	ctx, done := c.bound(ctx, 0)
	defer done()
	ok, _, err := c.api.ConfigEntries().DeleteCAS(kind, name, index, c.write(ctx))
	return ok, c.wrap(ctx, fmt.Sprintf("delete %s %q", kind, name), entryRule(kind, name, "write"), err)
}

// Chain reads the compiled discovery chain of a service, consistent and never
// from a cache: what the proxies are told. namespace may be empty.
func (c *Client) Chain(ctx context.Context, service, namespace string) (*api.CompiledDiscoveryChain, error) {
	ctx, done := c.bound(ctx, 0)
	defer done()
	q := c.read(ctx, 0)
	q.Namespace = namespace
	answer, _, err := c.api.DiscoveryChain().Get(service, nil, q)
	if err != nil {
		return nil, c.wrap(ctx, fmt.Sprintf("read discovery chain of %q", service), &Rule{"service", service, "read"}, err)
	}
	return answer.Chain, nil
}

// entryRule is the rule a config entry needs: those of a service belong to
// the service, those of the mesh to its operator.
func entryRule(kind, name, access string) *Rule {
	switch kind {
	case api.ProxyDefaults, api.MeshConfig:
		return &Rule{"mesh", "", access}
	case api.ServiceIntentions:
		return &Rule{"service", name, "intentions:" + access}
	}
	if name == "" {
		return &Rule{"service_prefix", "", access}
	}
	return &Rule{"service", name, access}
}
