package gates

import (
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/hashicorp/hcl/v2"

	"github.com/tealdeploy/teal/agent/hclbody"
)

// What a gate gets when its block does not say.
const (
	DefaultAttempts = 3
	DefaultInterval = time.Second
	DefaultTimeout  = 5 * time.Second
	DefaultDeadline = 5 * time.Minute
)

const (
	// maxAttempts keeps a slip of the finger from making a gate that never fails.
	maxAttempts = 10_000
	// minInterval keeps one from asking without a pause.
	minInterval = 10 * time.Millisecond
)

// shared are the attributes DecodeNamed takes from every gate's body.
var shared = []string{"attempts", "interval", "timeout", "deadline"}

// DecodeNamed reads a block with the two labels kind and name: the settings
// every gate has, and, by its kind, the rest.
func DecodeNamed(block *hcl.Block, eval *hcl.EvalContext) (Named, hcl.Diagnostics) {
	if len(block.Labels) != 2 {
		return Named{}, hcl.Diagnostics{{
			Severity: hcl.DiagError,
			Summary:  "A gate needs a kind and a name",
			Detail:   `Write gate "http" "smoke" { … }.`,
			Subject:  block.DefRange.Ptr(),
		}}
	}
	n := Named{
		Kind:     block.Labels[0],
		Name:     block.Labels[1],
		Attempts: DefaultAttempts,
		Interval: DefaultInterval,
		Timeout:  DefaultTimeout,
		Deadline: DefaultDeadline,
	}
	if o, ok := own[n.Kind]; ok {
		n.Attempts, n.Interval, n.Timeout, n.Deadline = o.Attempts, o.Interval, o.Timeout, o.Deadline
	}
	d := hclbody.New(fmt.Sprintf("gate %q", n.Kind), eval)
	d.Int("attempts", &n.Attempts, hclbody.Within(1, maxAttempts))
	d.Duration("interval", &n.Interval)
	d.Duration("timeout", &n.Timeout)
	d.Duration("deadline", &n.Deadline)
	rest := d.DecodePartly(block.Body)

	if n.Name == "" {
		d.Append(hcl.Diagnostics{{
			Severity: hcl.DiagError,
			Summary:  "A gate needs a name",
			Detail:   "The second label names the gate in status and records; it must not be empty.",
			Subject:  labelRange(block, 1).Ptr(),
		}})
	}
	if n.Interval < minInterval {
		d.Errorf("interval", "Interval too short", "One look every %s would be an attack on the candidate; at least %s is required.", n.Interval, minInterval)
	}
	if n.Timeout > n.Deadline {
		at := "timeout"
		if !d.Has(at) {
			at = "deadline"
		}
		d.Errorf(at, "Timeout longer than deadline",
			"One look may take %s (timeout), but the whole gate only %s (deadline).", n.Timeout, n.Deadline)
	}

	kind, ok := Kinds[n.Kind]
	if !ok {
		d.Append(hcl.Diagnostics{hclbody.Unknown("kind of gate", n.Kind, slices.Collect(maps.Keys(Kinds)), nil, labelRange(block, 0))})
		return n, d.Diagnostics()
	}
	gate, diags := kind(rest, eval)
	d.Append(diags)
	n.Gate = gate
	if long, ok := gate.(interface{ lasts() time.Duration }); ok && long.lasts() >= n.Timeout {
		d.Errorf("timeout", "Timeout too short", "One look takes %s and is ended after %s (timeout).", long.lasts(), n.Timeout)
	}
	return n, d.Diagnostics()
}

// labelRange is where a label stands; in JSON it may not be known.
func labelRange(block *hcl.Block, i int) hcl.Range {
	if i < len(block.LabelRanges) {
		return block.LabelRanges[i]
	}
	return block.DefRange
}
