package agent

import (
	"slices"
	"sync"
)

// facts are what the agent knows of itself.
type facts struct {
	policies     string   // digest of those in force
	count        int      // how many
	policyErrors []string // mistakes in policy files, with file:line
	configErrors []string // of a config that was refused, likewise
	leading      bool
	nomad        string // api.OK, or what went wrong
}

func (f facts) equal(other facts) bool {
	return f.policies == other.policies && f.count == other.count && f.leading == other.leading && f.nomad == other.nomad &&
		slices.Equal(f.policyErrors, other.policyErrors) && slices.Equal(f.configErrors, other.configErrors)
}

// board shows the facts to whoever tells others of them.
type board struct {
	mu      sync.Mutex
	facts   facts
	changed chan struct{}
}

func newBoard() *board {
	return &board{facts: facts{nomad: "not asked yet"}, changed: make(chan struct{})}
}

// now is the present facts, and a channel that is closed when they change.
func (b *board) now() (facts, <-chan struct{}) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.facts, b.changed
}

// update changes the facts. Slices are replaced, never changed.
func (b *board) update(change func(*facts)) {
	b.mu.Lock()
	defer b.mu.Unlock()
	next := b.facts
	change(&next)
	if next.equal(b.facts) {
		return
	}
	b.facts = next
	close(b.changed)
	b.changed = make(chan struct{})
}
