package rollback

import (
	"time"

	"github.com/tealdeploy/teal/agent/deployment"
	"github.com/tealdeploy/teal/agent/measure"
)

// Asking is a Trigger that goes by what others say of the active colour, besides
// Consul's health and the instances' own metrics.
type Asking interface {
	Trigger
	// Question is what the agent has to find out; its answers come with the
	// observations of a watch.
	Question() Question
}

// Question is one of the types of question: Allocations, KVKey, FiguresOf.
type Question interface{ question() }

// Allocations asks Nomad how the allocations of the active colour's job fare.
type Allocations struct{}

// KVKey asks for the value of a key in Consul.
type KVKey struct{ Key string }

func (Allocations) question() {}
func (KVKey) question()       {}

// Answer is what somebody said, or why nothing was heard.
type Answer struct {
	At  time.Time
	Err error

	Allocations []Allocation // to Allocations
	Key         string       // to KVKey: as it was asked for
	Text        *string      // to KVKey: its value; nil: there is no such key

	Values    []measure.Value // to FiguresOf
	Before    []measure.Value // the same of the previous colour, if that was asked
	BeforeErr error           // why that is not known
}

// Allocation is one of the active colour's, as Nomad knows it.
type Allocation struct {
	ID       string
	Node     string
	Failed   bool // it has ended in failure, or its node is lost
	Restarts uint64
	// OOM is when one of its tasks was last killed for want of memory; zero if
	// that is not known to have been.
	OOM   time.Time
	Words string // of the latest trouble, in Nomad's own words
}

// Subject is whom a question is about.
type Subject struct {
	Service string
	Colour  deployment.Colour
	Version string
}

// Filling is what placeholders stand for.
func (s Subject) Filling() measure.Filling {
	return measure.Filling{"service": s.Service, "colour": string(s.Colour), "version": s.Version}
}
