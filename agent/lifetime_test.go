package agent

import (
	"context"
	"errors"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	consulapi "github.com/hashicorp/consul/api"
	"github.com/hashicorp/go-hclog"

	"github.com/tealdeploy/teal/agent/consul"
	"github.com/tealdeploy/teal/agent/consul/consultest"
	"github.com/tealdeploy/teal/agent/kv"
	"github.com/tealdeploy/teal/agent/leader"
	"github.com/tealdeploy/teal/agent/settings"
)

var testKeys = kv.NewKeys("")

// process is what of an agent has to do with its life in Consul: registered,
// present, standing for leader. It can be killed, which code cannot: from then
// on nothing it says reaches Consul.
type process struct {
	*consultest.Client
	*testing.T
	name         string
	killed       atomic.Bool
	registration *registration
	elector      *leader.Elector
	facts        *board
	log          *lockedBuffer
	stop         func() // as SIGTERM does, and waits
}

var errKilled = errors.New("this process is dead")

func (p *process) dead(ctx context.Context) error {
	if p.killed.Load() {
		<-ctx.Done()
		return errKilled
	}
	return nil
}

func (p *process) RegisterService(ctx context.Context, reg *consulapi.AgentServiceRegistration) error {
	if err := p.dead(ctx); err != nil {
		return err
	}
	return p.Client.RegisterService(ctx, reg)
}

func (p *process) DeregisterService(ctx context.Context, id string) error {
	if err := p.dead(ctx); err != nil {
		return err
	}
	return p.Client.DeregisterService(ctx, id)
}

func (p *process) Acquire(ctx context.Context, key string, value []byte, session string) (bool, error) {
	if err := p.dead(ctx); err != nil {
		return false, err
	}
	return p.Client.Acquire(ctx, key, value, session)
}

func (p *process) NewSession(ctx context.Context, s *consulapi.SessionEntry) (string, error) {
	if err := p.dead(ctx); err != nil {
		return "", err
	}
	return p.Client.NewSession(ctx, s)
}

func (p *process) RenewSession(ctx context.Context, id string) (time.Duration, error) {
	if err := p.dead(ctx); err != nil {
		return 0, err
	}
	return p.Client.RenewSession(ctx, id)
}

func (p *process) DestroySession(ctx context.Context, id string) error {
	if err := p.dead(ctx); err != nil {
		return err
	}
	return p.Client.DestroySession(ctx, id)
}

// start runs an agent's process on a node.
func start(t *testing.T, s *consultest.Server, node, name string, ttl time.Duration) *process {
	p := &process{Client: s.Client(node), T: t, name: name, facts: newBoard(), log: &lockedBuffer{}}
	log := hclog.New(&hclog.LoggerOptions{Output: p.log, Level: hclog.Info, DisableTime: true})
	conf := settings.Defaults()
	conf.Name = name
	p.registration = newRegistration(p, &conf, "1.0.0", log)
	p.elector = leader.New(leader.Config{Consul: p, Key: testKeys.Leader(), Name: name, TTL: ttl,
		Check: p.registration.liveness, Refused: p.registration.renew, Log: log})
	present := presence{consul: p, key: testKeys.Agent(name), name: name, ttl: ttl,
		check: p.registration.liveness, refused: p.registration.renew, log: log,
		info: func() (kv.AgentInfo, <-chan struct{}) {
			f, changed := p.facts.now()
			return kv.AgentInfo{Name: name, Policies: f.policies}, changed
		}}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		registered := func(ctx context.Context, then func(context.Context) error) error {
			if !wait(ctx, p.registration.done) {
				return nil
			}
			return then(ctx)
		}
		err := nested(ctx,
			func(ctx context.Context) error {
				return p.registration.run(ctx, place{check: "127.0.0.1:4680", host: "127.0.0.1", port: 4680})
			},
			func(ctx context.Context) error { return registered(ctx, present.run) },
			func(ctx context.Context) error {
				return registered(ctx, func(ctx context.Context) error {
					return p.elector.Run(ctx, func(ctx context.Context, _ leader.Term) error { <-ctx.Done(); return nil })
				})
			},
		)
		if err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}()
	p.stop = func() { cancel(); <-done }
	t.Cleanup(p.stop)
	return p
}

// leads waits until the process leads and says how long that took.
func (p *process) leads(within time.Duration) time.Duration {
	p.Helper()
	began := time.Now()
	for {
		synctest.Wait()
		if now, _ := p.elector.Now(); now.Leading {
			return time.Since(began)
		}
		if time.Since(began) > within {
			p.Fatalf("%s does not lead after %s\n%s", p.name, within, p.log)
		}
		time.Sleep(time.Millisecond)
	}
}

// agents are those that are listed.
func agents(t *testing.T, s *consultest.Server) []string {
	t.Helper()
	names, err := s.Client("witness").Keys(t.Context(), testKeys.Agents())
	if err != nil {
		t.Fatal(err)
	}
	for i := range names {
		names[i] = strings.TrimPrefix(names[i], testKeys.Agents())
	}
	return names
}

