package controller

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	consulapi "github.com/hashicorp/consul/api"

	"github.com/tealdeploy/teal/agent/consul"
	"github.com/tealdeploy/teal/agent/consul/consultest"
	"github.com/tealdeploy/teal/agent/deployment"
	"github.com/tealdeploy/teal/agent/kv"
	"github.com/tealdeploy/teal/agent/nomad"
	"github.com/tealdeploy/teal/agent/nomad/nomadtest"
)

var (
	randomSeeds = flag.Uint64("random.seeds", 250, "how many random scenarios TestWhateverHappensItConverges plays")
	randomSeed  = flag.Uint64("random.seed", 0, "the first seed; with random.seeds=1 the only one")
	randomSteps = flag.Int("random.steps", 30, "things that happen in one scenario")
)

// TestWhateverHappensItConverges lets people edit, command and interfere,
// instances fall ill, Consul and Nomad go away, and agents be killed, stopped
// and frozen, in any order and at any time. The witness holds all of it against
// the invariants. When the faults have stopped, a good version must go out.
//
// A break names its seed; -random.seed=N -random.seeds=1 plays it again. The
// same things happen at the same times then, while goroutines that run at the
// same moment may do so in another order: a rare break may need a few plays.
func TestWhateverHappensItConverges(t *testing.T) {
	for seed := *randomSeed; seed < *randomSeed+*randomSeeds; seed++ {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			t.Parallel()
			inWorld(t, func(w *world) {
				c := &chaos{world: w, dice: rand.New(rand.NewPCG(seed, 4)), killed: map[string]bool{}, frozen: map[string]time.Time{}}
				defer func() {
					if w.Failed() {
						w.Logf("seed %d, what happened:\n%s", seed, w.witness.told())
					}
				}()
				c.begin()
				for range *randomSteps {
					c.happens()
					time.Sleep(c.while())
				}
				c.calm()
				c.converges()
			})
		})
	}
}

// chaos is a world in which anything may happen.
type chaos struct {
	*world
	dice *rand.Rand // for what happens
	n    int        // agents so far

	mu     sync.Mutex
	lots   *rand.Rand // for what becomes of single requests
	flaky  bool
	killed map[string]bool
	frozen map[string]time.Time
}

func (c *chaos) say(format string, args ...any) {
	c.witness.mu.Lock()
	defer c.witness.mu.Unlock()
	c.witness.note("# "+format, args...)
}

// begin is a service that runs as an ordinary job or not yet, and one agent.
func (c *chaos) begin() {
	c.lots = rand.New(rand.NewPCG(c.dice.Uint64(), 4))
	c.consul.Intercept(c.consulCall)
	c.world.nomad.Intercept(c.nomadCall)
	if c.dice.IntN(4) > 0 {
		c.ordinary("1.0.0")
	}
	c.edit("1.0.0")
	c.start()
	c.start()
	time.Sleep(c.while())
}

// while is how long nothing else happens: often no time at all, sometimes
// long enough for a whole release.
func (c *chaos) while() time.Duration {
	switch c.dice.IntN(6) {
	case 0:
		return 0
	case 1, 2:
		return time.Duration(c.dice.IntN(1000)) * time.Millisecond
	case 3, 4:
		return time.Duration(c.dice.IntN(12)) * time.Second
	}
	return time.Duration(c.dice.IntN(120)) * time.Second
}

func (c *chaos) start() {
	c.n++
	name := fmt.Sprintf("agent-%d", c.n)
	c.say("%s starts", name)
	c.agent(name)
}

// body is a policy's block with these attributes.
func body(launch, watch, soak, rest string) string {
	return fmt.Sprintf("  launch {\n healthy_for = \"1s\"\n%s\n }\n  watch {\n for = \"10s\"\n%s\n }\n  soak {\n for = \"1m\"\n%s\n }\n%s", launch, watch, soak, rest)
}

// bodies are policies that differ in what matters to the order of things.
var bodies = []string{
	quick,
	body("", "", "", "approval {\n required = true\n deadline = \"10m\"\n }"),
	body("", "", `then = "stop"`, ""),
	body("", "", `then = "scale"`, ""),
	body("", "", `newer = "replace"`, ""),
	body("", "", "", "auto = false"),
	body("deadline = \"40s\"\n keep_failed = \"20s\"", "", "", ""),
	body("", "trigger \"errors\" \"http-5xx\" {\n above = 0.05\n min_requests = 50\n }", "", ""),
}

var versions = []string{"1.0.0", "2.0.0", "3.0.0", "4.0.0"}

func (c *chaos) edit(version string) {
	body := c.dice.IntN(len(bodies))
	c.say("the policy says %s, body %d", version, body)
	c.policy(version, bodies[body])
}

