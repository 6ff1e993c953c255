package cli

import (
	"context"
	"fmt"
	"strings"

	"github.com/tealdeploy/teal/agent/api"
	"github.com/tealdeploy/teal/agent/deployment"
)

// status reads everything that the overview shows.
func (s *store) status(ctx context.Context) (api.Status, error) {
	leader, err := s.leader(ctx)
	if err != nil {
		return api.Status{}, err
	}
	agents, err := s.agents(ctx)
	if err != nil {
		return api.Status{}, err
	}
	names, _, err := s.services(ctx, 0)
	if err != nil {
		return api.Status{}, err
	}
	keys := make([]string, len(names))
	for i, name := range names {
		keys[i] = s.keys.State(name)
	}
	values, err := s.values(ctx, keys)
	if err != nil {
		return api.Status{}, err
	}
	var lines []api.Service
	for i, name := range names {
		value, ok := values[keys[i]]
		if !ok {
			continue // other keys of a service that has no record
		}
		rec, err := deployment.Decode(name, value)
		if err != nil {
			lines = append(lines, api.Service{Name: name, Active: deployment.None, State: api.Unreadable, Error: err.Error()})
			continue
		}
		lines = append(lines, api.Summarise(rec))
	}
	st := api.NewStatus(leader, agents, lines)
	st.Audit, err = s.audits(ctx)
	return st, err
}

// overview is `teal status`.
func (t *terminal) overview(st api.Status) []string {
	out := t.agentLines(st)
	out = append(out, "")
	if len(st.Services) == 0 {
		return append(out, "No services yet: an agent takes a service over when it has a policy for it.",
			"'teal init -job <job>' writes a first policy from a running job.")
	}
	rows := [][]string{{"Service", "Active", "Version", "State", "Since", "Note"}}
	for _, s := range st.Services {
		state := s.State
		switch {
		case s.Error != "":
			state = t.paint(red, state)
		case s.State != api.Idle && s.State != api.Released:
			state = t.paint(bold, state)
		}
		since := "-"
		if !s.Since.IsZero() {
			since = t.moment(s.Since)
		}
		rows = append(rows, []string{safe(s.Name), t.tint(s.Active.String()), dash(safe(s.Version)), state, since, t.notes(s)})
	}
	return append(out, table(rows)...)
}

// agentLines says who leads, and what is wrong with whom.
func (t *terminal) agentLines(st api.Status) []string {
	var out []string
	if st.Leader == "" {
		out = append(out, t.paint(red, "No agent leads:")+" commands are not taken and releases stand still; traffic and jobs stay as they are.")
	} else {
		out = append(out, fmt.Sprintf("Leader = %s", st.Leader))
	}
	rows := [][]string{}
	for _, a := range st.Agents {
		role := "stands by"
		if a.Leader {
			role = "leads"
		}
		note := fmt.Sprintf("%d policies", a.Count)
		if a.Count == 1 {
			note = "1 policy"
		}
		if a.Differs {
			note += ", " + t.paint(yellow, "not the leader's")
		}
		rows = append(rows, []string{safe(a.Name), role, safe(a.Version), safe(a.Address), note})
		for _, e := range a.Errors {
			rows = append(rows, []string{"  " + t.paint(red, "policy error") + " " + safe(e)})
		}
	}
	if len(rows) > 0 {
		out = append(out, "")
	}
	return append(append(out, tableAround(rows)...), t.audits(st)...)
}

// audits says how far each agent's audit file goes, and with which hash, to hold
// the file against.
func (t *terminal) audits(st api.Status) []string {
	var rows [][]string
	for _, a := range st.Audit {
		line := "no line yet"
		if a.Seq > 0 {
			line = fmt.Sprintf("%d:%s", a.Seq, safe(a.Hash))
		}
		rows = append(rows, []string{"Audit of " + safe(a.Name), line, t.moment(a.At)})
		if a.Trouble != "" {
			rows = append(rows, []string{"  " + t.paint(red, "not written") + ": " + safe(a.Trouble)})
		}
	}
	if len(rows) == 0 {
		return nil
	}
	return append([]string{""}, tableAround(rows)...)
}

// tableAround aligns rows but leaves rows of one cell as they are.
func tableAround(rows [][]string) []string {
	var full [][]string
	for _, r := range rows {
		if len(r) > 1 {
			full = append(full, r)
		}
	}
	aligned := table(full)
	var out []string
	for _, r := range rows {
		if len(r) == 1 {
			out = append(out, r[0])
			continue
		}
		out, aligned = append(out, aligned[0]), aligned[1:]
	}
	return out
}

// notes is what an operator should know of a service beyond its state.
func (t *terminal) notes(s api.Service) string {
	var out []string
	if s.Error != "" {
		out = append(out, safe(s.Error))
	}
	if s.State == string(deployment.Approving) {
		waits := t.paint(yellow, "WAITS FOR APPROVAL")
		if s.Approvals != "" {
			waits += ": " + safe(s.Approvals)
		}
		out = append(out, waits)
	}
	if s.Held != nil {
		out = append(out, t.paint(yellow, "HELD")+": "+safe(s.Held.Reason))
	}
	if s.Paused != nil {
		out = append(out, t.paint(yellow, "PAUSED")+" by "+safe(s.Paused.By)+because(s.Paused.Reason))
	}
	if s.Problem != nil {
		out = append(out, t.paint(yellow, "PROBLEM")+": "+safe(s.Problem.Reason))
	}
	if s.Deployment != "" {
		out = append(out, fmt.Sprintf("%s to %s", dash(safe(s.Candidate)), t.tint(s.To.String())))
	}
	if s.Queued != "" {
		out = append(out, "queued: "+brief(s.Queued))
	}
	return strings.Join(out, "; ")
}

func dash(s string) string {
	if s == "" {
		return "-"
	}
	return s
}
