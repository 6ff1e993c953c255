package jobspec

import (
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"sort"
	"strings"
	"testing"

	"github.com/hashicorp/nomad/api"

	"github.com/tealdeploy/teal/agent/deployment"
)

var update = flag.Bool("update", false, "write the golden files")

// load reads what Nomad's own parser made of testdata/<name>.nomad.hcl.
func load(t testing.TB, name string) *api.Job {
	t.Helper()
	raw, err := os.ReadFile(filepath.Join("testdata", name+".json"))
	if err != nil {
		t.Fatal(err)
	}
	job := new(api.Job)
	if err := json.Unmarshal(raw, job); err != nil {
		t.Fatal(err)
	}
	return job
}

func green(service string) Identity {
	return Identity{Service: service, Colour: deployment.Green, Version: "2.0.0", Epoch: 7, Deployment: "d-1"}
}

func render(t testing.TB, job *api.Job, id Identity) *Rendered {
	t.Helper()
	r, err := Render(job, id)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// TestRender compares, value by value, each fixture with its green job: the
// golden file holds every difference there is, so that a further one fails.
func TestRender(t *testing.T) {
	for _, c := range []struct{ job, service string }{
		{"api", "api"},
		{"shop", "shop-front"},
		{"shop", "shop-stock"},
		{"shop", "shop-metrics"},
		{"shop", "nowhere"},
		{"edge", "edge"},
		{"edge", "edge-gateway"},
		{"plain", "plain-web"},
		{"plain", "plain-nomad"},
		{"stateful", "stateful"},
		{"nightly", "nightly"},
	} {
		t.Run(c.job+"/"+c.service, func(t *testing.T) {
			job := load(t, c.job)
			before := marshal(t, job)
			r, err := Render(job, green(c.service))
			if marshal(t, job) != before {
				t.Error("the template was changed")
			}
			var b strings.Builder
			if err != nil {
				fmt.Fprintf(&b, "refused\n%v\n", err)
			} else {
				fmt.Fprintf(&b, "%s of %s, %d of %v expected\n", r.ID, r.Template, r.Expected, r.Counts)
				for _, line := range rawDiff(t, job, r.Job) {
					fmt.Fprintln(&b, line)
				}
				for _, w := range r.Warnings {
					fmt.Fprintln(&b, "warning:", w)
				}
			}
			golden(t, c.job+"-"+c.service, b.String())
		})
	}
}

func golden(t *testing.T, name, got string) {
	t.Helper()
	path := filepath.Join("testdata", name+".golden")
	if *update {
		if err := os.WriteFile(path, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if got != string(want) {
		t.Errorf("differs from %s (-update writes it)\n--- got\n%s--- want\n%s", path, got, want)
	}
}

func marshal(t testing.TB, v any) string {
	t.Helper()
	raw, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return string(raw)
}

// rawDiff knows nothing of what Teal means to change.
func rawDiff(t *testing.T, a, b *api.Job) []string {
	flatten := func(job *api.Job) map[string]string {
		var tree any
		if err := json.Unmarshal([]byte(marshal(t, job)), &tree); err != nil {
			t.Fatal(err)
		}
		flat := map[string]string{}
		var walk func(string, any)
		walk = func(path string, v any) {
			switch v := v.(type) {
			case map[string]any:
				for k, e := range v {
					walk(path+"."+k, e)
				}
			case []any:
				for i, e := range v {
					walk(fmt.Sprintf("%s[%d]", path, i), e)
				}
			case nil:
			default:
				flat[path] = fmt.Sprintf("%v", v)
			}
		}
		walk("", tree)
		return flat
	}
	was, is := flatten(a), flatten(b)
	var lines []string
	for p, v := range is {
		if old, ok := was[p]; !ok {
			lines = append(lines, fmt.Sprintf("+ %s = %s", p, v))
		} else if old != v {
			lines = append(lines, fmt.Sprintf("~ %s = %s (was %s)", p, v, old))
		}
	}
	for p, v := range was {
		if _, ok := is[p]; !ok {
			lines = append(lines, fmt.Sprintf("- %s = %s", p, v))
		}
	}
	sort.Slice(lines, func(i, j int) bool { return lines[i][2:] < lines[j][2:] })
	return lines
}

func TestColouresOfOneTemplateDifferInTheColourOnly(t *testing.T) {
	job := load(t, "shop")
	id := green("shop-front")
	a := render(t, job, id)
	id.Colour = deployment.Blue
	b := render(t, job, id)
	for _, line := range rawDiff(t, a.Job, b.Job) {
		if !strings.Contains(line, "blue") || !strings.Contains(line, "green") {
			t.Errorf("differs in more than the colour: %s", line)
		}
	}
}

func TestEveryConsulServiceHasItsColour(t *testing.T) {
	for name, service := range map[string]string{"api": "api", "shop": "shop-front", "edge": "edge"} {
		r := render(t, load(t, name), green(service))
		for _, p := range services(r.Job) {
			if p.service.Meta[MetaColour] != "green" {
				t.Errorf("%s: service %s has no colour", name, p.name)
			}
			if c := p.service.Connect; c != nil && c.SidecarService != nil && c.SidecarService.Meta[MetaColour] != "green" {
				t.Errorf("%s: sidecar of %s has no colour", name, p.name)
			}
			if m := p.service.CanaryMeta; m != nil && m[MetaColour] != "green" {
				t.Errorf("%s: canary_meta of %s hides the colour", name, p.name)
			}
		}
	}
}

func TestNamesDoNotChangeWithTheColour(t *testing.T) {
	for name, service := range map[string]string{"api": "api", "shop": "shop-front", "edge": "edge"} {
		job := load(t, name)
		r := render(t, job, green(service))
		if got, want := ServiceNames(r.Job), ServiceNames(job); !reflect.DeepEqual(got, want) {
			t.Errorf("%s registers %v, the template %v", name, got, want)
		}
	}
}

func TestAutoscaledGroupsStartAsLargeAsTheActiveColour(t *testing.T) {
	id := green("shop-front")
	id.Counts = map[string]int{"front": 9, "stock": 9}
	r := render(t, load(t, "shop"), id)
	if r.Counts["front"] != 9 || r.Counts["stock"] != 2 || r.Expected != 9 {
		t.Errorf("counts %v, expected %d: want front 9 (autoscaled), stock 2 (its own), 9 expected", r.Counts, r.Expected)
	}
	id.Counts["front"] = 99
	if r = render(t, load(t, "shop"), id); r.Counts["front"] != 10 {
		t.Errorf("front is %d, beyond its max of 10", r.Counts["front"])
	}
	// The active colour may have been scaled to nothing by a person; the
	// candidate starts with what its scaling block asks for at least.
	id.Counts["front"] = 0
	if r = render(t, load(t, "shop"), id); r.Counts["front"] != 2 {
		t.Errorf("front is %d, below its min of 2", r.Counts["front"])
	}
}

func TestNoCanariesOfAJobEither(t *testing.T) {
	one, yes := 1, true
	job := load(t, "api")
	job.Update = &api.UpdateStrategy{Canary: &one, AutoPromote: &yes, AutoRevert: &yes}
	u := render(t, job, green("api")).Job.Update
	if *u.Canary != 0 || *u.AutoPromote || *u.AutoRevert {
		t.Errorf("canary %d, auto_promote %t, auto_revert %t", *u.Canary, *u.AutoPromote, *u.AutoRevert)
	}
}

func TestUnknownVersionLeavesTheUsersOwn(t *testing.T) {
	job := load(t, "api")
	job.TaskGroups[0].Tasks[0].Env[EnvVersion] = "mine"
	id := green("api")
	id.Version = ""
	if got := render(t, job, id).Job.TaskGroups[0].Tasks[0].Env[EnvVersion]; got != "mine" {
		t.Errorf("APP_VERSION is %q, want the user's own", got)
	}
}
