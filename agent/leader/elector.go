// Package leader elects one agent among many and gives its work a term: a
// context that ends with the lease, an epoch that grows with every term, and
// a fence for every write. It knows nothing of the work.
//
// The lock is a key in Consul KV held by a session. That alone excludes
// nobody: a session may end while its holder is stopped, parted from Consul or
// simply slow. Therefore the term has a clock of its own and ends before the
// session can by its TTL, the holder watches the key, and Consul refuses what
// is written with an old fence or an old epoch.
package leader

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/hashicorp/consul/api"
	"github.com/hashicorp/go-hclog"

	"github.com/tealdeploy/teal/agent/consul"
)

// Lock is the key that agents compete for.
type Lock interface {
	Get(ctx context.Context, key string, index uint64) (*api.KVPair, uint64, error)
	Read(ctx context.Context, key string) (*api.KVPair, error)
	Acquire(ctx context.Context, key string, value []byte, session string) (bool, error)
}

// Sessions hold the lock.
type Sessions interface {
	NewSession(ctx context.Context, s *api.SessionEntry) (string, error)
	RenewSession(ctx context.Context, id string) (time.Duration, error)
	DestroySession(ctx context.Context, id string) error
}

// Consul is both.
type Consul interface {
	Lock
	Sessions
}

// Config is one candidate.
type Config struct {
	Consul Consul
	Key    string // kv.Keys.Leader
	Name   string // of this agent; the key's value while it leads
	// TTL is the session's, 10 s or more: how long a leader that Consul does
	// not hear from may go on, less a margin.
	TTL time.Duration
	// Check is the ID of a service check that fails as soon as this process
	// is dead. The session is bound to it, so that a killed leader is missed
	// within about a second instead of after the TTL. Empty: there is none.
	Check string
	// Refused is told when Consul refuses a session, which it does while it
	// does not know Check. It must not block; nil is allowed.
	Refused func()
	Log     hclog.Logger
}

// Elector stands for leader. Create it with New.
type Elector struct {
	Config
	board board
	tell  trouble
	pause consul.Backoff // between campaigns that fail
	rest  consul.Backoff // after terms that end too soon
	// last is the session of the last campaign. Consul may still count it as
	// the holder: it could not be reached to end it, or a server that had not
	// read its own log yet did not know it and said that it was ended.
	last string
}

// Work is what a leader does. It returns when ctx ends, at the latest.
type Work func(ctx context.Context, term Term) error

// New prepares a candidate. It does nothing until Run.
func New(c Config) *Elector {
	if c.Log == nil {
		c.Log = hclog.NewNullLogger()
	}
	if c.Refused == nil {
		c.Refused = func() {}
	}
	return &Elector{Config: c, tell: trouble{log: c.Log}, board: board{changed: make(chan struct{})}}
}

// farewell bounds what is said to Consul on the way out.
const farewell = 2 * time.Second

// Run stands for leader until ctx ends, and calls work, never more than once
// at a time, for each term won. Work that returns before its term is over
// gives the office up; it is called again after a growing pause, so that
// another agent can try. When ctx ends, work is asked to return, waited for,
// and then the office is handed over at once. Run returns nil.
func (e *Elector) Run(ctx context.Context, work Work) error {
	outrun := false
	for ctx.Err() == nil {
		held, err := e.awaitVacancy(ctx)
		if err != nil {
			break
		}
		if outrun && !held {
			// Free and yet not to be had: many want it, or it has a lock delay.
			e.pause.Wait(ctx)
		}
		o, err := e.campaign(ctx)
		outrun = o == nil && err == nil
		if err != nil {
			e.tell.met(ctx, err)
			e.pause.Wait(ctx)
		}
		if o == nil {
			continue
		}
		e.pause.Reset()
		began := time.Now()
		gaveUp := o.serve(ctx, work)
		soon := time.Since(began) < e.TTL
		if !soon {
			e.rest.Reset()
		}
		if gaveUp || soon {
			e.rest.Wait(ctx)
		}
	}
	e.board.set(State{})
	return nil
}

// awaitVacancy waits until nobody holds the key, and says whether somebody
// did. The error is ctx's.
func (e *Elector) awaitVacancy(ctx context.Context) (held bool, err error) {
	err = consul.Watch(ctx, func(ctx context.Context, index uint64) (uint64, error) {
		pair, next, err := e.Consul.Get(ctx, e.Key, index)
		if err != nil {
			e.tell.met(ctx, err)
			return 0, err
		}
		e.tell.answered()
		switch holder := sessionOf(pair); holder {
		case "":
			e.board.set(State{})
			return 0, consul.ErrStop
		case e.last:
			// Ours, of a term that is over or of a campaign whose answer was
			// lost.
			e.board.set(State{})
			if err := e.Consul.DestroySession(ctx, holder); err != nil {
				e.tell.met(ctx, err)
				return 0, err
			}
			return 0, nil
		default:
			held = true
			e.board.set(State{Leader: string(pair.Value)})
			return next, nil
		}
	})
	return held, err
}

// campaign tries once to take the key. It returns nil when somebody else was
// faster.
func (e *Elector) campaign(ctx context.Context) (_ *office, err error) {
	sent := time.Now()
	id, err := e.Consul.NewSession(ctx, e.session())
	if err != nil {
		if errors.Is(err, consul.ErrInvalid) {
			e.Refused()
		}
		return nil, err
	}
	e.last = id
	o := &office{e: e, lease: newLease(id, sent, e.TTL), sent: sent}
	won, err := o.take(ctx)
	if !won {
		// Also after an error: whether it was taken is not known then.
		if err := e.leave(ctx); err != nil {
			e.tell.met(ctx, err)
		}
		return nil, err
	}
	e.tell.led()
	return o, nil
}

// session is bound to the node's health, to the agent's own check, and to the
// TTL for want of either. It has no lock delay: the fence does what a delay
// is for, and does it better.
func (e *Elector) session() *api.SessionEntry {
	s := &api.SessionEntry{
		Name:       "teal leader " + e.Name,
		Behavior:   api.SessionBehaviorRelease,
		TTL:        e.TTL.String(),
		NodeChecks: []string{"serfHealth"},
	}
	if e.Check != "" {
		s.ServiceChecks = []api.ServiceCheck{{ID: e.Check}}
	}
	return s
}

// leave ends the last session, and so frees what it holds, also when ctx has
// ended.
func (e *Elector) leave(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), farewell)
	defer cancel()
	if err := e.Consul.DestroySession(ctx, e.last); err != nil {
		return fmt.Errorf("give up the leader key: %w", err)
	}
	return nil
}

func sessionOf(pair *api.KVPair) string {
	if pair == nil {
		return ""
	}
	return pair.Session
}
