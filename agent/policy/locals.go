package policy

import (
	"fmt"

	"github.com/hashicorp/hcl/v2"
	"github.com/zclconf/go-cty/cty"

	"github.com/tealdeploy/teal/agent/hclbody"
)

// locals evaluates the `locals` blocks of one file, each local after those it
// refers to.
type locals struct {
	parent *hcl.EvalContext
	attrs  map[string]*hcl.Attribute
	values map[string]cty.Value
	active map[string]bool // being evaluated: meeting one again is a circle
	diags  hcl.Diagnostics
}

// decodeLocals returns the value of `local`. A local that could not be
// evaluated is unknown in it, so that its mistake is reported once and not
// again wherever it is used.
func decodeLocals(blocks hcl.Blocks, eval *hcl.EvalContext) (cty.Value, hcl.Diagnostics) {
	l := &locals{parent: eval, attrs: map[string]*hcl.Attribute{}, values: map[string]cty.Value{}, active: map[string]bool{}}
	for _, block := range blocks {
		attrs, diags := block.Body.JustAttributes()
		l.diags = append(l.diags, diags...)
		for _, name := range sortedKeys(attrs) {
			if first, ok := l.attrs[name]; ok {
				l.diags = append(l.diags, &hcl.Diagnostic{
					Severity: hcl.DiagError,
					Summary:  "Second definition of a local",
					Detail:   fmt.Sprintf("The local %q is already defined at %s.", name, first.NameRange),
					Subject:  attrs[name].NameRange.Ptr(),
				})
				continue
			}
			l.attrs[name] = attrs[name]
		}
	}
	for _, name := range sortedKeys(l.attrs) {
		l.evaluate(name)
	}
	return cty.ObjectVal(l.values), l.diags
}

func (l *locals) evaluate(name string) {
	attr := l.attrs[name]
	if _, done := l.values[name]; done || attr == nil {
		return
	}
	l.active[name] = true
	defer delete(l.active, name)

	used := map[string]cty.Value{}
	for _, traversal := range attr.Expr.Variables() {
		if traversal.RootName() != "local" || len(traversal) < 2 {
			continue
		}
		step, ok := traversal[1].(hcl.TraverseAttr)
		if !ok {
			continue
		}
		if l.active[step.Name] {
			l.diags = append(l.diags, &hcl.Diagnostic{
				Severity: hcl.DiagError,
				Summary:  "Locals refer to each other in a circle",
				Detail:   fmt.Sprintf("The local %q needs its own value, through %q.", step.Name, name),
				Subject:  traversal.SourceRange().Ptr(),
			})
			l.values[name] = cty.DynamicVal
			return
		}
		l.evaluate(step.Name)
		if value, ok := l.values[step.Name]; ok {
			used[step.Name] = value
		}
	}
	eval := l.parent.NewChild()
	eval.Variables = map[string]cty.Value{"local": cty.ObjectVal(used)}
	value, diags := hclbody.Evaluate(attr.Expr, eval)
	l.diags = append(l.diags, diags...)
	if diags.HasErrors() {
		value = cty.DynamicVal
	}
	l.values[name] = value
}
