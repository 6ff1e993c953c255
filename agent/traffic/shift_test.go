package traffic

import (
	"errors"
	"testing"
	"time"

	"github.com/hashicorp/consul/api"

	"github.com/tealdeploy/teal/agent/deployment"
)

const (
	blue  = deployment.Blue
	green = deployment.Green
)

// everyKind runs a scenario with each router.
func everyKind(t *testing.T, f func(w *world, r Router)) {
	for kind := range Kinds {
		t.Run(kind, func(t *testing.T) {
			w := newWorld(t)
			f(w, w.router(kind))
		})
	}
}

func TestCutoverIsOneWriteWithoutARead(t *testing.T) {
	everyKind(t, func(w *world, r Router) {
		target := w.prepare(r, 1)
		w.consul.forget()
		_, err := r.Shift(w.ctx, target, move(green, "cutover"))
		w.must(err)
		w.asked("write " + r.Kind())
		w.must(r.Verify(w.ctx, target, move(green, "cutover")))
		w.consul.forget()
		_, err = r.Shift(w.ctx, target, rollback(blue))
		w.must(err)
		w.asked("write " + r.Kind())
		w.must(r.Verify(w.ctx, target, rollback(blue)))
		if o := w.serves(r, target, blue); o.Edited {
			w.Fatalf("own work looks edited: %v", o.Changes)
		}
	})
}

func TestTheWatchKeepsTheNextShiftFreeOfReads(t *testing.T) {
	everyKind(t, func(w *world, r Router) {
		target := w.prepare(r, 1)
		_, err := r.Shift(w.ctx, target, move(green, "cutover"))
		w.must(err)
		e, err := w.consul.Consul.Entry(w.ctx, r.Kind(), w.service)
		w.must(err)
		r.Note(e)
		w.consul.forget()
		_, err = r.Shift(w.ctx, target, rollback(blue))
		w.must(err)
		w.asked("write " + r.Kind())
		w.serves(r, target, blue)
	})
}

func TestAStaleWarmEntryIsNeverBelieved(t *testing.T) {
	everyKind(t, func(w *world, r Router) {
		target := w.prepare(r, 1)
		// Another process of the same epoch moved it; this one has not heard.
		other := w.router(r.Kind())
		_, err := other.Shift(w.ctx, target, move(green, "cutover"))
		w.must(err)
		written, err := r.Shift(w.ctx, target, rollback(blue))
		w.must(err)
		if written.Already {
			w.Fatal("believed that blue serves")
		}
		w.serves(r, target, blue)
	})
}

func TestALostAnswerIsRecognised(t *testing.T) {
	everyKind(t, func(w *world, r Router) {
		target := w.prepare(r, 1)
		lost := errors.New("connection reset")
		w.consul.onWrite = func(write func() (bool, error)) (bool, error) {
			if ok, err := write(); !ok || err != nil {
				w.Fatal(ok, err)
			}
			return false, lost
		}
		_, err := r.Shift(w.ctx, target, move(green, "cutover"))
		w.wants(err, lost)
		index := w.serves(r, target, green).Index
		_, err = r.Shift(w.ctx, target, move(green, "cutover"))
		w.must(err)
		if w.serves(r, target, green).Index != index {
			w.Fatal("moved twice")
		}
	})
}

// Without the warm entry being refreshed, the second try is the same content
// under an old index, to which Consul answers true without writing.
func TestALostAnswerIsRecognisedFromTheStaleEntry(t *testing.T) {
	everyKind(t, func(w *world, r Router) {
		target := w.prepare(r, 1)
		w.consul.onWrite = func(write func() (bool, error)) (bool, error) {
			_, _ = write()
			return false, errors.New("connection reset")
		}
		_, _ = r.Shift(w.ctx, target, move(green, "cutover"))
		_, err := r.Shift(w.ctx, target, move(green, "cutover"))
		w.must(err)
		w.must(r.Verify(w.ctx, target, move(green, "cutover")))
	})
}

func TestADeposedLeaderCannotWrite(t *testing.T) {
	everyKind(t, func(w *world, old Router) {
		target := w.prepare(old, 1)
		next := w.router(old.Kind())
		w.must(next.Claim(w.ctx, w.target(target.Route, 2)))
		_, err := old.Shift(w.ctx, target, move(green, "cutover"))
		w.wants(err, ErrDeposed)
		_, err = old.Shift(w.ctx, target, rollback(green))
		w.wants(err, ErrDeposed)
		w.wants(old.Claim(w.ctx, target), ErrDeposed)
		w.wants(old.Release(w.ctx, target), ErrDeposed)
		_, err = old.Tighten(w.ctx, target)
		w.wants(err, ErrDeposed)
		_, err = old.Prepare(w.ctx, w.setup(target.Route, 1))
		w.wants(err, ErrDeposed)
		if o := w.serves(next, target, blue); o.Edited || o.Epoch != 2 {
			w.Fatalf("%+v", o)
		}
		_, err = next.Shift(w.ctx, w.target(target.Route, 2), move(green, "cutover"))
		w.must(err)
	})
}

// The old leader's write is on its way while the next one claims: whichever
// arrives first, the second fails or sees the first.
func TestAClaimBetweenDecisionAndWrite(t *testing.T) {
	everyKind(t, func(w *world, old Router) {
		target := w.prepare(old, 1)
		w.consul.onWrite = func(write func() (bool, error)) (bool, error) {
			w.must(w.router(old.Kind()).Claim(w.ctx, w.target(target.Route, 2)))
			return write()
		}
		_, err := old.Shift(w.ctx, target, move(green, "cutover"))
		w.wants(err, ErrDeposed)
		w.serves(old, target, blue)
	})
}

