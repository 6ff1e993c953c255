package rollback

import (
	"fmt"
	"strings"
	"time"

	"github.com/tealdeploy/teal/agent/deployment"
)

// Asking is a Trigger that goes by what others say of the active colour, besides
// Consul's health and the instances' own metrics.
type Asking interface {
	Trigger
	// Question is what the agent has to find out; its answers come with the
	// observations of a watch.
	Question() Question
}

// Question is one of the types of question: Allocations, KVKey.
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

// placeholders stand in texts for what is only known when they are used.
var placeholders = []string{"{colour}", "{version}", "{service}"}

// Fill puts in what placeholders stand for. What is not known is an error: a
// question about no version in particular would be answered for another one.
func (s Subject) Fill(text string) (string, error) {
	for _, p := range placeholders {
		if !strings.Contains(text, p) {
			continue
		}
		value := map[string]string{"{colour}": string(s.Colour), "{version}": s.Version, "{service}": s.Service}[p]
		if value == "" {
			return "", fmt.Errorf("the trigger refers to %s, and the release's %s is not known", p, strings.Trim(p, "{}"))
		}
		text = strings.ReplaceAll(text, p, value)
	}
	return text, nil
}
