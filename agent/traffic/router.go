// Package traffic moves a service's requests from one colour to the other,
// and nothing else: it registers no job, judges no health and decides
// nothing. A router makes both colours reachable once, then moves everything
// by one compare-and-set write, and can at any time say what the servers
// believe, take the service over from an earlier leader, keep what people
// changed, and give everything back.
//
// Each kind of router is one file. A router keeps in the entries themselves
// whatever it needs to undo its work, so a lost record costs nothing.
package traffic

import (
	"context"
	"sort"
	"strings"

	"github.com/hashicorp/consul/api"

	"github.com/tealdeploy/teal/agent/deployment"
)

// Target is the service whose traffic is meant and the leadership under which
// it is touched.
type Target struct {
	Service string
	// Route is what the record holds; its namespace and partition say where
	// the service lives.
	Route deployment.Route
	// Owner is the KV prefix of the agents that own the service's entries.
	Owner string
	// Epoch is the leader's: a number that grows with every term. A write under
	// a smaller one than the entry carries is refused with ErrDeposed.
	Epoch uint64
}

// Setup says how a service is made ready.
type Setup struct {
	Target
	// Protocol is written to the service's service-defaults if nothing says
	// yet what it speaks. Empty: never write.
	Protocol string
	// Serve is the colour that gets all requests. Before the first release of
	// a service it is the empty colour, so that nothing serves unproven. It
	// matters only once: Prepare never moves a service that is prepared.
	Serve deployment.Colour
	// Loose counts instances without colour meta as blue.
	Loose bool
	// Busy says that requests are being served at this moment. Then what is
	// beside the routes is left for Settle: see there.
	Busy bool
}

// Move is one shift of all requests to a colour.
type Move struct {
	To deployment.Colour
	// Deployment and Nonce name the decision. The same pair given again, by
	// this leader or the next, is recognised as the same move.
	Deployment string
	Nonce      string
	// Rollback must get through: people's edits are kept, not waited for.
	Rollback bool
}

// id is what the entry carries of a move.
func (m Move) id() string { return m.Deployment + "/" + m.Nonce }

// Written is what a shift did.
type Written struct {
	// Route is the record's route after the write, to be saved.
	Route deployment.Route
	// Already says that the entry said so before this call: an earlier try
	// whose answer was lost, or an earlier leader's.
	Already bool
	// Kept lists people's edits that a rollback found and kept. They go on
	// being shown as edits until they are accepted or repaired.
	Kept []string
}

// Observed is what an entry says.
type Observed struct {
	Service, Namespace, Partition string

	Exists bool
	Owner  string            // KV prefix of the agents that wrote it; empty: not Teal's
	Colour deployment.Colour // who gets the requests that no other route takes
	Epoch  uint64
	Move   string // deployment/nonce of the last move
	Digest string // of the routes, the same for either colour
	Index  uint64 // ModifyIndex

	// Edited says that somebody else changed what Teal wrote; Changes says
	// what, for people.
	Edited  bool
	Changes []string
}

// Mover moves traffic and looks at it.
type Mover interface {
	// Shift sends all requests to a colour by one write. It returns
	// ErrDeposed if a later leader was there and, unless the move is a
	// rollback, an EditedError if a person changed the entry. Any other error
	// leaves open whether the write happened: giving the same move again
	// settles it.
	Shift(ctx context.Context, t Target, m Move) (Written, error)
	// Verify checks by what Consul itself says that a move took effect. It
	// also takes along what is not in a request's way (see the kinds).
	Verify(ctx context.Context, t Target, m Move) error
	// Observe reads the present state.
	Observe(ctx context.Context, t Target) (Observed, error)
}

// Keeper makes a service ready and gives it back.
type Keeper interface {
	// Prepare makes both colours reachable and Setup.Serve the one that
	// serves. It may be called any number of times and never moves a service
	// that is prepared. It returns the route to be saved.
	Prepare(ctx context.Context, s Setup) (deployment.Route, error)
	// Settle sends those who do not come through the routes to the colour
	// that serves. While requests are served it must come well after Prepare:
	// a proxy that learns of both at once loses the cluster its present route
	// leads to before it has the new route (Consul holds routes back until
	// their clusters are there, but not the removal of a cluster until the
	// routes that replace it have arrived). Before a second version is
	// launched it must have been done.
	Settle(ctx context.Context, t Target, serve deployment.Colour) error
	// Plan says what Prepare would write, a line an entry, or why it would
	// refuse. It writes nothing.
	Plan(ctx context.Context, s Setup) ([]string, error)
	// Tighten stops instances without colour meta from counting as blue.
	Tighten(ctx context.Context, t Target) (deployment.Route, error)
	// Release gives everything back: people's entries without our part,
	// and nothing where there was nothing. All passing instances serve
	// afterwards: the idle colour must be stopped first.
	Release(ctx context.Context, t Target) error
}

// Holder keeps the entries when leaders change or people edit them.
type Holder interface {
	// Claim marks the entries with the epoch, so that no write prepared under
	// an earlier leader succeeds any more. It moves nothing.
	Claim(ctx context.Context, t Target) error
	// Accept makes people's edits the service's own routes, with colour
	// Setup.Serve active. The strings say what a person should know of them.
	// Where nothing says any more what the service speaks, Setup.Protocol is
	// written, as Prepare does.
	Accept(ctx context.Context, s Setup) (deployment.Route, []string, error)
	// Repair writes the last accepted routes over people's edits, and the
	// protocol as Accept does.
	Repair(ctx context.Context, s Setup) (deployment.Route, error)
}

// Follower is a router whose entries a watch can follow. Note keeps the next
// Shift of a service in flight free of reads, and says what the entry says.
type Follower interface {
	Kind() string
	Note(entry api.ConfigEntry) Observed
	// Forget drops what is kept for a service that is not in flight.
	Forget(t Target)
}

// Router is one way to move a service's traffic.
type Router interface {
	Mover
	Keeper
	Holder
	Follower
}

// Consul is what the routers need of Consul. Entry answers nil, nil for an
// entry that does not exist. SetEntry with index 0 writes only if the entry
// does not exist; false means that the index was not the entry's.
type Consul interface {
	Entry(ctx context.Context, kind, name string) (api.ConfigEntry, error)
	SetEntry(ctx context.Context, entry api.ConfigEntry, index uint64) (bool, error)
	DeleteEntry(ctx context.Context, kind, name string, index uint64) (bool, error)
	Chain(ctx context.Context, service, namespace string) (*api.CompiledDiscoveryChain, error)
}

// Scope gives the Consul of a namespace and partition; both are empty outside
// Consul Enterprise.
type Scope func(namespace, partition string) Consul

// Kinds holds every router by the name policies use.
var Kinds = map[string]func(Scope) Router{
	api.ServiceRouter:   NewServiceRouter,
	api.ServiceResolver: NewServiceResolver,
}

// Names is the list of kinds for messages.
func Names() string {
	names := make([]string, 0, len(Kinds))
	for name := range Kinds {
		names = append(names, name)
	}
	sort.Strings(names)
	return strings.Join(names, ", ")
}
