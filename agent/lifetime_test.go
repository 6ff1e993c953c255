package agent

import (
	"reflect"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	consulapi "github.com/hashicorp/consul/api"

	"github.com/tealdeploy/teal/agent/consul"
	"github.com/tealdeploy/teal/agent/consul/consultest"
)

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

// Consul's agent goes on using the token of the registration: another one is
// made with each new token, at once and also right after the last, and the lead
// is not lost by it.
func TestRegisteredAgainWithANewToken(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := consultest.New()
		one := start(t, s, "n1", "one", leaseTTL)
		one.leads(time.Second)
		time.Sleep(time.Minute)
		registered, sessions := 0, s.Sessions()
		s.Intercept(func(c consultest.Call) consultest.Fault {
			if c.Op == "RegisterService" {
				registered++
			}
			return consultest.Fault{}
		})
		for n := range 3 {
			one.registration.tokenRenewed()
			synctest.Wait()
			if registered != n+1 {
				t.Errorf("registered %d times after %d new tokens", registered, n+1)
			}
		}
		time.Sleep(time.Minute)
		if registered != 3 {
			t.Errorf("registered %d times", registered)
		}
		if now := s.Sessions(); !reflect.DeepEqual(now, sessions) {
			t.Errorf("sessions %v, they were %v", now, sessions)
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
