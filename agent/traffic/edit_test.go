package traffic

import (
	"strings"
	"testing"
	"time"

	"github.com/hashicorp/consul/api"

	"github.com/tealdeploy/teal/agent/deployment"
)

// personsEdits are what people do to an entry of each kind, in full sight of
// what Teal wrote or without.
func personsEdits(kind string) map[string]func(w *world) {
	if kind == api.ServiceResolver {
		return map[string]func(w *world){
			"timeout changed": func(w *world) {
				e := w.resolverEntry()
				e.ConnectTimeout = 7 * time.Second
				w.put(e)
			},
			"subset added": func(w *world) {
				e := w.resolverEntry()
				e.Subsets["v2"] = api.ServiceResolverSubset{Filter: "Service.Meta.version == v2"}
				w.put(e)
			},
			"marks removed": func(w *world) {
				e := w.resolverEntry()
				e.Meta = nil
				w.put(e)
			},
		}
	}
	return map[string]func(w *world){
		"timeout changed": func(w *world) {
			e := w.routerEntry()
			e.Routes[2].Destination.RequestTimeout = 7 * time.Second
			w.put(e)
		},
		"route added": func(w *world) {
			e := w.routerEntry()
			e.Routes = append([]api.ServiceRoute{{
				Match:       &api.ServiceRouteMatch{HTTP: &api.ServiceRouteHTTPMatch{PathPrefix: "/slow"}},
				Destination: &api.ServiceRouteDestination{RequestTimeout: time.Minute},
			}}, e.Routes...)
			w.put(e)
		},
		"marks removed": func(w *world) {
			e := w.routerEntry()
			e.Meta = map[string]string{"team": "web"}
			w.put(e)
		},
	}
}

// An edit during the watch: whatever Teal would do next waits for a person and
// writes nothing, but a rollback, which keeps the edit.
func TestAnEditDuringTheWatchIsNeverOverwritten(t *testing.T) {
	for kind := range Kinds {
		for name, edit := range personsEdits(kind) {
			t.Run(kind+" "+name, func(t *testing.T) {
				w := newWorld(t)
				w.put(usersResolver(w))
				if kind == api.ServiceRouter {
					w.put(defaults(w, "http"))
					w.put(usersRouter(w))
				}
				r := w.router(kind)
				target := w.prepare(r, 1)
				_, err := r.Shift(w.ctx, target, move(green, "cutover"))
				w.must(err)
				w.must(r.Verify(w.ctx, target, move(green, "cutover")))
				edit(w)
				edited := w.contents()

				_, err = r.Shift(w.ctx, target, move(blue, "next"))
				w.wantsEdited(err)
				w.wantsEdited(r.Verify(w.ctx, target, move(green, "cutover")))
				_, err = r.Prepare(w.ctx, w.setup(target.Route, 1))
				w.wantsEdited(err)
				if kind == api.ServiceResolver {
					_, err = r.Tighten(w.ctx, target)
					w.wantsEdited(err)
				}
				if o, err := r.Observe(w.ctx, target); err != nil || !o.Edited || len(o.Changes) == 0 {
					t.Errorf("not seen: %+v %v", o, err)
				}
				w.sameContents("after all that", edited)

				written, err := r.Shift(w.ctx, target, rollback(blue))
				w.must(err)
				w.must(r.Verify(w.ctx, target, rollback(blue)))
				if len(written.Kept) == 0 {
					t.Error("the rollback does not say what it kept")
				}
				if o := w.serves(r, target, blue); !o.Edited {
					t.Error("the edit became Teal's without anybody's consent")
				}
				// Apart from the marks and the colour, the edit is whole: once
				// accepted, it is what people put there.
				target.Route, _, err = r.Accept(w.ctx, Setup{Target: target, Serve: blue})
				w.must(err)
				if o := w.serves(r, target, blue); o.Edited {
					t.Errorf("accepted, and still %v", o.Changes)
				}
				if !isThere(w, kind, name) {
					t.Errorf("the edit is lost: %s", w.contents()[kind])
				}
			})
		}
	}
}

