package jobspec

import (
	"errors"
	"fmt"
	"reflect"
	"strings"

	"github.com/hashicorp/nomad/api"
)

// MetaGate stands on a job that a gate runs, and names the release it tests.
const MetaGate = "teal_gate"

// TestRun makes one run of a person's own batch job: under an ID of its own,
// and with what it is given of the candidate in the environment of every task,
// names in upper case. The job given is not changed. Service is the one that is
// being released; a test must not register instances of it.
func TestRun(job *api.Job, id, deployment, service string, given map[string]string) (*api.Job, error) {
	if hole(reflect.ValueOf(job)) {
		return nil, &Refusal{Thing: "the job", Reason: errHole.Error(), Way: "give the job as Nomad parses it"}
	}
	if err := refuseTest(job, service); err != nil {
		return nil, err
	}
	out, err := Copy(job)
	if err != nil {
		return nil, fmt.Errorf("copy job %s: %w", *job.ID, err)
	}
	env := map[string]string{}
	for name, value := range given {
		env[strings.ToUpper(name)] = value
	}
	out.ID = &id
	out.Meta = with(out.Meta, map[string]string{MetaGate: deployment})
	for _, g := range out.TaskGroups {
		for _, t := range g.Tasks {
			t.Env = with(t.Env, env)
		}
	}
	return out, nil
}

// refuseTest gives every reason why a job cannot be a gate's test.
func refuseTest(job *api.Job, service string) error {
	var errs []error
	refuse := func(thing, reason, way string) {
		errs = append(errs, &Refusal{Job: text(job.ID), Thing: thing, Reason: reason, Way: way})
	}
	switch kind := text(job.Type); {
	case job.ParameterizedJob != nil:
		refuse("parameterized block", "it only runs when dispatched", "register it with nomad job run and name it with dispatch")
	case job.Periodic != nil:
		refuse("periodic block", "its runs begin by the clock", "remove the block")
	case kind != api.JobTypeBatch:
		refuse("type is "+kind, "it has no end that could be judged", `use type = "batch"`)
	}
	for _, g := range job.TaskGroups {
		if g.Count != nil && *g.Count == 0 {
			refuse("group "+text(g.Name), "its count is 0, so that it would test nothing", "give it a count")
		}
	}
	for _, name := range ServiceNames(job) {
		if name == service {
			refuse("service "+name, "that is the service which is being released: the test would be among its instances", "remove it, or give it another name")
		}
	}
	return errors.Join(errs...)
}
