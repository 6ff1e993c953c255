package policy

import (
	"fmt"
	"path/filepath"
	"regexp"
	"strings"

	"github.com/hashicorp/hcl/v2"
	"github.com/hashicorp/hcl/v2/hclsyntax"
	"github.com/zclconf/go-cty/cty"

	"github.com/tealdeploy/teal/agent/hclbody"
)

// decodeService reads one service block over the defaults.
func decodeService(block *hcl.Block, eval *hcl.EvalContext, filename string, read func(path string) (string, error)) (*Policy, hcl.Diagnostics) {
	p := Defaults()
	p.Service = block.Labels[0]
	p.File, p.Line = filename, block.DefRange.Start.Line

	d := hclbody.New(fmt.Sprintf("service %q", p.Service), eval)
	if !dnsLabel.MatchString(p.Service) {
		d.Append(hcl.Diagnostics{{
			Severity: hcl.DiagError,
			Summary:  "Wrong service name",
			Detail:   fmt.Sprintf("%q cannot be the name of a Consul service: at most 63 letters, digits and dashes are allowed, with no dash at either end.", p.Service),
			Subject:  block.LabelRanges[0].Ptr(),
		}})
	}
	s := serviceAttributes{read: read}
	s.declare(d, &p)
	for _, section := range sections(&p) {
		d.Block(section.name)
	}
	d.Blocks("gate", "kind", "name")
	d.Blocks("parallel")
	d.Decode(block.Body)
	s.check(d, &p)

	for _, section := range sections(&p) {
		for _, inner := range d.Found(section.name)[:min(1, len(d.Found(section.name)))] {
			d.Append(section.decode(inner.Body, eval))
		}
	}
	d.Append(decodeGates(d.InOrder("gate", "parallel"), &p, eval))
	diags := d.Diagnostics()
	if diags.HasErrors() {
		return nil, diags
	}
	text, err := p.judgement()
	if err != nil {
		return nil, append(diags, &hcl.Diagnostic{
			Severity: hcl.DiagError,
			Summary:  "Policy cannot be identified",
			Detail:   fmt.Sprintf("The policy of %s has no stable form: %s. This is a fault of the gate or trigger it names.", p.Service, err),
			Subject:  block.DefRange.Ptr(),
		})
	}
	p.source = shortHash(p.Job.SourceHash(nil), shortHash(string(text)))
	p.digest = shortHash(p.Service, p.source, fmt.Sprint(p.Auto), p.Job.VersionVariable)
	return &p, diags
}

// dnsLabel is what Consul and Nomad take for a service's name.
var dnsLabel = regexp.MustCompile(`^(?i:[a-z0-9]|[a-z0-9][a-z0-9-]{0,61}[a-z0-9])$`)

// serviceAttributes are the attributes of the service block itself.
type serviceAttributes struct {
	read      func(path string) (string, error)
	job       string
	variables cty.Value
}

func (s *serviceAttributes) declare(d *hclbody.Decoder, p *Policy) {
	d.String("job", &s.job, hclbody.Required, hclbody.NotEmpty)
	d.Value("variables", &s.variables)
	d.String("version_variable", &p.Job.VersionVariable, hclbody.NotEmpty)
	d.Bool("auto", &p.Auto)
	d.String("namespace", &p.Namespace)
	d.String("partition", &p.Partition)
}

func (s *serviceAttributes) check(d *hclbody.Decoder, p *Policy) {
	if s.job != "" {
		p.Job.Path = beside(filepath.Dir(p.File), s.job)
		text, err := s.read(p.Job.Path)
		switch {
		case err != nil:
			d.Errorf("job", "Jobspec cannot be read", "%s. A relative path starts at the policy file's folder.", upperFirst(err.Error()))
		case strings.TrimSpace(text) == "":
			d.Errorf("job", "Jobspec is empty", "There is nothing in %s.", p.Job.Path)
		}
		p.Job.source = jobspecs.Pack([]byte(text))
	}
	if d.Has("version_variable") && !hclsyntax.ValidIdentifier(p.Job.VersionVariable) {
		d.Errorf("version_variable", "Wrong name of a variable", "%q cannot be the name of a jobspec's variable.", p.Job.VersionVariable)
	}
	if p.Namespace != "" && !dnsLabel.MatchString(p.Namespace) {
		d.Errorf("namespace", "Wrong namespace", "%q cannot be the name of a Consul namespace.", p.Namespace)
	}
	if p.Partition != "" && !dnsLabel.MatchString(p.Partition) {
		d.Errorf("partition", "Wrong partition", "%q cannot be the name of a Consul partition.", p.Partition)
	}
	p.Job.Variables = map[string]string{}
	if s.variables == cty.NilVal {
		return
	}
	if t := s.variables.Type(); !t.IsObjectType() && !t.IsMapType() {
		d.Errorf("variables", "Wrong value for variables", `An object is required, such as { version = "1.3.0" }.`)
		return
	}
	values := s.variables.AsValueMap()
	for _, name := range sortedKeys(values) {
		switch value := values[name]; {
		case !hclsyntax.ValidIdentifier(name):
			d.Errorf("variables", "Wrong name of a variable", "%q cannot be the name of a jobspec's variable.", name)
		case value.IsNull():
			d.Errorf("variables", "Variable without a value", "The variable %q is null. Leave it out to use the jobspec's own default.", name)
		default:
			p.Job.Variables[name] = expression(value)
		}
	}
}
