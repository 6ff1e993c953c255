// Package consultest is an in-memory Consul for tests: one raft index, the
// semantics of keys, locks, sessions, config entries, discovery chains,
// instances and blocking queries that Teal relies on, and faults on demand.
// It opens no socket and uses no clock but package time, so it works under
// testing/synctest; create it inside the bubble.
//
// Contract is the suite that the fake and the real Consul must both pass.
// What the fake does not have: ACLs, namespaces, peers, sidecars of their own
// (what Connect routes to is set by SetInstance), health checks that look at
// anything, every config entry kind but those of traffic, and whether a
// subset's filter is an expression.
package consultest

import (
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/hashicorp/consul/api"

	"github.com/tealdeploy/teal/agent/consul"
	"github.com/tealdeploy/teal/agent/deployment"
)

// Server is a fake Consul. Its zero value is not usable: call New.
type Server struct {
	mu      sync.Mutex
	index   uint64
	changed chan struct{} // closed at every change
	state

	services map[place]*registration // by node and ID, as the agents know them
	delays   map[string]time.Time    // key → when its lock delay has passed
	created  uint64                  // sessions so far
	restored int                     // how often a snapshot was put back

	away      bool
	paused    bool
	waiting   []func()        // writes that arrived while paused
	cut       map[string]bool // agents that cannot reach Consul
	intercept func(Call) Fault
	listen    func(key string, pair *api.KVPair)
	observe   func(Change)
	writer    string // the agent whose write is carried out; empty: Consul itself
	wait      time.Duration
	timeout   time.Duration
	lag       time.Duration // from a registration to the catalog
	expiry    func(ttl time.Duration) time.Duration
}

// state is what a snapshot holds.
type state struct {
	keys      table[api.KVPair]
	entries   table[entry]                        // by kind/name
	linked    map[string]map[api.ConfigEntry]bool // service → entries of others that name it
	instances table[instance]                     // by service/node/ID
	checks    map[place]string
	sessions  map[string]*session
}

// place is something on a node: a check's ID or a service's.
type place struct{ node, id string }

// New starts an empty Consul.
func New() *Server {
	return &Server{
		index:    10, // a cluster has written a little before anyone comes
		changed:  make(chan struct{}),
		state:    state{checks: map[place]string{}, sessions: map[string]*session{}, linked: map[string]map[api.ConfigEntry]bool{}},
		services: map[place]*registration{},
		delays:   map[string]time.Time{},
		cut:      map[string]bool{},
		wait:     consul.DefaultWait,
		timeout:  consul.DefaultTimeout,
		lag:      10 * time.Millisecond,
		expiry:   func(ttl time.Duration) time.Duration { return 2 * ttl },
	}
}

// Client is how one agent reaches the server; it has the method set of
// consul.Client. Its node, of the same name, is alive from now on.
func (s *Server) Client(agent string) *Client {
	s.mu.Lock()
	defer s.mu.Unlock()
	if at := (place{agent, "serfHealth"}); s.checks[at] == "" {
		s.checks[at] = api.HealthPassing
	}
	return &Client{s: s, agent: agent}
}

// Client is one agent's handle on the fake.
type Client struct {
	s     *Server
	agent string
}

// SetWait sets how long blocking queries wait; 60 s unless set.
func (s *Server) SetWait(d time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.wait = d
}

// SetExpiry says when a session whose TTL is not renewed ends. Consul
// promises not before the TTL and waits twice as long, which is the default.
func (s *Server) SetExpiry(f func(ttl time.Duration) time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.expiry = f
}

// SetSync sets how long a registered service takes from the agent it was
// registered at to the catalog, where sessions and queries see it; 10 ms
// unless set.
func (s *Server) SetSync(d time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.lag = d
}

// Listen has f told of every change of a key, in order, also of those that a
// watch would not see because the next one came too soon. pair is nil when the
// key was deleted. f is called with the server locked and must not use it.
func (s *Server) Listen(f func(key string, pair *api.KVPair)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.listen = f
}

// Change is a write as it took effect. What was deleted is nil.
type Change struct {
	Agent    string // whose request it was; empty when Consul did it by itself
	Of       Table
	Key      string // the key; kind/name of a config entry; service/node/ID
	Pair     *api.KVPair
	Entry    api.ConfigEntry
	Instance *deployment.Instance
}

// Table is what a change is of.
type Table int

// The tables.
const (
	Keys Table = iota
	Entries
	Instances
)

// Observe has f told of every change of a key, a config entry or an instance,
// in order, and of who made it. f is called with the server locked and must
// not use it.
func (s *Server) Observe(f func(Change)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.observe = f
}

// putKey stores a key as it is from now on, nil for none.
func (s *Server) putKey(key string, pair *api.KVPair, index uint64) {
	v := s.keys.put(key, pair, index)
	if pair != nil {
		pair = clone(v)
	}
	if s.listen != nil {
		s.listen(key, pair)
	}
	if s.observe != nil {
		s.observe(Change{Agent: s.writer, Of: Keys, Key: key, Pair: pair})
	}
}

// SetAway makes Consul refuse everything, blocking queries under way too, or
// answer again. Sessions go on ageing, as they do when it is only the agents'
// way to Consul that is broken; see Elect for the other case.
func (s *Server) SetAway(away bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.away = away
	s.wake()
}

// Cut parts an agent from Consul: its requests get no answer and run into
// their timeouts. Heal ends that.
func (s *Server) Cut(agent string) { s.setCut(agent, true) }

// Heal is the end of Cut.
func (s *Server) Heal(agent string) { s.setCut(agent, false) }

func (s *Server) setCut(agent string, cut bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.cut[agent] = cut
	s.wake()
}

// Pause stops Consul as SIGSTOP does: connections stay open, nothing is
// answered, and sessions do not age out.
func (s *Server) Pause() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.paused = true
	s.wake()
}

// Resume lets it go on. Writes that arrived in the meantime are carried out in
// their order, also those whose senders have given up; then come the sessions
// whose time has passed.
func (s *Server) Resume() {
	s.mu.Lock()
	s.paused = false
	waiting := s.waiting
	s.waiting = nil
	s.mu.Unlock()
	for _, arrive := range waiting {
		arrive()
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.wake()
}

// Elect is the election of another Consul leader, which knows only that the
// sessions are there: their TTLs begin anew.
func (s *Server) Elect() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, of := range s.sessions {
		s.arm(of)
	}
}

// Index is the raft index now.
func (s *Server) Index() uint64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.index
}

// next is the index of a write, which is about to happen.
func (s *Server) next() uint64 {
	s.index++
	return s.index
}

// wake makes every blocking query look again.
func (s *Server) wake() {
	close(s.changed)
	s.changed = make(chan struct{})
}

func unavailable(op, why string) error {
	return &consul.Error{Op: op, Kind: consul.ErrUnavailable, Err: errors.New(why)}
}

func refused(op, format string, args ...any) error {
	return &consul.Error{Op: op, Kind: consul.ErrInvalid, Err: fmt.Errorf(format, args...)}
}
