package policy

import (
	"slices"
	"strings"

	"github.com/hashicorp/hcl/v2/hclsyntax"
	"github.com/zclconf/go-cty/cty"
	"github.com/zclconf/go-cty/cty/convert"

	"github.com/tealdeploy/teal/agent/packed"
)

// VariablesHCL is the text of a variables file for Nomad's parse API: one
// assignment a line, in the order of their names. Overrides are raw strings as
// given on a command line. They stand in for the policy's value of the same
// name and may add names. An override is written as a string, unless the
// policy's own value is a number, bool or collection and the override reads as
// one too: then it is written as that value. (Nomad converts strings to
// numbers and bools where a variable declares such a type, but never to
// collections.) Overrides whose name is not one a variable can have are left
// out: see ValidVariable.
func (j Job) VariablesHCL(overrides map[string]string) string {
	var b strings.Builder
	merged := j.merged(overrides)
	for _, name := range sortedKeys(merged) {
		b.WriteString(name + " = " + merged[name] + "\n")
	}
	return b.String()
}

// jobspecs packs the jobspecs of all policies: those of one house resemble one
// another.
var jobspecs packed.Alike

// Source is the jobspec's text as last read.
func (j Job) Source() string { return string(jobspecs.Unpack(j.source)) }

// ValidVariable says whether a jobspec's variable can have this name.
func ValidVariable(name string) bool { return hclsyntax.ValidIdentifier(name) }

// SourceHash changes when the jobspec's text or one of its variables does.
func (j Job) SourceHash(overrides map[string]string) string {
	return shortHash(j.Source(), j.VariablesHCL(overrides))
}

// Version is the value of the version variable, or empty when it has none.
func (j Job) Version(overrides map[string]string) string {
	if v, ok := overrides[j.VersionVariable]; ok {
		return v
	}
	text, ok := j.Variables[j.VersionVariable]
	if !ok {
		return ""
	}
	if val, ok := literal(text); ok {
		if s, err := convert.Convert(val, cty.String); err == nil && !s.IsNull() {
			return s.AsString()
		}
	}
	return text
}

// merged is the policy's variables with the overrides put over them, all as
// HCL expressions.
func (j Job) merged(overrides map[string]string) map[string]string {
	merged := make(map[string]string, len(j.Variables)+len(overrides))
	for name, text := range j.Variables {
		merged[name] = text
	}
	for name, raw := range overrides {
		if !hclsyntax.ValidIdentifier(name) {
			continue
		}
		merged[name] = expression(cty.StringVal(raw))
		if own, ok := literal(j.Variables[name]); ok && own.Type() != cty.String {
			if val, ok := literal(raw); ok {
				merged[name] = expression(val)
			}
		}
	}
	return merged
}

func sortedKeys[V any](m map[string]V) []string {
	keys := make([]string, 0, len(m))
	for key := range m {
		keys = append(keys, key)
	}
	slices.Sort(keys)
	return keys
}
