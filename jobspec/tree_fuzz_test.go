package jobspec

import (
	"encoding/json"
	"maps"
	"slices"
	"testing"

	"github.com/hashicorp/nomad/api"
)

// FuzzDrift: whatever job stands in Nomad, it is told whether it is another one than
// before: what the server fills in, a count and a way through JSON change no hash,
// what would run does, and of a job with holes there is no hash that could match.
func FuzzDrift(f *testing.F) {
	for _, name := range []string{"api", "shop", "edge", "plain", "stateful", "nightly"} {
		f.Add(marshal(f, load(f, name)), "2.0.0", uint64(7))
	}
	for _, seed := range []string{`{}`, `{"TaskGroups":[null]}`, `{"TaskGroups":[{"Tasks":[null],"Services":[null]}]}`, `{"TaskGroups":[{"Count":null},{"Name":"a","Count":-1},{"Name":"a"}]}`,
		`{"ID":"a-blue","Meta":{"teal_colour":"blue"}}`, `{"ID":"-blue","Meta":{"teal_colour":"blue"}}`, `{"ID":"a-","Meta":{"teal_colour":""}}`,
		`{"TaskGroups":[{"Scaling":{"Policy":{"a":[1e999]}},"Tasks":[{"Config":{"a":{"b":[null,{}]},"n":1e300},"Env":{"APP_VERSION":"9"}}]}]}`,
		`{"TaskGroups":[{"Update":{},"Services":[{"Name":"${JOB}-${TASKGROUP}","Connect":{"SidecarService":{}},"CanaryMeta":{"teal_colour":"blue"}}]}]}`} {
		f.Add(seed, "", uint64(1))
	}
	f.Fuzz(func(t *testing.T, raw, version string, index uint64) {
		job := new(api.Job)
		if json.Unmarshal([]byte(raw), job) != nil {
			return
		}
		before := marshal(t, job)
		hash, counts := Hash(job, version), Counts(job)
		ServiceNames(job)
		if n := Expected(job, "a"); n != 0 && len(job.TaskGroups) == 0 {
			t.Fatalf("%d instances of no group", n)
		}
		if marshal(t, job) != before {
			t.Fatal("the job was changed")
		}
		if hash == "" {
			return // it has a hole, or cannot be written: it matches nothing
		}

		// As Nomad gives it back.
		kept := new(api.Job)
		if err := json.Unmarshal([]byte(before), kept); err != nil {
			t.Fatal(err)
		}
		status, yes := "running", true
		kept.Status, kept.Stable, kept.Version, kept.SubmitTime, kept.ModifyIndex, kept.JobModifyIndex, kept.Stop = &status, &yes, &index, new(int64), &index, &index, &yes
		if got := Hash(kept, version); got != hash {
			t.Fatalf("%s, and %s as Nomad keeps it:\n%s", hash, got, before)
		}
		if !maps.Equal(Counts(kept), counts) {
			t.Fatalf("counts %v, and %v as Nomad keeps it", counts, Counts(kept))
		}
		for _, g := range kept.TaskGroups {
			n := 99
			g.Count = &n
		}
		if got := Hash(kept, version); got != hash {
			t.Fatalf("another count is another job: %s and %s", hash, got)
		}

		// What would run.
		for _, change := range []func(*api.Job){
			func(j *api.Job) { j.Datacenters = append(slices.Clone(j.Datacenters), "another") },
			func(j *api.Job) { j.TaskGroups = append(slices.Clone(j.TaskGroups), &api.TaskGroup{}) },
			func(j *api.Job) { n := 51; j.Priority = &n; *kept.Priority = 52 },
		} {
			if kept.Priority == nil {
				kept.Priority = new(int)
			}
			other := *kept
			if change(&other); Hash(&other, version) == Hash(kept, version) {
				t.Fatalf("another job has the same hash:\n%s\n%s", marshal(t, kept), marshal(t, other))
			}
		}
		if Hash(job, version+"x") == hash {
			t.Fatal("another version has the same hash")
		}
	})
}