func TestTheNextLeaderRecognisesTheMoveOfTheLast(t *testing.T) {
	everyKind(t, func(w *world, old Router) {
		target := w.prepare(old, 1)
		_, err := old.Shift(w.ctx, target, move(green, "cutover"))
		w.must(err)
		next, target2 := w.router(old.Kind()), w.target(target.Route, 2)
		w.must(next.Claim(w.ctx, target2))
		written, err := next.Shift(w.ctx, target2, move(green, "cutover"))
		w.must(err)
		if !written.Already {
			w.Fatal("not recognised")
		}
		w.must(next.Verify(w.ctx, target2, move(green, "cutover")))
	})
}

func TestAnEditHoldsACutover(t *testing.T) {
	w := newWorld(t)
	r := w.router(api.ServiceRouter)
	target := w.prepare(r, 1)
	edited := w.routerEntry()
	edited.Routes = append([]api.ServiceRoute{{
		Match:       &api.ServiceRouteMatch{HTTP: &api.ServiceRouteHTTPMatch{PathPrefix: "/slow"}},
		Destination: &api.ServiceRouteDestination{RequestTimeout: time.Minute},
	}}, edited.Routes...)
	w.put(edited)
	before := text(t, w.routerEntry())
	_, err := r.Shift(w.ctx, target, move(green, "cutover"))
	w.wantsEdited(err)
	_, err = r.Prepare(w.ctx, w.setup(target.Route, 1))
	w.wantsEdited(err)
	if text(t, w.routerEntry()) != before {
		t.Fatal("the edit was touched")
	}

	route, notes, err := r.Accept(w.ctx, Setup{Target: target, Serve: blue})
	w.must(err)
	t.Log(notes)
	target.Route = route
	_, err = r.Shift(w.ctx, target, move(green, "cutover"))
	w.must(err)
	w.must(r.Verify(w.ctx, target, move(green, "cutover")))
	if got := w.routerEntry().Routes[2]; got.Match.HTTP.PathPrefix != "/slow" ||
		got.Destination.RequestTimeout != time.Minute || got.Destination.ServiceSubset != "green" {
		t.Fatalf("the accepted route is %s", text(t, got))
	}
}

func TestARollbackGetsThroughEdits(t *testing.T) {
	for name, edit := range map[string]func(w *world){
		"route added": func(w *world) {
			e := w.routerEntry()
			e.Routes = append([]api.ServiceRoute{{
				Match:       &api.ServiceRouteMatch{HTTP: &api.ServiceRouteHTTPMatch{PathPrefix: "/pinned"}},
				Destination: &api.ServiceRouteDestination{ServiceSubset: "green"},
			}}, e.Routes...)
			w.put(e)
		},
		"file written over it": func(w *world) {
			w.put(&api.ServiceRouterConfigEntry{Kind: api.ServiceRouter, Name: w.service, Routes: []api.ServiceRoute{
				{Match: &api.ServiceRouteMatch{HTTP: &api.ServiceRouteHTTPMatch{PathPrefix: "/pinned"}},
					Destination: &api.ServiceRouteDestination{ServiceSubset: "green"}},
			}})
		},
		"deleted": func(w *world) { w.remove(api.ServiceRouter) },
		"router and resolver deleted": func(w *world) {
			w.remove(api.ServiceRouter)
			w.remove(api.ServiceResolver)
		},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			r := w.router(api.ServiceRouter)
			target := w.prepare(r, 1)
			_, err := r.Shift(w.ctx, target, move(green, "cutover"))
			w.must(err)
			w.must(r.Verify(w.ctx, target, move(green, "cutover")))
			edit(w)
			written, err := r.Shift(w.ctx, target, rollback(blue))
			w.must(err)
			if len(written.Kept) == 0 {
				t.Error("the edit is not reported")
			}
			t.Log(written.Kept)
			w.must(r.Verify(w.ctx, target, rollback(blue)))
			if w.resolverEntry().DefaultSubset != "blue" {
				t.Error("the resolver's default did not follow")
			}
			e := w.routerEntry()
			u := unframe(e, deployment.None)
			for _, route := range e.Routes {
				if c := u.colourOf(route); c == green && u.isPreview(route) != green {
					t.Errorf("still to green: %s", text(t, route))
				}
			}
			if name == "route added" && e.Routes[2].Match.HTTP.PathPrefix != "/pinned" {
				t.Errorf("the edit is lost: %s", text(t, e.Routes))
			}
			// The same decision again changes nothing.
			again, err := w.router(api.ServiceRouter).Shift(w.ctx, target, rollback(blue))
			w.must(err)
			if !again.Already {
				t.Error("written twice")
			}
		})
	}
}

func TestARollbackKeepsAnEditVisible(t *testing.T) {
	w := newWorld(t)
	r := w.router(api.ServiceRouter)
	target := w.prepare(r, 1)
	_, err := r.Shift(w.ctx, target, move(green, "cutover"))
	w.must(err)
	e := w.routerEntry()
	e.Routes = append([]api.ServiceRoute{{Match: &api.ServiceRouteMatch{HTTP: &api.ServiceRouteHTTPMatch{PathPrefix: "/x"}}}}, e.Routes...)
	w.put(e)
	_, err = r.Shift(w.ctx, target, rollback(blue))
	w.must(err)
	if o := w.serves(r, target, blue); !o.Edited {
		t.Fatal("the edit became Teal's without anybody's consent")
	}
	route, err := r.Repair(w.ctx, Setup{Target: target, Serve: blue})
	w.must(err)
	target.Route = route
	if o := w.serves(r, target, blue); o.Edited || len(w.routerEntry().Routes) != 3 {
		t.Fatalf("not repaired: %+v", o)
	}
}
