package rollback

import (
	"fmt"
	"maps"
	"slices"

	"github.com/hashicorp/hcl/v2"

	"github.com/tealdeploy/teal/agent/hclbody"
)

// DecodeNamed reads a block with the two labels kind and name.
func DecodeNamed(block *hcl.Block, eval *hcl.EvalContext) (Named, hcl.Diagnostics) {
	if len(block.Labels) != 2 {
		return Named{}, hcl.Diagnostics{{
			Severity: hcl.DiagError,
			Summary:  "A trigger needs a kind and a name",
			Detail:   `Write trigger "errors" "http-5xx" { … }.`,
			Subject:  block.DefRange.Ptr(),
		}}
	}
	n := Named{Kind: block.Labels[0], Name: block.Labels[1]}
	var diags hcl.Diagnostics
	if n.Name == "" {
		diags = append(diags, &hcl.Diagnostic{
			Severity: hcl.DiagError,
			Summary:  "A trigger needs a name",
			Detail:   "The second label names the trigger in status and records; it must not be empty.",
			Subject:  labelRange(block, 1).Ptr(),
		})
	}
	kind, ok := Kinds[n.Kind]
	if !ok {
		return n, append(diags, hclbody.Unknown("kind of trigger", n.Kind, slices.Collect(maps.Keys(Kinds)), meant, labelRange(block, 0)))
	}
	trigger, more := kind(block.Body, eval)
	n.Trigger = trigger
	return n, append(diags, more...)
}

// meant are kinds by names that people know them by.
var meant = map[string]string{
	"http-5xx": "errors", "5xx": "errors", "error-rate": "errors",
	"p50": "latency", "p95": "latency", "p99": "latency", "response-time": "latency",
	"traffic": "volume", "throughput": "volume",
	"oom": "nomad", "restarts": "nomad", "allocations": "nomad",
	"health": HealthKind, "consul": HealthKind,
	"json": "http-json", "business": "http-json", "promql": "prometheus",
}

// decoder starts on the body of a trigger of one kind.
func decoder(kind string, eval *hcl.EvalContext) *hclbody.Decoder {
	return hclbody.New(fmt.Sprintf("trigger %q", kind), eval)
}

// labelRange is where a label stands; in JSON it may not be known.
func labelRange(block *hcl.Block, i int) hcl.Range {
	if i < len(block.LabelRanges) {
		return block.LabelRanges[i]
	}
	return block.DefRange
}