const leaseTTL = 15 * time.Second

func TestAgentComesAndGoes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := consultest.New()
		one := start(t, s, "n1", "one", leaseTTL)
		if took := one.leads(time.Second); took > 200*time.Millisecond {
			t.Errorf("leads after %s", took)
		}
		two := start(t, s, "n2", "two", leaseTTL)
		time.Sleep(time.Minute)
		if got := agents(t, s); !slices.Equal(got, []string{"one", "two"}) {
			t.Errorf("agents %q", got)
		}
		if one.log.count("WARN")+one.log.count("ERROR") > 0 {
			t.Errorf("complains\n%s", one.log)
		}

		// What is known is told at once.
		two.facts.update(func(f *facts) { f.policies = "abc" })
		synctest.Wait()
		pair, err := s.Client("witness").Read(t.Context(), testKeys.Agent("two"))
		if err != nil || !strings.Contains(string(pair.Value), `"policies":"abc"`) {
			t.Errorf("%s, %v", pair.Value, err)
		}

		began := time.Now()
		one.stop()
		if took := time.Since(began); took > 100*time.Millisecond {
			t.Errorf("stopped after %s", took)
		}
		if took := two.leads(time.Second); took > 100*time.Millisecond {
			t.Errorf("handed over after %s", took)
		}
		if got := agents(t, s); !slices.Equal(got, []string{"two"}) {
			t.Errorf("agents %q", got)
		}
		two.stop()
		if left, _, _ := s.Client("witness").PlainInstances(t.Context(), "teal", 0); len(left) > 0 || len(s.Sessions()) > 0 {
			t.Errorf("left behind: %v, %v", left, s.Sessions())
		}
	})
}

// The lead is given up before the registration: else the session would end
// first, and with it the term, while its work still goes on.
func TestLeadIsGivenUpBeforeTheRegistration(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := consultest.New()
		one := start(t, s, "n1", "one", leaseTTL)
		one.leads(time.Second)
		time.Sleep(time.Second)
		var ops []string
		s.Intercept(func(c consultest.Call) consultest.Fault {
			if c.Op == "DestroySession" || c.Op == "DeregisterService" {
				ops = append(ops, c.Op)
			}
			return consultest.Fault{}
		})
		one.stop()
		if want := []string{"DestroySession", "DestroySession", "DeregisterService"}; !slices.Equal(ops, want) {
			t.Errorf("%q", ops)
		}
	})
}

// An agent that was killed and comes back at once, on the same address, must
// not keep its predecessor's sessions alive by answering its check.
func TestKilledAndRestartedAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := consultest.New()
		first := start(t, s, "n1", "one", leaseTTL)
		first.leads(time.Second)
		time.Sleep(time.Minute)
		first.killed.Store(true)

		again := start(t, s, "n1", "one", leaseTTL)
		if took := again.leads(leaseTTL); took > time.Second {
			t.Errorf("leads after %s: the dead one's session was kept alive", took)
		}
		time.Sleep(time.Second)
		if got := agents(t, s); !slices.Equal(got, []string{"one"}) {
			t.Errorf("agents %q", got)
		}
		if n := len(s.Sessions()); n != 2 {
			t.Errorf("%d sessions", n)
		}
	})
}

// A dead agent's check fails: it is no longer listed.
func TestDeadAgentIsNotListed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := consultest.New()
		one := start(t, s, "n1", "one", leaseTTL)
		one.leads(time.Second)
		time.Sleep(time.Minute)
		one.killed.Store(true)
		s.SetCheck("n1", one.registration.liveness, consulapi.HealthCritical)
		if got := agents(t, s); len(got) > 0 {
			t.Errorf("agents %q", got)
		}
	})
}

// The local Consul agent comes back without its data, or a person takes the
// registration away: the agent registers again by itself.
func TestRegistrationLost(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := consultest.New()
		one := start(t, s, "n1", "one", leaseTTL)
		one.leads(time.Second)
		for range 3 {
			time.Sleep(time.Minute)
			if err := s.Client("n1").DeregisterService(t.Context(), "teal-one"); err != nil {
				t.Fatal(err)
			}
			synctest.Wait()
			one.leads(15 * time.Second)
			time.Sleep(10 * time.Second)
			if got := agents(t, s); !slices.Equal(got, []string{"one"}) {
				t.Errorf("agents %q", got)
			}
		}
		if n := one.log.count("registered again"); n != 3 {
			t.Errorf("registered again %d times\n%s", n, one.log)
		}

		// One that stands by has only its own line to notice by.
		two := start(t, s, "n2", "two", leaseTTL)
		time.Sleep(time.Minute)
		if err := s.Client("n2").DeregisterService(t.Context(), "teal-two"); err != nil {
			t.Fatal(err)
		}
		time.Sleep(15 * time.Second)
		if got := agents(t, s); !slices.Equal(got, []string{"one", "two"}) {
			t.Errorf("agents %q", got)
		}
		if n := two.log.count("registered again"); n != 1 {
			t.Errorf("registered again %d times\n%s", n, two.log)
		}
	})
}

