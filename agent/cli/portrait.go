package cli

import (
	"context"
	"fmt"
	"strconv"
	"strings"

	"github.com/tealdeploy/teal/agent/api"
	"github.com/tealdeploy/teal/agent/deployment"
	"github.com/tealdeploy/teal/agent/kv"
)

// logTail is how many of a deployment's last events status shows.
const logTail = 8

// detail is everything known of one service, as `teal status <service> -json`
// prints it.
type detail struct {
	Leader string             `json:"leader"`
	Record deployment.Service `json:"service"`
	// Active and JobProcessor are the keys that scripts read.
	Active       string              `json:"active"`
	JobProcessor string              `json:"job_processor_leader"`
	Workers      map[string][]string `json:"workers"` // by colour
	Pending      []pending           `json:"pending"`
}

// pending is a command that no agent has taken yet.
type pending struct {
	Verb string `json:"verb"`
	By   string `json:"by"`
}

// detail reads one service, nil when there is no such record.
func (s *store) detail(ctx context.Context, svc string) (*detail, error) {
	p, _, err := s.get(ctx, s.keys.State(svc), 0)
	if err != nil || p == nil {
		return nil, err
	}
	rec, err := deployment.Decode(svc, p.Value)
	if err != nil {
		return nil, err
	}
	d := &detail{Record: rec, Workers: map[string][]string{}, Pending: []pending{}}
	if d.Leader, err = s.leader(ctx); err != nil {
		return nil, err
	}
	values, err := s.values(ctx, []string{s.keys.Active(svc), s.keys.JobProcessor(svc)})
	if err != nil {
		return nil, err
	}
	d.Active = safe(string(values[s.keys.Active(svc)]))
	d.JobProcessor = safe(string(values[s.keys.JobProcessor(svc)]))
	workers, err := s.list(ctx, s.keys.Workers(svc, deployment.None))
	if err != nil {
		return nil, err
	}
	for _, w := range workers {
		colour, id, ok := strings.Cut(strings.TrimPrefix(w.Key, s.keys.Workers(svc, deployment.None)), "/")
		if ok && w.Session != "" {
			d.Workers[colour] = append(d.Workers[colour], id)
		}
	}
	commands, err := s.list(ctx, s.keys.Commands()+svc+"/")
	if err != nil {
		return nil, err
	}
	for _, k := range commands {
		if _, verb, ok := s.keys.SplitCommand(k.Key); ok {
			c, _ := kv.ParseCommand(k.Value)
			d.Pending = append(d.Pending, pending{safe(string(verb)), safe(c.By)})
		}
	}
	return d, nil
}

// portrait is `teal status <service>`.
func (t *terminal) portrait(s detail) []string {
	rec := s.Record
	line := api.Summarise(rec)
	active := t.tint(line.Active.String())
	if line.Version != "" {
		active += " (" + safe(line.Version) + ")"
	}
	if s.Active != "" && s.Active != line.Active.String() {
		active += t.paint(yellow, fmt.Sprintf(", but the key says %s", s.Active))
	}
	state := safe(line.State)
	if !line.Since.IsZero() {
		state += " since " + t.moment(line.Since)
	}
	leader := s.Leader
	if leader == "" {
		leader = t.paint(red, "none: commands are not taken")
	}
	out := pairs([][2]string{
		{"Service", t.paint(bold, rec.Name)},
		{"Active", active},
		{"State", state},
		{"Route", route(rec.Route)},
		{"Jobs", t.jobs(s)},
		{"Leader", leader},
	})
	for _, p := range s.Pending {
		out = append(out, fmt.Sprintf("%s %s by %s waits to be taken by an agent", t.paint(yellow, "PENDING"), p.Verb, dash(p.By)))
	}
	if banner := t.banner(rec); len(banner) > 0 {
		out = append(append(out, ""), banner...)
	}

	rows := [][]string{{"Colour", "Version", "Job", "Instances", "Proof"}}
	for _, c := range deployment.Colours {
		slot, ok := rec.Slots[c]
		if !ok {
			rows = append(rows, []string{t.tint(string(c)), "-", "-", "-", "empty"})
			continue
		}
		rows = append(rows, []string{t.tint(string(c)), dash(safe(slot.Version)), safe(slot.Job), strconv.Itoa(slot.Expected), t.proof(slot)})
	}
	out = append(append(out, ""), table(rows)...)

	if rec.Queued != nil {
		out = append(out, "", "Queued = "+queueText(rec))
	}
	if d := rec.Deployment; d != nil {
		out = append(append(out, ""), t.release(*d)...)
	} else if len(rec.Finished) > 0 {
		out = append(out, "", fmt.Sprintf("Last deployment = %s; 'teal history %s' shows it and those before.", safe(rec.Finished[0]), rec.Name))
	}
	return out
}

