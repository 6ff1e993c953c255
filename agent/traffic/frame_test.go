package traffic

import (
	"encoding/json"
	"fmt"
	"testing"
	"time"

	"github.com/hashicorp/consul/api"

	"github.com/tealdeploy/teal/agent/deployment"
)

// randomRouter makes a user's router of bytes: every byte decides something.
func randomRouter(data []byte) *api.ServiceRouterConfigEntry {
	next := func() int {
		if len(data) == 0 {
			return 0
		}
		b := data[0]
		data = data[1:]
		return int(b)
	}
	e := &api.ServiceRouterConfigEntry{Kind: api.ServiceRouter, Name: "api"}
	for range next() % 6 {
		var r api.ServiceRoute
		switch next() % 5 {
		case 0: // every request
		case 1:
			r.Match = &api.ServiceRouteMatch{HTTP: &api.ServiceRouteHTTPMatch{PathPrefix: fmt.Sprintf("/p%d", next()%3)}}
		case 2:
			r.Match = &api.ServiceRouteMatch{HTTP: &api.ServiceRouteHTTPMatch{PathPrefix: "/"}}
		case 3:
			r.Match = &api.ServiceRouteMatch{HTTP: &api.ServiceRouteHTTPMatch{Header: []api.ServiceRouteHTTPMatchHeader{
				{Name: Header, Exact: []string{"blue", "green", "red"}[next()%3]}}}}
		case 4:
			r.Match = &api.ServiceRouteMatch{}
		}
		if next()%4 > 0 {
			r.Destination = &api.ServiceRouteDestination{
				Service:        []string{"", "api", "other"}[next()%3],
				ServiceSubset:  []string{"", "", "v1"}[next()%3],
				RequestTimeout: time.Duration(next()%2) * time.Second,
				NumRetries:     uint32(next() % 2),
				PrefixRewrite:  []string{"", "/"}[next()%2],
			}
			if next()%5 == 0 {
				r.Destination.RequestHeaders = &api.HTTPHeaderModifiers{Add: map[string]string{"a": "b"}}
			}
			if text, _ := json.Marshal(r.Destination); string(text) == "{}" {
				r.Destination = nil // means the same
			}
		}
		e.Routes = append(e.Routes, r)
	}
	if next()%3 == 0 {
		e.Meta = map[string]string{"team": "web"}
	}
	return e
}

