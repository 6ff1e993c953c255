package rollback

import (
	"fmt"
	"math"
	"slices"
	"strings"
	"time"

	"github.com/hashicorp/hcl/v2"

	"github.com/tealdeploy/teal/agent/deployment"
	"github.com/tealdeploy/teal/agent/hclbody"
)

// HealthKind is the kind of the trigger that goes by Consul's health. Every
// watch has one, declared or not.
const HealthKind = "consul-health"

// Health is the trigger of kind "consul-health".
//
// It is bad when too few instances of the active colour serve for longer than
// Nomad may be expected to need for a replacement, and at once when none does
// that did before. An instance with a warning serves, for Consul routes to it,
// but is no proof that all is well: that needs every expected instance passing.
type Health struct {
	MinPassing float64       // share of the expected instances; below it there are too few
	For        time.Duration // for how long too few are put up with
}

// DefaultHealth is the trigger of a policy that says nothing.
func DefaultHealth() Health { return Health{MinPassing: 0.5, For: 10 * time.Second} }

func decodeHealth(body hcl.Body, eval *hcl.EvalContext) (Trigger, hcl.Diagnostics) {
	h := DefaultHealth()
	d := decoder(HealthKind, eval)
	d.Number("min_passing", &h.MinPassing, hclbody.Within(0, 1))
	d.Duration("for", &h.For, hclbody.ZeroAllowed)
	d.Decode(body)
	return h, d.Diagnostics()
}

// Begin implements Trigger.
func (h Health) Begin() Judge { return &healthJudge{Health: h} }

// Sources implements Trigger: Consul's word is all it needs.
func (h Health) Sources() []ScrapeSource { return nil }

// Families implements Trigger.
func (h Health) Families() []string { return nil }

type healthJudge struct {
	Health
	served bool          // an instance has been seen to serve
	most   int           // instances seen at a time
	short  time.Duration // for how long too few have been seen to serve
	since  time.Time     // of the last look that saw too few; zero after any other
}

// Observe implements Judge.
func (h *healthJudge) Observe(o Observation) Judgement {
	c := countOf(o.Active)
	h.most = max(h.most, c.known)
	expected := o.Expected
	if expected <= 0 {
		expected = h.most // nobody knows better
	}
	// Less a little: 0.56 of 25 is a little more than 14 in binary.
	need := max(1, int(math.Ceil(h.MinPassing*float64(expected)-1e-9)))
	j := Judgement{Figures: map[string]float64{
		"passing": float64(c.passing), "warning": float64(c.warning), "known": float64(c.known),
		"expected": float64(expected), "needed": float64(need),
	}}
	said := fmt.Sprintf("%d of %d instances pass Consul's checks", c.passing, expected)
	if c.warning > 0 {
		said += fmt.Sprintf(", %d with a warning", c.warning)
	}
	if o.HealthErr != nil {
		// Time in which nothing is seen counts neither for nor against.
		h.since = time.Time{}
		j.Reason = fmt.Sprintf("Consul could not be asked (%s); last known: %s", o.HealthErr, said)
		return j
	}
	if missing := expected - c.known; missing > 0 {
		c.not = append([]string{fmt.Sprintf("%d not in the catalog", missing)}, c.not...)
	}
	if len(c.not) > 0 {
		said += " (" + listed(c.not) + ")"
	}

	serving := c.passing + c.warning + c.unclear // at most
	h.time(o.At, serving < need)
	j.Figures["short_s"] = h.short.Seconds()
	switch {
	case serving == 0 && h.served:
		j.Verdict = Bad
		j.Reason = "no instance serves any more: " + said
	case serving < need && h.short >= h.For:
		j.Verdict = Bad
		j.Reason = fmt.Sprintf("%s, and at least %d have to; it has been so for %s", said, need, brief(h.short))
	case serving < need:
		j.Reason = fmt.Sprintf("%s, and at least %d have to; this is put up with for %s, of which %s have passed", said, need, brief(h.For), brief(h.short))
	case c.passing >= expected:
		j.Verdict = Fine
		j.Reason = said
	default:
		// Less than all is well, and no less than the policy asks for: an autoscaler
		// may have had its reasons.
		j.Reason, j.Tolerated = said, true
	}
	h.served = h.served || serving > 0
	return j
}

// time adds up for how long too few have served: only time between two looks
// in a row that both saw it.
func (h *healthJudge) time(at time.Time, short bool) {
	if !short {
		h.short, h.since = 0, time.Time{}
		return
	}
	if !h.since.IsZero() {
		h.short += max(0, at.Sub(h.since))
	}
	h.since = at
}

// count is how a colour's instances fare.
type count struct {
	known, passing, warning int
	unclear                 int      // may or may not serve
	not                     []string // who does not pass, and why
}

func countOf(instances []deployment.Instance) count {
	c := count{known: len(instances)}
	for _, i := range instances {
		switch {
		case i.Health == deployment.Passing:
			c.passing++
		case i.Serving():
			c.warning++
		case i.Health == "":
			c.unclear++
			c.not = append(c.not, fmt.Sprintf("%s on %s is of unknown health", i.ID, i.Node))
		default:
			c.not = append(c.not, fmt.Sprintf("%s on %s is %s", i.ID, i.Node, i.Health))
		}
	}
	slices.Sort(c.not)
	return c
}

// listed joins the first few of a list that may be long.
func listed(items []string) string {
	const most = 3
	if len(items) > most {
		return strings.Join(items[:most], "; ") + fmt.Sprintf("; and %d more", len(items)-most)
	}
	return strings.Join(items, "; ")
}

// brief writes a duration as people do.
func brief(d time.Duration) string {
	if d >= time.Second {
		d = d.Round(100 * time.Millisecond)
	} else {
		d = d.Round(time.Millisecond)
	}
	return d.String()
}
