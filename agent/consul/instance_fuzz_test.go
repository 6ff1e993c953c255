package consul

import (
	"encoding/json"
	"reflect"
	"slices"
	"testing"

	"github.com/hashicorp/consul/api"

	"github.com/tealdeploy/teal/agent/deployment"
)

// FuzzInstances: whatever is registered, by whomever, with whatever meta, an
// instance has a colour or none, an answer about health that never says more
// than Consul does, and the same registration means the same in any order.
func FuzzInstances(f *testing.F) {
	for _, seed := range []string{
		`[{"Node":{"Node":"n1","Address":"10.0.0.1"},"Service":{"ID":"a","Meta":{"teal_colour":"blue"}},"Checks":[{"Status":"passing"}]}]`,
		`[{"Node":{"Node":"n1"},"Service":{"ID":"a-proxy","Kind":"connect-proxy","Proxy":{"DestinationServiceID":"a"},"Meta":{"teal_colour":"GREEN "}}},{"Node":{"Node":"n1"},"Service":{"ID":"a","Address":"::1","Port":-1}}]`,
		`[{"Node":{"Node":"n1"},"Service":{"ID":"a-proxy","Kind":"connect-proxy"},"Checks":[{"Status":"maintenance"},{"Status":"what"}]}]`,
		`[{"Node":{"Node":"n"},"Service":{"ID":"a","Meta":{"teal_colour":"blue\u0000"}},"Checks":[{"CheckID":"_node_maintenance","Status":"passing"}]}]`,
		`[{"Node":{},"Service":{}}]`,
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		var entries []*api.ServiceEntry
		if json.Unmarshal(data, &entries) != nil {
			return
		}
		for _, e := range entries { // Consul's own answer: what is registered may be strange, its frame is not
			if e == nil || e.Node == nil || e.Service == nil || slices.Contains(e.Checks, nil) {
				return
			}
		}
		found := fold(entries, entries)
		if len(found) > len(entries) {
			t.Fatalf("%d instances of %d entries", len(found), len(entries))
		}
		for _, i := range found {
			if i.Colour != deployment.None && !i.Colour.Valid() {
				t.Fatalf("%+v has the colour %q", i, i.Colour)
			}
			if written := i.Meta[ColourMeta]; i.Colour.Valid() && written != string(i.Colour) {
				t.Fatalf("%q counts as %s", written, i.Colour)
			}
			if i.Serving() && !slices.ContainsFunc(entries, func(e *api.ServiceEntry) bool {
				return e.Checks.AggregatedStatus() != api.HealthCritical && e.Checks.AggregatedStatus() != api.HealthMaint
			}) {
				t.Fatalf("%+v serves, and Consul says that none does", i)
			}
		}
		if again := fold(entries, entries); !reflect.DeepEqual(again, found) {
			t.Fatalf("first %+v\nthen %+v", found, again)
		}
	})
}
