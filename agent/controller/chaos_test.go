package controller

import (
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing/synctest"
	"time"

	consulapi "github.com/hashicorp/consul/api"
	"github.com/hashicorp/hcl/v2"
	nomadapi "github.com/hashicorp/nomad/api"

	"github.com/tealdeploy/teal/agent/deployment"
	"github.com/tealdeploy/teal/agent/kv"
	"github.com/tealdeploy/teal/agent/nomad/nomadtest"
	"github.com/tealdeploy/teal/agent/policy"
	"github.com/tealdeploy/teal/gates"
)

// chaos is a world in which anything may happen.
type chaos struct {
	*world
	seed     uint64
	tally    *score
	policies map[string]*policy.Set // by version and body
	dice     *rand.Rand             // of the thing that happens now
	n        int                    // agents so far
	hired    int                    // workers so far
	hands    []*hand
	floor    *floor
	due      []time.Time // when another agent starts
	undo     []*undo     // what ends later

	mu      sync.Mutex
	net     netting
	killed  map[string]bool
	frozen  map[string]time.Time
	traps   []*trap
	misled  map[string]bool // jobs that were to be stopped, when Nomad told how they had been
	stopped sync.WaitGroup
}

func (c *chaos) say(format string, args ...any) {
	c.witness.mu.Lock()
	defer c.witness.mu.Unlock()
	c.witness.note("# "+format, args...)
}

// play lets a schedule happen, and what follows when its faults have stopped.
func (c *chaos) play(s schedule) {
	c.seed = s.seed
	defer c.end()
	c.begin(rand.New(rand.NewPCG(s.seed, 5)))
	for _, th := range s.things {
		c.pass(th.after)
		synctest.Wait()
		c.check()
		if !th.off {
			c.dice = rand.New(rand.NewPCG(th.lot, 6))
			c.tally.fault(anything[th.kind].name)
			anything[th.kind].happens(c)
		}
	}
	c.calm()
	c.converges()
}

// pass lets time pass; agents that are due start meanwhile.
func (c *chaos) pass(d time.Duration) {
	end := time.Now().Add(d)
	for len(c.due) > 0 && !c.due[0].After(end) {
		time.Sleep(max(0, time.Until(c.due[0])))
		c.due = c.due[1:]
		c.start()
	}
	time.Sleep(max(0, time.Until(end)))
}

// begin is a service that runs as an ordinary job or not yet, one to three
// agents and workers of both colours.
func (c *chaos) begin(dice *rand.Rand) {
	c.dice, c.net.lots = dice, rand.New(rand.NewPCG(dice.Uint64(), 4))
	c.net.more = rand.New(rand.NewPCG(c.seed, 9))
	c.consul.Intercept(c.consulCall)
	c.world.nomad.Intercept(c.nomadCall)
	early := dice.Float64() // Consul promises a session its TTL and gives it up to twice that
	c.consul.SetExpiry(func(ttl time.Duration) time.Duration { return ttl + time.Duration(early*float64(ttl)) })
	if dice.IntN(4) > 0 {
		c.ordinary("1.0.0")
	}
	c.edit("1.0.0")
	for range 1 + dice.IntN(3) {
		c.start()
	}
	for _, colour := range deployment.Colours {
		c.hire(colour, time.Duration(dice.IntN(30))*time.Second)
	}
}

func (c *chaos) start() {
	alive := 0
	for _, a := range c.agents {
		if c.lives(a) {
			alive++
		}
	}
	if alive >= 3 {
		return
	}
	c.n++
	name := fmt.Sprintf("agent-%d", c.n)
	c.say("%s starts", name)
	c.agent(name)
}

func (c *chaos) lives(a *agent) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return !c.killed[a.name]
}

// one is an agent that lives, nil when none does.
func (c *chaos) one() *agent {
	for _, n := range c.dice.Perm(len(c.agents)) {
		if c.lives(c.agents[n]) {
			return c.agents[n]
		}
	}
	return nil
}

// body is a policy's block with these attributes.
func body(launch, watch, soak, rest string) string {
	return fmt.Sprintf("  launch {\n healthy_for = \"1s\"\n%s\n }\n  watch {\n for = \"10s\"\n%s\n }\n  soak {\n for = \"1m\"\n%s\n }\n%s", launch, watch, soak, rest)
}

