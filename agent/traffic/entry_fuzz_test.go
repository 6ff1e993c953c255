package traffic

import (
	"testing"

	"github.com/hashicorp/consul/api"

	"github.com/tealdeploy/teal/agent/deployment"
)

// FuzzEntries takes whatever config entry anybody may have written. None is
// too strange to look at; what Teal can carry it wraps and unwraps without
// loss; and nothing is ever changed in place.
func FuzzEntries(f *testing.F) {
	for _, seed := range []string{
		`{"Kind":"service-router","Name":"api"}`,
		`{"Kind":"service-router","Name":"api","Routes":[{},{"Destination":{}},{"Match":{"HTTP":{}},"Destination":{"ServiceSubset":"green"}}]}`,
		`{"Kind":"service-router","Name":"api","Meta":{"teal_owner":"teal/","teal_epoch":"x","teal_colour":"red"},"Routes":[{"Match":{"HTTP":{"PathPrefix":"/"}},"Destination":{"ServiceSubset":"blue"}}]}`,
		`{"Kind":"service-router","Name":"api","Namespace":"a","Routes":[{"Destination":{"Service":"api","Namespace":"b"}}]}`,
		`{"Kind":"service-resolver","Name":"api","DefaultSubset":"v1","Subsets":{"v1":{},"blue":{"Filter":"x"}}}`,
		`{"Kind":"service-resolver","Name":"api","Redirect":{"Service":"b"},"Meta":{"teal_digest":"1"}}`,
		`{"Kind":"service-defaults","Name":"api","Protocol":"http"}`,
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		e, err := api.DecodeConfigEntryFromJSON(data)
		if err != nil {
			return
		}
		var f form
		switch e.GetKind() {
		case api.ServiceRouter:
			f = routerForm{}
		case api.ServiceResolver:
			f = resolverForm{}
		default:
			if o := Inspect(e); o.Exists {
				t.Fatalf("an entry of no router says %+v", o)
			}
			return
		}
		before := text(t, e)
		target := Target{Service: e.GetName(), Owner: "teal/", Epoch: 3}
		Inspect(e)
		f.notes(e)
		pinned := f.pinned(e)
		ours := stamped(f, target, e, deployment.Blue, true, "")
		for _, c := range []deployment.Colour{deployment.Green, deployment.Blue} {
			moved := movedTo(f, target, ours, c, "d/"+string(c))
			if o := inspect(f, moved); o.Edited || o.Colour != c || o.Digest != inspect(f, ours).Digest || o.Epoch != 3 {
				t.Fatalf("moved to %s: %+v", c, o)
			}
			if again := stamped(f, target, moved, c, true, "d/"+string(c)); text(t, again) != text(t, moved) {
				t.Fatalf("framed twice\n%s\nonce\n%s", text(t, again), text(t, moved))
			}
		}
		back := movedTo(f, target, movedTo(f, target, ours, deployment.Green, "d/1"), deployment.Blue, "")
		if text(t, back) != text(t, withoutMove(f, ours)) {
			t.Fatalf("there and back\n%s\nwas\n%s", text(t, back), text(t, withoutMove(f, ours)))
		}
		// Whatever it was, a rollback gets it to a colour.
		if o := inspect(f, movedTo(f, target, e, deployment.Green, "d/r")); o.Colour != deployment.Green {
			t.Fatalf("rolled back: %+v", o)
		}
		found, _ := f.plain(e)
		target.Route.Original = map[string]string{f.kind(): text(t, found)}
		given, _ := f.plain(ours)
		given = asFound(f, target, given)
		if len(pinned) == 0 && text(t, given) != text(t, found) {
			t.Fatalf("given back\n%s\nfound\n%s", text(t, given), text(t, found))
		}
		if text(t, e) != before {
			t.Fatalf("changed in place:\n%s\nwas\n%s", text(t, e), before)
		}
	})
}

// withoutMove is a stamped entry whose last move has no name.
func withoutMove(f form, e api.ConfigEntry) api.ConfigEntry {
	out, m := copied(e), readMark(e.GetMeta())
	m.move = ""
	setMeta(out, m.write(e.GetMeta()))
	return f.framed(out, m.colour, true)
}
