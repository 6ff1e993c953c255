package controller

import (
	"errors"
	"math/rand/v2"
	"strings"
	"time"

	"github.com/tealdeploy/teal/agent/consul"
	"github.com/tealdeploy/teal/agent/consul/consultest"
	"github.com/tealdeploy/teal/agent/nomad"
	"github.com/tealdeploy/teal/agent/nomad/nomadtest"
)

var (
	errLost      = &consul.Error{Op: "chaos", Kind: consul.ErrUnavailable, Err: errors.New("the answer was lost")}
	errNomadLost = &nomad.Error{Op: "chaos", Kind: nomad.ErrUnavailable, Err: errors.New("the answer was lost")}
)

// netting is what becomes of single requests.
type netting struct {
	lots  *rand.Rand
	until time.Time // requests get lost
	quiet time.Time // since when knowledge may lag no more
}

func (n *netting) begin(until time.Time, lots *rand.Rand) {
	n.until, n.lots = until, lots
	n.hush(time.Until(until))
}

func (n *netting) end() { n.until = time.Time{} }

// hush says that what agents know may lag for so long and a little more.
func (n *netting) hush(d time.Duration) {
	if at := time.Now().Add(d); at.After(n.quiet) {
		n.quiet = at
	}
}

// slack is by how much an agent's knowledge of health may lag: hardly, unless
// its requests got lost or were held up a short time ago.
func (c *chaos) slack(agent string) time.Duration {
	c.mu.Lock()
	defer c.mu.Unlock()
	if woke, ok := c.frozen[agent]; ok && time.Since(woke) < 30*time.Second || time.Since(c.net.quiet) < 30*time.Second {
		return 2 * time.Minute
	}
	return 3 * time.Second
}

// trap kills an agent at one of its next writes, before it leaves or after it
// was carried out and before the answer.
type trap struct {
	a     *agent
	at    int
	after bool
	renew bool // renewals of the session count
}

func (c *chaos) trap(after bool) {
	a := c.one()
	if a == nil {
		return
	}
	at := 1 + c.dice.IntN(8)
	c.say("%s will crash at its write %d from now, after it: %v", a.name, at, after)
	c.mu.Lock()
	c.traps = append(c.traps, &trap{a, at, after, c.dice.IntN(8) == 0})
	c.mu.Unlock()
	c.replace()
}

// sprung is the trap that a write of an agent walks into, or nil. The lock is
// held.
func (c *chaos) sprung(agent, what string) *trap {
	for _, t := range c.traps {
		if t.a.name != agent || t.at <= 0 || !t.renew && what == "Consul RenewSession" {
			continue
		}
		if t.at--; t.at == 0 {
			c.killed[agent] = true
			c.tally.fault(map[bool]string{false: "crashed before ", true: "crashed after "}[t.after] + what)
			c.say("%s crashes at %s, after it: %v", agent, what, t.after)
			time.AfterFunc(0, func() { c.kill(t.a) })
			return t
		}
	}
	return nil
}

func (c *chaos) consulCall(call consultest.Call) (f consultest.Fault) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if call.Agent == "people" {
		return f
	}
	f.Hang, f.Stall = c.killed[call.Agent], max(0, time.Until(c.frozen[call.Agent]))
	if f.Hang || f.Stall > 0 {
		return f
	}
	if call.Write {
		if t := c.sprung(call.Agent, "Consul "+call.Op); t != nil {
			if t.after {
				return consultest.Fault{After: errKilled}
			}
			return consultest.Fault{Before: errKilled}
		}
	}
	if !time.Now().Before(c.net.until) {
		return f
	}
	says := func(what string) { c.tally.fault(what) }
	switch n := c.net.lots.IntN(14); {
	case n == 0 && call.Write:
		f.After = errLost
		says("Consul: error after success")
	case n == 1:
		f.Before = errLost
		says("Consul: lost before it arrived")
	case n == 2 && !call.Write:
		f.Early = true
		says("Consul: blocking query returned early")
	case n == 3 && !call.Write:
		f.Stale = uint64(1 + c.net.lots.IntN(4))
		says("Consul: stale read")
	case n == 4 && call.Write:
		f.Delay = time.Duration(c.net.lots.IntN(3000)) * time.Millisecond
		says("Consul: write delayed")
	case n == 5 && call.Write:
		f.Twice = true
		says("Consul: write carried out twice")
	case n == 6 && call.Write:
		f.Delay = time.Duration(30+c.net.lots.IntN(20)) * time.Second
		says("Consul: write arrives after its sender gave up")
	case n == 7:
		f.Hang = true
		says("Consul: never answered")
	}
	return f
}

func (c *chaos) nomadCall(call nomadtest.Call) (f nomadtest.Fault) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !strings.HasPrefix(call.Agent, "agent-") {
		return f
	}
	f.Hang, f.Stall = c.killed[call.Agent], max(0, time.Until(c.frozen[call.Agent]))
	if f.Hang || f.Stall > 0 {
		return f
	}
	if call.Write {
		if t := c.sprung(call.Agent, "Nomad "+call.Op); t != nil {
			if t.after {
				return nomadtest.Fault{After: errKilled}
			}
			return nomadtest.Fault{Before: errKilled}
		}
	}
	if !time.Now().Before(c.net.until) {
		return f
	}
	switch n := c.net.lots.IntN(14); {
	case n == 0:
		f.After = errNomadLost
		c.tally.fault("Nomad: error after success")
	case n == 1:
		f.Before = errNomadLost
		c.tally.fault("Nomad: lost before it arrived")
	case n == 2 && call.Write:
		f.Twice = true
		c.tally.fault("Nomad: write carried out twice")
	case n == 3:
		f.Hang = true
		c.tally.fault("Nomad: never answered")
	}
	return f
}