// happens is one thing that happens.
func (c *chaos) happens() {
	switch c.dice.IntN(24) {
	case 0, 1, 2, 3, 4, 5:
		c.edit(versions[c.dice.IntN(len(versions))])
	case 6, 7, 8, 9, 10, 11:
		c.order()
	case 12:
		c.fallIll()
	case 13:
		c.heal()
	case 14:
		version := versions[1+c.dice.IntN(len(versions)-1)]
		c.world.mu.Lock()
		c.sick[version] = !c.sick[version]
		c.say("new instances of %s are sick: %v", version, c.sick[version])
		c.world.mu.Unlock()
	case 15:
		colour, share := deployment.Colours[c.dice.IntN(2)], []float64{0, 0, 0.5}[c.dice.IntN(3)]
		c.say("%s answers %v errors", colour, share)
		c.world.mu.Lock()
		c.errors[string(colour)] = share
		c.world.mu.Unlock()
	case 16:
		c.away("Consul", c.consul.SetAway)
	case 17:
		c.away("Nomad", c.world.nomad.SetAway)
	case 18:
		c.loseAgent()
	case 19:
		c.mu.Lock()
		c.flaky = !c.flaky
		c.say("requests get lost: %v", c.flaky)
		c.mu.Unlock()
	case 20:
		c.say("the policy is removed")
		_ = os.Remove(filepath.Join(c.dir, "api.hcl"))
		for _, a := range c.agents {
			a.reload()
		}
	case 21:
		c.interfere()
	case 22: // one agent has other files for a while
		if len(c.agents) > 1 {
			c.say("%s does not see the next edit", c.agents[len(c.agents)-1].name)
			all := c.agents
			c.agents = all[:len(all)-1]
			defer func() { c.agents = all }()
			c.edit(versions[c.dice.IntN(len(versions))])
		}
	case 23:
		key := c.keys.Command("api", kv.Verbs[c.dice.IntN(len(kv.Verbs))])
		c.say("somebody withdraws %s", key)
		_ = c.people.Delete(c.Context(), key)
	}
}

// order is somebody's command, sensible or not.
func (c *chaos) order() {
	verb := kv.Verbs[c.dice.IntN(len(kv.Verbs))]
	if verb == kv.Release && c.dice.IntN(4) > 0 {
		verb = kv.Rollback
	}
	value := []string{"", "", `{"force":true,"why":"chaos"}`}[c.dice.IntN(3)]
	switch verb {
	case kv.Cutover:
		value = []string{"blue", "green", `{"arg":"blue","force":true}`, `{"arg":"green","force":true}`}[c.dice.IntN(4)]
	case kv.Deploy:
		value = []string{"", "", `{"vars":{"version":"3.0.0"}}`, `{"vars":{"a b":"c"}}`}[c.dice.IntN(4)]
	}
	_ = c.people.Put(c.Context(), c.keys.Command("api", verb), []byte(value))
}

// fallIll makes some instances critical, heal all of them passing.
func (c *chaos) fallIll() {
	ill := c.dice.IntN(3)
	c.setHealth(func(n int, i deployment.Instance) bool { return n%3 == ill || ill == 2 && i.Colour == deployment.Green })
}

func (c *chaos) heal() { c.setHealth(func(int, deployment.Instance) bool { return false }) }

func (c *chaos) setHealth(ill func(int, deployment.Instance) bool) {
	list, _, err := c.people.Instances(context.Background(), "api", 0)
	if err != nil {
		return
	}
	for n, i := range list {
		was := i.Health
		if i.Health = deployment.Passing; ill(n, i) {
			i.Health = deployment.Critical
		}
		if i.Health != was {
			c.say("instance %s of %s is %s", i.ID, i.Colour, i.Health)
			c.consul.SetInstance("api", i)
		}
	}
}

// away takes a server away for a while, in which other things happen.
func (c *chaos) away(what string, set func(bool)) {
	d := time.Duration(1+c.dice.IntN(90)) * time.Second
	c.say("%s is away for %s", what, d)
	set(true)
	time.AfterFunc(d, func() {
		c.say("%s is back", what)
		set(false)
	})
}

// loseAgent kills, stops or freezes an agent, and another one starts.
func (c *chaos) loseAgent() {
	a := c.agents[c.dice.IntN(len(c.agents))]
	switch c.dice.IntN(3) {
	case 0:
		c.say("%s is killed", a.name)
		c.mu.Lock()
		c.killed[a.name] = true
		c.mu.Unlock()
		c.consul.SetCheck(a.name, "alive", consulapi.HealthCritical)
	case 1:
		c.say("%s stops", a.name)
		a.stop()
	case 2:
		d := time.Duration(5+c.dice.IntN(60)) * time.Second
		c.say("%s is frozen for %s", a.name, d)
		c.mu.Lock()
		c.frozen[a.name] = time.Now().Add(d)
		c.mu.Unlock()
	}
	c.start()
}

