package controller

import (
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	consulapi "github.com/hashicorp/consul/api"

	"github.com/tealdeploy/teal/agent/consul/consultest"
	"github.com/tealdeploy/teal/agent/deployment"
	"github.com/tealdeploy/teal/agent/kv"
	"github.com/tealdeploy/teal/agent/nomad/nomadtest"
)

// killer ends an agent's process at one of its writes to Consul or Nomad:
// before it leaves, or after it was carried out and before the answer.
type killer struct {
	w      *world
	victim string
	at     int // the write, counted from 1; 0 kills nobody
	after  bool

	mu     sync.Mutex
	writes []string
	dead   bool
}

var errKilled = errors.New("killed")

func (w *world) killer(victim string, at int, after bool) *killer {
	k := &killer{w: w, victim: victim, at: at, after: after}
	w.consul.Intercept(func(c consultest.Call) consultest.Fault {
		switch k.write(c.Agent, c.Write, "Consul "+c.Op+" "+c.Key) {
		case gone:
			return consultest.Fault{Hang: true}
		case before:
			return consultest.Fault{Before: errKilled}
		case afterwards:
			return consultest.Fault{After: errKilled}
		}
		return consultest.Fault{}
	})
	w.nomad.Intercept(func(c nomadtest.Call) nomadtest.Fault {
		switch k.write(c.Agent, c.Write, "Nomad "+c.Op+" "+c.Job) {
		case gone:
			return nomadtest.Fault{Hang: true}
		case before:
			return nomadtest.Fault{Before: errKilled}
		case afterwards:
			return nomadtest.Fault{After: errKilled}
		}
		return nomadtest.Fault{}
	})
	return k
}

type blow int

const (
	spared blow = iota
	before
	afterwards
	gone
)

func (k *killer) write(agent string, write bool, what string) blow {
	k.mu.Lock()
	defer k.mu.Unlock()
	if agent != k.victim {
		return spared
	}
	if k.dead {
		return gone
	}
	if !write {
		return spared
	}
	k.writes = append(k.writes, what)
	if len(k.writes) != k.at {
		return spared
	}
	k.dead = true
	// A dead process listens no more: Consul's check of it fails, and with it
	// the session that holds the lead.
	time.AfterFunc(time.Second, func() { k.w.consul.SetCheck(k.victim, "alive", consulapi.HealthCritical) })
	if k.after {
		return afterwards
	}
	return before
}

// releaseAndRollBack is a whole release that a person takes back, told only by
// what anybody may do: an edited file and a key.
func releaseAndRollBack(w *world) {
	w.Helper()
	w.ordinary("1.0.0")
	w.policy("1.0.0", quick)
	w.agent("agent-1")
	time.Sleep(2 * time.Second) // agent-1 is the first to stand
	w.agent("agent-2")
	w.until(5*time.Minute, "adopted", func(r deployment.Service) bool { return r.Managed })
	w.policy("2.0.0", quick)
	w.state("2.0.0", deployment.Soaking)
	w.serves(deployment.Green)
	w.obeyed(kv.Rollback, "")
	w.until(5*time.Minute, "back", func(r deployment.Service) bool { return !r.InFlight() && !r.Jobs.Moving() })
	w.serves(deployment.Blue)
	w.jobs(deployment.Blue)
}

// sampled leaves most of very many cases out of a short run, such as one under
// the race detector, which makes each of them many times slower. make unit runs
// all of them without it.
func sampled(n int) bool { return testing.Short() && n%5 != 0 }

// crashes is a story in which an agent is killed at each write from the end of
// its opening on.
type crashes struct {
	name     string
	opening  func(*world)
	story    func(*world)
	outcome  deployment.Outcome
	finished int
	jobs     []string
}

// tell tells it to a killer that counts from the end of the opening.
func (c crashes) tell(w *world, at int, after bool) *killer {
	w.Helper()
	if c.opening != nil {
		c.opening(w)
	}
	k := w.killer("agent-1", at, after)
	c.story(w)
	return k
}

// released is a release that goes the whole way.
func released(w *world, version string, colour deployment.Colour) {
	w.Helper()
	w.policy(version, quick)
	w.until(5*time.Minute, version+" released", func(r deployment.Service) bool {
		return r.Slots[r.Active].Version == version && !r.InFlight() && !r.Jobs.Moving()
	})
	w.serves(colour)
	w.jobs(colour)
}

