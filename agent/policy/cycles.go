package policy

import (
	"bytes"
	"fmt"
	"slices"
	"strings"

	"github.com/hashicorp/hcl/v2"

	"github.com/tealdeploy/teal/gates"
)

// cycles finds services whose gates depend on one another in a circle: while one
// is being released the others hold, and when all are, none goes on. It is told
// to whoever validates a directory; agents need not agree with it.
func (r *reader) cycles(set *Set) (diags hcl.Diagnostics) {
	state := map[string]int{} // 1 while on the way, 2 when done
	var way []string
	var visit func(p *Policy)
	visit = func(p *Policy) {
		state[p.Service] = 1
		way = append(way, p.Service)
		for _, needed := range dependencies(p) {
			other := set.Policy(needed)
			switch {
			case other == nil: // elsewhere: nobody here knows what it depends on
			case state[needed] == 0:
				visit(other)
			case state[needed] == 1:
				circle := way[slices.Index(way, needed):]
				diags = append(diags, r.cycle(set.Policy(circle[0]), circle))
				for _, service := range circle {
					file := set.Policy(service).File
					set.Sources[file] = r.source(file)
				}
			}
		}
		way = way[:len(way)-1]
		state[p.Service] = 2
	}
	for _, p := range set.policies {
		if state[p.Service] == 0 {
			visit(p)
		}
	}
	return diags
}

// dependencies are the services that a policy's gates depend on.
func dependencies(p *Policy) (services []string) {
	for _, g := range p.Gates {
		if d, ok := g.Gate.(gates.Depends); ok && !slices.Contains(services, d.Service) {
			services = append(services, d.Service)
		}
	}
	return services
}

func (r *reader) cycle(p *Policy, circle []string) *hcl.Diagnostic {
	return &hcl.Diagnostic{
		Severity: hcl.DiagError,
		Summary:  "Services depend on one another",
		Detail: fmt.Sprintf("By their gates %s depends on %s. While one of them is being released the others hold, and when all are, none goes on. Take one of the gates away.",
			circle[0], strings.Join(append(slices.Clone(circle[1:]), circle[0]), ", which depends on ")),
		Subject: lineOf(r.source(p.File).Bytes, p.File, p.Line),
	}
}

// lineOf is the range of a line, for printing.
func lineOf(text []byte, file string, line int) *hcl.Range {
	at := 0
	for n := 1; n < line; n++ {
		next := bytes.IndexByte(text[at:], '\n')
		if next < 0 {
			break
		}
		at += next + 1
	}
	end := len(text)
	if n := bytes.IndexByte(text[at:], '\n'); n >= 0 {
		end = at + n
	}
	return &hcl.Range{Filename: file, Start: hcl.Pos{Line: line, Column: 1, Byte: at}, End: hcl.Pos{Line: line, Column: end - at + 1, Byte: end}}
}
