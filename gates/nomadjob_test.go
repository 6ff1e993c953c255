package gates_test

import (
	"context"
	"errors"
	"strings"
	"testing"

	"github.com/tealdeploy/teal/agent/deployment"
	"github.com/tealdeploy/teal/gates"
)

// nomadJobs is a Nomad whose one job ends as it is told.
type nomadJobs struct {
	asked []gates.TestJob
	end   gates.TestEnd
	err   error
}

func (n *nomadJobs) Run(_ context.Context, job gates.TestJob, say func(string)) (gates.TestEnd, error) {
	n.asked = append(n.asked, job)
	say("job suite-1 runs")
	return n.end, n.err
}

const suiteGate = `gate "nomad-job" "suite" {
  jobspec   = "job \"suite\" {}"
  variables = { api_token = "s3cret", base = "$${x} %%{y} \"z\"" }
}`

func TestNomadJobIsToldOfTheCandidate(t *testing.T) {
	n, diags := decode(t, suiteGate)
	if diags.HasErrors() {
		t.Fatal(diags)
	}
	if n.Attempts != 1 || n.Timeout.String() != "10m0s" || n.Deadline.String() != "30m0s" {
		t.Errorf("a long look's own defaults: %+v", n)
	}
	jobs := &nomadJobs{end: gates.TestEnd{Job: "suite-1", Verdict: gates.Pass, Reason: "good with s3cret", Exit: "0", Log: "token s3cret was taken"}}
	target := green(instanceAt(t, "10.0.0.2:8080"), instanceAt(t, "10.0.0.1:8080"))
	var said []string
	out, err := gates.Run(t.Context(), []gates.Named{n}, func(context.Context) (gates.Target, error) {
		now := target
		now.Jobs = jobs
		return now, nil
	}, func(_ int, p gates.Progress) { said = append(said, p.Verdict.String()+" "+p.Reason) })
	if err != nil || out.Verdict != gates.Pass {
		t.Fatalf("%+v, %v", out, err)
	}
	job := jobs.asked[0]
	if job.Gate != "suite" || job.Given["teal_addresses"] != "10.0.0.1:8080,10.0.0.2:8080" || job.Given["teal_address"] != "10.0.0.1:8080" ||
		job.Given["teal_colour"] != "green" || job.Given["teal_version"] != "2.0.0" || job.Given["teal_service"] != "api" {
		t.Errorf("asked for %+v", job)
	}
	if want := "api_token = \"s3cret\"\nbase      = \"$${x} %%{y} \\\"z\\\"\"\n"; job.Variables != want {
		t.Errorf("variables %q, want %q", job.Variables, want)
	}
	// How it is getting on is told while it runs, and no secret at all.
	if want := "hold job suite-1 runs|pass good with [redacted]"; strings.Join(said, "|") != want {
		t.Errorf("said %v", said)
	}
	if figures := out.Gates[0].Figures; figures["log"] != "token [redacted] was taken" || figures["exit_code"] != "0" || figures["job"] != "suite-1" {
		t.Errorf("figures %v", figures)
	}
}

func TestNomadJobKeepsTheEndOfALongLog(t *testing.T) {
	n, _ := decode(t, suiteGate)
	jobs := &nomadJobs{end: gates.TestEnd{Verdict: gates.Fail, Log: strings.Repeat("noise ", 10_000) + "and at last the reason"}}
	target := green(instanceAt(t, "10.0.0.2:8080"))
	target.Jobs = jobs
	out, err := gates.Run(t.Context(), []gates.Named{n}, func(context.Context) (gates.Target, error) { return target, nil }, nil)
	if err != nil || out.Verdict != gates.Fail {
		t.Fatalf("%+v, %v", out, err)
	}
	if log := out.Gates[0].Figures["log"]; len(log) > 1600 || !strings.HasSuffix(log, "and at last the reason") {
		t.Errorf("%d bytes of log: %q", len(log), log)
	}
}

// Of a log only the end is read, of each of its two streams, and it may begin in the
// middle of a secret.
func TestNomadJobShowsNoRestOfASecret(t *testing.T) {
	n, _ := decode(t, strings.Replace(suiteGate, "s3cret", "s3cret-of-many-letters", 1))
	jobs := &nomadJobs{end: gates.TestEnd{Verdict: gates.Fail, Log: "many-letters was taken\nof-many-letters was not\ns3cret-of-many-letters, ers"}}
	target := green(instanceAt(t, "10.0.0.2:8080"))
	target.Jobs, target.Say = jobs, func(string) {}
	f, err := n.Gate.Check(t.Context(), target)
	if want := "[redacted] was taken [redacted] was not [redacted], ers"; err != nil || f.Figures["log"] != want {
		t.Errorf("%q, %v, want %q", f.Figures["log"], err, want)
	}
}

// Nothing is run before the candidate is whole, and what cannot be asked proves
// nothing.
func TestNomadJobHolds(t *testing.T) {
	n, _ := decode(t, suiteGate)
	jobs := &nomadJobs{err: errors.New("nomad is unavailable")}
	half := green(instanceAt(t, "10.0.0.2:8080"), instanceAt(t, "10.0.0.1:8080"))
	half.Instances[1].Health, half.Jobs = deployment.Critical, jobs
	if f, err := n.Gate.Check(t.Context(), half); err != nil || f.Verdict != gates.Hold || !strings.Contains(f.Reason, "1 of 2 instances") || len(jobs.asked) > 0 {
		t.Errorf("%+v, %v; asked %v", f, err, jobs.asked)
	}
	whole := green(instanceAt(t, "10.0.0.2:8080"))
	whole.Jobs, whole.Say = jobs, func(string) {}
	if f, err := n.Gate.Check(t.Context(), whole); err == nil || f.Verdict != gates.Hold {
		t.Errorf("%+v, %v", f, err)
	}
}

func TestMistakesInANomadJob(t *testing.T) {
	for body, want := range map[string]string{
		``:                          "No job to run",
		`jobspec = "e2e.nomad.hcl"`: "jobspec is its text",
		"jobspec = \"job {}\"\ndispatch = \"e2e\"":              "set one of them",
		"jobspec = \"job {}\"\nnamespace = \"x\"":               "namespace goes with dispatch",
		"jobspec = \"job {}\"\nregion = \"x\"":                  "region goes with dispatch",
		"dispatch = \"e2e\"\nvariables = { a = \"b\" }":         "variables are those of a jobspec",
		"jobspec = \"job {}\"\nvariables = { \"a b\" = \"b\" }": "cannot be the name of a jobspec's variable",
		"dispatch = \"e2e\"\ntimeout = \"1h\"":                  "Timeout longer than deadline",
	} {
		_, diags := decode(t, "gate \"nomad-job\" \"n\" {\n"+body+"\n}")
		if !strings.Contains(diags.Error(), want) {
			t.Errorf("%s\nsaid %s\nwant %s", body, diags.Error(), want)
		}
	}
}
