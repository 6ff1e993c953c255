package gates

import (
	"context"
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/hashicorp/hcl/v2"
	"github.com/hashicorp/hcl/v2/hclsyntax"
	"github.com/hashicorp/hcl/v2/hclwrite"
	"github.com/zclconf/go-cty/cty"

	"github.com/tealdeploy/teal/agent/hclbody"
	"github.com/tealdeploy/teal/agent/redact"
)

// Jobs runs test jobs in Nomad. How a gate's job is kept from being started
// twice, and who stops it when its release ends, is its implementation's.
type Jobs interface {
	// Run starts the job, or finds the run that was started before for the same
	// gate of the same candidate, and follows it to its end. When ctx ends by its
	// deadline the job is stopped. Say is told when the job's standing changes.
	// An error means that nothing is known of the candidate.
	Run(ctx context.Context, job TestJob, say func(string)) (TestEnd, error)
}

// TestJob is what is to be run.
type TestJob struct {
	Gate      string // the gate's name: with the candidate it identifies the run
	Jobspec   string // text of a batch job's spec; or
	Variables string // its variables, as a variables file
	Dispatch  string // the ID of a parameterized job
	Namespace string // of that
	Region    string // of that
	// Given is what the job is told of the candidate: names in lower case, as
	// the meta of a dispatch has them.
	Given map[string]string
}

// TestEnd is how a run ended.
type TestEnd struct {
	Job     string // its ID in Nomad
	Verdict Verdict
	Reason  string
	Exit    string // exit code of the task that decided, empty when none ran
	Log     string // the end of what it wrote
}

// NomadJob is the gate of kind "nomad-job": a person's own test, run as a job
// in Nomad against the candidate. A look is one run: it passes when the job
// comes to a good end, and fails when it does not, or has run for the look's
// timeout. A job that never found a place, or was stopped by somebody, proves
// nothing.
type NomadJob struct {
	Jobspec   string
	Dispatch  string
	Namespace string
	Region    string
	Variables map[string]string
}

func decodeNomadJob(body hcl.Body, eval *hcl.EvalContext) (Gate, hcl.Diagnostics) {
	var g NomadJob
	d := hclbody.New(`gate "nomad-job"`, eval)
	d.String("jobspec", &g.Jobspec, hclbody.NotEmpty)
	d.String("dispatch", &g.Dispatch, hclbody.NotEmpty)
	d.String("namespace", &g.Namespace, hclbody.NotEmpty)
	d.String("region", &g.Region, hclbody.NotEmpty)
	d.StringMap("variables", &g.Variables)
	d.Elsewhere(shared...)
	d.Decode(body)
	switch {
	case d.Has("jobspec") && d.Has("dispatch"):
		d.Errorf("dispatch", "Contradictory gate", "jobspec is a job to register and dispatch one that is registered already; set one of them.")
	case !d.Has("jobspec") && !d.Has("dispatch"):
		d.Errorf("jobspec", "No job to run", `Give the text of a batch job, jobspec = file("e2e.nomad.hcl"), or name a parameterized job, dispatch = "e2e".`)
	}
	if g.Jobspec != "" && !strings.Contains(g.Jobspec, "{") {
		d.Errorf("jobspec", "No jobspec", `%q is no jobspec; jobspec is its text: jobspec = file("e2e.nomad.hcl").`, redact.Cut(redact.Line(g.Jobspec), 60))
	}
	for _, name := range []string{"namespace", "region"} {
		if d.Has(name) && !d.Has("dispatch") {
			d.Errorf(name, "Contradictory gate", "%s goes with dispatch; a jobspec names its own.", name)
		}
	}
	if d.Has("variables") && !d.Has("jobspec") {
		d.Errorf("variables", "Contradictory gate", "variables are those of a jobspec; a parameterized job was given its own when it was registered.")
	}
	for _, name := range slices.Sorted(maps.Keys(g.Variables)) {
		if !hclsyntax.ValidIdentifier(name) {
			d.Errorf("variables", "Wrong name of a variable", "%q cannot be the name of a jobspec's variable.", name)
		}
	}
	return g, d.Diagnostics()
}

// Check implements Gate.
func (g NomadJob) Check(ctx context.Context, target Target) (Finding, error) {
	given, missing := target.given()
	if missing != "" {
		return Finding{Reason: missing}, nil
	}
	job := TestJob{
		Gate: target.Gate, Jobspec: g.Jobspec, Variables: g.variables(),
		Dispatch: g.Dispatch, Namespace: g.Namespace, Region: g.Region, Given: given,
	}
	end, err := target.Jobs.Run(ctx, job, target.Say)
	if err != nil {
		return Finding{}, err
	}
	hidden := spoken(g.Variables)
	figures := map[string]string{"job": end.Job, "instances": strconv.Itoa(len(target.Instances))}
	if end.Exit != "" {
		figures["exit_code"] = end.Exit
	}
	if end.Log != "" {
		figures[figureLog] = hidden.Scrub(hidden.Beheaded(end.Log))
	}
	return Finding{Verdict: end.Verdict, Reason: hidden.Scrub(end.Reason), Figures: figures}, nil
}

// variables is the content of a variables file.
func (g NomadJob) variables() string {
	file := hclwrite.NewEmptyFile()
	for _, name := range slices.Sorted(maps.Keys(g.Variables)) {
		file.Body().SetAttributeValue(name, cty.StringVal(g.Variables[name]))
	}
	return string(file.Bytes())
}
