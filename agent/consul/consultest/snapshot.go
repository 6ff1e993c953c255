package consultest

import (
	"maps"
	"slices"

	"github.com/hashicorp/consul/api"
)

// Snapshot is Consul's state at one moment, as `consul snapshot save` keeps it.
type Snapshot struct{ state }

// Snapshot saves the state.
func (s *Server) Snapshot() *Snapshot {
	s.mu.Lock()
	defer s.mu.Unlock()
	return &Snapshot{s.copy()}
}

// Restore puts a snapshot back: contents and their indexes are those of then,
// so that indexes go backwards; blocking queries return at once; the TTLs of
// its sessions begin anew, and sessions that it does not have are gone.
func (s *Server) Restore(from *Snapshot) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, of := range s.sessions {
		of.stop()
	}
	s.state = from.copy()
	for _, of := range s.sessions {
		s.arm(of)
	}
	s.restored++
	s.next()
	s.wake()
}

// copy shares nothing that is ever changed.
func (s *state) copy() state {
	sessions := make(map[string]*session, len(s.sessions))
	for id, of := range s.sessions {
		sessions[id] = &session{SessionEntry: of.SessionEntry, ttl: of.ttl}
	}
	linked := make(map[string]map[api.ConfigEntry]bool, len(s.linked))
	for service, entries := range s.linked {
		linked[service] = maps.Clone(entries)
	}
	return state{
		keys: s.keys.copy(), entries: s.entries.copy(), linked: linked, instances: s.instances.copy(),
		checks: maps.Clone(s.checks), sessions: sessions,
	}
}

func (t *table[V]) copy() table[V] {
	rows := make(map[string][]version[V], len(t.rows))
	for name, versions := range t.rows {
		rows[name] = slices.Clone(versions)
	}
	return table[V]{rows: rows, names: slices.Clone(t.names), last: t.last}
}
