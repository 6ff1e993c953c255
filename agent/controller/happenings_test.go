package controller

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"time"

	consulapi "github.com/hashicorp/consul/api"
	nomadapi "github.com/hashicorp/nomad/api"

	"github.com/tealdeploy/teal/agent/deployment"
	"github.com/tealdeploy/teal/agent/kv"
)

// happening is something that may happen in a simulated world.
type happening struct {
	name    string
	often   int
	happens func(*chaos)
}

// anything is all that may happen.
var anything = slices.Concat(happenings, besides)

// besides may happen beside the happenings of a schedule: drawn by dice of their
// own, so that a seed has the same happenings, at the same times, without them.
var besides = []happening{
	{"Nomad's requests suffer", 4, func(c *chaos) {
		d := time.Duration(1+c.dice.IntN(90)) * time.Second
		c.say("requests to Nomad suffer for %s", d)
		c.mu.Lock()
		c.net.nomad = time.Now().Add(d)
		c.mu.Unlock()
	}},
	{"Nomad's leader is deposed and does not know", 2, func(c *chaos) {
		d, back := time.Duration(1+c.dice.IntN(10))*time.Second, uint64(1+c.dice.IntN(12))
		c.say("for %s Nomad answers as things were %d changes ago", d, back)
		c.mu.Lock()
		c.net.deposed, c.net.back = time.Now().Add(d), back
		c.mu.Unlock()
	}},
	{"connections to Nomad die unnoticed", 1, func(c *chaos) {
		c.say("whoever watches Nomad hears nothing more")
		c.world.nomad.Silence()
	}},
}

