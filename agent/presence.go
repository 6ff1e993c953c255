package agent

import (
	"context"
	"encoding/json"
	"errors"
	"time"

	consulapi "github.com/hashicorp/consul/api"
	"github.com/hashicorp/go-hclog"

	"github.com/tealdeploy/teal/agent/consul"
	"github.com/tealdeploy/teal/agent/kv"
)

// presenceConsul is the part of Consul that an agent's own key needs.
type presenceConsul interface {
	Acquire(ctx context.Context, key string, value []byte, session string) (bool, error)
	NewSession(ctx context.Context, s *consulapi.SessionEntry) (string, error)
	RenewSession(ctx context.Context, id string) (time.Duration, error)
	DestroySession(ctx context.Context, id string) error
}

// presence keeps what this agent says of itself in its own key. A session that
// deletes the key when it ends holds it, so that no dead agent is listed.
type presence struct {
	consul presenceConsul
	key    string
	name   string
	ttl    time.Duration
	check  string // the session is bound to it; empty: only to TTL and node
	// refused is told when Consul refuses a session, which it does while it
	// does not know the check.
	refused func()
	info    func() (kv.AgentInfo, <-chan struct{})
	log     hclog.Logger

	double bool // said that the name is taken
}

// run writes the key now and at every change until ctx ends, then removes it.
func (p *presence) run(ctx context.Context) error {
	var pause consul.Backoff
	complaint := &complaint{log: p.log, what: "tell the other agents of this one"}
	for ctx.Err() == nil {
		id, err := p.consul.NewSession(ctx, p.session())
		if err == nil {
			began := time.Now()
			err = p.hold(ctx, id, complaint)
			p.end(ctx, id)
			if time.Since(began) > p.ttl {
				pause.Reset()
			}
		}
		if ctx.Err() != nil {
			break
		}
		if errors.Is(err, consul.ErrInvalid) {
			p.refused()
		}
		complaint.about(err)
		pause.Wait(ctx)
	}
	return nil
}

func (p *presence) session() *consulapi.SessionEntry {
	s := &consulapi.SessionEntry{
		Name: "teal agent " + p.name, Behavior: consulapi.SessionBehaviorDelete, TTL: p.ttl.String(),
		NodeChecks: []string{"serfHealth"},
	}
	if p.check != "" {
		s.ServiceChecks = []consulapi.ServiceCheck{{ID: p.check}}
	}
	return s
}

// hold writes the key at every change and renews the session in between. It
// returns when either cannot be done.
func (p *presence) hold(ctx context.Context, id string, c *complaint) error {
	tick := time.NewTicker(p.ttl / 3)
	defer tick.Stop()
	began := time.Now()
	for {
		info, changed := p.info()
		value, err := json.Marshal(info)
		if err != nil {
			return err
		}
		held, err := p.consul.Acquire(ctx, p.key, value, id)
		if err != nil {
			return err
		}
		c.over()
		// A predecessor that was killed may hold it until its TTL, twice over.
		if !held && !p.double && time.Since(began) > 3*p.ttl {
			p.double = true
			p.log.Error("another agent has this agent's name: give each its own", "name", p.name, "key", p.key)
		}
		if held {
			p.double, began = false, time.Now()
		}
		if err := p.rest(ctx, id, held, changed, tick.C); err != nil {
			return err
		}
	}
}

// rest renews the session until there is something to write; the error ends
// it. Nothing depends on this session but a line in a list: a renewal that
// fails is tried again at the next tick. That there is no such session, which
// a server also says that has just come back, is for the next write to tell.
func (p *presence) rest(ctx context.Context, id string, held bool, changed <-chan struct{}, tick <-chan time.Time) error {
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-changed:
			return nil
		case <-tick:
		}
		_, err := p.consul.RenewSession(ctx, id)
		switch {
		case errors.Is(err, consul.ErrUnavailable) && held:
		case err != nil && !errors.Is(err, consul.ErrNoSession):
			return err
		case err != nil || !held:
			return nil
		}
	}
}

// end ends the session, also when ctx has ended, and with it the key.
func (p *presence) end(ctx context.Context, id string) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), farewell)
	defer cancel()
	if err := p.consul.DestroySession(ctx, id); err != nil {
		p.log.Debug("session not ended; its TTL ends it", "error", err)
	}
}
