package leader

import (
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hashicorp/consul/api"

	"github.com/tealdeploy/teal/agent/consul"
)

func TestKeyDeletedByHand(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		one := w.agent("one").run()
		w.leads("one", time.Second)
		for range 5 {
			time.Sleep(time.Minute)
			before := w.count()
			ended := make(chan struct{})
			_, changed := one.Now()
			go func() { <-changed; close(ended) }()
			if err := one.client.Delete(t.Context(), key); err != nil {
				t.Fatal(err)
			}
			synctest.Wait()
			select {
			case <-ended:
			default:
				t.Fatal("the term goes on without the key")
			}
			w.leads("one", time.Second)
			if w.count() != before+1 {
				t.Errorf("%d terms after %d", w.count(), before)
			}
		}
		// LockIndex is 1 each time: it would have told nobody.
		if pair, _ := one.client.Read(t.Context(), key); pair.LockIndex != 1 {
			t.Errorf("LockIndex %d: this test deletes nothing", pair.LockIndex)
		}
		w.settle()
	})
}

func TestEpochGrowsAcrossEverything(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		names := []string{"one", "two", "three"}
		for _, name := range names {
			w.agent(name).run()
		}
		hand := w.server.Client("hand")
		snapshot := w.server.Snapshot()
		spoil := []func(leader string){
			func(string) { _ = hand.Delete(t.Context(), key) },
			func(string) { _ = hand.Put(t.Context(), key, []byte("nobody")) },
			func(leader string) {
				w.server.SetCheck(leader, alive, api.HealthCritical)
				time.Sleep(time.Second)
				w.server.SetCheck(leader, alive, api.HealthPassing)
			},
			func(string) { w.server.ExpireSession(w.server.Sessions()[0].ID) },
			func(string) {
				_ = hand.Put(t.Context(), key, []byte("x"))
				w.server.ExpireSession(w.server.Sessions()[0].ID)
				_ = hand.Delete(t.Context(), key)
			},
			func(leader string) { w.server.Cut(leader); time.Sleep(time.Minute); w.server.Heal(leader) },
			func(string) { w.server.SetAway(true); time.Sleep(time.Minute); w.server.SetAway(false) },
			func(string) { w.server.Pause(); time.Sleep(time.Minute); w.server.Resume() },
			func(string) { w.server.Restore(snapshot) },
			func(string) { snapshot = w.server.Snapshot() },
			func(leader string) {
				for _, a := range w.agents {
					if a.name == leader {
						a.stop()
						a.run()
					}
				}
			},
		}
		for round := range 3 * len(spoil) {
			time.Sleep(20 * time.Second)
			now := w.running()
			if len(now) != 1 {
				t.Fatalf("round %d: %d lead\n%s", round, len(now), w.logs())
			}
			spoil[round%len(spoil)](now[0].agent)
			time.Sleep(20 * time.Second)
		}
		if w.count() < 3*(len(spoil)-2) {
			t.Errorf("only %d terms", w.count())
		}
		w.settle()
	})
}

func TestFence(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.agent("one").run()
		w.leads("one", time.Second)
		old := w.running()[0].term
		store := consul.Store{KV: w.server.Client("late")}
		write := api.KVTxnOps{{Verb: api.KVSet, Key: "teal/x", Value: []byte("x")}}
		if _, err := store.Commit(t.Context(), old.Fence, write); err != nil {
			t.Fatal(err)
		}
		w.agent("two").run()
		w.server.SetCheck("one", alive, api.HealthCritical)
		w.leads("two", time.Second)
		if _, err := store.Commit(t.Context(), old.Fence, write); !errors.Is(err, consul.ErrDeposed) {
			t.Errorf("the old term writes: %v", err)
		}
		if _, err := store.Commit(t.Context(), w.running()[0].term.Fence, write); err != nil {
			t.Errorf("the new term does not: %v", err)
		}
		w.settle()
	})
}
