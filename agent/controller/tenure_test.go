package controller

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	consulapi "github.com/hashicorp/consul/api"

	"github.com/tealdeploy/teal/agent/consul"
	"github.com/tealdeploy/teal/agent/consul/consultest"
	"github.com/tealdeploy/teal/agent/deployment"
	"github.com/tealdeploy/teal/agent/kv"
	"github.com/tealdeploy/teal/agent/traffic"
)

// A new leader obeys while it still reads how everything else stands, and of
// what has ended it reads nothing.
func TestCommandsWaitForNoOtherRecord(t *testing.T) {
	inWorld(t, func(w *world) {
		w.adopted()
		w.agents[0].stop()
		asked := make(chan string, 1000)
		w.consul.Intercept(func(c consultest.Call) consultest.Fault {
			if c.Agent != "agent-2" {
				return consultest.Fault{}
			}
			asked <- c.Op + " " + c.Key
			return consultest.Fault{Hang: c.Op == "GetEach"}
		})
		w.agent("agent-2")
		w.obeyed(kv.Pause, "")
		w.consul.Intercept(nil)
		w.obeyed(kv.Resume, "")
		close(asked)
		for what := range asked {
			if strings.Contains(what, "/deployments/") || strings.HasPrefix(what, "List "+w.keys.Services()) {
				t.Errorf("asked for %s", what)
			}
		}
	})
}

// busyCatalog has entries that change all the time, or at some moments.
type busyCatalog struct {
	Catalog
	look    time.Duration // what one takes
	changes []time.Duration
	always  bool

	began time.Time
	looks []time.Duration
}

func (c *busyCatalog) EntriesIndex(context.Context) (uint64, error) {
	now := time.Since(c.began)
	if c.always {
		return 1 + uint64(now), nil
	}
	index := uint64(1)
	for _, at := range c.changes {
		if now >= at {
			index++
		}
	}
	return index, nil
}

func (c *busyCatalog) EachEntry(ctx context.Context, kind string, _ func(string, uint64) bool, _ func(consulapi.ConfigEntry)) (uint64, error) {
	if kind == consulapi.ServiceRouter {
		c.looks = append(c.looks, time.Since(c.began).Truncate(time.Second))
	}
	index, _ := c.EntriesIndex(ctx)
	if !pause(ctx, c.look/2) {
		return 0, ctx.Err()
	}
	return index, nil
}

// Entries are looked at within a second of a change, and where that takes long,
// when they have not changed for a second, or have for some.
func TestEntriesAreLookedAtWhenTheyHaveChanged(t *testing.T) {
	second := time.Second
	for name, c := range map[string]struct {
		catalog busyCatalog
		looks   []time.Duration
	}{
		"never":                {busyCatalog{}, []time.Duration{0}},
		"a few":                {busyCatalog{look: 2 * time.Millisecond, changes: []time.Duration{4*second + 1, 5*second + 1}}, []time.Duration{0, 4 * second, 5 * second}},
		"thousands":            {busyCatalog{look: second, changes: []time.Duration{4*second + 1, 5*second + 1}}, []time.Duration{0, 7 * second}},
		"thousands, all along": {busyCatalog{look: second, always: true}, []time.Duration{0, 6 * second, 12 * second, 18 * second, 24 * second}},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				ctx, cancel := context.WithTimeout(t.Context(), 29*second)
				defer cancel()
				busy := &c.catalog
				busy.began = time.Now()
				tn := &tenure{ctx: ctx, routes: routeBook{}, records: map[string]kept{}, loops: map[string]*loop{},
					c: New(Config{Catalog: busy, Routers: map[string]traffic.Router{}})}
				_ = tn.watchRoutes(ctx)
				if !slices.Equal(busy.looks, c.looks) {
					t.Errorf("looked at %v, want %v", busy.looks, c.looks)
				}
			})
		})
	}
}

