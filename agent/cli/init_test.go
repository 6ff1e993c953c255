package cli

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"testing"

	"github.com/hashicorp/nomad/api"

	"github.com/tealdeploy/teal/agent/policy"
)

func ptr[T any](v T) *T { return &v }

func serviceJob(id string, services ...*api.Service) *api.Job {
	return &api.Job{
		ID: ptr(id), Name: ptr(id), Type: ptr("service"), Namespace: ptr("default"), Region: ptr("global"), Version: ptr(uint64(4)),
		TaskGroups: []*api.TaskGroup{{Name: ptr("web"), Services: services, Tasks: []*api.Task{{Name: "app"}}}},
	}
}

var native = &api.ConsulConnect{Native: true}

// fakeNomad answers for jobs by ID and for their submissions.
func fakeNomad(t *testing.T, jobs map[string]*api.Job, submissions map[string]*api.JobSubmission) {
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		id, rest, _ := strings.Cut(strings.TrimPrefix(r.URL.Path, "/v1/job/"), "/")
		switch {
		case r.Header.Get("X-Nomad-Token") == "bad":
			http.Error(w, "Permission denied", http.StatusForbidden)
		case rest == "" && jobs[id] != nil:
			json.NewEncoder(w).Encode(jobs[id])
		case rest == "submission" && submissions[id] != nil && r.URL.Query().Get("version") == "4":
			json.NewEncoder(w).Encode(submissions[id])
		default:
			http.Error(w, "job not found", http.StatusNotFound)
		}
	}))
	t.Cleanup(srv.Close)
	t.Setenv("NOMAD_ADDR", srv.URL)
}

func TestInitWritesAPolicyThatIsValid(t *testing.T) {
	t.Chdir(t.TempDir())
	fakeNomad(t, map[string]*api.Job{
		"api": serviceJob("api",
			&api.Service{Name: "${NOMAD_JOB_NAME}-http", Connect: native, Checks: []api.ServiceCheck{
				{Type: "http", Path: "/health"}, {Type: "http", Path: "/health"}, {Type: "tcp"}, {Type: "http", Path: "/ready"}, {Type: "http", Path: "/post", Method: "POST"}}},
			&api.Service{Name: "metrics"}),
	}, map[string]*api.JobSubmission{
		"api": {Source: "job \"api\" {\n}", Format: "hcl2", VariableFlags: map[string]string{"version": "1.2.0", "odd": `a "${b}"`}, Variables: "zones = [\"a\", \"b\"]\nreplicas = 3\n"},
	})
	r := teal(t, "init", "-job", "api")
	r.want(t, exitOK, "Wrote api-http.hcl: the policy of api-http.\nWrote api.nomad.hcl: the jobspec as it was submitted.", "")
	text, err := os.ReadFile("api-http.hcl")
	if err != nil {
		t.Fatal(err)
	}
	golden(t, "init", string(text))
	if jobspec, _ := os.ReadFile("api.nomad.hcl"); string(jobspec) != "job \"api\" {\n}\n" {
		t.Errorf("jobspec: %q", jobspec)
	}
	set, diags := policy.Load("api-http.hcl")
	if diags.HasErrors() || set.Len() != 1 {
		t.Fatalf("not valid: %v", diags)
	}
	p := set.Policy("api-http")
	if p.Job.Variables["replicas"] != "3" || p.Job.Variables["version"] != `"1.2.0"` || len(p.Gates) != 2 {
		t.Errorf("%+v", p)
	}

	teal(t, "init", "-job", "api").want(t, exitError, "", "api.nomad.hcl exists already, and is not overwritten")
	os.Remove("api.nomad.hcl")
	teal(t, "init", "-job", "api").want(t, exitError, "", "api-http.hcl exists already")
	if _, err := os.Stat("api.nomad.hcl"); err == nil {
		t.Error("half of it was written")
	}
	r = teal(t, "init", "api", "-o", "-")
	if r.out != string(text) {
		t.Errorf("-o -: %s", r.out)
	}
}

func TestInitRefusesWithAReason(t *testing.T) {
	t.Chdir(t.TempDir())
	jobs := map[string]*api.Job{
		"plain":   serviceJob("plain", &api.Service{Name: "web"}),
		"two":     serviceJob("two", &api.Service{Name: "front", Connect: native}, &api.Service{Name: "admin", Connect: native}),
		"unclear": serviceJob("unclear", &api.Service{Name: "x-${attr.unique.hostname}", Connect: native}),
		"system":  serviceJob("system"),
		"cron":    serviceJob("cron"),
		"stopped": serviceJob("stopped"),
		"green":   serviceJob("green"),
		"nosrc":   serviceJob("nosrc", &api.Service{Name: "nosrc", Connect: native}),
	}
	jobs["system"].Type = ptr("system")
	jobs["cron"].Type, jobs["cron"].Periodic = ptr("batch"), &api.PeriodicConfig{}
	jobs["stopped"].Stop = ptr(true)
	jobs["green"].Meta = map[string]string{"teal_colour": "green"}
	fakeNomad(t, jobs, nil)
	for job, want := range map[string]string{
		"missing": "Nomad has no job missing here",
		"plain":   "no service with Connect, only web",
		"two":     "several services with Connect: admin, front. Choose",
		"unclear": "only known where it runs",
		"system":  "is a system job, and only service jobs have colours",
		"cron":    "is a periodic job",
		"stopped": "is stopped",
		"green":   "already is Teal's own",
	} {
		teal(t, "init", "-job", job).want(t, exitError, "", want)
	}
	teal(t, "init", "-job", "two", "-service", "fornt").want(t, exitError, "", "did you mean front?")
	teal(t, "init", "-job", "plain", "-token", "bad").want(t, exitRefused, "", `capabilities = ["read-job"]`)
	teal(t, "init", "-job", "plain", "-address", "http://127.0.0.1:1").want(t, exitUnreachable, "", "cannot reach Nomad at http://127.0.0.1:1")
	teal(t, "init", "-job", "two", "-service", "front", "-o", "f.hcl").want(t, exitOK, "Wrote f.hcl", "does not have the text this job was submitted with")
	if left, _ := os.ReadDir("."); len(left) != 1 {
		t.Errorf("files left: %v", left)
	}
}

// A job is somebody else's text: its names do not say where files are written, nor do
// its variables add anything to the policy.
func TestInitOfAJobThatSomebodyElseRan(t *testing.T) {
	mesh := &api.ConsulConnect{Native: true}
	for id, service := range map[string]string{"../api": "api", "api": "../../api", "a\n}": "api", ".api": "api"} {
		if b, err := begin(serviceJob(id, &api.Service{Name: service, Connect: mesh}), ""); err == nil {
			t.Errorf("job %q with service %q: it would write %q and %q", id, service, b.jobspecName(), b.service)
		}
	}
	b, err := begin(serviceJob("api", &api.Service{Name: "api", Connect: mesh}, nil), "")
	if err != nil {
		t.Fatal(err)
	}
	if err := b.submitted(&api.JobSubmission{Source: "x", VariableFlags: map[string]string{"a = 1 }\nevil": "x"}}); err == nil || !strings.Contains(err.Error(), "no jobspec can declare") {
		t.Errorf("%v:\n%s", err, b.policy())
	}
}
