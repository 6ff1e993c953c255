package controller

import (
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/tealdeploy/teal/agent/consul"
	"github.com/tealdeploy/teal/agent/consul/consultest"
	"github.com/tealdeploy/teal/agent/deployment"
)

// book writes down what it is handed, in order.
type book struct {
	w     *world
	mu    sync.Mutex
	lines []string
	wrong []string
}

// Saved implements Chronicle. What it is told of is in Consul already.
func (b *book) Saved(after deployment.Service, ev deployment.Event, epoch uint64) {
	rec := b.w.record()
	b.mu.Lock()
	defer b.mu.Unlock()
	state := "idle"
	if after.Deployment != nil {
		state = string(after.Deployment.State)
	}
	if ev.Kind != deployment.Progress {
		b.lines = append(b.lines, fmt.Sprintf("%s > %s", ev.Kind, state))
	}
	if epoch == 0 || after.InFlight() && rec.Deployment == nil {
		b.wrong = append(b.wrong, string(ev.Kind))
	}
}

func (b *book) told() []string { b.mu.Lock(); defer b.mu.Unlock(); return slices.Clone(b.lines) }

// Everything that was saved is told, each event with the state it led to, and
// nothing that was not.
func TestChronicleIsToldWhatWasSaved(t *testing.T) {
	inWorld(t, func(w *world) {
		w.chronicle = &book{w: w}
		w.adopted()
		w.policy("2.0.0", quick)
		w.state("2.0.0", deployment.Watching)
		refused := 0
		w.consul.Intercept(func(c consultest.Call) consultest.Fault {
			if c.Op == "Txn" && c.Agent == "agent-1" && refused < 4 {
				refused++
				if refused%2 == 0 { // carried out, and the answer lost
					return consultest.Fault{After: consul.ErrUnavailable}
				}
				return consultest.Fault{Before: consul.ErrUnavailable}
			}
			return consultest.Fault{}
		})
		w.until(3*time.Minute, "done", func(r deployment.Service) bool { return r.Active == deployment.Green && !r.InFlight() })
		want := "begin > preparing, planned > launching, launched > gating, gates-pass > cutting-over, routed > watching, " +
			"jobs-moved > watching, watch-pass > soaking, soak-end > retiring, retired > done"
		var got []string
		for _, line := range w.chronicle.told() {
			if strings.Contains(want, line) {
				got = append(got, line)
			}
		}
		if strings.Join(got, ", ") != want || len(w.chronicle.wrong) > 0 || refused != 4 {
			t.Errorf("told:\n%s\nwant:\n%s\nwrong: %v, %d writes failed", strings.Join(got, ", "), want, w.chronicle.wrong, refused)
		}
	})
}

// Of several events that are saved together each is told with what it led to.
func TestChronicleTellsEachEventOfASave(t *testing.T) {
	inWorld(t, func(w *world) {
		w.chronicle = &book{w: w}
		w.policy("1.0.0", quick)
		w.agent("agent-1")
		w.state("1.0.0", deployment.Watching)
		if got := strings.Join(w.chronicle.told()[:2], ", "); got != "enrol > idle, begin > preparing" {
			t.Errorf("told %s", got)
		}
	})
}
