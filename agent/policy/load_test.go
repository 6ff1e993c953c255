package policy

import (
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/hashicorp/hcl/v2"
)

func write(t testing.TB, dir, name, text string) string {
	t.Helper()
	path := filepath.Join(dir, name)
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	return path
}

// services are the names of the policies in force.
func services(set *Set) []string {
	names := []string{}
	for _, p := range set.Policies() {
		names = append(names, p.Service)
	}
	return names
}

func noMistakes(t testing.TB, diags hcl.Diagnostics) {
	t.Helper()
	if len(diags) > 0 {
		t.Fatalf("unexpected diagnostics: %v", diags)
	}
}

func minimal(service string) string {
	return `service "` + service + `" {
  job = "api.nomad.hcl"
}
`
}

func TestLoadFullPolicy(t *testing.T) {
	t.Setenv("TEAL_TEST_REGION", "eu")
	dir := t.TempDir()
	jobspec := `job "api" {}`
	write(t, dir, "api.nomad.hcl", jobspec)
	write(t, dir, "motd.txt", "hello\n")
	file := write(t, dir, "api.hcl", `
locals {
  tag   = "v${local.major}.3.0" # refers to a later one
  major = 1
}
service "api" {
  job = "api.nomad.hcl"
  variables = {
    version = trimprefix(local.tag, "v")
    count   = 2 + 1
    debug   = true
    zones   = ["a", "b"]
    limits  = { cpu = 100, note = "$${literal}" }
    region  = env("TEAL_TEST_REGION")
    other   = env("TEAL_TEST_NOT_SET", "none")
    motd    = trimspace(file("motd.txt"))
  }
  version_variable = "version"
  auto      = false
  namespace = "ns1"
  partition = "p1"
  launch {
    deadline    = "1m"
    healthy_for = "0s"
    keep_failed = "2m"
  }
  gate "http" "smoke" {
    path = "/health"
  }
  gate "http" "second" {
    path = "/ready"
  }
  approval {
    required = true
    deadline = "1h"
  }
  cutover {
    router   = "service-resolver"
    protocol = "tcp"
    on_edit  = "repair"
    timeout  = "3s"
    probe {
      url     = "http://edge:8080/version"
      expect  = "1.3.0"
      headers = { Host = "api.example.com" }
    }
  }
  jobs {
    handover_deadline = "4s"
  }
  watch {
    for      = "5m"
    interval = "2s"
    trigger "consul-health" "health" {}
  }
  soak {
    for   = "6h"
    then  = "stop"
    newer = "replace"
  }
}`)
	set, diags := Load(dir)
	noMistakes(t, diags)
	p := set.Policy("api")
	if p == nil {
		t.Fatal("no policy")
	}
	wantVars := map[string]string{
		"version": `"1.3.0"`, "count": "3", "debug": "true", "zones": `["a", "b"]`,
		"limits": `{ "cpu" = 100, "note" = "$${literal}" }`, "region": `"eu"`, "other": `"none"`, "motd": `"hello"`,
	}
	if !reflect.DeepEqual(p.Job.Variables, wantVars) {
		t.Errorf("variables: %v\nwant: %v", p.Job.Variables, wantVars)
	}
	if p.Job.Path != filepath.Join(dir, "api.nomad.hcl") || p.Job.Source() != jobspec || p.Version(nil) != "1.3.0" {
		t.Errorf("job: %+v", p.Job)
	}
	if p.File != file || p.Line != 6 || p.Service != "api" || p.Namespace != "ns1" || p.Partition != "p1" || p.Auto {
		t.Errorf("service: %+v", p)
	}
	if want := (Launch{time.Minute, 0, 2 * time.Minute}); p.Launch != want {
		t.Errorf("launch: %+v", p.Launch)
	}
	if len(p.Gates) != 2 || p.Gates[0].Name != "smoke" || p.Gates[1].Name != "second" || p.Gates[0].Gate == nil {
		t.Errorf("gates: %+v", p.Gates)
	}
	if want := (Approval{Required: true, Deadline: time.Hour}); !reflect.DeepEqual(p.Approval, want) {
		t.Errorf("approval: %+v", p.Approval)
	}
	want := Cutover{Router: "service-resolver", Protocol: "tcp", Repair: true, Timeout: 3 * time.Second,
		Probe: &Probe{URL: "http://edge:8080/version", Expect: "1.3.0", Header: map[string]string{"Host": "api.example.com"}}}
	if !reflect.DeepEqual(p.Cutover, want) {
		t.Errorf("cutover: %+v", p.Cutover)
	}
	if p.Jobs.HandoverDeadline != 4*time.Second {
		t.Errorf("jobs: %+v", p.Jobs)
	}
	if p.Watch.For != 5*time.Minute || p.Watch.Interval != 2*time.Second || len(p.Watch.Triggers) != 1 || p.Watch.Triggers[0].Kind != "consul-health" {
		t.Errorf("watch: %+v", p.Watch)
	}
	if want := (Soak{6 * time.Hour, "stop", "replace"}); p.Soak != want {
		t.Errorf("soak: %+v", p.Soak)
	}
	files := sortedKeys(set.Files)
	if want := []string{"api.hcl", "api.nomad.hcl", "motd.txt"}; !slices.Equal(baseNames(files), want) {
		t.Errorf("files: %v", files)
	}
}