// What was seen is not read anew, and what is edited, mended or gone has its
// service look at it.
func TestLooksSeeOnlyWhatIsNew(t *testing.T) {
	book, router := routeBook{}, traffic.NewServiceRouter(nil)
	// A splitter is nothing that a router writes, and so never edited.
	edited := func(name string, index uint64) consulapi.ConfigEntry {
		return &consulapi.ServiceRouterConfigEntry{Kind: consulapi.ServiceRouter, Name: name, ModifyIndex: index}
	}
	mended := func(name string, index uint64) consulapi.ConfigEntry {
		return &consulapi.ServiceSplitterConfigEntry{Kind: consulapi.ServiceSplitter, Name: name, ModifyIndex: index}
	}
	held := ""
	look := func(entries ...consulapi.ConfigEntry) (read, suspects []string) {
		l := book.look(consulapi.ServiceRouter, router)
		l.held = func(svc string) bool { return svc == held }
		for _, e := range entries {
			if !l.known(e.GetName(), e.GetModifyIndex()) {
				read = append(read, e.GetName())
				l.see(e)
			}
		}
		return read, l.done()
	}
	for _, step := range []struct {
		entries        []consulapi.ConfigEntry
		read, suspects string
		held           string
	}{
		{[]consulapi.ConfigEntry{edited("a", 1), edited("b", 2)}, "[a b]", "[a b]", ""},
		{[]consulapi.ConfigEntry{edited("a", 1), edited("b", 3)}, "[b]", "[b]", ""},
		{[]consulapi.ConfigEntry{edited("b", 3)}, "[]", "[a]", ""},
		{[]consulapi.ConfigEntry{edited("b", 3)}, "[]", "[]", "b"},
		{[]consulapi.ConfigEntry{mended("b", 4), mended("c", 4)}, "[b c]", "[b]", ""},
		{[]consulapi.ConfigEntry{mended("b", 5), mended("c", 5)}, "[b c]", "[c]", "c"},
	} {
		held = step.held
		read, suspects := look(step.entries...)
		if fmt.Sprint(read) != step.read || fmt.Sprint(slices.Sorted(slices.Values(suspects))) != step.suspects {
			t.Errorf("read %v, suspects %v; want %s and %s", read, suspects, step.read, step.suspects)
		}
	}
}

// Entries cannot be followed for a while, and an edit is found only because the
// service looks by itself. Somebody puts it back while the hold is being saved,
// and the first look after it finds nothing wrong: the hold is lifted all the
// same.
func TestEditPutBackBeforeTheHold(t *testing.T) {
	inWorld(t, func(w *world) {
		w.adopted()
		w.policy("2.0.0", strings.Replace(quick, `"1m"`, `"10h"`, 1))
		w.state("2.0.0", deployment.Soaking)
		w.agents[0].stop()
		was, err := w.people.Entry(w.Context(), consulapi.ServiceRouter, "api")
		if err != nil {
			t.Fatal(err)
		}
		var back atomic.Bool
		var writes atomic.Int32 // since the edit: the resume's, then the hold's
		w.consul.Intercept(func(c consultest.Call) (f consultest.Fault) {
			switch {
			case c.Agent != "agent-2":
			case c.Op == "EachEntry" && !back.Load():
				f.Before = consul.ErrUnavailable
			case c.Write && c.Key == w.keys.State("api") && w.hasRoute("/admin") && writes.Add(1) == 2:
				now, _ := w.people.Entry(w.Context(), consulapi.ServiceRouter, "api")
				mended := *was.(*consulapi.ServiceRouterConfigEntry)
				mended.Meta = now.GetMeta()
				if ok, err := w.people.SetEntry(w.Context(), &mended, now.GetModifyIndex()); !ok || err != nil {
					t.Errorf("put back: %v, %v", ok, err)
				}
				back.Store(true)
				f.Delay = 8 * time.Second
			}
			return f
		})
		w.agent("agent-2")
		time.Sleep(5 * time.Second) // it follows Nomad's events
		w.ordinary("9.9.9")
		w.until(time.Minute, "held for the job", func(r deployment.Service) bool { return r.Held != nil && r.Held.Cause == deployment.JobEdited })
		w.addRoute("/admin")
		w.obeyed(kv.Resume, "")
		time.Sleep(time.Minute)
		if rec := w.record(); rec.Held != nil || !back.Load() {
			t.Errorf("held %+v, put back %v", rec.Held, back.Load())
		}
	})
}

// Reading the records fails half-way, and goes on where it was.
func TestRecordsAreReadOnce(t *testing.T) {
	inWorld(t, func(w *world) {
		w.adopted()
		w.agents[0].stop()
		for i := range 8 {
			if err := w.people.Put(w.Context(), w.keys.State(fmt.Sprintf("idle-%d", i)), []byte(`{"format":1,"active":"blue"}`)); err != nil {
				t.Fatal(err)
			}
		}
		var mu sync.Mutex
		read := map[string]int{}
		w.consul.Intercept(func(c consultest.Call) (f consultest.Fault) {
			if c.Op != "GetEach" {
				return f
			}
			mu.Lock()
			defer mu.Unlock()
			if read[c.Key]++; c.Key == w.keys.State("idle-5") && read[c.Key] < 3 {
				f.Before = consul.ErrUnavailable
			}
			return f
		})
		w.agent("agent-2")
		w.obeyed(kv.Pause, "")
		time.Sleep(10 * time.Second)
		mu.Lock()
		defer mu.Unlock()
		for key, n := range read {
			if want := map[bool]int{true: 3, false: 1}[key == w.keys.State("idle-5")]; n != want {
				t.Errorf("%s was read %d times, want %d", key, n, want)
			}
		}
		if len(read) < 8 {
			t.Errorf("read: %v", read)
		}
	})
}
