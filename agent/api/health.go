package api

import (
	"context"
	"net/http"
)

// Source is where the surface gets what it shows. The agent implements it; it
// is asked once for all requests of a moment and must answer within the context.
type Source interface {
	Health(ctx context.Context) Health
}

// StatusSource is a Source that can also say how every service stands. A
// Source without it answers /v1/status with 404.
type StatusSource interface {
	Status(ctx context.Context) (Status, error)
}

// OK is what a dependency says of itself when it answers.
const OK = "ok"

// Health is what the agent says of itself. It is good when Consul answers,
// every policy and the config could be loaded, and the audit file, if there is to
// be one, can be written; Nomad is for information,
// because an agent without Nomad still rolls back.
type Health struct {
	Name    string `json:"name"`
	Version string `json:"version"`

	Leader  string `json:"leader"` // who leads; empty when nobody does
	Leading bool   `json:"leading"`

	Policies     string   `json:"policies"` // digest over all policies
	PolicyCount  int      `json:"policy_count"`
	PolicyErrors []string `json:"policy_errors"` // each with file:line
	ConfigErrors []string `json:"config_errors"` // a reload that was refused
	// Audit is what is wrong with the audit file; empty: nothing, or there is none.
	Audit string `json:"audit,omitempty"`
	// Differs is set when the leader holds other policies than this agent.
	Differs bool `json:"differs_from_leader"`

	Consul string `json:"consul"` // "ok", or what went wrong
	Nomad  string `json:"nomad"`  // "ok", or what went wrong; does not decide
}

// Good says whether the agent passes its own check.
func (h Health) Good() bool {
	return h.Consul == OK && len(h.PolicyErrors) == 0 && len(h.ConfigErrors) == 0 && h.Audit == ""
}

// health answers 200 when the agent is good and 503, with the same body, when
// it is not, so that Consul's check output tells the reason.
func (s *Server) health(ctx context.Context) answer {
	h := s.source.Health(ctx)
	if h.PolicyErrors == nil {
		h.PolicyErrors = []string{}
	}
	if h.ConfigErrors == nil {
		h.ConfigErrors = []string{}
	}
	code := http.StatusOK
	if !h.Good() {
		code = http.StatusServiceUnavailable
	}
	return s.answer(code, struct {
		Good bool `json:"good"`
		Health
	}{h.Good(), h})
}
