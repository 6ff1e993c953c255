package contract_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	nomadapi "github.com/hashicorp/nomad/api"

	"github.com/tealdeploy/teal/agent/deployment"
	"github.com/tealdeploy/teal/agent/nomad"
	"github.com/tealdeploy/teal/jobspec"
)

const nomadVersion = "2.0.0"

// nomadJobspecs are all the kinds of job there are. Those that cannot be placed
// on this machine are registered all the same.
var nomadJobspecs = []struct{ file, service string }{
	{"../../jobspec/testdata/api.nomad.hcl", "api"},
	{"../../jobspec/testdata/shop.nomad.hcl", "shop-front"},
	{"../../jobspec/testdata/edge.nomad.hcl", "edge"},
	{"../../examples/jobs/api.nomad.hcl", "api"},
	{"../../examples/jobs/reports.nomad.hcl", "reports"},
}

// A jobspec and both of its colours are one version, before and after Nomad's
// server has filled in what it fills in. Otherwise Teal would release what
// nobody has edited, or report drift of what nobody has touched.
func nomadKeepsTheHash(t *testing.T, client *nomad.Client) {
	for i, spec := range nomadJobspecs {
		t.Run(spec.file, func(t *testing.T) {
			t.Parallel()
			source, template := nomadTemplate(t, client, spec.file)
			id := fmt.Sprintf("hash-%d", i) // two of them are called api
			template.ID = &id
			want := jobspec.Hash(template, nomadVersion)

			var known []string
			for _, colour := range deployment.Colours {
				r, err := jobspec.Render(template, jobspec.Identity{Service: spec.service, Colour: colour, Version: nomadVersion, Epoch: 7, Deployment: "d1"})
				if err != nil {
					t.Fatal(err)
				}
				if got := jobspec.Hash(r.Job, nomadVersion); got != want || r.Hash != want {
					t.Errorf("%s hashes to %s and says %s, its template to %s", r.ID, got, r.Hash, want)
				}
				nomadRegister(t, client, r.Job, source)
				running := nomadJob(t, client, r.ID)
				if running.Meta[jobspec.MetaHash] != r.Hash || running.Meta[jobspec.MetaColour] != string(colour) {
					t.Errorf("%s lost Teal's meta: %v", r.ID, running.Meta)
				}
				if jobspec.DeploymentOf(running) != "d1" || jobspec.Expected(running, spec.service) != r.Expected {
					t.Errorf("%s is of deployment %q with %d instances, rendered with %d", r.ID,
						jobspec.DeploymentOf(running), jobspec.Expected(running, spec.service), r.Expected)
				}
				nomadUntouched(t, client, r.Job)
				known = append(known, jobspec.Hash(running, nomadVersion))
			}
			if known[0] != known[1] {
				t.Errorf("as Nomad has them, blue hashes to %s and green to %s", known[0], known[1])
			}
		})
	}
}

// An adopted job has no hash in its meta: it is told by what Nomad has of it.
// That must not change by reading it, by scaling it or by registering it
// anew, and must when it is edited.
func nomadKeepsTheHashOfAnAdoptedJob(t *testing.T, client *nomad.Client) {
	for i, spec := range nomadJobspecs[:4] {
		t.Run(spec.file, func(t *testing.T) {
			t.Parallel()
			source, plain := nomadTemplate(t, client, spec.file)
			id := fmt.Sprintf("adopted-%d", i)
			plain.ID = &id
			group := *plain.TaskGroups[0].Name
			nomadRegister(t, client, plain, source)
			nomadUntouched(t, client, plain)
			found := jobspec.Hash(nomadJob(t, client, id), nomadVersion)

			want := func(what string, same bool) {
				t.Helper()
				if got := jobspec.Hash(nomadJob(t, client, id), nomadVersion); (got == found) != same {
					t.Errorf("%s: the hash was %s and is %s", what, found, got)
				}
			}
			want("read again", true)
			if event := nomadEvent(t, client, id); jobspec.Hash(event, nomadVersion) != found {
				t.Errorf("told by the event stream it hashes to %s, read to %s", jobspec.Hash(event, nomadVersion), found)
			}
			if err := client.Scale(t.Context(), "default", id, map[string]int{group: 3}, nil); err != nil {
				t.Fatal(err)
			}
			want("scaled", true)
			nomadRegister(t, client, plain, source)
			want("registered anew", true)
			plain.TaskGroups[0].Meta = map[string]string{"edited": "yes"}
			nomadRegister(t, client, plain, source)
			want("edited", false)
		})
	}
}

