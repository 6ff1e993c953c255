package faults

import (
	"context"
	"errors"
	"fmt"
	"io"
	"syscall"
	"time"

	consulapi "github.com/hashicorp/consul/api"

	"github.com/tealdeploy/teal/agent/kv"
	"github.com/tealdeploy/teal/testbed/cluster"
	"github.com/tealdeploy/teal/testbed/world"
)

// Failover is how long it took from a signal to the leader until the next one
// had obeyed a command.
type Failover struct {
	Killed  []time.Duration // SIGKILL; the command is given once the leader is dead
	Stopped []time.Duration // SIGTERM; the command is given once the leader has let go
}

// MeasureFailover takes so many samples of each. Two agents take turns.
func MeasureFailover(ctx context.Context, w *world.World, name string, samples int, log io.Writer) (f Failover, err error) {
	l, err := newLane(ctx, w, name, world.Service{}, log)
	if err != nil {
		return f, err
	}
	defer func() { err = errors.Join(err, l.close()) }()
	// Neither talks over a wire here: it would take its part of the time.
	leader, err := l.NewAgent("third", world.AgentOptions{})
	if err != nil {
		return f, err
	}
	other := l.second
	if err := leader.Start(ctx); err != nil {
		return f, err
	}
	if err := leads(ctx, leader); err != nil {
		return f, err
	}
	verbs := []kv.Verb{kv.Pause, kv.Resume}
	for i := range 2 * samples {
		sig, into := syscall.SIGKILL, &f.Killed
		if i/2%2 == 1 {
			sig, into = syscall.SIGTERM, &f.Stopped
		}
		took, err := l.failover(ctx, leader, other, sig, verbs[i%2])
		if err != nil {
			return f, fmt.Errorf("%s of the leader, sample %d: %w", sig, i+1, err)
		}
		*into = append(*into, took)
		leader, other = other, leader
	}
	return f, nil
}

// failover ends the leader and asks the other agent for something.
func (l *lane) failover(ctx context.Context, leader, other *world.Agent, sig syscall.Signal, verb kv.Verb) (time.Duration, error) {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	if err := l.follows(ctx, other, leader); err != nil {
		return 0, err
	}
	key := l.Keys.Leader()
	held, _, err := l.ConsulClient().KV().Get(key, (&consulapi.QueryOptions{}).WithContext(ctx))
	if err != nil || held == nil || held.Session == "" {
		return 0, fmt.Errorf("nobody holds %s: %w", key, err)
	}
	began := time.Now()
	if sig == syscall.SIGKILL {
		err = leader.Kill()
	} else if err = leader.Signal(sig); err == nil {
		err = l.AwaitKey(ctx, key, func(p *consulapi.KVPair) bool { return p == nil || p.Session != held.Session })
	}
	if err != nil {
		return 0, err
	}
	result, err := l.Order(ctx, l.service.Name, verb, "")
	took := time.Since(began)
	if err == nil && !result.Accepted {
		err = fmt.Errorf("%s was refused: %s", verb, result.Reason)
	}
	if err != nil {
		return 0, err
	}
	_, err = leader.Wait(ctx)
	return took, err
}

// follows starts an agent, unless it runs, and waits until it knows its leader.
func (l *lane) follows(ctx context.Context, a, leader *world.Agent) error {
	if !a.Running() {
		if err := a.Start(ctx); err != nil {
			return err
		}
	}
	return cluster.Await(ctx, func(ctx context.Context) error {
		_, h, err := a.Health(ctx)
		if err == nil && h.Leader != leader.Name {
			err = fmt.Errorf("%s says that %q leads, want %s", a.Name, h.Leader, leader.Name)
		}
		return err
	})
}

// agree waits until one of the agents leads and all of them say so.
func agree(ctx context.Context, agents ...*world.Agent) error {
	return cluster.Await(ctx, func(ctx context.Context) error {
		leading := 0
		said := map[string]bool{}
		for _, a := range agents {
			_, h, err := a.Health(ctx)
			if err != nil {
				return err
			}
			if said[h.Leader] = true; h.Leading {
				leading++
			}
		}
		if leading != 1 || len(said) != 1 {
			return fmt.Errorf("%d agents lead; they say that these do: %v", leading, said)
		}
		return nil
	})
}
