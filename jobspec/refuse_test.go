package jobspec

import (
	"errors"
	"strings"
	"testing"

	"github.com/hashicorp/nomad/api"
)

// TestRefusals changes the good job in one way at a time: each must be
// refused, naming the thing.
func TestRefusals(t *testing.T) {
	str := func(s string) *string { return &s }
	yes, zero := true, 0
	for name, c := range map[string]struct {
		change func(*api.Job)
		want   string
	}{
		"system":         {func(j *api.Job) { j.Type = str("system") }, "type is system"},
		"sysbatch":       {func(j *api.Job) { j.Type = str("sysbatch") }, "type is sysbatch"},
		"batch":          {func(j *api.Job) { j.Type = str("batch") }, "type is batch"},
		"periodic":       {func(j *api.Job) { j.Periodic = &api.PeriodicConfig{} }, "periodic block"},
		"parameterized":  {func(j *api.Job) { j.ParameterizedJob = &api.ParameterizedJobConfig{} }, "parameterized block"},
		"multiregion":    {func(j *api.Job) { j.Multiregion = &api.Multiregion{Regions: []*api.MultiregionRegion{{Name: "eu"}}} }, "multiregion block"},
		"stopped":        {func(j *api.Job) { j.Stop = &yes }, "stop is set"},
		"no groups":      {func(j *api.Job) { j.TaskGroups = nil }, "no task groups"},
		"no id":          {func(j *api.Job) { j.ID = nil }, "no job ID"},
		"blue already":   {func(j *api.Job) { j.ID = str("api-blue") }, `name it "api"`},
		"green already":  {func(j *api.Job) { j.ID = str("api-green") }, "ends in -green"},
		"long id":        {func(j *api.Job) { j.ID = str(strings.Repeat("x", maxID)) }, "too long"},
		"other service":  {func(j *api.Job) { j.TaskGroups[0].Services[0].Name = "web" }, "its Consul services are: web"},
		"nomad provider": {func(j *api.Job) { j.TaskGroups[0].Services[0].Provider = "nomad" }, `provider is "nomad"`},
		"not in mesh":    {func(j *api.Job) { j.TaskGroups[0].Services[0].Connect = nil }, "not in the service mesh"},
		"empty connect":  {func(j *api.Job) { j.TaskGroups[0].Services[0].Connect = &api.ConsulConnect{} }, "not in the service mesh"},
		"gateway": {func(j *api.Job) {
			j.TaskGroups[0].Services[0].Connect = &api.ConsulConnect{Gateway: &api.ConsulGateway{}}
		}, "it is a gateway"},
		"no instances": {func(j *api.Job) { j.TaskGroups[0].Count = &zero }, "count = 0"},
		"volume": {func(j *api.Job) {
			j.TaskGroups[0].Volumes = map[string]*api.VolumeRequest{"d": {Type: "csi", AccessMode: "multi-node-single-writer", PerAlloc: true}}
		}, `volume "d"`},
		"host volume": {func(j *api.Job) {
			j.TaskGroups[0].Volumes = map[string]*api.VolumeRequest{"d": {Type: "host", AccessMode: "single-node-single-writer"}}
		}, `volume "d"`},
		"hole": {func(j *api.Job) { j.TaskGroups[0].Tasks[0] = nil }, "empty list element"},
	} {
		t.Run(name, func(t *testing.T) {
			job := load(t, "api")
			if err := Refuse(job, "api"); err != nil {
				t.Fatalf("refused before the change: %v", err)
			}
			c.change(job)
			_, err := Render(job, green("api"))
			var refusal *Refusal
			if !errors.As(err, &refusal) {
				t.Fatalf("error %v, want a Refusal", err)
			}
			if !strings.Contains(err.Error(), c.want) {
				t.Errorf("says %q, want it to contain %q", err, c.want)
			}
			if refusal.Reason == "" || refusal.Way == "" {
				t.Errorf("no reason or no way out: %+v", refusal)
			}
		})
	}
	if err := Refuse(nil, "api"); err == nil {
		t.Error("no job at all was accepted")
	}
}

func TestAllRefusalsAreToldAtOnce(t *testing.T) {
	job := load(t, "stateful")
	job.TaskGroups[0].Services[0].Connect = nil
	err := Refuse(job, "stateful")
	if err == nil || !strings.Contains(err.Error(), "mesh") || !strings.Contains(err.Error(), "volume") {
		t.Errorf("says %v, want both the service and the volume", err)
	}
}

func TestVolumesThatTwoColoursMayMount(t *testing.T) {
	for name, v := range map[string]*api.VolumeRequest{
		"read only":    {Type: "csi", AccessMode: "single-node-writer", ReadOnly: true},
		"multi writer": {Type: "csi", AccessMode: "multi-node-multi-writer"},
		"plain host":   {Type: "host"},
	} {
		job := load(t, "api")
		job.TaskGroups[0].Volumes = map[string]*api.VolumeRequest{"d": v}
		if err := Refuse(job, "api"); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}
