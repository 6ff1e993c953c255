package consultest

import (
	"testing"
	"time"

	"github.com/hashicorp/consul/api"

	"github.com/tealdeploy/teal/agent/consul"
	"github.com/tealdeploy/teal/agent/deployment"
)

func TestAPausedConsulCarriesOutWhatItGotMeanwhile(t *testing.T) {
	try(t, func(x *bench) {
		id, err := x.a.NewSession(x.ctx, &api.SessionEntry{TTL: "10s"})
		x.must(err)
		<-time.After(15 * time.Second)
		x.server.Pause()
		x.is(x.a.Put(x.ctx, "k", []byte("first")), consul.ErrUnavailable)
		x.is(x.b.Put(x.ctx, "k", []byte("second")), consul.ErrUnavailable)
		_, err = x.a.Read(x.ctx, "k")
		x.is(err, consul.ErrUnavailable)
		if len(x.server.Sessions()) != 1 {
			x.Error("a session ended in a Consul that stands still")
		}
		x.server.Resume()
		x.holds("second")
		_, err = x.a.RenewSession(x.ctx, id)
		x.is(err, consul.ErrNoSession)
	})
}

func TestARestoredSnapshotSetsIndexesBack(t *testing.T) {
	try(t, func(x *bench) {
		kept, err := x.a.NewSession(x.ctx, &api.SessionEntry{TTL: "10s"})
		x.must(err)
		entry := &api.ServiceConfigEntry{Kind: api.ServiceDefaults, Name: "api", Protocol: "http"}
		if ok, err := x.a.SetEntry(x.ctx, entry, 0); !ok || err != nil {
			x.Fatal(ok, err)
		}
		then, before, err := x.a.Get(x.ctx, "k", 0)
		x.must(err)
		snapshot := x.server.Snapshot()
		x.must(x.a.Put(x.ctx, "k", []byte("new")))
		x.server.SetInstance("api", deployment.Instance{ID: "1", Node: "n"})
		_, err = x.a.NewSession(x.ctx, &api.SessionEntry{TTL: "10s"})
		x.must(err)
		_, index, err := x.a.Get(x.ctx, "k", 0)
		x.must(err)
		time.AfterFunc(12*time.Second, func() { x.server.Restore(snapshot) })
		var pair *api.KVPair
		var next uint64
		if d := took(func() { pair, next, err = x.a.Get(x.ctx, "k", index) }); d != 12*time.Second {
			x.Errorf("a query under way was answered after %s", d)
		}
		x.must(err)
		if next != before || string(pair.Value) != "old" || pair.ModifyIndex != then.ModifyIndex {
			x.Errorf("%+v at %d, want %+v at %d", pair, next, then, before)
		}
		if _, again, err := x.a.Get(x.ctx, "k", 0); err != nil || again != before {
			x.Errorf("index %d %v, want %d", again, err, before)
		}
		if list, _, err := x.a.Instances(x.ctx, "api", 0); err != nil || len(list) != 0 {
			x.Errorf("instances %v %v", list, err)
		}
		if s := x.server.Sessions(); len(s) != 1 || s[0].ID != kept {
			x.Errorf("sessions %v", s)
		}
		<-time.After(19 * time.Second) // its TTL began anew
		_, err = x.a.RenewSession(x.ctx, kept)
		x.must(err)
		x.must(x.a.Put(x.ctx, "k", []byte("newest")))
		if newest, _, err := x.a.Get(x.ctx, "k", 0); err != nil || newest.ModifyIndex <= index {
			x.Errorf("raft went backwards: %+v %v, was %d", newest, err, index)
		}
		// The snapshot is what it was, also for the next time.
		x.server.Restore(snapshot)
		x.holds("old")
		<-time.After(20*time.Second + time.Millisecond)
		if s := x.server.Sessions(); len(s) != 0 {
			x.Errorf("sessions %v", s)
		}
	})
}

func TestAnElectionBeginsTTLsAnew(t *testing.T) {
	try(t, func(x *bench) {
		_, err := x.a.NewSession(x.ctx, &api.SessionEntry{TTL: "10s"})
		x.must(err)
		<-time.After(19 * time.Second)
		x.server.Elect()
		<-time.After(19 * time.Second)
		if len(x.server.Sessions()) != 1 {
			x.Error("ended by the old leader's clock")
		}
		x.server.SetExpiry(func(ttl time.Duration) time.Duration { return ttl })
		x.server.Elect()
		<-time.After(10*time.Second + time.Millisecond)
		if len(x.server.Sessions()) != 0 {
			x.Error("not ended by the new one's")
		}
	})
}
