package jobspec

import (
	"testing"

	"github.com/hashicorp/nomad/api"
)

// The job given is a person's: one run is a copy with an ID, the candidate in
// every task's environment, and nothing else changed.
func TestTestRunChangesOnlyWhatIsItsOwn(t *testing.T) {
	job := api.NewBatchJob("suite", "suite", "global", 50)
	for _, name := range []string{"a", "b"} {
		job.AddTaskGroup(api.NewTaskGroup(name, 1).AddTask(&api.Task{Name: name, Driver: "raw_exec", Env: map[string]string{"MINE": "1"}}))
	}
	run, err := TestRun(job, "suite-teal-1", "d1", "api", map[string]string{"teal_colour": "green"})
	if err != nil {
		t.Fatal(err)
	}
	if *run.ID != "suite-teal-1" || *run.Name != "suite" || run.Meta[MetaGate] != "d1" || *job.ID != "suite" || len(job.Meta) > 0 {
		t.Errorf("run %s %s %v, job %s %v", *run.ID, *run.Name, run.Meta, *job.ID, job.Meta)
	}
	for i, g := range run.TaskGroups {
		if env := g.Tasks[0].Env; env["TEAL_COLOUR"] != "green" || env["MINE"] != "1" {
			t.Errorf("env of %s: %v", *g.Name, env)
		}
		if len(job.TaskGroups[i].Tasks[0].Env) != 1 {
			t.Error("the person's own job was changed")
		}
	}
}