// isThere says whether the edit of that name is.
func isThere(w *world, kind, name string) bool {
	w.Helper()
	switch router, resolver := w.routerEntry(), w.resolverEntry(); {
	case name == "marks removed":
		return kind == api.ServiceResolver || router.Meta["team"] == "web"
	case name == "timeout changed" && kind == api.ServiceResolver:
		return resolver.ConnectTimeout == 7*time.Second
	case name == "timeout changed":
		return router.Routes[2].Destination.RequestTimeout == 7*time.Second && router.Routes[2].Destination.ServiceSubset == "blue"
	case name == "subset added":
		return resolver.Subsets["v2"].Filter != ""
	default:
		return router.Routes[2].Match.HTTP.PathPrefix == "/slow" && router.Routes[2].Destination.RequestTimeout == time.Minute
	}
}

// The resolver beside a router is not in the requests' way, so a cutover does
// not read it before it writes; but it does not overwrite it either.
func TestAnEditOfTheCompanionIsNotOverwrittenByVerify(t *testing.T) {
	w := newWorld(t)
	w.put(usersResolver(w))
	r := w.router(api.ServiceRouter)
	target := w.prepare(r, 1)
	e := w.resolverEntry()
	e.DefaultSubset = "v1"
	w.put(e)
	edited := w.contents()[api.ServiceResolver]
	_, err := r.Shift(w.ctx, target, move(green, "cutover"))
	w.must(err)
	w.wantsEdited(r.Verify(w.ctx, target, move(green, "cutover")))
	if got := w.contents()[api.ServiceResolver]; got != edited {
		t.Fatalf("overwritten:\n%s\nwas\n%s", got, edited)
	}
	_, err = r.Shift(w.ctx, target, rollback(blue))
	w.must(err)
	w.must(r.Verify(w.ctx, target, rollback(blue)))
	if got := w.resolverEntry().DefaultSubset; got != "blue" {
		t.Errorf("after the rollback those who go around the router get %s", got)
	}
}

// A subset that means something else is kept by a rollback, as every edit, but
// it cannot be accepted: what is in a colour is not people's to say.
func TestAnEditOfAColoursFilter(t *testing.T) {
	everyKind(t, func(w *world, r Router) {
		const theirs = "Service.Meta.teal_colour == green and Service.Meta.size == big"
		target := w.prepare(r, 1)
		_, err := r.Shift(w.ctx, target, move(green, "cutover"))
		w.must(err)
		w.must(r.Verify(w.ctx, target, move(green, "cutover")))
		e := w.resolverEntry()
		e.Subsets["green"] = api.ServiceResolverSubset{Filter: theirs}
		w.put(e)
		_, err = r.Shift(w.ctx, target, rollback(blue))
		w.must(err)
		w.must(r.Verify(w.ctx, target, rollback(blue)))
		if got := w.resolverEntry(); got.Subsets["green"].Filter != theirs || got.DefaultSubset != "blue" {
			w.Errorf("rolled back: %s", text(w.T, got))
		}
		_, _, err = r.Accept(w.ctx, Setup{Target: target, Serve: blue})
		w.wants(err, ErrRefused)
		target.Route, err = r.Repair(w.ctx, Setup{Target: target, Serve: blue})
		w.must(err)
		if o := w.serves(r, target, blue); o.Edited || w.resolverEntry().Subsets["green"].Filter != filter(green, true) {
			w.Errorf("repaired: %+v", o)
		}
	})
}

// The entry may say blue while Consul sends requests elsewhere, for another
// entry's sake: Verify believes what the proxies are told.
func TestVerifyAsksTheCompiledChain(t *testing.T) {
	everyKind(t, func(w *world, r Router) {
		target := w.prepare(r, 1)
		w.must(r.Verify(w.ctx, target, rollback(blue)))
		w.put(&api.ServiceConfigEntry{Kind: api.ServiceDefaults, Name: w.service + "-other", Protocol: map[string]string{
			api.ServiceRouter: "http", api.ServiceResolver: "tcp"}[r.Kind()]})
		e := w.resolverEntry()
		e.Redirect = &api.ServiceResolverRedirect{Service: w.service + "-other"}
		w.put(e)
		w.wants(r.Verify(w.ctx, target, rollback(blue)), ErrUnsettled)
	})
}

