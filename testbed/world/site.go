package world

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/tealdeploy/teal/agent/kv"
)

// Site is one installation of Teal: a folder of policies, a prefix of keys,
// and agents.
type Site struct {
	*World
	Name     string
	Dir      string // holds config.hcl, the agents' logs and policies/
	Policies string // the folder that agents read unless told otherwise
	Keys     kv.Keys

	mu     sync.Mutex
	agents []*Agent
}

// NewSite lays out a site. Its keys are under teal-<name>/, or under the
// default prefix when name is empty.
func (w *World) NewSite(name string) (*Site, error) {
	s := &Site{World: w, Name: name, Keys: kv.NewKeys("")}
	if name != "" {
		s.Keys = kv.NewKeys("teal-" + name)
	}
	s.Dir = filepath.Join(w.Dir, "site-"+orDefault(name))
	s.Policies = filepath.Join(s.Dir, "policies")
	if err := os.MkdirAll(s.Policies, 0o755); err != nil {
		return nil, err
	}
	config, err := os.ReadFile(filepath.Join(w.Root, "config.hcl"))
	if err != nil {
		return nil, err
	}
	return s, os.WriteFile(s.Config(), config, 0o644)
}

func orDefault(name string) string {
	if name == "" {
		return "default"
	}
	return name
}

// Config is the site's copy of the checkout's config.hcl.
func (s *Site) Config() string { return filepath.Join(s.Dir, "config.hcl") }

// Env is the environment in which teal, consul and nomad find this site.
func (s *Site) Env() []string {
	return append(s.Cluster.Env(), "TEAL_PREFIX="+s.Keys.Prefix(), "TEAL_POLICIES="+s.Policies)
}

// WriteFile replaces a file below the site's folder in one step, as editors
// and deployment tools do.
func (s *Site) WriteFile(name, text string) error {
	path := filepath.Join(s.Dir, name)
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return err
	}
	partial := filepath.Join(filepath.Dir(path), "."+filepath.Base(path)+".partial")
	if err := os.WriteFile(partial, []byte(text), 0o644); err != nil {
		return err
	}
	return os.Rename(partial, path)
}

// Edit replaces a part of a file that must be there.
func (s *Site) Edit(name, old, with string) error {
	text, err := os.ReadFile(filepath.Join(s.Dir, name))
	if err != nil {
		return err
	}
	if !strings.Contains(string(text), old) {
		return fmt.Errorf("%s has no %q:\n%s", name, old, text)
	}
	return s.WriteFile(name, strings.ReplaceAll(string(text), old, with))
}

// Agents are the site's agents, in the order in which they were made.
func (s *Site) Agents() []*Agent {
	s.mu.Lock()
	defer s.mu.Unlock()
	return append([]*Agent(nil), s.agents...)
}

// Close ends the agents in order: each hands over and stops.
func (s *Site) Close() error {
	ctx, cancel := context.WithTimeout(context.Background(), 15*time.Second)
	defer cancel()
	var errs []error
	for _, a := range s.Agents() {
		if !a.Running() {
			continue
		}
		_ = a.Resume() // in case it is paused
		if code, err := a.Terminate(ctx); err != nil {
			errs = append(errs, err, a.Kill())
		} else if code != 0 {
			errs = append(errs, fmt.Errorf("%s ended with code %d after SIGTERM:\n%s", a.Name, code, a.Tail(10)))
		}
	}
	return errors.Join(errs...)
}

// Logs writes the end of the agents' logs.
func (s *Site) Logs(out io.Writer, lines int) {
	for _, a := range s.Agents() {
		fmt.Fprintf(out, "--- last of agent %s\n%s\n", a.Name, a.Tail(lines))
	}
}
