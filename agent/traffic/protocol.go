package traffic

import (
	"context"
	"encoding/json"
	"slices"
	"strings"

	"github.com/hashicorp/consul/api"
)

// protocols are those that Consul routes.
var protocols = []string{"http", "http2", "grpc"}

// protocol makes sure that the service speaks something that has routes. It
// asks Consul what it takes the service to speak, from service-defaults or
// proxy-defaults, and writes only where nothing is said: to call a service
// http that is not breaks every connection to it.
func (r *entries) protocol(ctx context.Context, t Target, wanted string, originals map[string]string) error {
	chain, err := r.consul(t).Chain(ctx, t.Service, t.Route.Namespace)
	if err != nil {
		return err
	}
	if slices.Contains(protocols, chain.Protocol) {
		return nil
	}
	var before string
	_, err = r.update(ctx, t, defaultsForm{}, func(e api.ConfigEntry) (api.ConfigEntry, error) {
		before = ""
		if e != nil {
			text, err := json.Marshal(e)
			if err != nil {
				return nil, err
			}
			before = string(text)
		}
		return withProtocol(t, e, wanted, chain.Protocol)
	})
	if err == nil && before != "" {
		originals[api.ServiceDefaults] = before
	}
	return err
}

// withProtocol is a service-defaults entry (nil: there is none) that says what
// the service speaks. taken is what Consul takes it for without.
func withProtocol(t Target, e api.ConfigEntry, wanted, taken string) (api.ConfigEntry, error) {
	defaults := &api.ServiceConfigEntry{
		Kind: api.ServiceDefaults, Name: t.Service, Namespace: t.Route.Namespace, Partition: t.Route.Partition,
	}
	if e != nil {
		*defaults = *e.(*api.ServiceConfigEntry)
	}
	switch {
	case defaults.Protocol != "":
		return nil, refuse(api.ServiceDefaults, t.Service, `says protocol = %q, and routes need http, http2 or grpc: `+
			`correct it there if the service speaks one of them, else set router = "service-resolver" in the policy's cutover block`,
			defaults.Protocol)
	case wanted == "":
		return nil, refuse(api.ServiceDefaults, t.Service, `nothing says what the service speaks (Consul takes it for %s), and routes need `+
			`http, http2 or grpc: set protocol = "http" in the policy's cutover block and Teal writes it, or run `+
			"`consul config write`"+` with Kind = "service-defaults", Name = %q, Protocol = "http"; for a tcp service set router = "service-resolver"`,
			taken, t.Service)
	case !slices.Contains(protocols, wanted):
		return nil, refuse(api.ServiceDefaults, t.Service, "the policy says protocol = %q, and routes need one of %s",
			wanted, strings.Join(protocols, ", "))
	}
	defaults.Protocol = wanted
	meta := mark{owner: t.Owner, epoch: t.Epoch, created: e == nil}.write(defaults.Meta)
	meta[metaAdded] = wanted
	defaults.Meta = meta
	return defaults, nil
}

// defaultsForm stands for service-defaults where only the kind matters.
type defaultsForm struct{ form }

func (defaultsForm) kind() string { return api.ServiceDefaults }

// withoutProtocol is a service-defaults entry less what protocol wrote; empty
// says that nothing is left.
func withoutProtocol(e *api.ServiceConfigEntry) (p *api.ServiceConfigEntry, empty bool) {
	plain := *e
	if plain.Protocol == e.Meta[metaAdded] {
		plain.Protocol = ""
	}
	plain.Meta = eraseMark(e.Meta)
	return &plain, says(&plain) == nil
}

// says is what is left of a service-defaults entry besides its name. Consul
// fills in empty objects of its own (TransparentProxy, MeshGateway, Expose).
func says(e *api.ServiceConfigEntry) any {
	text, err := json.Marshal(e)
	if err != nil {
		return err
	}
	var content map[string]any
	if err := json.Unmarshal(text, &content); err != nil {
		return err
	}
	for _, key := range []string{"Kind", "Name", "Namespace", "Partition", "CreateIndex", "ModifyIndex"} {
		delete(content, key)
	}
	return pruned(content)
}

// pruned is a JSON value without whatever is empty, nil if nothing is left.
func pruned(v any) any {
	switch v := v.(type) {
	case map[string]any:
		for key, item := range v {
			if item = pruned(item); item == nil {
				delete(v, key)
			} else {
				v[key] = item
			}
		}
		if len(v) == 0 {
			return nil
		}
	case []any:
		if len(v) == 0 {
			return nil
		}
	case string:
		if v == "" {
			return nil
		}
	case float64:
		if v == 0 {
			return nil
		}
	case bool:
		if !v {
			return nil
		}
	}
	return v
}