// Accepting is refused before anything is written.
func TestAnAcceptThatIsRefusedWritesNothing(t *testing.T) {
	w := newWorld(t)
	r := w.router(api.ServiceRouter)
	target := w.prepare(r, 1)
	resolver, e := w.resolverEntry(), w.routerEntry()
	resolver.ConnectTimeout = 7 * time.Second
	e.Routes = append([]api.ServiceRoute{{
		Match:       &api.ServiceRouteMatch{HTTP: &api.ServiceRouteHTTPMatch{PathPrefix: "/beta"}},
		Destination: &api.ServiceRouteDestination{ServiceSubset: "green"},
	}}, e.Routes...)
	w.put(resolver)
	w.put(e)
	before := w.contents()
	_, _, err := r.Accept(w.ctx, Setup{Target: target, Serve: blue})
	w.wants(err, ErrRefused)
	w.sameContents("refused", before)
}

// Consul answers true to content it has already, whatever the index: with an
// outdated warm entry that answer proves nothing, and nothing is built on it.
func TestAnAnswerOfTrueIsNoProof(t *testing.T) {
	everyKind(t, func(w *world, r Router) {
		target := w.prepare(r, 1)
		twin := w.router(r.Kind())
		_, err := twin.Shift(w.ctx, target, move(green, "cutover"))
		w.must(err)
		index := w.serves(twin, target, green).Index
		// The same move from the entry of before: true, and no write.
		_, err = r.Shift(w.ctx, target, move(green, "cutover"))
		w.must(err)
		if o := w.serves(twin, target, green); o.Index != index {
			w.Fatalf("written again: %d, was %d", o.Index, index)
		}
		// Since then somebody else moved it: that must be seen.
		_, err = twin.Shift(w.ctx, target, move(blue, "back"))
		w.must(err)
		w.wants(r.Verify(w.ctx, target, move(green, "cutover")), ErrUnsettled)
		written, err := r.Shift(w.ctx, target, move(green, "again"))
		w.must(err)
		if written.Already {
			w.Error("believed that green serves")
		}
		w.must(r.Verify(w.ctx, target, move(green, "again")))
		w.serves(r, target, green)
	})
}

// Whoever takes Teal's entries away, or a release that nobody finished, takes
// the protocol that Teal added along: settling the edit writes it again, and
// says so when it does not know it.
func TestSettlingAnEditBringsTheProtocolBack(t *testing.T) {
	for name, settle := range map[string]func(Router, *world, Setup) (deployment.Route, error){
		"accept": func(r Router, w *world, s Setup) (deployment.Route, error) {
			route, _, err := r.Accept(w.ctx, s)
			return route, err
		},
		"repair": func(r Router, w *world, s Setup) (deployment.Route, error) { return r.Repair(w.ctx, s) },
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			r := w.router(api.ServiceRouter)
			target := w.prepare(r, 1)
			w.must(r.Release(w.ctx, target))
			_, err := settle(r, w, Setup{Target: target, Serve: blue})
			w.wants(err, ErrRefused)
			target.Route, err = settle(r, w, Setup{Target: target, Serve: blue, Protocol: "http"})
			w.must(err)
			w.serves(r, target, blue)
			w.must(r.Verify(w.ctx, target, rollback(blue)))
		})
	}
}

// What a record keeps of another entry, by whomever it was written, is neither put in
// this one's place nor given back.
func TestTheRecordsOriginalIsAnothersEntry(t *testing.T) {
	target := Target{Service: "api", Owner: "teal/"}
	for _, kept := range []string{`{"Kind":"service-resolver","Name":"api"}`, `{"Kind":"service-router","Name":"shop"}`} {
		target.Route.Original = map[string]string{api.ServiceRouter: kept}
		if e, err := restored(routerForm{}, target); err == nil || !strings.Contains(err.Error(), "somebody else has written it") {
			t.Errorf("%s: %+v %v", kept, e, err)
		}
		now := &api.ServiceRouterConfigEntry{Kind: api.ServiceRouter, Name: "api"}
		if got := (routerForm{}).differs(target, now); len(got) > 0 {
			t.Errorf("%s: %q", kept, got)
		}
		if got := asFound(routerForm{}, target, now); got != api.ConfigEntry(now) {
			t.Errorf("%s is given back", kept)
		}
	}
}
