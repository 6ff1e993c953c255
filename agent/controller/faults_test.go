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

	more    *rand.Rand // of what only Nomad's requests suffer
	nomad   time.Time  // until when they do
	deposed time.Time  // until when Nomad tells how things were
	back    uint64     // so many changes ago
}

func (n *netting) begin(until time.Time, lots *rand.Rand) {
	n.until, n.lots = until, lots
	n.hush(time.Until(until))
}

func (n *netting) end() { n.until, n.nomad, n.deposed = time.Time{}, time.Time{}, time.Time{} }

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
	case n == 3 && call.Index > 0:
		f.Stale = uint64(1 + c.net.lots.IntN(4))
		says("Consul: stale answer to a blocking query")
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
	return c.nomadFault(call)
}

// nomadFault is what a request to Nomad suffers.
func (c *chaos) nomadFault(call nomadtest.Call) (f nomadtest.Fault) {
	now, lots := time.Now(), c.net.more
	reads := !call.Write || call.Op == "Stop" || call.Op == "Scale" || call.Op == "Raise"
	n := -1
	switch {
	case now.Before(c.net.until): // everybody's requests get lost
		n = c.net.lots.IntN(14)
	case now.Before(c.net.deposed) && reads:
		n = 7
	case !now.Before(c.net.nomad):
	case call.Write: // of which there are few
		n = lots.IntN(8)
	case call.Watch:
		n = 6 + lots.IntN(8)
	default:
		n = lots.IntN(12)
	}
	switch {
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
	case n == 4 && call.Write:
		f.Delay = time.Duration(lots.IntN(3000)) * time.Millisecond
		c.tally.fault("Nomad: write delayed")
	case n == 5 && call.Write:
		f.Delay = time.Duration(30+lots.IntN(20)) * time.Second
		c.tally.fault("Nomad: write arrives after its sender gave up")
	case n == 6:
		f.Lag = time.Duration(lots.IntN(3000)) * time.Millisecond
		c.tally.fault("Nomad: answer delayed")
	case n == 7 && reads:
		if f.Stale = c.net.back; !now.Before(c.net.deposed) {
			f.Stale = uint64(1 + lots.IntN(6))
		}
		if call.Op == "Stop" {
			c.misled[call.Job] = true
		}
		c.tally.fault("Nomad: answered by a deposed leader")
	case n >= 8 && n < 12 && call.Op == "WatchJob":
		f.Apart = 1 + lots.IntN(6)
		c.tally.fault("Nomad: a job, its allocations and its deployment answered at different moments")
	case n == 12 && call.Watch:
		f.Mute = true
		c.tally.fault("Nomad: watch fell silent")
	}
	return f
}
