package nomad

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/hashicorp/nomad/api"
)

// Plan is what Nomad would do if a job was registered now.
type Plan struct {
	Changed bool // the job differs from the registered one
	New     bool // no job of this ID exists
	// Diff is how the jobs differ, a line for each value, marked as `nomad
	// plan` marks them.
	Diff     string
	Groups   []GroupPlan // what would be done to allocations
	Failures []Placement // what could not be placed
	Preempts int         // allocations of other jobs that would be pushed out
	Warnings []string    // in Nomad's own words
	Index    uint64      // JobModifyIndex to register with; 0 where there is no job
}

// GroupPlan is what would be done to a task group's allocations.
type GroupPlan struct {
	Name                                     string
	Place, Stop, InPlace, Replace, Unchanged uint64
}

// FailureLines are the failures for people, one line a group.
func (p Plan) FailureLines() []string {
	lines := make([]string, len(p.Failures))
	for i, f := range p.Failures {
		lines[i] = f.String()
	}
	return lines
}

// Plan asks Nomad's scheduler what registering job would do, and changes
// nothing. Whether there is room for a second full copy shows in Failures: the
// other colour is another job, so nothing of it counts as replaced.
func (c *Client) Plan(ctx context.Context, job *api.Job) (Plan, error) {
	at, namespace, id := c.home(job)
	op := c.ask("plan", namespace, id, "submit-job")
	limited, cancel := context.WithTimeout(ctx, requestTimeout)
	defer cancel()
	as := at.writing(limited, namespace)
	r, _, err := at.api.Jobs().PlanOpts(job, &api.PlanOptions{Diff: true}, as)
	if notForIdentities(err) {
		as.AuthToken = nobodysToken
		op.need = `to be an ACL token with ` + op.need + `, because Nomad does not plan for a workload's identity`
		r, _, err = at.api.Jobs().PlanOpts(job, &api.PlanOptions{Diff: true}, as)
	}
	if err != nil {
		return Plan{}, op.failed(ctx, err)
	}
	p := Plan{Index: r.JobModifyIndex, New: r.JobModifyIndex == 0, Failures: placements(r.FailedTGAllocs), Warnings: warnings(r.Warnings)}
	if r.Diff != nil {
		p.Diff = diffText(r.Diff)
		p.Changed = p.Diff != ""
	}
	if a := r.Annotations; a != nil {
		p.Preempts = len(a.PreemptedAllocs)
		for _, g := range job.TaskGroups {
			if u := a.DesiredTGUpdates[value(g.Name)]; u != nil {
				p.Groups = append(p.Groups, GroupPlan{value(g.Name), u.Place + u.Canary, u.Stop, u.InPlaceUpdate, u.DestructiveUpdate, u.Ignore})
			}
		}
	}
	return p, nil
}

// nobodysToken has the form of an ACL token and is none. While ACLs are off,
// the Task API's socket takes it, and so does everything behind.
const nobodysToken = "00000000-0000-0000-0000-000000000000"

// notForIdentities says whether Nomad looked a token up among its ACL tokens
// and failed, because it is a workload's identity. Plan does so in 1.11.0 even
// where ACLs are off, and parse where they are on, on an agent that is a
// server itself.
func notForIdentities(err error) bool {
	return err != nil && strings.Contains(err.Error(), noACLToken)
}

// warnings takes Nomad's multi-line text apart.
func warnings(text string) []string {
	var all []string
	for _, line := range strings.Split(text, "\n") {
		line = strings.TrimSpace(strings.TrimPrefix(strings.TrimSpace(line), "*"))
		if line != "" && !strings.HasSuffix(line, "warning:") && !strings.HasSuffix(line, "warnings:") {
			all = append(all, bound(line, maxWords))
		}
	}
	return all
}

// marks are `nomad plan`'s own.
var marks = map[string]string{"Added": "+", "Deleted": "-", "Edited": "~"}

func diffText(d *api.JobDiff) string {
	job := block(d.Type, fmt.Sprintf("job %q", d.ID), d.Fields, d.Objects)
	for _, g := range d.TaskGroups {
		group := block(g.Type, fmt.Sprintf("group %q", g.Name), g.Fields, g.Objects)
		for _, t := range g.Tasks {
			group.blocks = append(group.blocks, block(t.Type, fmt.Sprintf("task %q", t.Name), t.Fields, t.Objects))
		}
		job.blocks = append(job.blocks, group)
	}
	var b strings.Builder
	job.write(&b, 0)
	return b.String()
}

// changed is a block of a job of which something changes.
type changed struct {
	kind, title string
	lines       []string
	blocks      []changed
}

func block(kind, title string, fields []*api.FieldDiff, objects []*api.ObjectDiff) changed {
	c := changed{kind: kind, title: title}
	for _, f := range fields {
		switch f.Type {
		case "Added":
			c.lines = append(c.lines, fmt.Sprintf("+ %s: %q", f.Name, f.New))
		case "Deleted":
			if title == "Check" && f.Name == "TaskName" {
				// The server gives a check the task of its service when a job is
				// registered, but not when one is planned: every plan of such a
				// job would take it away.
				continue
			}
			c.lines = append(c.lines, fmt.Sprintf("- %s: %q", f.Name, f.Old))
		case "Edited":
			c.lines = append(c.lines, fmt.Sprintf("~ %s: %q => %q", f.Name, f.Old, f.New))
		}
	}
	for _, o := range objects {
		c.blocks = append(c.blocks, block(o.Type, o.Name, o.Fields, o.Objects))
	}
	return c
}

// empty says whether nothing changes after all. Nomad calls a scaling block
// edited in every plan, because its server adds a target that the plan does
// not have.
func (c changed) empty() bool {
	if c.kind != "Edited" {
		return c.kind == "None" || c.kind == ""
	}
	return len(c.lines) == 0 && !slices.ContainsFunc(c.blocks, func(b changed) bool { return !b.empty() })
}

func (c changed) write(b *strings.Builder, depth int) {
	if c.empty() {
		return
	}
	indent := strings.Repeat("  ", depth)
	fmt.Fprintf(b, "%s%s %s\n", indent, marks[c.kind], c.title)
	for _, l := range c.lines {
		fmt.Fprintf(b, "%s  %s\n", indent, bound(l, 500))
	}
	for _, inner := range c.blocks {
		inner.write(b, depth+1)
	}
}
