package jobspec

import (
	"encoding/json"
	"testing"

	"github.com/hashicorp/nomad/api"

	"github.com/tealdeploy/teal/agent/deployment"
)

func TestTemplateAndColoursHaveOneHash(t *testing.T) {
	for name, service := range map[string]string{"api": "api", "shop": "shop-front", "edge": "edge"} {
		job := load(t, name)
		want := Hash(job, "2.0.0")
		for _, c := range deployment.Colours {
			id := green(service)
			id.Colour = c
			r := render(t, job, id)
			if r.Hash != want || r.Job.Meta[MetaHash] != want {
				t.Errorf("%s %s is rendered with hash %s, want %s", name, c, r.Hash, want)
			}
			if got := Hash(r.Job, "2.0.0"); got != want {
				t.Errorf("%s %s hashes to %s, its template to %s", name, c, got, want)
			}
			again := new(api.Job)
			if err := json.Unmarshal([]byte(marshal(t, r.Job)), again); err != nil {
				t.Fatal(err)
			}
			if Hash(again, "2.0.0") != want {
				t.Errorf("%s %s: hash does not survive JSON", name, c)
			}
		}
	}
}

func TestHashIgnores(t *testing.T) {
	one, n, yes, s := 1, uint64(9), true, "running"
	for name, change := range map[string]func(*api.Job){
		"count":         func(j *api.Job) { j.TaskGroups[0].Count = &one },
		"server fields": func(j *api.Job) { j.Status, j.Version, j.JobModifyIndex, j.Stable = &s, &n, &n, &yes },
		"empty lists":   func(j *api.Job) { j.Affinities = []*api.Affinity{} },
		"teal meta":     func(j *api.Job) { j.Meta[MetaEpoch] = "12" },
		"own colour":    func(j *api.Job) { j.TaskGroups[0].Tasks[0].Env[EnvColour] = "production" },
		"scaling id":    func(j *api.Job) { j.TaskGroups[0].Scaling.ID = "x" },
		"canary":        func(j *api.Job) { j.TaskGroups[0].Update.Canary = &one },
	} {
		a, b := load(t, "shop"), load(t, "shop")
		for _, j := range []*api.Job{a, b} {
			j.Meta = map[string]string{"team": "shop"}
			j.TaskGroups[0].Tasks[0].Env = map[string]string{"A": "b"}
		}
		change(b)
		if Hash(a, "") != Hash(b, "") {
			t.Errorf("%s changes the hash", name)
		}
	}
}

func TestHashSees(t *testing.T) {
	three := int64(3)
	for name, change := range map[string]func(*api.Job){
		"image":         func(j *api.Job) { j.TaskGroups[0].Tasks[0].Config["image"] = "shop/front:2.2" },
		"name":          func(j *api.Job) { s := "store"; j.Name = &s },
		"job meta":      func(j *api.Job) { j.Meta = map[string]string{"a": "b"} },
		"service tag":   func(j *api.Job) { j.TaskGroups[0].Services[0].Tags = []string{"x"} },
		"env":           func(j *api.Job) { j.TaskGroups[3-1].Tasks[0].Env["X"] = "y" },
		"app version":   func(j *api.Job) { j.TaskGroups[2].Tasks[0].Env[EnvVersion] = "mine" },
		"scaling bound": func(j *api.Job) { j.TaskGroups[0].Scaling.Min = &three },
		"new group":     func(j *api.Job) { j.TaskGroups = append(j.TaskGroups, api.NewTaskGroup("more", 1)) },
		"region":        func(j *api.Job) { s := "eu"; j.Region = &s },
	} {
		a, b := load(t, "shop"), load(t, "shop")
		change(b)
		if Hash(a, "") == Hash(b, "") {
			t.Errorf("%s does not change the hash", name)
		}
	}
	job := load(t, "shop")
	if Hash(job, "1") == Hash(job, "2") {
		t.Error("the version does not change the hash")
	}
	if mesh, none := load(t, "edge"), load(t, "edge"); true {
		mesh.TaskGroups[0].Services[0].Connect.Gateway.Mesh = &api.ConsulMeshConfigEntry{}
		if Hash(mesh, "") == Hash(none, "") {
			t.Error("an empty mesh block does not change the hash")
		}
	}
}

// A count has no hash of its own: it is scaled in place.
func TestCountsAreNoPartOfTheHash(t *testing.T) {
	a, b := load(t, "api"), load(t, "api")
	five := 5
	b.TaskGroups[0].Count = &five
	if Hash(a, "") != Hash(b, "") || Expected(b, "api") != 5 || Counts(b)["web"] != 5 {
		t.Error("count 3 to 5: want the same hash and 5 expected")
	}
	b.TaskGroups[0].Tasks[0].Driver = "exec"
	if Hash(a, "") == Hash(b, "") {
		t.Error("another driver has the same hash")
	}
}

// FuzzRender feeds jobs nobody would write: it must refuse or keep its
// promises, never panic.
func FuzzRender(f *testing.F) {
	for _, name := range []string{"api", "shop", "edge", "plain", "stateful", "nightly"} {
		f.Add(marshal(f, load(f, name)), "shop-front")
	}
	f.Add(`{"ID":"a","TaskGroups":[null]}`, "a")
	f.Add(`{"ID":"a","TaskGroups":[{"Services":[{"Name":"a","Connect":{"Native":true}}],"Volumes":{"v":null}}]}`, "a")
	f.Fuzz(func(t *testing.T, raw, service string) {
		job := new(api.Job)
		if json.Unmarshal([]byte(raw), job) != nil {
			return
		}
		before := marshal(t, job)
		Hash(job, "")
		r, err := Render(job, green(service))
		if marshal(t, job) != before {
			t.Fatal("the template was changed")
		}
		if err != nil {
			return
		}
		if r.Hash == "" || r.Hash != Hash(r.Job, "2.0.0") {
			t.Fatalf("hash %q of the template, %q of its colour", r.Hash, Hash(r.Job, "2.0.0"))
		}
		if r.Expected < 1 {
			t.Fatalf("%d instances expected", r.Expected)
		}
	})
}
