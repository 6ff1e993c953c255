package controller

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/tealdeploy/teal/agent/deployment"
	"github.com/tealdeploy/teal/agent/worker"
)

// hand is a `teal work` beside a service's instances: package worker as it
// ships, with a command that is no process.
type hand struct {
	name   string
	colour deployment.Colour
	stop   context.CancelFunc
	done   chan struct{}

	mu    sync.Mutex
	tasks []*task
	dead  bool
}

// floor is where the commands of all workers are seen: who processes, and
// under which token.
type floor struct {
	x       *witness
	mu      sync.Mutex
	running map[*task]bool
	highest uint64
}

// task is a command that takes its time to end when asked to.
type task struct {
	f      *floor
	name   string
	colour deployment.Colour
	token  uint64
	slow   time.Duration
	once   sync.Once
	done   chan struct{}
	exit   int
}

// begin (5): no command runs beside one of the other colour, nor under an
// older token than one before it.
func (f *floor) begin(name string, colour deployment.Colour, token uint64, slow time.Duration) *task {
	t := &task{f: f, name: name, colour: colour, token: token, slow: slow, done: make(chan struct{})}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.x.mu.Lock()
	defer f.x.mu.Unlock()
	f.x.note("%s of %s processes with token %d", name, colour, token)
	for other := range f.running {
		if other.colour != colour {
			f.x.breaks("%s of %s processes while %s of %s still does", name, colour, other.name, other.colour)
		}
	}
	if token < f.highest {
		f.x.breaks("%s processes with token %d after %d", name, token, f.highest)
	}
	f.highest = max(f.highest, token)
	f.running[t] = true
	return t
}

func (t *task) end(exit int) {
	t.once.Do(func() {
		t.f.mu.Lock()
		defer t.f.mu.Unlock()
		delete(t.f.running, t)
		t.exit = exit
		close(t.done)
	})
}

// The command as package worker has it.
func (t *task) Ended() <-chan struct{} { return t.done }
func (t *task) Code() int              { return t.exit }
func (t *task) Terminate()             { time.AfterFunc(t.slow, func() { t.end(0) }) }
func (t *task) Kill()                  { t.end(137) }

// hire starts a worker whose commands take so long to end.
func (c *chaos) hire(colour deployment.Colour, slow time.Duration) {
	c.hired++
	ctx, cancel := context.WithCancel(context.Background())
	h := &hand{name: fmt.Sprintf("worker-%d", c.hired), colour: colour, stop: cancel, done: make(chan struct{})}
	client := c.consul.Client(h.name)
	cfg := worker.Config{
		Keys: c.keys, Service: "api", Colour: colour, Command: []string{"work"}, ID: h.name, Env: []string{},
		Start: func(_ worker.Config, token uint64) (worker.Running, error) {
			h.mu.Lock()
			defer h.mu.Unlock()
			if h.dead {
				return nil, errKilled
			}
			t := c.floor.begin(h.name, colour, token, slow)
			h.tasks = append(h.tasks, t)
			return t, nil
		},
	}
	go func() {
		defer close(h.done)
		for ctx.Err() == nil {
			_, _ = worker.Run(ctx, cfg, client)
		}
	}()
	c.hands = append(c.hands, h)
}

// dies is a SIGKILL of teal work, which takes its command along.
func (h *hand) dies() {
	h.mu.Lock()
	h.dead = true
	for _, t := range h.tasks {
		t.end(137)
	}
	h.mu.Unlock()
	h.stop()
}
