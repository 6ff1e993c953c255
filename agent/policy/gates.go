package policy

import (
	"fmt"

	"github.com/hashicorp/hcl/v2"

	"github.com/tealdeploy/teal/agent/hclbody"
	"github.com/tealdeploy/teal/gates"
)

// decodeGates reads the gates of a service in the order in which they stand.
// Those within a parallel block share its number.
func decodeGates(blocks hcl.Blocks, p *Policy, eval *hcl.EvalContext) (all hcl.Diagnostics) {
	names, groups := unique{}, 0
	add := func(block *hcl.Block, group int) {
		named, diags := gates.DecodeNamed(block, eval)
		all = append(all, append(diags, names.add("gate", block)...)...)
		if d, ok := named.Gate.(gates.Depends); ok && d.Service == p.Service {
			all = append(all, &hcl.Diagnostic{
				Severity: hcl.DiagError,
				Summary:  "Service depends on itself",
				Detail:   fmt.Sprintf("While %s is being released its own gate would wait for the end of that.", p.Service),
				Subject:  block.DefRange.Ptr(),
			})
		}
		if h, ok := named.Gate.(gates.HTTP); ok && h.Previews() && p.Cutover.Router != Routers[0] {
			all = append(all, &hcl.Diagnostic{
				Severity: hcl.DiagError,
				Summary:  "No preview route",
				Detail: fmt.Sprintf("The gate %q asks through the preview route, and a %s has none: the colour that serves would answer. Ask the instances (every = %q or %q), or let the cutover's router be %q.",
					named.Name, p.Cutover.Router, gates.EveryInstance, gates.EveryAny, Routers[0]),
				Subject: block.DefRange.Ptr(),
			})
		}
		named.Parallel = group
		p.Gates = append(p.Gates, named)
	}
	for _, block := range blocks {
		if block.Type == "gate" {
			add(block, 0)
			continue
		}
		groups++
		d := hclbody.New("parallel", eval)
		d.Blocks("gate", "kind", "name")
		d.Decode(block.Body)
		all = append(all, d.Diagnostics()...)
		if len(d.Found("gate")) == 0 {
			all = append(all, &hcl.Diagnostic{
				Severity: hcl.DiagError,
				Summary:  "Nothing to do in parallel",
				Detail:   "A parallel block holds the gates that are looked at side by side; this one has none.",
				Subject:  block.DefRange.Ptr(),
			})
		}
		for _, inner := range d.Found("gate") {
			add(inner, groups)
		}
	}
	return all
}