// interfere is somebody who works past Teal.
func (c *chaos) interfere() {
	switch c.dice.IntN(4) {
	case 0:
		e, err := c.people.Entry(c.Context(), consulapi.ServiceRouter, "api")
		if err == nil && e != nil {
			c.say("somebody adds a route")
			c.addRoute(fmt.Sprintf("/admin%d", c.dice.IntN(1000)))
		}
	case 1:
		if job, err := c.world.nomad.Client("people").Job(c.Context(), "", "api"); err == nil && job != nil {
			c.say("somebody runs 9.9.9 as job api")
			c.ordinary("9.9.9")
		}
	case 2:
		c.say("somebody deletes the router")
		if e, err := c.people.Entry(c.Context(), consulapi.ServiceRouter, "api"); err == nil && e != nil {
			_, _ = c.people.DeleteEntry(c.Context(), consulapi.ServiceRouter, "api", e.GetModifyIndex())
		}
	case 3:
		c.say("Consul elects another leader")
		c.consul.Elect()
	}
}

var errLost = &consul.Error{Op: "chaos", Kind: consul.ErrUnavailable, Err: errors.New("the answer was lost")}

func (c *chaos) consulCall(call consultest.Call) (f consultest.Fault) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if call.Agent == "people" || call.Agent == "witness" {
		return f
	}
	f.Hang, f.Stall = c.killed[call.Agent], max(0, time.Until(c.frozen[call.Agent]))
	if !c.flaky || f.Hang || f.Stall > 0 {
		return f
	}
	switch n := c.lots.IntN(12); {
	case n == 0 && call.Write:
		f.After = errLost
	case n == 1:
		f.Before = errLost
	case n == 2 && !call.Write:
		f.Early = true
	case n == 3 && !call.Write:
		f.Stale = uint64(c.lots.IntN(4))
	case n == 4 && call.Write:
		f.Delay = time.Duration(c.lots.IntN(3000)) * time.Millisecond
	case n == 5 && call.Write:
		f.Twice = true
	}
	return f
}

func (c *chaos) nomadCall(call nomadtest.Call) (f nomadtest.Fault) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if call.Agent == "people" || call.Agent == "witness" {
		return f
	}
	f.Hang, f.Stall = c.killed[call.Agent], max(0, time.Until(c.frozen[call.Agent]))
	if !c.flaky || f.Hang || f.Stall > 0 {
		return f
	}
	lost := &nomad.Error{Op: "chaos", Kind: nomad.ErrUnavailable, Err: errors.New("the answer was lost")}
	switch n := c.lots.IntN(12); {
	case n == 0:
		f.After = lost
	case n == 1:
		f.Before = lost
	}
	return f
}

// calm ends all faults. Frozen agents go on, killed ones stay dead.
func (c *chaos) calm() {
	c.say("the faults end")
	c.consul.SetAway(false)
	c.world.nomad.SetAway(false)
	c.mu.Lock()
	c.flaky = false
	clear(c.frozen)
	c.mu.Unlock()
	c.world.mu.Lock()
	clear(c.sick)
	clear(c.errors)
	for _, colour := range deployment.Colours {
		c.errors[string(colour)] = 0
	}
	c.world.mu.Unlock()
	time.Sleep(2 * time.Minute) // who was frozen or away comes back
	c.heal()
}

// converges: an operator who does what Teal says gets a good version out.
func (c *chaos) converges() {
	c.say("the policy says 5.0.0, and somebody looks after it")
	c.policy("5.0.0", quick)
	c.start()
	var rec deployment.Service
	for range 40 {
		time.Sleep(30 * time.Second)
		synctest.Wait()
		rec = c.record()
		slot := rec.Slots[rec.Active]
		if rec.Managed && !rec.InFlight() && !rec.Jobs.Moving() && rec.Held == nil && rec.Paused == nil && slot.Version == "5.0.0" {
			break
		}
		switch {
		case !rec.Managed, rec.Problem != nil:
			c.give(kv.Deploy)
		case rec.Paused != nil, rec.Held != nil:
			c.give(kv.Resume)
		case rec.InFlight() && rec.Deployment.State == deployment.Approving:
			c.give(kv.Approve)
		case !rec.InFlight() && rec.Queued == nil:
			c.give(kv.Deploy)
		}
		c.heal()
	}
	synctest.Wait()
	if rec = c.record(); rec.InFlight() || !rec.Managed || rec.Slots[rec.Active].Version != "5.0.0" {
		c.Errorf("it does not converge: %s", gistForPeople(rec))
	}
	c.serves(rec.Active)
	c.jobs(rec.Active)
	if left, _, err := c.people.List(c.Context(), c.keys.Commands(), 0); err != nil || len(left) > 0 {
		for _, p := range left {
			c.Errorf("%s was never answered: %s %v", p.Key, p.Value, err)
		}
	}
}

func (c *chaos) give(verb kv.Verb) {
	_ = c.people.Put(c.Context(), c.keys.Command("api", verb), nil)
}