// A crash before or after any external write converges to the same end. The
// writes are found by a run without a crash, not listed by hand.
func TestCrashAtAnyWriteConverges(t *testing.T) {
	for _, c := range []crashes{{
		name:  "back",
		story: releaseAndRollBack, outcome: deployment.RolledBack, finished: 1,
		jobs: []string{"api", "api-green"},
	}, {
		name: "third", // takes the place of the job that was adopted
		opening: func(w *world) {
			w.ordinary("1.0.0")
			w.policy("1.0.0", quick)
			w.agent("agent-1")
			time.Sleep(2 * time.Second) // agent-1 is the first to stand
			w.agent("agent-2")
			released(w, "2.0.0", deployment.Green)
		},
		story: func(w *world) { released(w, "3.0.0", deployment.Blue) }, outcome: deployment.Succeeded, finished: 2,
		jobs: []string{"api-blue", "api-green"},
	}} {
		var writes []string
		inWorld(t, func(w *world) { writes = slices.Clone(c.tell(w, 0, false).writes) })
		if len(writes) < 15 {
			t.Fatalf("only %d writes: %v", len(writes), writes)
		}
		t.Logf("%d writes: %q", len(writes), writes)
		for n := range writes {
			for _, after := range []bool{false, true} {
				if sampled(n) {
					continue
				}
				t.Run(fmt.Sprintf("%s-%02d-%v", c.name, n+1, map[bool]string{false: "before", true: "after"}[after]), func(t *testing.T) {
					t.Parallel()
					inWorld(t, func(w *world) {
						k := c.tell(w, n+1, after)
						if !k.dead {
							t.Fatalf("write %d never came", n+1)
						}
						rec := w.record()
						if d := rec.Deployment; d.Outcome != c.outcome || len(rec.Finished) != c.finished {
							t.Errorf("killed at %q: %s, %d finished", k.writes[n], d.Outcome, len(rec.Finished))
						}
						if got := w.nomad.Jobs(); !slices.Equal(got, c.jobs) {
							t.Errorf("killed at %q: jobs %v", k.writes[n], got)
						}
					})
				})
			}
		}
	}
}

// A leader that is stopped (SIGSTOP, a paused machine) at any write and goes on
// long after its lease has ended writes nothing: Consul refuses what its fence
// and its indexes are too old for, and it asks its own clock before the rest.
func TestStoppedLeaderWritesNothing(t *testing.T) {
	var writes []string
	inWorld(t, func(w *world) {
		k := w.killer("agent-1", 0, false)
		releaseAndRollBack(w)
		writes = slices.Clone(k.writes)
	})
	for n := range writes {
		t.Run(fmt.Sprintf("%02d", n+1), func(t *testing.T) {
			t.Parallel()
			inWorld(t, func(w *world) {
				s := w.stopper("agent-1", n+1)
				releaseAndRollBack(w)
				w.awaitResumed(s)
				rec := w.record()
				if d := rec.Deployment; d.Outcome != deployment.RolledBack || len(rec.Finished) != 1 {
					t.Errorf("stopped at %q: %s, %d finished", writes[n], d.Outcome, len(rec.Finished))
				}
				w.serves(deployment.Blue)
				w.jobs(deployment.Blue)
				if got := w.nomad.Jobs(); !slices.Equal(got, []string{"api", "api-green"}) {
					t.Errorf("stopped at %q: jobs %v", writes[n], got)
				}
			})
		})
	}
}

// stopper freezes an agent at one of its writes, for much longer than its
// lease. Its kernel still accepts connections, so Consul's check passes.
type stopper struct {
	mu     sync.Mutex
	writes int
	until  time.Time
}

const frozen = 3 * time.Minute

func (w *world) stopper(victim string, at int) *stopper {
	s := &stopper{}
	stall := func(agent string, write bool) time.Duration {
		s.mu.Lock()
		defer s.mu.Unlock()
		if agent != victim {
			return 0
		}
		if write && s.until.IsZero() {
			if s.writes++; s.writes == at {
				s.until = time.Now().Add(frozen)
			}
		}
		return max(0, time.Until(s.until))
	}
	w.consul.Intercept(func(c consultest.Call) consultest.Fault { return consultest.Fault{Stall: stall(c.Agent, c.Write)} })
	w.nomad.Intercept(func(c nomadtest.Call) nomadtest.Fault { return nomadtest.Fault{Stall: stall(c.Agent, c.Write)} })
	return s
}

// awaitResumed lets the stopped agent go on, and try what it was at.
func (w *world) awaitResumed(s *stopper) {
	w.Helper()
	s.mu.Lock()
	until := s.until
	s.mu.Unlock()
	if until.IsZero() {
		w.Fatal("it was never stopped")
	}
	time.Sleep(max(0, time.Until(until)) + time.Minute)
}
