package traffic

import (
	"testing"

	"github.com/hashicorp/consul/api"

	"github.com/tealdeploy/teal/agent/deployment"
)

// FuzzDiffers: whatever the record keeps of an entry, and whatever stands there now,
// each route that was added or taken away is named at most once, nothing of an entry
// that is as it was found, and what is given back is one of the two.
func FuzzDiffers(f *testing.F) {
	router := `{"Kind":"service-router","Name":"api","Routes":[{"Match":{"HTTP":{"PathPrefix":"/a"}},"Destination":{"Service":"b"}},{"Match":{"HTTP":{"Header":[{"Name":"x"}]}}}]}`
	resolver := `{"Kind":"service-resolver","Name":"api","DefaultSubset":"v1","Subsets":{"v1":{"Filter":"x"}}}`
	for _, kept := range []string{router, resolver, "", "null", "{}", `{"Kind":"service-router","Name":"api"}`, `{"Kind":"service-router","Name":"api","Routes":[{},{"Match":null},{"Match":{"HTTP":{"QueryParam":[{}]}}}]}`, `{"Kind":"service-defaults","Name":"api"}`} {
		for _, now := range []string{router, resolver, `{"Kind":"service-router","Name":"api","Meta":{"teal_colour":"green","teal_owner":"teal/"},"Routes":[{},{}]}`} {
			f.Add([]byte(kept), []byte(now))
		}
	}
	f.Fuzz(func(t *testing.T, kept, now []byte) {
		e, err := api.DecodeConfigEntryFromJSON(now)
		if err != nil {
			return
		}
		var f form
		most := 0
		switch e := e.(type) {
		case *api.ServiceRouterConfigEntry:
			f, most = routerForm{}, len(e.Routes)
		case *api.ServiceResolverConfigEntry:
			f = resolverForm{}
		default:
			return
		}
		before := text(t, e)
		target := Target{Service: e.GetName(), Owner: "teal/", Epoch: 3}
		target.Route.Original = map[string]string{f.kind(): string(kept)}
		found, err := restored(f, target)
		if err == nil && (found.GetKind() != f.kind() || found.GetName() != e.GetName()) {
			t.Fatalf("the %s of %q is given back for the %s of %q", found.GetKind(), found.GetName(), f.kind(), e.GetName())
		}
		if r, ok := found.(*api.ServiceRouterConfigEntry); ok && err == nil {
			most += len(r.Routes)
		}
		if changes := f.differs(target, e); len(changes) > most || err != nil && len(changes) > 0 {
			t.Fatalf("%d changes of %d routes: %q", len(changes), most, changes)
		}
		plain, _ := f.plain(e)
		if back := asFound(f, target, plain); text(t, back) != text(t, plain) && (err != nil || text(t, back) != text(t, found)) {
			t.Fatalf("given back is %s, of %s and %s", text(t, back), text(t, plain), kept)
		}
		target.Route.Original[f.kind()] = text(t, plain)
		if changes := f.differs(target, f.framed(plain, deployment.Blue, true)); len(changes) > 0 {
			t.Fatalf("of an entry as it was found: %q\n%s", changes, text(t, plain))
		}
		if text(t, e) != before {
			t.Fatalf("changed in place:\n%s\nwas\n%s", text(t, e), before)
		}
	})
}