func text(t *testing.T, v any) string {
	t.Helper()
	data, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

// FuzzFrame holds the promises to a user's routes: moving there and back
// changes nothing, releasing gives back what was found, other services' and
// own subsets' routes are never touched, and a move changes no digest.
func FuzzFrame(f *testing.F) {
	f.Add([]byte{})
	f.Add([]byte{5, 1, 0, 3, 0, 0, 1, 1, 1, 2, 2, 1, 2, 0, 4, 3, 1, 1})
	f.Add([]byte{4, 3, 0, 1, 1, 0, 2, 0, 3, 1, 2, 2, 1, 0, 1, 0, 0, 0, 2, 3})
	target := Target{Service: "api", Owner: "teal/", Epoch: 1}
	f.Fuzz(func(t *testing.T, data []byte) {
		user := randomRouter(data)
		before := text(t, user)
		var form routerForm
		blue := stamped(form, target, user, deployment.Blue, true, "")
		if o := inspect(form, blue); o.Edited || o.Colour != deployment.Blue {
			t.Fatalf("own work looks edited: %+v", o)
		}
		green := movedTo(form, target, blue, deployment.Green, "d/1")
		if o := inspect(form, green); o.Edited || o.Colour != deployment.Green || o.Digest != inspect(form, blue).Digest {
			t.Fatalf("after a move: %+v", o)
		}
		back := movedTo(form, target, green, deployment.Blue, "d/2").(*api.ServiceRouterConfigEntry)
		if got, want := text(t, back.Routes), text(t, blue.(*api.ServiceRouterConfigEntry).Routes); got != want {
			t.Fatalf("there and back:\n%s\nwas\n%s", got, want)
		}
		again := form.framed(green, deployment.Green, true).(*api.ServiceRouterConfigEntry)
		if got, want := text(t, again.Routes), text(t, green.(*api.ServiceRouterConfigEntry).Routes); got != want {
			t.Fatalf("framed twice:\n%s\nonce\n%s", got, want)
		}
		routes := green.(*api.ServiceRouterConfigEntry).Routes
		if len(routes) != len(user.Routes)+3 {
			t.Fatalf("%d routes of %d", len(routes), len(user.Routes))
		}
		for i, r := range user.Routes {
			framed := routes[i+2]
			own := r.Destination == nil || r.Destination.Service != "other" && r.Destination.ServiceSubset == ""
			if own && framed.Destination.ServiceSubset != "green" {
				t.Fatalf("route %d was not taken along: %s", i, text(t, framed))
			}
			if !own && text(t, framed) != text(t, r) {
				t.Fatalf("route %d was touched: %s, was %s", i, text(t, framed), text(t, r))
			}
		}
		plain, _ := form.plain(green)
		if got := text(t, plain); got != before {
			t.Fatalf("released:\n%s\nfound\n%s", got, before)
		}
		if text(t, user) != before {
			t.Fatal("the user's entry was changed in place")
		}
	})
}

func TestEditsAreSeen(t *testing.T) {
	target := Target{Service: "api", Owner: "teal/", Epoch: 1}
	user := randomRouter([]byte{3, 1, 1, 1, 0, 0, 1, 1, 0, 1})
	for name, edit := range map[string]func(e *api.ServiceRouterConfigEntry){
		"catch-all moved by hand": func(e *api.ServiceRouterConfigEntry) {
			e.Routes[len(e.Routes)-1] = catchAll(deployment.Green)
		},
		"catch-all removed":     func(e *api.ServiceRouterConfigEntry) { e.Routes = e.Routes[:len(e.Routes)-1] },
		"preview removed":       func(e *api.ServiceRouterConfigEntry) { e.Routes = e.Routes[1:] },
		"route added":           func(e *api.ServiceRouterConfigEntry) { e.Routes = append([]api.ServiceRoute{{}}, e.Routes...) },
		"route pinned to green": func(e *api.ServiceRouterConfigEntry) { e.Routes[2].Destination.ServiceSubset = "green" },
		"marks gone":            func(e *api.ServiceRouterConfigEntry) { e.Meta = nil },
		"timeout on our own catch-all": func(e *api.ServiceRouterConfigEntry) {
			d := *e.Routes[len(e.Routes)-1].Destination
			d.RequestTimeout = time.Second
			e.Routes[len(e.Routes)-1].Destination = &d
		},
	} {
		t.Run(name, func(t *testing.T) {
			e := stamped(routerForm{}, target, user, deployment.Blue, true, "").(*api.ServiceRouterConfigEntry)
			if Inspect(e).Edited {
				t.Fatal("edited before the edit")
			}
			edit(e)
			o := Inspect(e)
			if !o.Edited || len(o.Changes) == 0 {
				t.Fatalf("not seen: %+v", o)
			}
			t.Log(o.Changes)
			// Whatever it was, a rollback takes all of it to blue.
			e.Meta = map[string]string{metaOwner: "teal/", metaColour: "green", metaDigest: "x"}
			back := movedTo(routerForm{}, target, e, deployment.Blue, "d/r").(*api.ServiceRouterConfigEntry)
			u := unframe(back, deployment.None)
			if u.active != deployment.Blue {
				t.Fatalf("catch-all goes to %s", u.active)
			}
			for i, r := range back.Routes[2:] {
				if u.colourOf(r) == deployment.Green {
					t.Errorf("route %d stays on green: %s", i, text(t, r))
				}
			}
		})
	}
}
