package joblock

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hashicorp/consul/api"

	"github.com/tealdeploy/teal/agent/consul"
	"github.com/tealdeploy/teal/agent/consul/consultest"
	"github.com/tealdeploy/teal/agent/deployment"
	"github.com/tealdeploy/teal/agent/kv"
)

const (
	blue  = deployment.Blue
	green = deployment.Green
	none  = deployment.None
)

var keys = kv.NewKeys("")

// crew is a Consul, workers of both colours and agents that lead in turn. It
// watches the key and all who process: never two colours at once, never from
// one colour straight to the other, and tokens only grow.
type crew struct {
	*testing.T
	ctx    context.Context
	server *consultest.Server
	agent  *consultest.Client
	fence  consul.Fence
	joined sync.WaitGroup

	mu      sync.Mutex
	working map[*hand]bool
	history []string // of the key
	owner   deployment.Colour
	token   uint64
}

func scenario(t *testing.T, f func(c *crew)) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		c := &crew{T: t, ctx: ctx, server: consultest.New(), working: map[*hand]bool{}}
		c.elect("agent-1")
		c.server.Listen(c.observe)
		f(c)
		cancel()
		c.joined.Wait()
	})
}

func (c *crew) must(err error) {
	c.Helper()
	if err != nil {
		c.Fatal(err)
	}
}

// elect makes an agent the leader, whoever was it before.
func (c *crew) elect(name string) {
	c.Helper()
	c.agent = c.server.Client(name)
	if c.fence.Session != "" {
		c.server.ExpireSession(c.fence.Session)
	}
	id, err := c.agent.NewSession(c.ctx, &api.SessionEntry{})
	c.must(err)
	if ok, err := c.agent.Acquire(c.ctx, keys.Leader(), []byte(name), id); !ok || err != nil {
		c.Fatal(ok, err)
	}
	c.fence = consul.Fence{LeaderKey: keys.Leader(), Session: id}
}

// observe sees every value the key takes.
func (c *crew) observe(key string, pair *api.KVPair) {
	if key != keys.JobProcessor("api") {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	now := Parse(pair)
	if pair == nil {
		now.Garbled = "(deleted)"
	} else if now.Index <= c.token {
		c.Errorf("token %d after %d", now.Index, c.token)
	} else {
		c.token = now.Index
	}
	if now.Owner.Valid() && c.owner.Valid() && now.Owner != c.owner {
		c.Errorf("from %s straight to %s: %q", c.owner, now.Owner, c.history)
	}
	c.owner = now.Owner
	c.history = append(c.history, orElse(now.Garbled, string(now.Owner)))
	for h := range c.working {
		if now.Owner.Valid() && h.colour != now.Owner {
			c.Errorf("%s given the jobs while %s still works", now.Owner, h.name)
		}
	}
}

func orElse(s, other string) string {
	if s == "" {
		return other
	}
	return s
}

func (c *crew) works(h *hand, does bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for other := range c.working {
		if does && other.colour != h.colour {
			c.Errorf("%s and %s work", h.name, other.name)
		}
	}
	if does {
		c.working[h] = true
	} else {
		delete(c.working, h)
	}
}

// busy is how many of a colour work.
func (c *crew) busy(colour deployment.Colour) (n int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for h := range c.working {
		if h.colour == colour {
			n++
		}
	}
	return n
}

func (c *crew) handover(to deployment.Colour, drain time.Duration) Handover {
	fence, agent := c.fence, c.agent
	return Handover{
		Store: agent, Keys: keys, Service: "api", To: to, Deadline: time.Now().Add(drain),
		Commit: func(ctx context.Context, ops api.KVTxnOps) (api.KVPairs, error) {
			return consul.Store{KV: agent}.Commit(ctx, fence, ops)
		},
	}
}

// gives hands the jobs over and says how long it took.
func (c *crew) gives(to deployment.Colour, drain time.Duration, want Outcome) time.Duration {
	c.Helper()
	began := time.Now()
	got, err := c.handover(to, drain).Run(c.ctx)
	c.must(err)
	if got != want {
		c.Errorf("to %s: %s, want %s", to, got, want)
	}
	c.says(to)
	return time.Since(began)
}

// says checks what the key says.
func (c *crew) says(want deployment.Colour) {
	c.Helper()
	pair, err := c.agent.Read(c.ctx, keys.JobProcessor("api"))
	c.must(err)
	if key := Parse(pair); key.Owner != want || key.Garbled != "" {
		c.Errorf("the key says %+v, want %s", key, want)
	}
}

// settles waits until n of a colour work.
func (c *crew) settles(colour deployment.Colour, n int) {
	c.Helper()
	for end := time.Now().Add(time.Minute); c.busy(colour) != n; <-time.After(10 * time.Millisecond) {
		if time.Now().After(end) {
			c.Fatalf("%d of %s work, want %d", c.busy(colour), colour, n)
		}
	}
}

func (c *crew) wentThrough(want ...string) {
	c.Helper()
	synctest.Wait()
	c.mu.Lock()
	defer c.mu.Unlock()
	if !slices.Equal(c.history, want) {
		c.Errorf("the key went through %q, want %q", c.history, want)
	}
}

func (c *crew) about(what string, got, want time.Duration) {
	c.Helper()
	if got < want || got > want+500*time.Millisecond {
		c.Errorf("%s took %s, want about %s", what, got, want)
	}
}

func workers(c *crew, colour deployment.Colour, n int, h hand) {
	for i := range n {
		h.name, h.colour = fmt.Sprint(colour, i), colour
		c.hire(h)
	}
}
