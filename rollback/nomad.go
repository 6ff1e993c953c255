package rollback

import (
	"fmt"
	"slices"

	"github.com/hashicorp/hcl/v2"

	"github.com/tealdeploy/teal/agent/hclbody"
)

// Nomad is the trigger of kind "nomad": how the allocations of the active colour
// fare. Consul sees who serves now; Nomad knows how often it had to be put on its
// feet again.
//
// Counted is what happens from the first look of the watch on.
type Nomad struct {
	Restarts int // of tasks, that are put up with
	OOM      int // times that a task may be killed for want of memory
	Failed   int // allocations that may end in failure or be lost
}

func decodeNomad(body hcl.Body, eval *hcl.EvalContext) (Trigger, hcl.Diagnostics) {
	n := Nomad{Restarts: 2}
	d := decoder("nomad", eval)
	d.Int("restarts", &n.Restarts, hclbody.AtLeast(0))
	d.Int("oom", &n.OOM, hclbody.AtLeast(0))
	d.Int("failed", &n.Failed, hclbody.AtLeast(0))
	d.Decode(body)
	return n, d.Diagnostics()
}

// Sources implements Trigger.
func (n Nomad) Sources() []ScrapeSource { return nil }

// Families implements Trigger.
func (n Nomad) Families() []string { return nil }

// Question implements Asking.
func (n Nomad) Question() Question { return Allocations{} }

// Begin implements Trigger.
func (n Nomad) Begin() Judge { return &nomadJudge{Nomad: n, known: map[string]Allocation{}} }

// nomadJudge follows one watch.
type nomadJudge struct {
	Nomad
	heard                 bool
	known                 map[string]Allocation // as last seen
	err                   error                 // the last question got no answer
	restarts, oom, failed int                   // since the first look
	last                  string                // the latest trouble
}

// Observe implements Judge.
func (j *nomadJudge) Observe(o Observation) Judgement {
	if o.Answer != nil {
		j.take(*o.Answer)
	}
	out := Judgement{Figures: map[string]float64{
		"restarts": float64(j.restarts), "oom": float64(j.oom), "failed": float64(j.failed),
		"restarts_allowed": float64(j.Restarts), "oom_allowed": float64(j.OOM), "failed_allowed": float64(j.Failed),
	}}
	out.Reason = fmt.Sprintf("since the watch began %s, %s and %s", times(j.restarts, "task was restarted", "tasks were restarted"),
		times(j.oom, "task was killed for want of memory", "tasks were killed for want of memory"), times(j.failed, "allocation failed", "allocations failed"))
	if j.last != "" {
		out.Reason += " (" + j.last + ")"
	}
	switch {
	case j.restarts > j.Restarts || j.oom > j.OOM || j.failed > j.Failed:
		out.Verdict = Bad // what has happened has happened, whoever is away now
		out.Reason += fmt.Sprintf("; put up with are %d, %d and %d", j.Restarts, j.OOM, j.Failed)
	case j.err != nil:
		out.Reason = fmt.Sprintf("Nomad could not be asked (%s); %s", j.err, out.Reason)
	case !j.heard:
		out.Reason = "Nomad was not asked yet"
	case len(j.known) == 0:
		out.Reason = "Nomad knows of no allocation of this version"
	default:
		out.Verdict = Fine
	}
	return out
}

// take adds what has happened since the last answer.
func (j *nomadJudge) take(a Answer) {
	if j.err = a.Err; a.Err != nil {
		return
	}
	first := !j.heard
	j.heard = true
	slices.SortFunc(a.Allocations, func(x, y Allocation) int { return x.OOM.Compare(y.OOM) })
	listed := make(map[string]Allocation, len(a.Allocations))
	for _, now := range a.Allocations {
		listed[now.ID] = now
		was := j.known[now.ID] // of one that is new: nothing has happened to it
		if first {
			continue
		}
		trouble := false
		if now.Restarts > was.Restarts {
			j.restarts += int(min(now.Restarts-was.Restarts, 1e6))
			trouble = true
		}
		if now.OOM.After(was.OOM) {
			j.oom++
			trouble = true
		}
		if now.Failed && !was.Failed {
			j.failed++
			trouble = true
		}
		if trouble {
			j.last = fmt.Sprintf("allocation %.8s on %s", now.ID, now.Node)
			if now.Words != "" {
				j.last += ": " + now.Words
			}
		}
	}
	j.known = listed
}

func times(n int, one, many string) string {
	switch n {
	case 0:
		return "no " + one
	case 1:
		return "1 " + one
	}
	return fmt.Sprintf("%d %s", n, many)
}
