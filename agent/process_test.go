package agent

import (
	"context"
	"errors"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	consulapi "github.com/hashicorp/consul/api"
	"github.com/hashicorp/go-hclog"

	"github.com/tealdeploy/teal/agent/consul/consultest"
	"github.com/tealdeploy/teal/agent/kv"
	"github.com/tealdeploy/teal/agent/leader"
	"github.com/tealdeploy/teal/agent/settings"
)

var testKeys = kv.NewKeys("")

// process is what of an agent has to do with its life in Consul: registered,
// present, standing for leader. It can be killed, which code cannot: from then
// on nothing it says reaches Consul.
type process struct {
	*consultest.Client
	*testing.T
	name         string
	killed       atomic.Bool
	registration *registration
	elector      *leader.Elector
	facts        *board
	log          *lockedBuffer
	stop         func() // as SIGTERM does, and waits
}

var errKilled = errors.New("this process is dead")

func (p *process) dead(ctx context.Context) error {
	if p.killed.Load() {
		<-ctx.Done()
		return errKilled
	}
	return nil
}

func (p *process) RegisterService(ctx context.Context, reg *consulapi.AgentServiceRegistration) error {
	if err := p.dead(ctx); err != nil {
		return err
	}
	return p.Client.RegisterService(ctx, reg)
}

func (p *process) DeregisterService(ctx context.Context, id string) error {
	if err := p.dead(ctx); err != nil {
		return err
	}
	return p.Client.DeregisterService(ctx, id)
}

func (p *process) Acquire(ctx context.Context, key string, value []byte, session string) (bool, error) {
	if err := p.dead(ctx); err != nil {
		return false, err
	}
	return p.Client.Acquire(ctx, key, value, session)
}

func (p *process) NewSession(ctx context.Context, s *consulapi.SessionEntry) (string, error) {
	if err := p.dead(ctx); err != nil {
		return "", err
	}
	return p.Client.NewSession(ctx, s)
}

func (p *process) RenewSession(ctx context.Context, id string) (time.Duration, error) {
	if err := p.dead(ctx); err != nil {
		return 0, err
	}
	return p.Client.RenewSession(ctx, id)
}

func (p *process) DestroySession(ctx context.Context, id string) error {
	if err := p.dead(ctx); err != nil {
		return err
	}
	return p.Client.DestroySession(ctx, id)
}

// start runs an agent's process on a node.
func start(t *testing.T, s *consultest.Server, node, name string, ttl time.Duration) *process {
	p := &process{Client: s.Client(node), T: t, name: name, facts: newBoard(), log: &lockedBuffer{}}
	log := hclog.New(&hclog.LoggerOptions{Output: p.log, Level: hclog.Info, DisableTime: true})
	conf := settings.Defaults()
	conf.Name = name
	p.registration = newRegistration(p, &conf, "1.0.0", log)
	p.elector = leader.New(leader.Config{Consul: p, Key: testKeys.Leader(), Name: name, TTL: ttl,
		Check: p.registration.liveness, Refused: p.registration.renew, Log: log})
	present := presence{consul: p, key: testKeys.Agent(name), name: name, ttl: ttl,
		check: p.registration.liveness, refused: p.registration.renew, log: log,
		info: func() (kv.AgentInfo, <-chan struct{}) {
			f, changed := p.facts.now()
			return kv.AgentInfo{Name: name, Policies: f.policies}, changed
		}}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		registered := func(ctx context.Context, then func(context.Context) error) error {
			if !wait(ctx, p.registration.done) {
				return nil
			}
			return then(ctx)
		}
		err := nested(ctx,
			func(ctx context.Context) error {
				return p.registration.run(ctx, place{check: "127.0.0.1:4680", host: "127.0.0.1", port: 4680})
			},
			func(ctx context.Context) error { return registered(ctx, present.run) },
			func(ctx context.Context) error {
				return registered(ctx, func(ctx context.Context) error {
					return p.elector.Run(ctx, func(ctx context.Context, _ leader.Term) error { <-ctx.Done(); return nil })
				})
			},
		)
		if err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}()
	p.stop = func() { cancel(); <-done }
	t.Cleanup(p.stop)
	return p
}

// leads waits until the process leads and says how long that took.
func (p *process) leads(within time.Duration) time.Duration {
	p.Helper()
	began := time.Now()
	for {
		synctest.Wait()
		if now, _ := p.elector.Now(); now.Leading {
			return time.Since(began)
		}
		if time.Since(began) > within {
			p.Fatalf("%s does not lead after %s\n%s", p.name, within, p.log)
		}
		time.Sleep(time.Millisecond)
	}
}

// agents are those that are listed.
func agents(t *testing.T, s *consultest.Server) []string {
	t.Helper()
	names, err := s.Client("witness").Keys(t.Context(), testKeys.Agents())
	if err != nil {
		t.Fatal(err)
	}
	for i := range names {
		names[i] = strings.TrimPrefix(names[i], testKeys.Agents())
	}
	return names
}

const leaseTTL = 15 * time.Second
