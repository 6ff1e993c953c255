package traffic

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"maps"

	"github.com/hashicorp/consul/api"

	"github.com/tealdeploy/teal/agent/deployment"
)

// NewServiceResolver moves traffic by a service-resolver's default subset, for
// tcp services, which have no routes and so no preview. Connections that are
// open stay where they are: that is what tcp means.
func NewServiceResolver(scope Scope) Router {
	return newEntries(scope, resolverForm{}, nil)
}

// resolverForm is a service-resolver with a subset for each colour and the
// active one as its default.
type resolverForm struct{}

func (resolverForm) kind() string { return api.ServiceResolver }

// filter is a colour's subset filter. A loose blue takes in instances without
// colour meta: a job that ran before Teal came.
func filter(c deployment.Colour, loose bool) string {
	if loose && c == deployment.Blue {
		return fmt.Sprintf("Service.Meta.%s != %s", ColourMeta, deployment.Green)
	}
	return fmt.Sprintf("Service.Meta.%s == %s", ColourMeta, c)
}

// ours says whether a filter is one that Teal gives a colour.
func ours(c deployment.Colour, text string) bool {
	return text == filter(c, false) || text == filter(c, true)
}

// isLoose says whether an entry's blue takes in instances without colour.
func isLoose(e *api.ServiceResolverConfigEntry) bool {
	return e.Subsets[string(deployment.Blue)].Filter == filter(deployment.Blue, true)
}

func (f resolverForm) parts(e api.ConfigEntry) (deployment.Colour, string, []string) {
	resolver := e.(*api.ServiceResolverConfigEntry)
	var wrong []string
	for _, c := range deployment.Colours {
		s, ok := resolver.Subsets[string(c)]
		switch {
		case !ok:
			wrong = append(wrong, fmt.Sprintf("subset %s is gone", c))
		case !ours(c, s.Filter):
			wrong = append(wrong, fmt.Sprintf("subset %s has the filter %q", c, s.Filter))
		}
	}
	colour, err := deployment.ParseColour(resolver.DefaultSubset)
	if err != nil {
		colour = deployment.None
		if resolver.DefaultSubset != "" || readMark(e.GetMeta()).colour.Valid() {
			wrong = append(wrong, fmt.Sprintf("its default subset is %q", resolver.DefaultSubset))
		} // otherwise it is not settled yet
	}
	return colour, f.digest(resolver), wrong
}

// digest is of everything but the active colour.
func (resolverForm) digest(e *api.ServiceResolverConfigEntry) string {
	bare := *e
	bare.DefaultSubset, bare.Meta = "", nil
	bare.CreateIndex, bare.ModifyIndex = 0, 0
	bare.Namespace, bare.Partition = "", ""
	text, err := json.Marshal(&bare)
	if err != nil { // an entry came from JSON and goes back to it
		panic(fmt.Sprintf("service-resolver is not JSON: %v", err))
	}
	sum := sha256.Sum256(text)
	return hex.EncodeToString(sum[:12])
}

func (resolverForm) framed(e api.ConfigEntry, c deployment.Colour, loose bool) api.ConfigEntry {
	resolver := *e.(*api.ServiceResolverConfigEntry)
	subsets := maps.Clone(resolver.Subsets)
	if subsets == nil {
		subsets = map[string]api.ServiceResolverSubset{}
	}
	for _, colour := range deployment.Colours {
		s := subsets[string(colour)] // keeps only_passing
		s.Filter = filter(colour, loose)
		subsets[string(colour)] = s
	}
	resolver.Subsets, resolver.DefaultSubset = subsets, ""
	if c.Valid() {
		resolver.DefaultSubset = string(c)
	}
	return &resolver
}

