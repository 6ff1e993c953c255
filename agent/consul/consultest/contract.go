package consultest

import (
	"context"
	"encoding/json"
	"errors"
	"regexp"
	"testing"
	"time"

	"github.com/hashicorp/consul/api"

	"github.com/tealdeploy/teal/agent/consul"
	"github.com/tealdeploy/teal/agent/deployment"
)

// API is the method set of consul.Client, which the fake's Client has too.
type API interface {
	Ping(ctx context.Context) error

	Get(ctx context.Context, key string, index uint64) (*api.KVPair, uint64, error)
	Read(ctx context.Context, key string) (*api.KVPair, error)
	List(ctx context.Context, prefix string, index uint64) (api.KVPairs, uint64, error)
	Keys(ctx context.Context, prefix string) ([]string, error)
	Folders(ctx context.Context, prefix string) ([]string, error)
	GetEach(ctx context.Context, keys []string, see func(*api.KVPair)) error
	Put(ctx context.Context, key string, value []byte) error
	CAS(ctx context.Context, key string, value []byte, index uint64) (bool, error)
	Delete(ctx context.Context, key string) error
	Txn(ctx context.Context, ops api.KVTxnOps) (api.KVPairs, error)

	NewSession(ctx context.Context, s *api.SessionEntry) (string, error)
	RenewSession(ctx context.Context, id string) (time.Duration, error)
	DestroySession(ctx context.Context, id string) error
	Acquire(ctx context.Context, key string, value []byte, session string) (bool, error)
	Release(ctx context.Context, key string, value []byte, session string) (bool, error)

	Entry(ctx context.Context, kind, name string) (api.ConfigEntry, error)
	EntriesIndex(ctx context.Context) (uint64, error)
	EachEntry(ctx context.Context, kind string, known func(name string, modified uint64) bool, see func(api.ConfigEntry)) (uint64, error)
	SetEntry(ctx context.Context, entry api.ConfigEntry, index uint64) (bool, error)
	DeleteEntry(ctx context.Context, kind, name string, index uint64) (bool, error)
	Chain(ctx context.Context, service, namespace string) (*api.CompiledDiscoveryChain, error)

	Instances(ctx context.Context, service string, index uint64) ([]deployment.Instance, uint64, error)
	PlainInstances(ctx context.Context, service string, index uint64) ([]deployment.Instance, uint64, error)
	RegisterService(ctx context.Context, reg *api.AgentServiceRegistration) error
	DeregisterService(ctx context.Context, id string) error
}

// Subject is what the contract is held against. Its blocking queries wait for
// Wait, and everything the contract writes has a name that begins with Prefix,
// so that runs against one server do not meet.
type Subject struct {
	API
	Prefix string
	// Node is the node that the client's agent runs on.
	Node string
	// SetInstance registers an instance that Connect routes to, on a node of
	// its own; RemoveInstance takes it back.
	SetInstance    func(service string, i deployment.Instance) error
	RemoveInstance func(service, node, id string) error
	// SetCheck sets the status of a node's check, registering both.
	SetCheck func(node, check, status string) error
}

// Wait is how long the subject's blocking queries wait.
const Wait = 3 * time.Second

// patience bounds what one clause may take.
const patience = time.Minute

