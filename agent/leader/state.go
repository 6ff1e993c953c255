package leader

import "sync"

// State is what an elector knows of who leads.
type State struct {
	Leader  string // as last seen; empty when nobody leads
	Leading bool   // this agent, at this moment
	Epoch   uint64 // of this agent's term; 0 when it does not lead
}

// board shows the state to others and tells them of changes.
type board struct {
	mu      sync.Mutex
	state   State
	changed chan struct{}
}

func (b *board) set(s State) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if s == b.state {
		return
	}
	b.state = s
	close(b.changed)
	b.changed = make(chan struct{})
}

// Now is the present state, and a channel that is closed when it changes.
func (e *Elector) Now() (State, <-chan struct{}) {
	e.board.mu.Lock()
	defer e.board.mu.Unlock()
	return e.board.state, e.board.changed
}