func (resolverForm) moved(e api.ConfigEntry, c deployment.Colour, loose bool) api.ConfigEntry {
	resolver := *e.(*api.ServiceResolverConfigEntry)
	resolver.DefaultSubset = string(c)
	resolver.Subsets = maps.Clone(resolver.Subsets)
	if resolver.Subsets == nil {
		resolver.Subsets = map[string]api.ServiceResolverSubset{}
	}
	for _, colour := range deployment.Colours {
		if _, ok := resolver.Subsets[string(colour)]; !ok {
			resolver.Subsets[string(colour)] = api.ServiceResolverSubset{Filter: filter(colour, loose)}
		}
	}
	return &resolver
}

func (resolverForm) plain(e api.ConfigEntry) (api.ConfigEntry, bool) {
	resolver := *e.(*api.ServiceResolverConfigEntry)
	subsets := maps.Clone(resolver.Subsets)
	for _, c := range deployment.Colours {
		delete(subsets, string(c))
	}
	if len(subsets) == 0 {
		subsets = nil
	}
	resolver.Subsets = subsets
	if _, err := deployment.ParseColour(resolver.DefaultSubset); err == nil {
		resolver.DefaultSubset = ""
	}
	resolver.Meta = eraseMark(e.GetMeta())
	resolver.CreateIndex, resolver.ModifyIndex = 0, 0
	bare := api.ServiceResolverConfigEntry{
		Kind: resolver.Kind, Name: resolver.Name, Namespace: resolver.Namespace, Partition: resolver.Partition,
	}
	return &resolver, len(resolver.Meta) == 0 && resolverForm{}.digest(&resolver) == resolverForm{}.digest(&bare) &&
		resolver.DefaultSubset == ""
}

func (resolverForm) blank(t Target) api.ConfigEntry {
	return &api.ServiceResolverConfigEntry{
		Kind: api.ServiceResolver, Name: t.Service, Namespace: t.Route.Namespace, Partition: t.Route.Partition,
	}
}

func (resolverForm) pinned(e api.ConfigEntry) []string {
	resolver := e.(*api.ServiceResolverConfigEntry)
	var wrong []string
	if resolver.Redirect != nil {
		wrong = append(wrong, "it redirects to "+redirected(resolver))
	}
	if d := resolver.DefaultSubset; d != "" {
		if _, err := deployment.ParseColour(d); err != nil {
			wrong = append(wrong, fmt.Sprintf("its default subset is %s, which would not follow a cutover", d))
		}
	}
	for _, c := range deployment.Colours {
		if s, ok := resolver.Subsets[string(c)]; ok && !ours(c, s.Filter) {
			wrong = append(wrong, fmt.Sprintf("its subset %s has the filter %q, where Teal needs %q", c, s.Filter, filter(c, false)))
		}
	}
	return wrong
}

func (resolverForm) notes(api.ConfigEntry) []string { return nil }

// adoptable checks that a resolver which is not ours yet can be taken over
// without a changed answer.
func (f resolverForm) adoptable(e *api.ServiceResolverConfigEntry) error {
	if e.Redirect != nil {
		return refuse(e.Kind, e.Name, "has a redirect (to %s), so the instances here get no requests that could be moved: "+
			"write the policy for what it redirects to, or remove the redirect", redirected(e))
	}
	if _, err := deployment.ParseColour(e.DefaultSubset); e.DefaultSubset != "" && err != nil {
		return refuse(e.Kind, e.Name, "sends to its own default subset %s: remove default_subset "+
			"(`consul config read -kind service-resolver -name %s`), Teal sets it to the active colour", e.DefaultSubset, e.Name)
	}
	for _, c := range deployment.Colours {
		s, ok := e.Subsets[string(c)]
		if ok && !ours(c, s.Filter) {
			return refuse(e.Kind, e.Name, "already has a subset named %s with the filter %q: rename it", c, s.Filter)
		}
	}
	return nil
}

// redirected says where a redirect leads.
func redirected(e *api.ServiceResolverConfigEntry) string {
	to := e.Redirect.Service
	if to == "" {
		to = e.Name
	}
	for _, at := range []string{e.Redirect.Datacenter, e.Redirect.Peer, e.Redirect.Namespace} {
		if at != "" {
			to += " in " + at
		}
	}
	return to
}