// bodies are policies that differ in what matters to the order of things.
var bodies = []string{
	quick,
	body("", "", "", "approval {\n required = true\n deadline = \"10m\"\n }"),
	body("", "", "", "approval {\n required = true\n deadline = \"30s\"\n }"),
	body("", "", `then = "stop"`, ""),
	body("", "", `then = "scale"`, ""),
	body("", "", `newer = "replace"`, ""),
	body("", "", "", "auto = false"),
	body("deadline = \"40s\"\n keep_failed = \"20s\"", "", "", ""),
	body("", "trigger \"errors\" \"http-5xx\" {\n above = 0.05\n min_requests = 50\n }", "", ""),
	quick + "\n gate \"moody\" \"luck\" {\n attempts = 2\n interval = \"1s\"\n deadline = \"20s\"\n }",
	quick + "\n gate \"moody\" \"luck\" {\n interval = \"1s\"\n }\n approval {\n required = true\n }",
	twoOfThree(""),
	twoOfThree("deadline = \"2m\"\n then = \"hold\""),
}

// suites are what test jobs do, and what their gates say of them. Policies with
// these gates come after the bodies.
var suites = []struct {
	line, more string
	passes     bool
}{
	{"echo fine; exit 0", "", true},
	{"echo broken; exit 3", "attempts = 2", false},
	{"sleep", "timeout = \"20s\"", false},
}

// moody is a gate that passes, fails or does not know by the clock. It tells the
// witness of a simulation what it let pass, so that this need not believe the
// record.
type moody struct{}

// confidant is whom moody gates tell.
var confidant atomic.Pointer[witness]

func (moody) Check(_ context.Context, t gates.Target) (gates.Finding, error) {
	switch time.Now().Unix() / 2 % 4 {
	case 0:
		return gates.Finding{Verdict: gates.Fail, Reason: "it is in a bad mood"}, nil
	case 1:
		return gates.Finding{Reason: "it cannot decide"}, nil
	}
	if x := confidant.Load(); x != nil {
		x.lets(t.Hash)
	}
	return gates.Finding{Verdict: gates.Pass, Reason: "it is in a good mood"}, nil
}

func init() {
	gates.Kinds["moody"] = func(hcl.Body, *hcl.EvalContext) (gates.Gate, hcl.Diagnostics) { return moody{}, nil }
}

var versions = []string{"1.0.0", "2.0.0", "3.0.0", "4.0.0"}

func (c *chaos) edit(version string) {
	n := c.dice.IntN(len(bodies))
	if c.net.more.IntN(12) == 0 {
		n = len(bodies) + c.net.more.IntN(len(suites))
	}
	c.say("the policy says %s, body %d", version, n)
	c.obey(c.policies[fmt.Sprint(version, n)])
}

func (c *chaos) version() string { return versions[c.dice.IntN(len(versions))] }

