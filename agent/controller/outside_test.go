package controller

import (
	"context"
	"strings"
	"time"

	"github.com/tealdeploy/teal/agent/consul/consultest"
	"github.com/tealdeploy/teal/agent/deployment"
	"github.com/tealdeploy/teal/agent/leader"
)

// What the witness sees of who writes, who leads and who answers.

// isAgent says whether a client is one of Teal's agents.
func isAgent(name string) bool { return strings.HasPrefix(name, "agent-") }

// fenced (7): only who holds the leader key at that very moment writes a
// service's keys or takes a command off.
func (x *witness) fenced(c consultest.Change) {
	keys := x.w.keys
	if c.Key == keys.Leader() {
		holder := ""
		if c.Pair != nil && c.Pair.Session != "" {
			holder = string(c.Pair.Value)
		}
		if holder != x.leader {
			x.note("the leader is %s", orNobody(holder))
		}
		x.leader = holder
		return
	}
	if isAgent(c.Agent) && c.Agent != x.leader {
		x.breaks("%s wrote %s while %s led", c.Agent, c.Key, orNobody(x.leader))
	}
}

func orNobody(name string) string {
	if name == "" {
		return "nobody"
	}
	return name
}

// term (7): an agent does the work of one term at a time.
func (x *witness) term(name string, work leader.Work) leader.Work {
	return func(ctx context.Context, term leader.Term) error {
		x.mu.Lock()
		if x.terms[name]++; x.terms[name] > 1 {
			x.breaks("%s began a term before the work of the one before had returned", name)
		}
		x.mu.Unlock()
		err := work(ctx, term)
		x.mu.Lock()
		x.terms[name]--
		x.mu.Unlock()
		return err
	}
}

// instance keeps up with who would answer, and since when a colour does not.
func (x *witness) instance(c consultest.Change) {
	if c.Instance == nil {
		delete(x.passes, c.Key)
	} else {
		x.passes[c.Key] = passer{c.Instance.Colour, c.Instance.Health}
	}
	for _, colour := range deployment.Colours {
		if x.passing(colour) > 0 {
			delete(x.dead, colour)
		} else if _, known := x.dead[colour]; !known {
			x.dead[colour] = time.Now()
		}
	}
}

// passing counts a colour's instances; those without colour count as blue.
func (x *witness) passing(c deployment.Colour) int {
	n := 0
	for _, p := range x.passes {
		if p.health == deployment.Passing && (p.colour == c || c == deployment.Blue && !p.colour.Valid()) {
			n++
		}
	}
	return n
}

// answers503 (2): a colour without a passing instance gets traffic only by a
// rollback or by force, or when its last instance has died so lately that the
// agent cannot have known.
func (x *witness) answers503(agent string, rec *writtenRecord, to deployment.Colour) {
	since, dead := x.dead[to]
	d := rec.Deployment
	if !dead || !rec.InFlight() || d.State != deployment.CuttingOver || d.Forced != nil {
		return
	}
	slack := 2 * time.Second
	if x.tally != nil {
		slack = x.tally.slack(agent)
	}
	if gone := time.Since(since); gone > slack {
		x.breaks("traffic went to %s, which has had no passing instance for %s", to, gone.Round(time.Millisecond))
	}
}
