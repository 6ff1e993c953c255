package api

import (
	"context"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/tealdeploy/teal/agent/deployment"
	"github.com/tealdeploy/teal/agent/kv"
)

// Status is how everything stands: the answer of /v1/status and of
// `teal status -json`.
type Status struct {
	Leader   string    `json:"leader"` // empty: no agent leads
	Agents   []Agent   `json:"agents"`
	Services []Service `json:"services"`
	// Audit is the end of each agent's audit file, by the agents' names.
	Audit []kv.AuditHead `json:"audit,omitempty"`
}

// Agent is one agent, held against the leader.
type Agent struct {
	kv.AgentInfo
	// Differs is set when its policies are not the leader's.
	Differs bool `json:"differs_from_leader"`
}

// Service is one service in a line.
type Service struct {
	Name    string            `json:"name"`
	Active  deployment.Colour `json:"active"`
	Version string            `json:"version,omitempty"` // on the active colour
	// State is the deployment's, or "idle", "released" (given back to plain
	// Consul and Nomad) or "unreadable".
	State string    `json:"state"`
	Since time.Time `json:"since,omitzero"`

	Deployment string            `json:"deployment,omitempty"` // ID in flight
	Candidate  string            `json:"candidate,omitempty"`  // version in flight
	To         deployment.Colour `json:"to,omitempty"`
	Queued     string            `json:"queued,omitempty"` // version that waits
	// Approvals says how far the approval has come, where approvers are named.
	Approvals string            `json:"approvals,omitempty"`
	JobOwner  deployment.Colour `json:"job_owner,omitempty"`

	Held   *deployment.Flag `json:"held,omitempty"`
	Paused *deployment.Flag `json:"paused,omitempty"`
	// Problem is why the policy's present text cannot be released.
	Problem *deployment.Flag `json:"problem,omitempty"`
	// Error says why the record could not be read.
	Error string `json:"error,omitempty"`
}

// States of a service without a deployment in flight.
const (
	Idle       = "idle"
	Unmanaged  = "not managed" // yet: see its problem
	Released   = "released"
	Unreadable = "unreadable"
)

// Summarise puts one record in a line.
func Summarise(s deployment.Service) Service {
	out := Service{
		Name: s.Name, Active: s.Active, Version: s.Slots[s.Active].Version,
		State: Idle, JobOwner: s.Jobs.Owner, Held: s.Held, Paused: s.Paused, Problem: s.Problem,
	}
	if out.Active == "" {
		out.Active = deployment.None
	}
	switch d := s.Deployment; {
	case s.InFlight():
		out.State, out.Since = string(d.State), d.Since
		out.Deployment, out.Candidate, out.To = d.ID, d.Candidate.Version, d.To
		if d.State == deployment.Approving && d.Ask != nil {
			out.Approvals = d.Ask.Words()
		}
	case !s.Managed && s.Problem != nil:
		out.State = Unmanaged
	case !s.Managed:
		out.State = Released
	case d != nil:
		out.Since = d.Ended
	}
	if s.Queued != nil {
		out.Queued = s.Queued.Version
		if out.Queued == "" {
			out.Queued = s.Queued.Hash
		}
	}
	return out
}

// NewStatus puts everything together. services may hold lines with Error set.
func NewStatus(leader string, agents []kv.AgentInfo, services []Service) Status {
	st := Status{Leader: leader, Agents: []Agent{}, Services: slices.Clone(services)}
	var leads *kv.AgentInfo
	for i := range agents {
		if agents[i].Name == leader {
			leads = &agents[i]
		}
	}
	for _, a := range agents {
		a.Leader = a.Name == leader
		st.Agents = append(st.Agents, Agent{a, leads != nil && a.Policies != leads.Policies})
	}
	slices.SortFunc(st.Agents, func(a, b Agent) int { return strings.Compare(a.Name, b.Name) })
	slices.SortFunc(st.Services, func(a, b Service) int { return strings.Compare(a.Name, b.Name) })
	if st.Services == nil {
		st.Services = []Service{}
	}
	return st
}

func (s *Server) status(source StatusSource) func(context.Context) answer {
	return func(ctx context.Context) answer {
		st, err := source.Status(ctx)
		if err != nil {
			return s.answer(http.StatusServiceUnavailable, map[string]string{"error": err.Error()})
		}
		return s.answer(http.StatusOK, st)
	}
}
