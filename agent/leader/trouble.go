package leader

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/hashicorp/go-hclog"

	"github.com/tealdeploy/teal/agent/consul"
)

// settling is how long a refusal may last before it is told: right after a
// start the agent's check has not reached Consul's servers yet.
const settling = 2 * time.Second

// trouble tells of what stands in the way once, and once more when it is over.
type trouble struct {
	log hclog.Logger

	mu       sync.Mutex
	away     time.Time // since when Consul has not answered; zero: it does
	refused  time.Time // since when it has answered no
	toldOfIt bool
}

// met takes note of an error.
func (t *trouble) met(ctx context.Context, err error) {
	if ctx.Err() != nil {
		return // we are leaving, and that is what the error says
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if errors.Is(err, consul.ErrUnavailable) || errors.Is(err, context.DeadlineExceeded) {
		if t.away.IsZero() {
			t.away = time.Now()
			t.log.Warn("Consul does not answer; trying again until it does", "error", err)
			return
		}
		t.log.Debug("Consul still does not answer", "error", err)
		return
	}
	if t.refused.IsZero() {
		t.refused = time.Now()
	}
	if !t.toldOfIt && (errors.Is(err, consul.ErrForbidden) || time.Since(t.refused) >= settling) {
		t.toldOfIt = true
		t.log.Error("this agent cannot stand for leader; trying again", "error", err)
		return
	}
	t.log.Debug("cannot stand for leader", "error", err)
}

// answered takes note that Consul does.
func (t *trouble) answered() {
	t.mu.Lock()
	defer t.mu.Unlock()
	if !t.away.IsZero() {
		t.log.Info("Consul answers again", "after", time.Since(t.away).Round(time.Millisecond).String())
		t.away = time.Time{}
	}
}

// led takes note that nothing stands in the way any more.
func (t *trouble) led() {
	t.answered()
	t.mu.Lock()
	defer t.mu.Unlock()
	t.refused, t.toldOfIt = time.Time{}, false
}
