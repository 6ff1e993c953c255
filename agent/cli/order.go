package cli

import (
	"github.com/tealdeploy/teal/agent/deployment"
	"github.com/tealdeploy/teal/agent/kv"
)

// order is a command for an agent and what to wait for once it is accepted.
type order struct {
	svc     string
	verb    kv.Verb
	command kv.Command
	// reached ends the following; nil: accepted is done.
	reached goal
	// queued follows a version that has to wait for its turn, too.
	queued  bool
	success func(deployment.Deployment) string
}

// ordered is what -json prints.
type ordered struct {
	Result     kv.Result              `json:"result"`
	Deployment *deployment.Deployment `json:"deployment,omitempty"`
	Error      string                 `json:"error,omitempty"`
	ExitCode   int                    `json:"exit_code"`
}

// order sends a command, says what became of it, and follows what it does.
func (m *meta) order(o order) int {
	if err := serviceName(o.svc); err != nil {
		m.term.fail("%v", err)
		return exitError
	}
	s, err := m.consul.open()
	if err != nil {
		return m.complain(err)
	}
	result, err := m.send(s, o.svc, o.verb, o.command)
	if err != nil {
		return m.report(ordered{}, err)
	}
	if !result.Accepted {
		return m.report(ordered{Result: result}, outcome{"refused: " + text(result.Reason), exitRefused})
	}
	if !m.json && result.Reason != "" {
		m.term.print("%s", text(result.Reason))
	}
	if m.detach || o.reached == nil || (result.Deployment == "" && !o.queued) {
		return m.report(ordered{Result: result}, nil)
	}
	d, err := m.follow(s, o.svc, result.Deployment, o.reached, m.view(o.svc))
	if err == nil && d != nil && !m.json && o.success != nil {
		m.term.print("%s", o.success(*d))
	}
	return m.report(ordered{Result: result, Deployment: d}, err)
}

// report ends a command: JSON on out, or a complaint on err, and the code.
func (m *meta) report(o ordered, err error) int {
	if !m.json {
		if err != nil {
			return m.complain(err)
		}
		return exitOK
	}
	if err != nil {
		o.Error, o.ExitCode = err.Error(), code(err)
	}
	m.document(o)
	return o.ExitCode
}

// text is a sentence of the agent, or a stand-in where it said nothing.
func text(reason string) string {
	if reason == "" {
		return "no reason was given"
	}
	return lineByLine(reason)
}
