package leader

import (
	"fmt"
	"time"

	"github.com/tealdeploy/teal/agent/consul"
)

// Term is one agent's time in office. Its zero value is no office at all:
// Check refuses.
type Term struct {
	// Epoch grows with every term, whatever becomes of the key. It is the
	// key's ModifyIndex and not its LockIndex, which a person who deletes or
	// puts the key sets back: see docs/adr.
	Epoch uint64
	// Fence goes into every write to Consul KV.
	Fence consul.Fence

	lease *lease
}

// Check says whether the term still holds by this process's own clock; if
// not, the error is a consul.ErrDeposed. It asks the clock at every call, so
// that a process that was stopped and goes on learns of it before it writes.
// It is what stands before writes that Consul cannot fence. A machine that is
// suspended as a whole may stop its clock, too: Consul's fence still holds.
func (t Term) Check() error {
	if t.lease == nil {
		return fmt.Errorf("no term: %w", consul.ErrDeposed)
	}
	return t.lease.check()
}

// Until is a term that no elector made and that holds until a moment; it is
// for tests of what is done in a term.
func Until(epoch uint64, fence consul.Fence, end time.Time) Term {
	return Term{Epoch: epoch, Fence: fence, lease: &lease{until: end}}
}
