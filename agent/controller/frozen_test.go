package controller

import (
	"errors"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/tealdeploy/teal/agent/consul"
	"github.com/tealdeploy/teal/agent/consul/consultest"
	"github.com/tealdeploy/teal/agent/deployment"
	"github.com/tealdeploy/teal/agent/leader"
	"github.com/tealdeploy/teal/agent/nomad/nomadtest"
)

// freezes stops agent-1 at its next order of a kind for a job, before it reads that
// job: at is closed then, and all that it asks waits until it is thawed.
func (w *world) freezes(op, job string) (at <-chan struct{}, thaw func()) {
	frozen, until := make(chan struct{}), make(chan struct{})
	var once sync.Once
	still := func(agent string) {
		select {
		case <-frozen:
			if agent == "agent-1" {
				<-until
			}
		default:
		}
	}
	w.consul.Intercept(func(c consultest.Call) (f consultest.Fault) { still(c.Agent); return f })
	w.nomad.Intercept(func(c nomadtest.Call) (f nomadtest.Fault) {
		if c.Agent == "agent-1" && c.Op == op && c.Job == job {
			once.Do(func() { close(frozen) })
		}
		still(c.Agent)
		return f
	})
	return frozen, func() { close(until) }
}

// A leader is frozen when it has looked at its lease and is about to stop or to empty
// a colour. Another one leads meanwhile, and releases the next version there. The
// first goes on, and reads the job as it is now: it is not the one it meant.
func TestAFrozenLeaderStopsNothingOfTheNext(t *testing.T) {
	retired := func(then string) func(w *world) {
		return func(w *world) {
			w.policy("2.0.0", body("", "", `then = "`+then+`"`, ""))
			w.until(5*time.Minute, "2.0.0 is live", func(r deployment.Service) bool { return r.Active == deployment.Green && !r.InFlight() })
			w.policy("3.0.0", body("", "", `then = "`+then+`"`, ""))
		}
	}
	for _, c := range []struct {
		name, op string
		leads    func(w *world)
	}{
		{"retired by a stop", "Stop", retired("stop")},
		{"retired to nothing", "Scale", retired("scale")},
		{"kept for long enough", "Stop", (*world).takenBack},
	} {
		t.Run(c.name, func(t *testing.T) {
			inWorld(t, func(w *world) {
				if c.name != "kept for long enough" {
					w.adopted()
				}
				frozen, thaw := w.freezes(c.op, "api-green")
				c.leads(w)
				<-frozen
				w.agent("agent-2")
				next := "4.0.0"
				w.policy(next, strings.Replace(quick, `watch  { for = "10s" }`, `watch  { for = "1h" }`, 1))
				w.state(next, deployment.Watching)
				w.serves(deployment.Green)
				thaw()
				time.Sleep(5 * time.Minute)
				job, err := w.nomad.Client("people").Job(w.Context(), "", "api-green")
				if err != nil || stopped(job) || value(job.TaskGroups[0].Count) == 0 || w.record().Held != nil {
					t.Errorf("stopped %v, %v; %s", stopped(job), err, gistForPeople(w.record()))
				}
			})
		})
	}
}

// The clock of a machine that was suspended as a whole may say that the lease goes
// on. Consul's own word is asked for, after the job was read.
func TestALeaderIsNoneWhoDoesNotHoldTheKey(t *testing.T) {
	inWorld(t, func(w *world) {
		w.adopted()
		client := w.consul.Client("agent-1")
		pair, err := client.Read(w.Context(), w.keys.Leader())
		if err != nil {
			t.Fatal(err)
		}
		leads := func(session string, lasts time.Duration) error {
			fence := consul.Fence{LeaderKey: w.keys.Leader(), Session: session}
			term := &tenure{c: &Controller{cfg: Config{Store: bounded{client}}}, term: leader.Until(1, fence, time.Now().Add(lasts))}
			return term.leads(w.Context(), nil)
		}
		if err := leads(pair.Session, time.Hour); err != nil {
			t.Errorf("who holds the key: %v", err)
		}
		for _, err := range []error{leads("of-another", time.Hour), leads("", time.Hour), leads(pair.Session, -time.Second)} {
			if !errors.Is(err, consul.ErrDeposed) {
				t.Errorf("who does not hold it: %v", err)
			}
		}
		if err := w.people.Delete(w.Context(), w.keys.Leader()); err != nil {
			t.Fatal(err)
		}
		if err := leads(pair.Session, time.Hour); !errors.Is(err, consul.ErrDeposed) {
			t.Errorf("nobody holds it: %v", err)
		}
	})
}
