package consultest

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"sort"
	"time"

	"github.com/hashicorp/consul/api"

	"github.com/tealdeploy/teal/agent/deployment"
)

// registration is a service as the agent of its node knows it.
type registration struct {
	api.AgentServiceRegistration
	node   string
	checks []healthCheck
	synced bool                   // it has reached the catalog
	timers map[string]*time.Timer // check ID → its first run; "": the way to the catalog
}

// healthCheck is one of its health checks.
type healthCheck struct {
	id       string
	initial  string
	interval time.Duration // 0: it passes only when somebody says so
}

// RegisterService is consul.Client's. The service reaches the catalog a moment
// later. A check with an interval is critical at first and passes one interval
// after that, as it does while the service is alive, unless SetCheck says
// otherwise meanwhile; one that is there already keeps its status.
func (c *Client) RegisterService(ctx context.Context, reg *api.AgentServiceRegistration) error {
	of := &registration{AgentServiceRegistration: *reg, node: c.agent, checks: checksOf(reg),
		timers: map[string]*time.Timer{}}
	of.Meta = maps.Clone(reg.Meta)
	if of.ID == "" {
		of.ID = of.Name
	}
	_, err := write(ctx, c, "RegisterService", of.ID, func(s *Server) (struct{}, error) {
		if of.Name == "" {
			return struct{}{}, refused("register service", "Missing service name")
		}
		at := place{c.agent, of.ID}
		if old := s.services[at]; old != nil {
			// Without replace-existing-checks the old ones stay beside the new.
			for _, ch := range old.checks {
				if !of.has(ch.id) {
					of.checks = append(of.checks, ch)
				}
			}
			s.forget(old, of)
		}
		s.services[at] = of
		of.timers[""] = time.AfterFunc(s.lag, func() { s.toCatalog(of) })
		return struct{}{}, nil
	})
	return err
}

// checksOf are a registration's checks with the IDs Consul gives them.
func checksOf(reg *api.AgentServiceRegistration) (checks []healthCheck) {
	var all api.AgentServiceChecks
	if reg.Check != nil {
		all = append(all, reg.Check)
	}
	all = append(all, reg.Checks...)
	id := reg.ID
	if id == "" {
		id = reg.Name
	}
	for i, def := range all {
		made := healthCheck{id: def.CheckID, initial: orElse(def.Status, api.HealthCritical)}
		if made.id == "" {
			made.id = "service:" + id
			if len(all) > 1 {
				made.id += fmt.Sprintf(":%d", i+1)
			}
		}
		made.interval, _ = time.ParseDuration(def.Interval) // none: a TTL check
		checks = append(checks, made)
	}
	return checks
}

// toCatalog is the agent telling the servers of a service.
func (s *Server) toCatalog(of *registration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.services[place{of.node, of.ID}] != of {
		return
	}
	of.synced = true
	for _, ch := range of.checks {
		status := s.checks[place{of.node, ch.id}]
		if status == "" {
			status = ch.initial
			s.setCheck(of.node, ch.id, status)
		}
		if ch.interval > 0 && status == api.HealthCritical {
			of.timers[ch.id] = time.AfterFunc(ch.interval, func() { s.firstRun(of, ch.id) })
		}
	}
	s.appear(of)
	s.wake()
}

// firstRun is a check that finds its service alive.
func (s *Server) firstRun(of *registration, check string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if _, due := of.timers[check]; due && s.services[place{of.node, of.ID}] == of {
		s.setCheck(of.node, check, api.HealthPassing)
		s.wake()
	}
}

// appear writes the instance that a registration is.
func (s *Server) appear(of *registration) {
	statuses := []string{s.checks[place{of.node, "serfHealth"}]}
	for _, ch := range of.checks {
		statuses = append(statuses, s.checks[place{of.node, ch.id}])
	}
	s.putInstance(of.Name, deployment.Instance{ID: of.ID, Node: of.node, Address: orElse(of.Address, "127.0.0.1"), Port: of.Port,
		Health: worst(statuses...), Meta: of.Meta}, of.Connect != nil && of.Connect.Native)
}

// forget takes a registration back, but for what the next one keeps.
func (s *Server) forget(of, next *registration) {
	delete(s.services, place{of.node, of.ID})
	for _, t := range of.timers {
		t.Stop()
	}
	for _, ch := range of.checks {
		if next == nil || !next.has(ch.id) {
			s.setCheck(of.node, ch.id, "")
		}
	}
	if of.synced && (next == nil || next.Name != of.Name) {
		s.storeInstance(instanceKey(of.Name, of.node, of.ID), nil)
	}
}

func (r *registration) has(check string) bool {
	return slices.ContainsFunc(r.checks, func(c healthCheck) bool { return c.id == check })
}

// DeregisterService is consul.Client's.
func (c *Client) DeregisterService(ctx context.Context, id string) error {
	_, err := write(ctx, c, "DeregisterService", id, func(s *Server) (struct{}, error) {
		if of := s.services[place{c.agent, id}]; of != nil {
			s.forget(of, nil)
			s.wake()
		}
		return struct{}{}, nil
	})
	return err
}

// SetCheck sets the status of a check on an agent's node. One that becomes
// critical, or is removed by an empty status, ends the sessions bound to it.
func (s *Server) SetCheck(agent, check, status string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for at, of := range s.services {
		if at.node == agent {
			delete(of.timers, check)
		}
	}
	s.setCheck(agent, check, status)
	s.wake()
}

func (s *Server) setCheck(node, check, status string) {
	at := place{node, check}
	if status == "" {
		delete(s.checks, at)
	} else {
		s.checks[at] = status
	}
	s.next()
	for _, of := range s.services {
		if of.node == node && of.synced && (check == "serfHealth" || of.has(check)) {
			s.appear(of)
		}
	}
	if status != "" && status != api.HealthCritical {
		return
	}
	var lost []string
	for id, of := range s.sessions {
		if of.Node == node && slices.Contains(of.bound(), check) {
			lost = append(lost, id)
		}
	}
	sort.Strings(lost)
	for _, id := range lost {
		s.invalidate(id)
	}
}
