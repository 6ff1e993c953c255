package cli

import (
	"encoding/json"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/hashicorp/hcl/v2"
	"github.com/hashicorp/hcl/v2/hclsyntax"
	"github.com/hashicorp/nomad/api"
	"github.com/zclconf/go-cty/cty"
)

// FuzzInit: whatever job somebody has run, and whatever it was submitted with, teal
// init refuses it, or writes two files beside each other, of which the policy is of one
// service, as it is called, with the checks and the variables that the job has and
// nothing that somebody has put between.
func FuzzInit(f *testing.F) {
	job := `{"ID":"api","Name":"api","Type":"service","TaskGroups":[{"Name":"web","Services":[{"Name":"api","Connect":{"Native":true},"Checks":[{"Type":"http","Path":"/health"}]}]}]}`
	for _, seed := range []string{job, strings.Replace(job, "/health", `/${x}\"\n}\u001b%{if}`, 1), strings.ReplaceAll(job, `"api"`, `"../api"`), strings.Replace(job, `"Name":"api","Connect"`, `"Name":"${NOMAD_JOB_NAME}\n}","Connect"`, 1),
		strings.Replace(job, `[{"Name":"web"`, `[null,{"Tasks":[null],"Services":[null]},{"Name":"web"`, 1), `{"TaskGroups":[{"Services":[{"Connect":{}}]}]}`, "{}"} {
		for _, submission := range []string{`{"Source":"job \"api\" {}","Format":"hcl2","Variables":"a = 1\nb = \"x\"\n","VariableFlags":{"version":"1"}}`, `{"Source":"x","VariableFlags":{"a = 1 }\nevil":"${x}\u0000\"","":"x"}}`,
			`{"Source":"x","Variables":"a = <<EOT\nx\n}\nEOT\nb = [1, # }\n 2]\n"}`, `{"Source":"x","Variables":"a = (1) /* \n"}`, "null", `{"Source":"x","VariableFlags":{"a":"\ufeff\u2028\u202e"}}`} {
			f.Add([]byte(seed), []byte(submission))
		}
	}
	f.Fuzz(func(t *testing.T, rawJob, rawSubmission []byte) {
		job := new(api.Job)
		var submission *api.JobSubmission
		if json.Unmarshal(rawJob, job) != nil || json.Unmarshal(rawSubmission, &submission) != nil {
			return
		}
		b, err := begin(job, "")
		if err == nil {
			err = b.submitted(submission)
		}
		if err != nil {
			harmless(t, lineByLine(err.Error()))
			return
		}
		for _, name := range []string{b.jobspecName(), b.service + ".hcl"} {
			if filepath.Dir(filepath.Join("here", name)) != "here" || strings.HasPrefix(name, ".") {
				t.Fatalf("it would write %q", name)
			}
		}
		text := b.policy()
		file, diags := hclsyntax.ParseConfig([]byte(text), "policy.hcl", hcl.InitialPos)
		if diags.HasErrors() {
			t.Fatalf("%v\n%s", diags, text)
		}
		body := file.Body.(*hclsyntax.Body)
		if len(body.Attributes) > 0 || len(body.Blocks) != 1 || body.Blocks[0].Type != "service" || !slices.Equal(body.Blocks[0].Labels, []string{b.service}) {
			t.Fatalf("not one service %q:\n%s", b.service, text)
		}
		service := body.Blocks[0].Body
		for name, a := range service.Attributes {
			switch name {
			case "job":
				if v, diags := a.Expr.Value(nil); diags.HasErrors() || v.AsString() != cty.StringVal(b.jobspecName()).AsString() {
					t.Fatalf("job is not %q:\n%s", b.jobspecName(), text)
				}
			case "variables":
				pairs, diags := hcl.ExprMap(a.Expr)
				if diags.HasErrors() || len(pairs) != len(b.variables) {
					t.Fatalf("%d variables, want %v:\n%s", len(pairs), b.variables, text)
				}
				for i, p := range pairs {
					if name := hcl.ExprAsKeyword(p.Key); name != b.variables[i].name {
						t.Fatalf("variable %q, want %q:\n%s", name, b.variables[i].name, text)
					}
					given, ok := submission.VariableFlags[b.variables[i].name]
					if v, diags := p.Value.Value(nil); ok && (diags.HasErrors() || v.AsString() != cty.StringVal(given).AsString()) {
						t.Fatalf("%q is not %q:\n%s", b.variables[i].name, given, text)
					}
				}
			default:
				t.Fatalf("%s:\n%s", name, text)
			}
		}
		var paths []string
		for _, block := range service.Blocks {
			switch block.Type {
			case "gate":
				v, diags := block.Body.Attributes["path"].Expr.Value(nil)
				if diags.HasErrors() || len(block.Body.Attributes) != 2 || len(block.Body.Blocks) > 0 {
					t.Fatalf("%v:\n%s", diags, text)
				}
				paths = append(paths, v.AsString())
			case "watch", "soak":
			default:
				t.Fatalf("%s:\n%s", block.Type, text)
			}
		}
		for i, path := range b.paths {
			if len(paths) != len(b.paths) || paths[i] != cty.StringVal(path).AsString() {
				t.Fatalf("paths %q, want %q:\n%s", paths, b.paths, text)
			}
		}
	})
}
