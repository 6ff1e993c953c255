package hclbody

import (
	"fmt"

	"github.com/hashicorp/hcl/v2"
	"github.com/hashicorp/hcl/v2/hclsyntax"
	"github.com/zclconf/go-cty/cty"
)

// maxExponent bounds numbers, as powers of two: every one that a float64 can be is
// within it, the smallest, 2^-1074, included. HCL reckons far beyond that, and writes
// each out in full where it becomes a text: the ten characters 6E20000060 are twenty
// million digits then, which take most of a minute.
const maxExponent = 1100

// Evaluate returns an expression's value, and refuses one with a number in it that is
// too great or too close to zero, wherever in the expression that stands.
func Evaluate(expr hcl.Expression, eval *hcl.EvalContext) (cty.Value, hcl.Diagnostics) {
	if node, ok := expr.(hclsyntax.Node); ok {
		var diags hcl.Diagnostics
		// Before anything is reckoned: "${6E20000060}" becomes a text within.
		hclsyntax.VisitAll(node, func(n hclsyntax.Node) hcl.Diagnostics {
			if l, ok := n.(*hclsyntax.LiteralValueExpr); ok && beyond(l.Val) {
				diags = append(diags, unreckonable("This number", l.SrcRange))
			}
			return nil
		})
		if diags.HasErrors() {
			return cty.DynamicVal, diags
		}
	}
	value, diags := expr.Value(eval)
	if !diags.HasErrors() && beyond(value) {
		return cty.DynamicVal, append(diags, unreckonable("A number in this value", expr.Range()))
	}
	return value, diags
}

func unreckonable(what string, at hcl.Range) *hcl.Diagnostic {
	return &hcl.Diagnostic{
		Severity: hcl.DiagError,
		Summary:  "Number out of range",
		Detail:   fmt.Sprintf("%s cannot be reckoned with: it is greater than 1e330, or closer to 0 than 1e-330. Write it in quotes if it is meant as a text.", what),
		Subject:  at.Ptr(),
	}
}

// beyond says whether a number beyond the bounds is in a value.
func beyond(value cty.Value) bool {
	found := false
	value, _ = value.UnmarkDeep()
	cty.Walk(value, func(_ cty.Path, v cty.Value) (bool, error) { //nolint:errcheck // the function returns none
		if v.IsKnown() && !v.IsNull() && v.Type() == cty.Number {
			n := v.AsBigFloat()
			exponent := n.MantExp(nil) // 0 for zero and infinities
			found = found || exponent > maxExponent || exponent < -maxExponent
		}
		return !found, nil
	})
	return found
}
