package cli

import (
	"fmt"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/hashicorp/hcl/v2"
	"github.com/hashicorp/hcl/v2/hclsyntax"
	"github.com/hashicorp/nomad/api"
)

// beginning is what a first policy is made of.
type beginning struct {
	job, service string
	// paths are the HTTP checks of the service: what it already answers when
	// it is well.
	paths []string
	// source is the jobspec as it was submitted; empty when Nomad has none.
	source    string
	variables []variable
}

type variable struct{ name, expression string }

// begin takes from a job what a policy needs. service may be empty when only
// one of the job's services is in the mesh.
func begin(job *api.Job, service string) (beginning, error) {
	b := beginning{job: deref(job.ID)}
	if err := canHaveColours(job); err != nil {
		return b, err
	}
	if !fileName(b.job) {
		return b, fmt.Errorf("job %q cannot give a jobspec its name: write the policy by hand", b.job)
	}
	meshed, plain := map[string][]string{}, []string{}
	each(job, func(group string, s *api.Service) {
		name := interpolate(s.Name, job, group)
		if s.Connect == nil || s.Connect.Gateway != nil {
			plain = append(plain, name)
			return
		}
		meshed[name] = append(meshed[name], checkPaths(s)...)
	})
	known := sortedKeys(meshed)
	switch {
	case len(known) == 0:
		return b, fmt.Errorf("job %s has no service with Connect%s. Teal moves traffic inside Consul's mesh: give the service connect { native = true } or a sidecar first", b.job, when(len(plain) > 0, ", only "+strings.Join(plain, ", ")))
	case service == "" && len(known) > 1:
		return b, fmt.Errorf("job %s has several services with Connect: %s. Choose the one whose traffic is moved with -service", b.job, strings.Join(known, ", "))
	case service == "":
		service = known[0]
	case !slices.Contains(known, service):
		return b, fmt.Errorf("job %s has no service %s with Connect%s It has: %s", b.job, service, didYouMean(service, known), strings.Join(known, ", "))
	}
	if strings.Contains(service, "${") {
		return b, fmt.Errorf("the service's name %s is only known where it runs. Give the name it has in Consul with -service", service)
	}
	if !fileName(service) {
		return b, fmt.Errorf("the service's name %q cannot be a file's. Give the name it has in Consul with -service", service)
	}
	b.service, b.paths = service, unique(meshed[service])
	return b, nil
}

// fileName says whether a name that others chose can be a file's, here and nowhere
// else, and stand in a comment.
func fileName(name string) bool {
	return name != "" && !strings.HasPrefix(name, ".") && utf8.ValidString(name) &&
		!strings.ContainsFunc(name, func(r rune) bool { return r == '/' || r == '\\' || unicode.IsSpace(r) || !unicode.IsPrint(r) })
}

// canHaveColours refuses kinds of jobs that cannot run twice side by side.
func canHaveColours(job *api.Job) error {
	kind := deref(job.Type)
	switch {
	case job.Periodic != nil:
		kind = "periodic"
	case job.ParameterizedJob != nil:
		kind = "parameterized"
	case kind == "" || kind == "service":
		if job.Stop != nil && *job.Stop {
			return fmt.Errorf("job %s is stopped. Start it first, or write the policy by hand", deref(job.ID))
		}
		if meta := job.Meta["teal_colour"]; meta != "" {
			return fmt.Errorf("job %s already is Teal's own, of colour %s: its service has a policy", deref(job.ID), safe(meta))
		}
		return nil
	}
	return fmt.Errorf("job %s is a %s job, and only service jobs have colours", deref(job.ID), kind)
}

// each visits every Consul service of a job, of groups and of tasks.
func each(job *api.Job, visit func(group string, s *api.Service)) {
	for _, g := range job.TaskGroups {
		if g == nil {
			continue
		}
		services := g.Services
		for _, t := range g.Tasks {
			if t != nil {
				services = append(services[:len(services):len(services)], t.Services...)
			}
		}
		for _, s := range services {
			if s != nil && (s.Provider == "" || s.Provider == api.ServiceProviderConsul) {
				visit(deref(g.Name), s)
			}
		}
	}
}

