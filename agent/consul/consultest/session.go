package consultest

import (
	"context"
	"fmt"
	"sort"
	"time"

	"github.com/hashicorp/consul/api"

	"github.com/tealdeploy/teal/agent/consul"
)

const (
	shortestTTL  = 10 * time.Second
	longestTTL   = 24 * time.Hour
	longestDelay = 60 * time.Second
)

type session struct {
	api.SessionEntry
	ttl    time.Duration
	expire *time.Timer
}

// NewSession is consul.Client's.
func (c *Client) NewSession(ctx context.Context, want *api.SessionEntry) (string, error) {
	sent := *want
	return write(ctx, c, "NewSession", want.Name, func(s *Server) (string, error) {
		return s.newSession(c.agent, sent)
	})
}

func (s *Server) newSession(agent string, want api.SessionEntry) (string, error) {
	op := fmt.Sprintf("create session %q", want.Name)
	made := &session{SessionEntry: want}
	if made.Node == "" {
		made.Node = agent
	}
	if len(made.NodeChecks) == 0 {
		made.NodeChecks = []string{"serfHealth"}
	}
	switch made.Behavior {
	case "":
		made.Behavior = api.SessionBehaviorRelease
	case api.SessionBehaviorRelease, api.SessionBehaviorDelete:
	default:
		return "", refused(op, "Invalid Behavior setting '%s'", made.Behavior)
	}
	if made.TTL != "" {
		ttl, err := time.ParseDuration(made.TTL)
		if err != nil {
			return "", refused(op, "Session TTL '%s' invalid: %w", made.TTL, err)
		}
		if ttl != 0 && (ttl < shortestTTL || ttl > longestTTL) {
			return "", refused(op, "Invalid Session TTL '%d', must be between [%v=%v]", ttl, shortestTTL, longestTTL)
		}
		made.ttl = ttl
	}
	if !s.knows(made.Node) {
		return "", refused(op, "Missing node registration")
	}
	for _, check := range made.bound() {
		switch s.checks[place{made.Node, check}] {
		case "":
			return "", refused(op, "Missing check '%s' registration", check)
		case api.HealthCritical:
			return "", refused(op, "Check '%s' is in critical state", check)
		}
	}
	s.created++
	made.CreateIndex = s.next()
	made.ID = fmt.Sprintf("00000000-0000-4000-8000-%012d", s.created)
	s.sessions[made.ID] = made
	s.arm(made)
	return made.ID, nil
}

func (s *session) bound() []string {
	checks := append([]string(nil), s.NodeChecks...)
	for _, c := range s.ServiceChecks {
		checks = append(checks, c.ID)
	}
	return checks
}

// knows says whether a node is in the catalog.
func (s *Server) knows(node string) bool {
	for at := range s.checks {
		if at.node == node {
			return true
		}
	}
	return false
}

// arm starts a session's TTL anew.
func (s *Server) arm(of *session) {
	of.stop()
	if of.ttl <= 0 {
		return
	}
	var timer *time.Timer
	expire := func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		if of.expire == timer {
			s.invalidate(of.ID)
		}
	}
	timer = time.AfterFunc(s.expiry(of.ttl), func() { s.arrive(expire) })
	of.expire = timer
}

// stop ends the TTL's clock.
func (s *session) stop() {
	if s.expire != nil {
		s.expire.Stop()
		s.expire = nil
	}
}

// RenewSession is consul.Client's.
func (c *Client) RenewSession(ctx context.Context, id string) (time.Duration, error) {
	return write(ctx, c, "RenewSession", id, func(s *Server) (time.Duration, error) {
		of := s.sessions[id]
		if of == nil {
			return 0, &consul.Error{Op: "renew session " + id, Kind: consul.ErrNoSession}
		}
		if of.TTL == "" {
			return 0, fmt.Errorf("renew session %s: unusable TTL %q", id, of.TTL)
		}
		s.arm(of)
		return of.ttl, nil
	})
}

// DestroySession is consul.Client's.
func (c *Client) DestroySession(ctx context.Context, id string) error {
	_, err := write(ctx, c, "DestroySession", id, func(s *Server) (struct{}, error) {
		s.invalidate(id)
		return struct{}{}, nil
	})
	return err
}

// ExpireSession ends a session as its TTL or an operator would.
func (s *Server) ExpireSession(id string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.invalidate(id)
}

// Sessions lists the sessions there are, oldest first.
func (s *Server) Sessions() []api.SessionEntry {
	s.mu.Lock()
	defer s.mu.Unlock()
	var all []api.SessionEntry
	for _, of := range s.sessions {
		all = append(all, of.SessionEntry)
	}
	sort.Slice(all, func(a, b int) bool { return all[a].CreateIndex < all[b].CreateIndex })
	return all
}

// invalidate ends a session: its locks are released, or its keys deleted, and
// their lock delay begins.
func (s *Server) invalidate(id string) {
	of := s.sessions[id]
	if of == nil {
		return
	}
	of.stop()
	delete(s.sessions, id)
	index := s.next()
	s.keys.under("", s.index, func(name string, v version[api.KVPair]) {
		if v.value.Session != id {
			return
		}
		if of.Behavior == api.SessionBehaviorDelete {
			s.putKey(name, nil, index)
		} else {
			pair := clone(v)
			pair.Session, pair.ModifyIndex = "", index
			s.putKey(name, pair, index)
		}
		if delay := min(of.LockDelay, longestDelay); delay > 0 {
			s.delays[name] = time.Now().Add(delay)
		}
	})
	s.wake()
}