// release tells of one deployment, in flight or finished.
func (t *terminal) release(d deployment.Deployment) []string {
	out := pairs([][2]string{
		{"Deployment", safe(d.ID)},
		{"Version", fmt.Sprintf("%s to %s, %s", safe(version(d.Candidate)), t.tint(d.To.String()), origin(d))},
		{"Started", t.moment(d.Started) + when(d.Candidate.By != "", " by "+safe(d.Candidate.By))},
		{"Ended", ended(t, d)},
	})
	if d.Forced != nil {
		out = append(out, fmt.Sprintf("%s by %s%s", t.paint(yellow, "FORCED"), safe(d.Forced.By), because(d.Forced.Reason)))
	}
	out = append(out, "", "  "+t.steps(d))
	if gates := t.gates(d); len(gates) > 0 {
		out = append(out, "", "Gates")
		for _, g := range gates {
			out = append(out, "  "+g)
		}
	}
	if a := d.Approval; a != nil {
		out = append(out, "", fmt.Sprintf("Approved by %s at %s", safe(a.By), t.moment(a.At)))
		for _, c := range a.Consents {
			out = append(out, fmt.Sprintf("  %s at %s%s", safe(c.By), t.moment(c.At), because(c.Why)))
		}
	} else if d.Ask != nil && d.State != deployment.Approving {
		out = append(out, "", "Not approved: "+safe(d.Ask.Words()))
	}
	if moves := t.moves(d); len(moves) > 0 {
		out = append(append(out, ""), moves...)
	}
	if len(d.Log) > 0 {
		log := d.Log[max(0, len(d.Log)-logTail):]
		title := "Events"
		if len(log) < len(d.Log) {
			title = fmt.Sprintf("Events (the last %d of %d)", len(log), len(d.Log))
		}
		var rows [][]string
		for _, e := range log {
			what := safe(e.What)
			if f := figures(e.Figures); f != "" {
				what += "  " + t.paint(faint, f)
			}
			rows = append(rows, []string{"  " + t.clock(e.At), dash(safe(e.By)), what})
		}
		out = append(append(out, "", title), table(rows)...)
	}
	return out
}

func ended(t *terminal, d deployment.Deployment) string {
	if d.Ended.IsZero() {
		return ""
	}
	return fmt.Sprintf("%s: %s%s", t.moment(d.Ended), t.verdict(d.Outcome), because(d.Reason))
}

// verdict colours an outcome.
func (t *terminal) verdict(o deployment.Outcome) string {
	text := safe(string(o))
	switch o {
	case deployment.Succeeded:
		return t.paint(greenC, text)
	case deployment.RolledBack, deployment.Failed:
		return t.paint(red, text)
	}
	return text
}

// proof says why a slot may serve.
func (t *terminal) proof(s deployment.Slot) string {
	var out []string
	hash, _, bound := strings.Cut(s.Proof, "+")
	switch {
	case s.Proof == "":
		out = append(out, t.paint(yellow, "not proven"))
	case bound:
		out = append(out, "gates passed ("+brief(hash)+")")
	default:
		out = append(out, safe(s.Proof))
	}
	if s.Adopted && !strings.Contains(s.Proof, "adopted") {
		out = append(out, "adopted as it ran")
	}
	if s.Scaled {
		out = append(out, "scaled to zero")
	}
	if s.StopAt != nil {
		out = append(out, "stops "+t.ago(*s.StopAt))
	}
	return strings.Join(out, ", ")
}

func route(r deployment.Route) string {
	if r.Router == "" {
		return "none yet"
	}
	out := safe(r.Router)
	if !r.Prepared {
		out += ", not prepared yet"
	}
	if r.Loose {
		out += ", instances without a colour count as blue"
	}
	return out
}

// jobs says who processes background jobs, and who still does.
func (t *terminal) jobs(s detail) string {
	j := s.Record.Jobs
	owner := s.JobProcessor
	if owner == "" {
		owner = j.Owner.String()
	}
	out := t.tint(owner)
	if j.Moving() {
		out += fmt.Sprintf(", moving to %s since %s", t.tint(string(j.Target)), t.moment(j.Since))
	}
	for _, c := range deployment.Colours {
		if n := len(s.Workers[string(c)]); n == 1 {
			out += fmt.Sprintf(", 1 %s worker", c)
		} else if n > 1 {
			out += fmt.Sprintf(", %d %s workers", n, c)
		}
	}
	return out
}
