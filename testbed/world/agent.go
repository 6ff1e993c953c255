package world

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"path/filepath"

	"github.com/tealdeploy/teal/agent/api"
	"github.com/tealdeploy/teal/testbed/cluster"
)

// Agent is a `teal agent` of its own process. What a Server can suffer, it
// can: kill, pause, restart.
type Agent struct {
	*cluster.Server
	HTTP string // address of its surface

	site *Site
}

// AgentOptions are what makes an agent differ from the site's others.
type AgentOptions struct {
	Policies string   // another folder than the site's
	Config   string   // another config file than the site's
	Env      []string // in addition
	Args     []string // in addition
	LogLevel string   // debug when empty
	Binary   string   // another teal than the world's
}

// NewAgent makes an agent that is not started yet.
func (s *Site) NewAgent(name string, o AgentOptions) (*Agent, error) {
	if s.Name != "" {
		name = s.Name + "-" + name
	}
	port, err := s.Port()
	if err != nil {
		return nil, err
	}
	a := &Agent{HTTP: fmt.Sprintf("127.0.0.1:%d", port), site: s}
	if o.Config == "" {
		o.Config = s.Config()
	}
	if o.LogLevel == "" {
		o.LogLevel = "debug"
	}
	if o.Binary == "" {
		o.Binary = s.World.Teal
	}
	args := []string{"agent", "-config", o.Config, "-name", name, "-bind", a.HTTP,
		"-prefix", s.Keys.Prefix(), "-log-level", o.LogLevel}
	env := s.Env()
	if o.Policies != "" {
		env = append(env, "TEAL_POLICIES="+o.Policies)
	}
	a.Server = s.Program(cluster.Program{
		Name: name, Path: o.Binary,
		Args: append(args, o.Args...), Env: append(env, o.Env...),
		Ready: a.ready,
	})
	a.LogFile = filepath.Join(s.Dir, name+".log")
	s.mu.Lock()
	defer s.mu.Unlock()
	s.agents = append(s.agents, a)
	return a, nil
}

// StartAgent starts a new agent and waits until its surface answers.
func (s *Site) StartAgent(ctx context.Context, name string, o AgentOptions) (*Agent, error) {
	a, err := s.NewAgent(name, o)
	if err != nil {
		return nil, err
	}
	return a, a.Start(ctx)
}

// ready asks whether the agent is up: its surface answers, be it with bad news.
func (a *Agent) ready(ctx context.Context) error {
	_, _, err := a.Health(ctx)
	return err
}

// Health is what the agent says of itself, and the status it says it with.
func (a *Agent) Health(ctx context.Context) (status int, h api.Health, err error) {
	status, err = a.Get(ctx, "/v1/health", &h)
	return status, h, err
}

// Get reads JSON from the agent's surface.
func (a *Agent) Get(ctx context.Context, path string, into any) (status int, err error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+a.HTTP+path, nil)
	if err != nil {
		return 0, err
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return 0, err
	}
	defer response.Body.Close()
	if err := json.NewDecoder(response.Body).Decode(into); err != nil {
		return response.StatusCode, fmt.Errorf("%s%s: %w", a.HTTP, path, err)
	}
	return response.StatusCode, nil
}