// Consul is away at the start: the agent waits, and says so once.
func TestConsulAwayAtStart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := consultest.New()
		s.SetAway(true)
		one := start(t, s, "n1", "one", leaseTTL)
		time.Sleep(time.Minute)
		s.SetAway(false)
		one.leads(15 * time.Second)
		began := time.Now()
		s.SetAway(true)
		one.stop()
		if took := time.Since(began); took > time.Second {
			t.Errorf("stopped after %s", took)
		}
	})
}

// Two agents of one name do not fight: one is listed, the other says so.
func TestNameTaken(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := consultest.New()
		one := start(t, s, "n1", "same", leaseTTL)
		one.leads(time.Second)
		other := start(t, s, "n2", "same", leaseTTL)
		time.Sleep(2 * leaseTTL) // it may be a predecessor's, which goes
		if n := other.log.count("another agent"); n != 0 {
			t.Errorf("cried too soon\n%s", other.log)
		}
		time.Sleep(2 * time.Minute)
		if n := other.log.count("another agent has this agent's name"); n != 1 {
			t.Errorf("said %d times\n%s", n, other.log)
		}
		if n := one.log.count("another agent"); n != 0 {
			t.Errorf("the first complains\n%s", one.log)
		}
		if now, _ := one.elector.Now(); !now.Leading {
			t.Error("the first has lost the lead")
		}
	})
}

// A server that has just come back says in good faith that it knows no such
// session, or nothing. That is no reason to make another.
func TestPresenceOutlivesAForgetfulConsul(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := consultest.New()
		one := start(t, s, "n1", "one", leaseTTL)
		one.leads(time.Second)
		time.Sleep(time.Second)
		before := s.Sessions()
		var forgot atomic.Int64
		s.Intercept(func(c consultest.Call) consultest.Fault {
			if c.Op != "RenewSession" || !slices.ContainsFunc(before, func(s consulapi.SessionEntry) bool {
				return s.ID == c.Key && s.Name == "teal agent one"
			}) {
				return consultest.Fault{}
			}
			switch forgot.Add(1) {
			case 1, 2:
				return consultest.Fault{Before: &consul.Error{Op: c.Op, Kind: consul.ErrNoSession}}
			case 5, 6:
				return consultest.Fault{Before: &consul.Error{Op: c.Op, Kind: consul.ErrUnavailable}}
			}
			return consultest.Fault{}
		})
		time.Sleep(time.Minute)
		after := s.Sessions()
		if n := forgot.Load(); n < 8 {
			t.Errorf("%d renewals", n)
		}
		if len(after) != 2 || after[0].ID != before[0].ID || after[1].ID != before[1].ID {
			t.Errorf("sessions %v, before %v", after, before)
		}
	})
}

func TestComplaints(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		log := &lockedBuffer{}
		c := complaint{log: hclog.New(&hclog.LoggerOptions{Output: log}), what: "fly"}
		say := func(kind error, times int) {
			t.Helper()
			for range 10 {
				c.about(&consul.Error{Op: "fly", Kind: kind})
				time.Sleep(patience / 5)
			}
			c.over()
			if log.count("cannot fly; trying again") != times || log.count("no longer: cannot fly") != times {
				t.Errorf("%v: want %d\n%s", kind, times, log)
			}
		}
		say(consul.ErrUnavailable, 0) // the elector's to tell
		say(consul.ErrInvalid, 1)
		c.about(&consul.Error{Op: "fly", Kind: consul.ErrInvalid}) // in passing
		c.over()
		say(consul.ErrForbidden, 2)
		c.about(&consul.Error{Op: "fly", Kind: consul.ErrForbidden}) // time mends none
		c.over()
		if log.count("trying again") != 3 {
			t.Errorf("%s", log)
		}
	})
}

func TestNestedEndsInTheOppositeOrder(t *testing.T) {
	var ended []string
	part := func(name string, fails error) func(context.Context) error {
		return func(ctx context.Context) error {
			if fails == nil {
				<-ctx.Done()
			}
			ended = append(ended, name)
			return fails
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := nested(ctx, part("a", nil), part("b", nil), part("c", nil)); err != nil || strings.Join(ended, "") != "cba" {
		t.Errorf("%v, %v", ended, err)
	}
	// One that fails takes all along.
	broken := errors.New("broken")
	for want, parts := range map[string][]func(context.Context) error{
		"cba": {part("a", nil), part("b", nil), part("c", broken)},
		"bca": {part("a", nil), part("b", broken), part("c", nil)},
		"acb": {part("a", broken), part("b", nil), part("c", nil)},
	} {
		ended = nil
		if err := nested(t.Context(), parts...); !errors.Is(err, broken) || strings.Join(ended, "") != want {
			t.Errorf("%v, %v; want %s", ended, err, want)
		}
	}
}