// happenings are most of it. Their order and weights are part of what a seed means.
var happenings = []happening{
	{"policy edited", 12, func(c *chaos) { c.edit(c.version()) }},
	{"policy removed", 1, func(c *chaos) {
		c.say("the policy is removed")
		c.obey(c.policies[""])
	}},
	{"policy edited on one agent only", 1, func(c *chaos) {
		if a := c.one(); a != nil {
			was := c.set
			c.set = c.policies[fmt.Sprint(c.version(), c.dice.IntN(len(bodies)))]
			c.say("%s alone has other policies", a.name)
			a.reload()
			c.set = was
		}
	}},
	{"command", 14, (*chaos).order},
	{"rollback ordered", 2, func(c *chaos) { c.give(kv.Rollback) }},
	{"approval given", 2, func(c *chaos) { c.give(kv.Approve) }},
	{"approvers", 8, func(c *chaos) {
		for _, n := range c.dice.Perm(4)[:1+c.dice.IntN(4)] {
			c.approver([]string{"alice", "bob", "carol", "dave"}[n])
		}
	}},
	{"command withdrawn", 1, func(c *chaos) {
		key := c.keys.Command("api", kv.Verbs[c.dice.IntN(len(kv.Verbs))])
		c.say("somebody withdraws %s", key)
		_ = c.people.Delete(c.Context(), key)
	}},

	{"instances fall ill", 2, func(c *chaos) {
		ill := c.dice.IntN(3)
		c.setHealth(func(n int, i deployment.Instance) bool { return n%3 == ill || ill == 2 && i.Colour == deployment.Green })
	}},
	{"a colour falls ill", 1, func(c *chaos) {
		ill := deployment.Colours[c.dice.IntN(2)]
		c.setHealth(func(_ int, i deployment.Instance) bool { return i.Colour == ill })
	}},
	{"instances get well", 2, (*chaos).heal},
	{"instances die", 2, func(c *chaos) {
		id, n := c.job(), 1+c.dice.IntN(2)
		c.say("%d instances of job %s die", n, id)
		c.world.nomad.Fail("", id, n, "Exit Code: 137")
	}},
	{"a version is sick", 1, func(c *chaos) {
		version := versions[1+c.dice.IntN(len(versions)-1)]
		c.world.mu.Lock()
		c.sick[version] = !c.sick[version]
		c.say("new instances of %s are sick: %v", version, c.sick[version])
		c.world.mu.Unlock()
	}},
	{"instances start slowly or fail", 1, (*chaos).behaves},
	{"no room in Nomad", 1, func(c *chaos) {
		c.say("Nomad has no room")
		c.world.nomad.SetMemory(-1)
		c.later(time.Duration(1+c.dice.IntN(60))*time.Second, func() { c.world.nomad.SetMemory(plenty) })
	}},
	{"a colour answers errors", 2, func(c *chaos) {
		colour, share := deployment.Colours[c.dice.IntN(2)], []float64{0, 0, 0.5}[c.dice.IntN(3)]
		c.say("%s answers %v errors", colour, share)
		c.world.mu.Lock()
		c.errors[string(colour)] = share
		c.world.mu.Unlock()
	}},

	{"Consul away", 1, func(c *chaos) { c.away("Consul", c.consul.SetAway) }},
	{"Nomad away", 1, func(c *chaos) { c.away("Nomad", c.world.nomad.SetAway) }},
	{"Nomad away and a rollback meanwhile", 1, func(c *chaos) {
		c.away("Nomad", c.world.nomad.SetAway)
		c.later(time.Duration(c.dice.IntN(120))*time.Second, func() { c.give(kv.Rollback) })
	}},
	{"Consul stopped and resumed", 1, func(c *chaos) {
		d := time.Duration(1+c.dice.IntN(40)) * time.Second
		c.say("Consul is stopped for %s", d)
		c.consul.Pause()
		c.net.hush(d)
		time.Sleep(d / 2)
		if c.dice.IntN(2) == 0 {
			c.world.nomad.Fail("", c.job(), 2, "Exit Code: 137")
		}
		time.Sleep(d - d/2)
		c.say("Consul goes on")
		c.consul.Resume()
	}},
	{"Consul elects", 1, func(c *chaos) {
		c.say("Consul elects another leader")
		c.consul.Elect()
	}},
	{"event stream gap", 1, func(c *chaos) {
		c.say("Nomad's event stream breaks, and what happens meanwhile is not told")
		c.world.nomad.SetAway(true)
		time.Sleep(time.Millisecond)
		c.edits("scales", func(j *nomadapi.Job) { n := 1 + c.dice.IntN(3); j.TaskGroups[0].Count = &n })
		c.world.nomad.SetAway(false)
	}},

	{"agent starts", 2, (*chaos).start},
	{"agent killed", 1, func(c *chaos) {
		if a := c.one(); a != nil {
			c.say("%s is killed", a.name)
			c.kill(a)
			c.replace()
		}
	}},
	{"agent stops", 1, func(c *chaos) {
		if a := c.one(); a != nil {
			c.say("%s stops", a.name)
			a.stop()
			c.mu.Lock()
			c.killed[a.name] = true
			c.mu.Unlock()
			c.replace()
		}
	}},
	{"crash before a write", 2, func(c *chaos) { c.trap(false) }},
	{"crash after a write", 2, func(c *chaos) { c.trap(true) }},
	{"agent frozen and resumed", 2, func(c *chaos) {
		if a := c.one(); a != nil {
			d := time.Duration(1+c.dice.IntN(90)) * time.Second
			c.say("%s is frozen for %s", a.name, d)
			c.mu.Lock()
			c.frozen[a.name] = time.Now().Add(d)
			c.mu.Unlock()
		}
	}},
	{"agent cut off", 1, func(c *chaos) {
		a := c.one()
		if a == nil {
			return
		}
		d := time.Duration(1+c.dice.IntN(90)) * time.Second
		c.say("%s is cut off for %s", a.name, d)
		c.consul.Cut(a.name)
		if c.dice.IntN(2) == 0 {
			c.world.nomad.Cut(a.name)
		}
		c.net.hush(d)
		c.later(d, func() { c.consul.Heal(a.name); c.world.nomad.Heal(a.name) })
	}},
	{"requests get lost", 3, func(c *chaos) {
		d := time.Duration(1+c.dice.IntN(60)) * time.Second
		c.say("requests get lost for %s", d)
		c.mu.Lock()
		c.net.begin(time.Now().Add(d), rand.New(rand.NewPCG(c.dice.Uint64(), 7)))
		c.mu.Unlock()
	}},
	{"session ended by hand", 1, func(c *chaos) {
		if id := c.sessionOfAgent(); id != "" {
			c.say("somebody ends the leader's session")
			c.consul.ExpireSession(id)
		}
	}},
	{"leader key deleted", 1, func(c *chaos) {
		c.say("somebody deletes the leader key")
		_ = c.people.Delete(c.Context(), c.keys.Leader())
	}},
	{"lock delay", 1, func(c *chaos) {
		id, err := c.people.NewSession(c.Context(), &consulapi.SessionEntry{Name: "people", LockDelay: 15 * time.Second})
		if err != nil {
			return
		}
		_ = c.people.Delete(c.Context(), c.keys.Leader())
		if ok, _ := c.people.Acquire(c.Context(), c.keys.Leader(), []byte("people"), id); ok {
			c.say("somebody takes the leader key, and lets go with a lock delay")
		}
		c.later(time.Duration(c.dice.IntN(10))*time.Second, func() { c.consul.ExpireSession(id) })
	}},

	{"router edited", 1, func(c *chaos) {
		e, err := c.people.Entry(c.Context(), consulapi.ServiceRouter, "api")
		if err == nil && e != nil {
			c.say("somebody adds a route")
			c.addRoute(fmt.Sprintf("/admin%d", c.dice.IntN(1000)))
		}
	}},
	{"router deleted", 1, func(c *chaos) {
		c.say("somebody deletes the router")
		if e, err := c.people.Entry(c.Context(), consulapi.ServiceRouter, "api"); err == nil && e != nil {
			_, _ = c.people.DeleteEntry(c.Context(), consulapi.ServiceRouter, "api", e.GetModifyIndex())
		}
	}},
	{"job run by hand", 1, func(c *chaos) {
		if job, err := c.world.nomad.Client("people").Job(c.Context(), "", "api"); err == nil && job != nil {
			c.say("somebody runs 9.9.9 as job api")
			c.ordinary("9.9.9")
		}
	}},
	{"job scaled by hand", 1, func(c *chaos) {
		n := c.dice.IntN(4)
		c.edits("scales", func(j *nomadapi.Job) { j.TaskGroups[0].Count = &n })
	}},
	{"job stopped by hand", 1, func(c *chaos) {
		yes := true
		c.edits("stops", func(j *nomadapi.Job) { j.Stop = &yes })
	}},

	{"worker killed", 1, func(c *chaos) {
		h := c.hands[c.dice.IntN(len(c.hands))]
		c.say("%s of %s is killed, and another one starts", h.name, h.colour)
		c.mu.Lock()
		c.killed[h.name] = true
		c.mu.Unlock()
		h.dies()
		c.hire(h.colour, time.Duration(c.dice.IntN(30))*time.Second)
	}},
	{"worker cut off", 1, func(c *chaos) {
		h, d := c.hands[c.dice.IntN(len(c.hands))], time.Duration(1+c.dice.IntN(60))*time.Second
		c.say("%s of %s is cut off for %s", h.name, h.colour, d)
		c.consul.Cut(h.name)
		c.later(d, func() { c.consul.Heal(h.name) })
	}},
}