// obey gives every agent that lives these policies.
func (c *chaos) obey(set *policy.Set) {
	c.set = set
	for _, a := range c.agents {
		if c.lives(a) {
			a.reload()
		}
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

// later does something after a while, in which other things happen, or when
// the faults end.
func (c *chaos) later(d time.Duration, f func()) {
	once := sync.OnceFunc(f)
	c.undo = append(c.undo, &undo{time.AfterFunc(d, once), once})
}

// undo is the end of a fault.
type undo struct {
	timer *time.Timer
	now   func()
}

// away takes a server away for a while.
func (c *chaos) away(what string, set func(bool)) {
	d := time.Duration(1+c.dice.IntN(200)) * time.Second
	c.say("%s is away for %s", what, d)
	set(true)
	c.later(d, func() {
		c.say("%s is back", what)
		set(false)
	})
}

// kill is SIGKILL: nothing of the agent reaches anybody any more, and Consul's
// check of it fails within a second. Another one starts some time later.
func (c *chaos) kill(a *agent) {
	c.mu.Lock()
	c.killed[a.name] = true
	c.mu.Unlock()
	time.AfterFunc(time.Second, func() { c.consul.SetCheck(a.name, "alive", consulapi.HealthCritical) })
	c.stopped.Go(a.stop)
}

// replace says when another agent starts in the place of one that was lost.
func (c *chaos) replace() {
	at := time.Now().Add(time.Duration(c.dice.IntN(20)) * time.Second)
	c.due = append(c.due, at)
	for n := len(c.due) - 1; n > 0 && c.due[n].Before(c.due[n-1]); n-- {
		c.due[n], c.due[n-1] = c.due[n-1], c.due[n]
	}
}

// check holds the world between two things against what must be true at any
// moment: the keys that scripts and workers read are those of the record, and
// requests go where it says, unless a move is under way.
func (c *chaos) check() {
	c.tally.mu.Lock()
	*c.tally.steps++
	c.tally.mu.Unlock()
	x := c.witness
	pairs, _, err := c.people.List(c.Context(), c.keys.Service("api"), 0)
	if err != nil {
		return // Consul is away
	}
	routed := c.routed()
	x.mu.Lock()
	defer x.mu.Unlock()
	rec := x.last()
	if rec == nil {
		return
	}
	for _, p := range pairs {
		switch p.Key {
		case c.keys.Active("api"):
			if rec.Active.Valid() && string(p.Value) != string(rec.Active) {
				x.breaks("the active key says %s and the record %s", p.Value, rec.Active)
			}
		case c.keys.JobProcessor("api"):
			if string(p.Value) != rec.Jobs.Owner.String() {
				x.breaks("the jobs belong to %s by their key and to %s by the record", p.Value, rec.Jobs.Owner)
			}
		}
	}
	if !rec.Managed || !routed.Valid() || !rec.Active.Valid() || routed == rec.Active {
		return
	}
	if d := rec.Deployment; rec.InFlight() && (d.State == deployment.CuttingOver || d.State == deployment.RollingBack) {
		return
	}
	x.breaks("requests go to %s; the record was %s", routed, gistForPeople(rec.Service))
}

// calm ends all faults. Frozen agents go on, killed ones stay dead.
func (c *chaos) calm() {
	c.say("the faults end")
	for _, u := range c.undo {
		u.timer.Stop()
		u.now()
	}
	c.consul.Resume()
	c.consul.SetAway(false)
	c.world.nomad.SetAway(false)
	c.world.nomad.SetBehaviour(nil)
	c.world.nomad.SetMemory(plenty)
	c.mu.Lock()
	c.net.end()
	clear(c.frozen)
	c.traps = nil
	c.mu.Unlock()
	for _, a := range c.agents {
		c.consul.Heal(a.name)
		c.world.nomad.Heal(a.name)
	}
	for _, h := range c.hands {
		c.consul.Heal(h.name)
	}
	c.world.mu.Lock()
	clear(c.sick)
	clear(c.errors)
	for _, colour := range deployment.Colours {
		c.errors[string(colour)] = 0
	}
	c.world.mu.Unlock()
	c.pass(4 * time.Minute) // who was frozen or away comes back
	c.revive()
	c.heal()
}

// revive has what was stopped, emptied or died by nobody's wish run again, as
// whoever did that or Nomad itself would.
func (c *chaos) revive() {
	rec := c.record()
	for _, id := range []string{"api", "api-blue", "api-green"} {
		serves := !rec.Managed && id == "api"
		for _, slot := range rec.Slots {
			serves = serves || slot.Job == id && !slot.Scaled
		}
		if serves && c.world.nomad.Edit("", id, func(j *nomadapi.Job) {
			no := false
			j.Stop = &no
			if n := *j.TaskGroups[0].Count; n == 0 {
				two := 2
				j.TaskGroups[0].Count = &two
			}
		}) == nil {
			c.say("job %s is run again", id)
		}
	}
}

// end ends the workers; the agents end with the world.
func (c *chaos) end() {
	for _, u := range c.undo {
		u.timer.Stop()
	}
	for _, h := range c.hands {
		h.dies()
	}
	for _, h := range c.hands {
		<-h.done
	}
	c.stopped.Wait()
}

// converges: an operator who does what Teal says gets a good version out, and
// the workers of its colour get the jobs.
func (c *chaos) converges() {
	c.say("the policy says 5.0.0, and somebody looks after it")
	c.obey(c.policies["5.0.00"])
	c.start()
	var rec deployment.Service
	for range 40 {
		time.Sleep(30 * time.Second)
		synctest.Wait()
		c.check()
		rec = c.record()
		if rec.InFlight() && rec.Deployment.State == deployment.RollingBack { // 3: it waits for nobody
			c.Errorf("a rollback is not done though Consul answers: %s", gistForPeople(rec))
		}
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
		case !rec.InFlight() && rec.Queued == nil: // somebody may have deployed another version by its variable
			_ = c.people.Put(c.Context(), c.keys.Command("api", kv.Deploy), []byte(`{"vars":{"version":"5.0.0"}}`))
		}
		c.heal()
	}
	time.Sleep(30 * time.Second)
	synctest.Wait()
	if rec = c.record(); rec.InFlight() || !rec.Managed || rec.Slots[rec.Active].Version != "5.0.0" {
		c.Errorf("it does not converge: %s", gistForPeople(rec))
	}
	c.serves(rec.Active)
	c.jobs(rec.Active)
	c.works(rec.Active)
	left := slices.DeleteFunc(c.suites(true), func(id string) bool { return c.misled[id] })
	if len(left) > 0 || len(rec.Tests) > 0 {
		c.Errorf("test jobs still run: %v, and %v are noted", left, rec.Tests)
	}
	if left, _, err := c.people.List(c.Context(), c.keys.Commands(), 0); err != nil || len(left) > 0 {
		for _, p := range left {
			c.Errorf("%s was never answered: %s %v", p.Key, p.Value, err)
		}
	}
}

// works: somebody processes once the faults have ended, and only for colour.
func (c *chaos) works(colour deployment.Colour) {
	c.floor.mu.Lock()
	defer c.floor.mu.Unlock()
	n := 0
	for t := range c.floor.running {
		if t.colour != colour {
			c.Errorf("%s still processes for %s", t.name, t.colour)
		}
		n++
	}
	if n == 0 {
		c.Errorf("nobody processes the jobs of %s", colour)
	}
}

func (c *chaos) give(verb kv.Verb) {
	_ = c.people.Put(c.Context(), c.keys.Command("api", verb), nil)
}

// approver writes or deletes an approver's key: mostly consent to what
// waits now.
func (c *chaos) approver(who string) {
	key := c.keys.Approval(who, "api")
	var d *deployment.Deployment
	if pair, _, err := c.people.Get(c.Context(), c.keys.State("api"), 0); err == nil && pair != nil {
		if rec, err := deployment.Decode("api", pair.Value); err == nil {
			d = rec.Deployment
		}
	}
	switch dice := c.dice.IntN(6); {
	case dice == 0:
		c.say("%s takes back", who)
		_ = c.people.Delete(c.Context(), key)
	case dice == 1 || d == nil:
		c.say("%s consents to nothing in particular", who)
		_ = c.people.Put(c.Context(), key, []byte("what?"))
	default:
		c.say("%s consents to %s", who, d.Candidate.Proof())
		_ = c.people.Put(c.Context(), key, []byte(d.Candidate.Proof()))
	}
}

// behaves says that instances take long to come up, or fail.
func (c *chaos) behaves() {
	after, fail := time.Duration(c.dice.IntN(60))*time.Second, ""
	if c.dice.IntN(3) == 0 {
		fail = "Exit Code: 1"
	}
	c.say("new instances take %s and fail with %q", after, fail)
	c.world.nomad.SetBehaviour(func(l nomadtest.Launch) nomadtest.Behaviour {
		return nomadtest.Behaviour{After: after, Fail: fail, Stop: after / 4}
	})
	c.later(time.Duration(1+c.dice.IntN(120))*time.Second, func() { c.world.nomad.SetBehaviour(nil) })
}

// job is the ID of one of the service's jobs.
func (c *chaos) job() string { return []string{"api", "api-blue", "api-green"}[c.dice.IntN(3)] }

// edits changes a job past Teal.
func (c *chaos) edits(what string, edit func(*nomadapi.Job)) {
	id := c.job()
	if c.world.nomad.Edit("", id, edit) == nil {
		c.say("somebody %s job %s", what, id)
	}
}

// plenty is room for everything.
const plenty = 1 << 20

// sessionOfAgent is the leader's session, "" for none.
func (c *chaos) sessionOfAgent() string {
	for _, s := range c.consul.Sessions() {
		if strings.HasPrefix(s.Name, "teal leader ") {
			return s.ID
		}
	}
	return ""
}
