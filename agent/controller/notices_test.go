package controller

import (
	"context"
	"errors"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/tealdeploy/teal/agent/deployment"
	"github.com/tealdeploy/teal/agent/kv"
	"github.com/tealdeploy/teal/agent/notify"
)

// ear is where notices are heard.
type ear struct {
	mu    sync.Mutex
	heard []string
	ids   map[string]int
	away  bool
	deaf  bool
}

func (e *ear) Send(ctx context.Context, n notify.Notice) error {
	e.mu.Lock()
	defer e.mu.Unlock()
	switch {
	case e.deaf:
		e.mu.Unlock()
		<-ctx.Done()
		e.mu.Lock()
		return ctx.Err()
	case e.away:
		return errors.New("connection refused")
	}
	if e.ids == nil {
		e.ids = map[string]int{}
	}
	e.ids[n.ID]++
	e.heard = append(e.heard, n.Version+" "+string(n.Event))
	return nil
}

func (e *ear) told() string { e.mu.Lock(); defer e.mu.Unlock(); return strings.Join(e.heard, ", ") }
func (e *ear) is(away bool) { e.mu.Lock(); defer e.mu.Unlock(); e.away = away }

// listens adds a receiver.
func (w *world) listens(name string, e *ear) *ear {
	w.receivers = append(w.receivers, notify.Receiver{Kind: "webhook", Name: name, Severity: notify.Info, Timeout: 10 * time.Second, GiveUp: time.Hour, Sender: e})
	return e
}

// owed are the notices that stand in Consul.
func (w *world) owed() int {
	w.Helper()
	keys, err := w.people.Keys(w.Context(), w.keys.Notices())
	if err != nil {
		w.Fatal(err)
	}
	return len(keys)
}

// The events of a release and of a rollback are told in order, each once, while
// another receiver never answers: the release takes no longer for that.
func TestReleaseIsTold(t *testing.T) {
	took := map[bool]time.Duration{}
	for _, deaf := range []bool{false, true} {
		inWorld(t, func(w *world) {
			chat := w.listens("chat", &ear{})
			if deaf {
				w.listens("deaf", &ear{deaf: true})
			}
			w.adopted()
			began := time.Now()
			w.policy("2.0.0", quick)
			w.state("2.0.0", deployment.Watching)
			w.obeyed(kv.Rollback, "")
			w.until(time.Minute, "back", func(r deployment.Service) bool { return !r.InFlight() && r.Active == deployment.Blue })
			took[deaf] = time.Since(began)
			time.Sleep(2 * time.Second)
			want := "2.0.0 started, 2.0.0 cutover, 2.0.0 rolling-back, 2.0.0 rolled-back"
			if got := chat.told(); got != want {
				t.Errorf("told %s\nwant %s", got, want)
			}
			if n := w.owed(); deaf && n != 4 || !deaf && n != 0 {
				t.Errorf("%d notices in Consul", n)
			}
		})
	}
	if took[true] > took[false]+50*time.Millisecond {
		t.Errorf("with a receiver that never answers it took %s, without %s", took[true], took[false])
	}
}

// The receiver is away, and the leader is stopped in the middle of the release.
// The next one tells what was owed, and goes on.
func TestNoticesOutliveTheLeader(t *testing.T) {
	inWorld(t, func(w *world) {
		chat := w.listens("chat", &ear{})
		a := w.adopted()
		chat.is(true)
		w.policy("2.0.0", quick)
		w.state("2.0.0", deployment.Watching)
		a.stop()
		if w.owed() == 0 {
			t.Error("nothing is owed")
		}
		chat.is(false)
		w.agent("agent-2")
		w.until(3*time.Minute, "done", func(r deployment.Service) bool { return r.Active == deployment.Green && !r.InFlight() })
		time.Sleep(2 * time.Second)
		want := "2.0.0 started, 2.0.0 cutover, 2.0.0 succeeded"
		if got := chat.told(); got != want || w.owed() != 0 {
			t.Errorf("told %s\nwant %s; %d owed", got, want, w.owed())
		}
		var times []int
		for _, n := range chat.ids {
			times = append(times, n)
		}
		if slices.Max(times) != 1 {
			t.Errorf("told more than once: %v", chat.ids)
		}
	})
}