func baseNames(paths []string) []string {
	var names []string
	for _, path := range paths {
		names = append(names, filepath.Base(path))
	}
	return names
}

func TestMinimalPolicyIsDefaults(t *testing.T) {
	dir := t.TempDir()
	write(t, dir, "api.nomad.hcl", `job "api" {}`)
	set, diags := Load(write(t, dir, "api.hcl", minimal("api")))
	noMistakes(t, diags)
	got, want := *set.Policy("api"), Defaults()
	if got.Hash() == want.Hash() {
		t.Error("the service's name is not part of the hash")
	}
	want.Service, want.File, want.Line, want.Job = got.Service, got.File, got.Line, got.Job
	want.digest, want.source = got.digest, got.source
	if !reflect.DeepEqual(got, want) {
		t.Errorf("policy: %+v\ndefaults: %+v", got, want)
	}
}

// A directory of policies holds other files too.
func TestDirectory(t *testing.T) {
	dir := t.TempDir()
	write(t, dir, "api.nomad.hcl", `job "api" {}`)
	write(t, dir, "b.hcl", minimal("b1")+minimal("b2"))
	write(t, dir, "a.hcl", minimal("a"))
	write(t, dir, "empty.hcl", "# nothing yet\n")
	broken := "service {"
	write(t, dir, ".hidden.hcl", broken)
	write(t, dir, ".#a.hcl", broken)
	write(t, dir, "#a.hcl#", broken)
	write(t, dir, "a.hcl~", broken)
	write(t, dir, "a.hcl.swp", broken)
	write(t, dir, "old.nomad", broken)
	write(t, dir, "README.md", broken)
	write(t, dir, "below/c.hcl", broken)
	write(t, dir, "folder.hcl/c.hcl", broken)
	write(t, dir, "jobspec.hcl", `variable "version" {}
job "api" {}`)
	if err := os.Symlink("below", filepath.Join(dir, "link.hcl")); err != nil {
		t.Fatal(err)
	}
	set, diags := Load(dir)
	noMistakes(t, diags)
	if got, want := services(set), []string{"a", "b1", "b2"}; !slices.Equal(got, want) {
		t.Errorf("services: %v, want %v", got, want)
	}
	if set.Policy("nobody") != nil {
		t.Error("a policy for a service that has none")
	}
}

// What cannot be read at all says so and takes nothing else with it.
func TestUnreadable(t *testing.T) {
	dir := t.TempDir()
	write(t, dir, "api.nomad.hcl", `job "api" {}`)
	write(t, dir, "good.hcl", minimal("good"))
	write(t, dir, "large.hcl", strings.Repeat("#\n", maxFileSize))
	write(t, dir, "latin1.hcl", "# ok\n# caf\xe9\n")
	write(t, dir, "deep.hcl", "a = "+strings.Repeat("(", 1<<19))
	if err := os.Symlink("nowhere", filepath.Join(dir, "dangling.hcl")); err != nil {
		t.Fatal(err)
	}
	set, diags := Load(dir)
	if got := services(set); !slices.Equal(got, []string{"good"}) {
		t.Errorf("services: %v", got)
	}
	said := ""
	for _, diag := range diags {
		said += diag.Error() + "\n"
	}
	for _, want := range []string{"large.hcl: it is larger than 1024 KiB", "latin1.hcl:2,6-7: Not a text file", "deep.hcl:1,", "Too deeply nested", "there is no file", "dangling.hcl"} {
		if !strings.Contains(strings.ToLower(said), strings.ToLower(want)) {
			t.Errorf("%q is not said in:\n%s", want, said)
		}
	}
	if len(diags) != 4 {
		t.Errorf("%d diagnostics, want 4:\n%s", len(diags), said)
	}

	_, diags = Load(filepath.Join(dir, "nowhere"))
	if !diags.HasErrors() || !strings.Contains(diags.Error(), "there is no file") {
		t.Errorf("a path that does not exist: %v", diags)
	}
}