// interpolate fills in what a name may refer to and is known from the job.
func interpolate(name string, job *api.Job, group string) string {
	id := deref(job.ID)
	return strings.NewReplacer(
		"${NOMAD_JOB_NAME}", deref(job.Name), "${NOMAD_JOB_ID}", id, "${JOB}", deref(job.Name),
		"${NOMAD_GROUP_NAME}", group, "${TASKGROUP}", group,
		"${NOMAD_NAMESPACE}", deref(job.Namespace), "${NOMAD_REGION}", deref(job.Region),
	).Replace(name)
}

func checkPaths(s *api.Service) []string {
	paths := []string{}
	for _, c := range s.Checks {
		if c.Type == "http" && c.Path != "" && (c.Method == "" || c.Method == "GET") {
			paths = append(paths, c.Path)
		}
	}
	return paths
}

func unique(list []string) []string {
	seen := map[string]bool{}
	var out []string
	for _, s := range list {
		if !seen[s] {
			seen[s] = true
			out = append(out, s)
		}
	}
	return out
}

// submitted adds the jobspec and its variables as Nomad kept them.
func (b *beginning) submitted(s *api.JobSubmission) error {
	if s == nil || s.Source == "" {
		return nil
	}
	if s.Format != "" && s.Format != "hcl2" {
		return nil // JSON and HCL 1 have no variables; the operator has to write it
	}
	b.source = s.Source
	if !strings.HasSuffix(b.source, "\n") {
		b.source += "\n"
	}
	values := map[string]string{}
	file, diags := hclsyntax.ParseConfig([]byte(s.Variables), "variables", hcl.InitialPos)
	if !diags.HasErrors() {
		attributes, _ := file.Body.JustAttributes()
		for name, a := range attributes {
			values[name] = strings.TrimSpace(string(a.Expr.Range().SliceBytes(file.Bytes)))
		}
	} else if strings.TrimSpace(s.Variables) != "" {
		return fmt.Errorf("the variables that job %s was submitted with cannot be read: %s", b.job, diags[0].Summary)
	}
	for name, value := range s.VariableFlags {
		values[name] = quote(value)
	}
	for _, name := range sortedKeys(values) {
		if !hclsyntax.ValidIdentifier(name) {
			return fmt.Errorf("job %s was submitted with a variable that is called %q, which no jobspec can declare", b.job, name)
		}
		b.variables = append(b.variables, variable{name, values[name]})
	}
	return nil
}

func (b beginning) jobspecName() string { return b.job + ".nomad.hcl" }

// policy is the text of a first policy: what is sure, and the defaults that
// an operator is most likely to change, to be seen.
func (b beginning) policy() string {
	var w strings.Builder
	line := func(format string, args ...any) { fmt.Fprintf(&w, format+"\n", args...) }
	line("# How %s is released. Written by 'teal init' from the running job %s;", b.service, b.job)
	line("# docs/policy.md has every block and its default.")
	line("service %s {", quote(b.service))
	line("  job = %s # beside this file", quote(b.jobspecName()))
	if len(b.variables) > 0 {
		width := 0
		for _, v := range b.variables {
			width = max(width, len(v.name))
		}
		line("")
		line("  variables = {")
		for _, v := range b.variables {
			line("    %-*s = %s", width, v.name, v.expression)
		}
		line("  }")
	}
	for i, path := range b.paths {
		name := "health"
		if i > 0 {
			name = fmt.Sprintf("health-%d", i+1)
		}
		line("")
		line("  gate \"http\" %s {", quote(name))
		line("    path   = %s", quote(path))
		line("    status = 200")
		line("  }")
	}
	line("")
	line("  watch {")
	line("    for = \"15m\"")
	line("  }")
	line("")
	line("  soak {")
	line("    for  = \"24h\"")
	line("    then = \"keep\" # or scale, or stop")
	line("  }")
	line("}")
	return w.String()
}

// quote writes a string as HCL takes it, with nothing interpolated.
func quote(s string) string {
	return `"` + strings.NewReplacer(`\`, `\\`, `"`, `\"`, "\n", `\n`, "\r", `\r`, "\t", `\t`, "${", "$${", "%{", "%%{").Replace(s) + `"`
}