// What jobspec's own tests take for Nomad's parse of their jobspecs still is.
func nomadParsesTheFixtures(t *testing.T, client *nomad.Client) {
	files, err := filepath.Glob("../../jobspec/testdata/*.nomad.hcl")
	if err != nil || len(files) == 0 {
		t.Fatalf("%d fixtures, %v", len(files), err)
	}
	for _, file := range files {
		source, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		raw, err := os.ReadFile(strings.TrimSuffix(file, ".nomad.hcl") + ".json")
		if err != nil {
			t.Fatal(err)
		}
		var fixture nomadapi.Job
		if err := json.Unmarshal(raw, &fixture); err != nil {
			t.Fatal(err)
		}
		parsed, err := client.Parse(t.Context(), string(source), "")
		if err != nil {
			t.Fatal(err)
		}
		if jobspec.Hash(&fixture, "") != jobspec.Hash(parsed, "") || !maps.Equal(jobspec.Counts(&fixture), jobspec.Counts(parsed)) {
			t.Errorf("%s is parsed to something else than its fixture: go test ./jobspec tells how the fixtures are made", file)
		}
	}
}

// nomadTemplate is a jobspec as Nomad parses it, less what this Nomad is not
// set up for.
func nomadTemplate(t *testing.T, client *nomad.Client, file string) (source string, job *nomadapi.Job) {
	t.Helper()
	raw, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	job, err = client.Parse(t.Context(), string(raw), "app = \"/nonexistent/app\"\nversion = \""+nomadVersion+"\"")
	if err != nil {
		t.Fatal(err)
	}
	for _, g := range job.TaskGroups {
		for _, task := range g.Tasks {
			task.Vault = nil
		}
	}
	return string(raw), job
}

// nomadRegister registers a job over whatever there is of it, and purges it at
// the end of the test.
func nomadRegister(t *testing.T, client *nomad.Client, job *nomadapi.Job, source string) {
	t.Helper()
	is, err := client.Job(t.Context(), "default", *job.ID)
	if err != nil {
		t.Fatal(err)
	}
	var index uint64
	if is != nil {
		index = *is.JobModifyIndex
	}
	if _, err := client.Register(t.Context(), job, index, nomad.Submission{Source: source, Format: "hcl2"}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
		defer cancel()
		if err := errors.Join(client.Stop(ctx, "default", *job.ID, false), client.WaitStopped(ctx, "default", *job.ID), client.Stop(ctx, "default", *job.ID, true)); err != nil {
			t.Error(err)
		}
	})
}

func nomadJob(t *testing.T, client *nomad.Client, id string) *nomadapi.Job {
	t.Helper()
	job, err := client.Job(t.Context(), "default", id)
	if err != nil || job == nil {
		t.Fatalf("job %s: %v, %v", id, job, err)
	}
	return job
}

// nomadUntouched holds a plan of what was just registered to be empty.
func nomadUntouched(t *testing.T, client *nomad.Client, job *nomadapi.Job) {
	t.Helper()
	plan, err := client.Plan(t.Context(), job)
	if err != nil {
		t.Fatal(err)
	}
	if plan.Changed || plan.Diff != "" {
		t.Errorf("planning %s again would change\n%s", *job.ID, plan.Diff)
	}
}

// nomadEvent is a job as the event stream tells of its registration.
func nomadEvent(t *testing.T, client *nomad.Client, id string) *nomadapi.Job {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	var job *nomadapi.Job
	err := client.Stream(ctx, *nomadJob(t, client, id).JobModifyIndex, func(e nomad.Event) {
		if e.ID == id && e.Type == "JobRegistered" && job == nil {
			job = e.Job
			cancel()
		}
	})
	if job == nil {
		t.Fatalf("the stream does not tell of %s: %v", id, err)
	}
	return job
}