// Contract is what Teal relies on of Consul. run runs one clause against a
// subject: the fake's inside a bubble, so that its waits cost nothing.
func Contract(t *testing.T, run func(t *testing.T, clause func(t *testing.T, s Subject))) {
	for _, c := range []struct {
		name string
		test func(x *trial)
	}{
		{"a key is written read listed and deleted", (*trial).keys},
		{"many keys are read at once", (*trial).manyKeys},
		{"writing the same changes nothing", (*trial).sameValue},
		{"compare and set of a key", (*trial).casKey},
		{"all writes share one index", (*trial).oneIndex},
		{"a transaction is all or nothing", (*trial).atomic},
		{"what a transaction answers", (*trial).answers},
		{"a transaction has bounds", (*trial).bounds},
		{"a key is consumed once", (*trial).consume},
		{"a fenced write needs the lock", (*trial).fence},
		{"a lock has one holder", (*trial).lock},
		{"a plain write keeps the lock and resets its count", (*trial).plainWrite},
		{"a session that ends gives its keys back or takes them along", (*trial).behaviours},
		{"a lock delay keeps the next holder out", (*trial).lockDelay},
		{"a session ends between one TTL and two unless renewed", (*trial).ttl},
		{"a session that is gone", (*trial).gone},
		{"a session that cannot be", (*trial).badSessions},
		{"a session ends with a check it is bound to", (*trial).bound},
		{"a blocking query answers at the change", (*trial).blocks},
		{"a blocking query answers the same when its wait has passed", (*trial).waits},
		{"a change elsewhere wakes nobody", (*trial).elsewhere},
		{"a missing key is waited for", (*trial).absent},
		{"an index from the future is answered with what is there", (*trial).future},
		{"a query ends with its context", (*trial).cancelled},
		{"compare and set of an entry", (*trial).casEntry},
		{"an identical entry is not written whatever its index", (*trial).sameEntry},
		{"an entry is deleted at its index", (*trial).deleteEntry},
		{"an entry comes back as it was written", (*trial).roundTrip},
		{"entries that are refused by themselves", (*trial).badEntries},
		{"entries that are refused for others", (*trial).badGraphs},
		{"entries of a kind are listed", (*trial).entries},
		{"one index tells of all entries", (*trial).entriesIndex},
		{"the discovery chain", (*trial).chains},
		{"instances with colour and health", (*trial).instances},
		{"a registered service and its check", (*trial).registered},
	} {
		t.Run(c.name, func(t *testing.T) {
			run(t, func(t *testing.T, s Subject) {
				ctx, cancel := context.WithTimeout(t.Context(), patience)
				defer cancel()
				id := regexp.MustCompile(`\W+`).ReplaceAllString(c.name, "-")
				c.test(&trial{Subject: s, t: t, ctx: ctx, id: s.Prefix + id})
			})
		})
	}
}

// trial is one clause being tried.
type trial struct {
	Subject
	t   *testing.T
	ctx context.Context
	id  string // begins every name of this clause

	looked int
}

// looks counts the queries of a watch: one that does not block is no watch.
func (x *trial) looks() {
	x.t.Helper()
	if x.looked++; x.looked > 1000 {
		x.t.Fatal("queries do not block")
	}
}

func (x *trial) must(err error) {
	x.t.Helper()
	if err != nil {
		x.t.Fatal(err)
	}
}

func (x *trial) is(err, kind error) {
	x.t.Helper()
	if !errors.Is(err, kind) {
		x.t.Fatalf("error %v, want %v", err, kind)
	}
}

// says checks the answer of a conditional write.
func (x *trial) says(want bool) func(ok bool, err error) {
	x.t.Helper()
	return func(ok bool, err error) {
		x.t.Helper()
		x.must(err)
		if ok != want {
			x.t.Fatalf("answered %v, want %v", ok, want)
		}
	}
}

// equal compares what two things look like as JSON.
func (x *trial) equal(what string, got, want any) {
	x.t.Helper()
	if g, w := text(x.t, got), text(x.t, want); g != w {
		x.t.Errorf("%s:\n%s\nwant\n%s", what, g, w)
	}
}

func text(t *testing.T, v any) string {
	t.Helper()
	data, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

func (x *trial) key(name string) string { return x.id + "/" + name }

func (x *trial) put(name, value string) *api.KVPair {
	x.t.Helper()
	x.must(x.Put(x.ctx, x.key(name), []byte(value)))
	return x.pair(name)
}

func (x *trial) pair(name string) *api.KVPair {
	x.t.Helper()
	pair, err := x.Read(x.ctx, x.key(name))
	x.must(err)
	return pair
}

// conflict checks that a transaction failed, and at which operation.
func (x *trial) conflict(at int) func(pairs api.KVPairs, err error) {
	x.t.Helper()
	return func(_ api.KVPairs, err error) {
		x.t.Helper()
		var failed *consul.OpError
		if !errors.Is(err, consul.ErrConflict) || !errors.As(err, &failed) || failed.Index != at {
			x.t.Fatalf("got %v, want a conflict at operation %d", err, at)
		}
	}
}

func (x *trial) session(s api.SessionEntry) string {
	x.t.Helper()
	s.Name = x.id
	id, err := x.NewSession(x.ctx, &s)
	x.must(err)
	x.t.Cleanup(func() { _ = x.DestroySession(context.WithoutCancel(x.ctx), id) })
	return id
}

// meanwhile does something while a query waits, and not before it waits.
func (x *trial) meanwhile(f func()) (wait func()) {
	done := make(chan struct{})
	time.AfterFunc(Wait/10, func() {
		defer close(done)
		f()
	})
	return func() { <-done }
}
