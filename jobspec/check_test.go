package jobspec

import (
	"strings"
	"testing"

	"github.com/hashicorp/nomad/api"
)

// TestWarnings changes the good job in one way at a time; what is said, and
// what need not be said.
func TestWarnings(t *testing.T) {
	one, zero, yes, no := 1, 0, true, false
	tmpl := func(text string) *api.Template { return &api.Template{EmbeddedTmpl: &text} }
	for name, c := range map[string]struct {
		change func(*api.Job)
		want   string // empty: no warning at all
	}{
		"nothing": {func(*api.Job) {}, ""},
		"static port": {func(j *api.Job) {
			j.TaskGroups[0].Networks[0].ReservedPorts = []api.Port{{Label: "in", Value: 8080}}
		}, `port "in" (group web): 8080 is static, so blue and green cannot share a node`},
		"static port of a task": {func(j *api.Job) {
			j.TaskGroups[0].Tasks[0].Resources.Networks = []*api.NetworkResource{{ReservedPorts: []api.Port{{Label: "in", Value: 8080}}}}
		}, `port "in" (group web): 8080 is static`},
		"static port that may be shared": {func(j *api.Job) {
			j.TaskGroups[0].Networks[0].ReservedPorts = []api.Port{{Label: "in", Value: 8080, IgnoreCollision: true}}
		}, ""},
		"volume both write to": {func(j *api.Job) {
			j.TaskGroups[0].Volumes = map[string]*api.VolumeRequest{"d": {Type: "host"}}
		}, `volume "d" (group web): blue and green write to it at the same time`},
		"volume both read": {func(j *api.Job) {
			j.TaskGroups[0].Volumes = map[string]*api.VolumeRequest{"d": {Type: "host", ReadOnly: true}}
		}, ""},
		"sticky volume": {func(j *api.Job) {
			j.TaskGroups[0].Volumes = map[string]*api.VolumeRequest{"d": {Type: "host", Sticky: true}}
		}, "it is sticky"},
		"canary":      {func(j *api.Job) { j.TaskGroups[0].Update.Canary = &one }, "canary and auto_promote are left out"},
		"auto_revert": {func(j *api.Job) { j.TaskGroups[0].Update.AutoRevert = &yes }, "auto_revert is left out"},
		"no judgement of health": {func(j *api.Job) { j.TaskGroups[0].Update.MaxParallel = &zero },
			"max_parallel = 0 makes Nomad judge no health"},
		"disconnect": {func(j *api.Job) { j.TaskGroups[0].Disconnect = &api.DisconnectStrategy{} }, "disconnect (group web)"},
		"Consul namespace": {func(j *api.Job) { j.TaskGroups[0].Consul = &api.Consul{Namespace: "shop"} },
			`consul namespace "shop" (group web): the policy must name the same namespace`},
		"Consul's default namespace": {func(j *api.Job) { j.TaskGroups[0].Consul = &api.Consul{Namespace: "default"} }, ""},
		"autoscaling":                {func(j *api.Job) { j.TaskGroups[0].Scaling = &api.ScalingPolicy{Enabled: &yes} }, "the autoscaler acts on each colour by itself"},
		"autoscaling that is off":    {func(j *api.Job) { j.TaskGroups[0].Scaling = &api.ScalingPolicy{Enabled: &no} }, ""},
		"its own colour": {func(j *api.Job) { j.TaskGroups[0].Tasks[0].Env[EnvColour] = "production" },
			`its own value "production" is replaced by the colour`},
		"its own other version": {func(j *api.Job) { j.TaskGroups[0].Tasks[0].Env[EnvVersion] = "1" },
			`its own value "1" is replaced by the version "2.0.0"`},
		"its own same version": {func(j *api.Job) { j.TaskGroups[0].Tasks[0].Env[EnvVersion] = "2.0.0" }, ""},
		"vault":                {func(j *api.Job) { j.TaskGroups[0].Tasks[0].Vault = &api.Vault{} }, "must accept api-blue and api-green"},
		"variables of the job": {func(j *api.Job) {
			j.TaskGroups[0].Tasks[0].Templates = []*api.Template{tmpl(`{{ with nomadVar "nomad/jobs/api" }}`)}
		}, `only a job named "api" may read the variable nomad/jobs/api`},
		"other variables": {func(j *api.Job) {
			j.TaskGroups[0].Tasks[0].Templates = []*api.Template{tmpl(`{{ with nomadVar "shared" }}`), {}}
		}, ""},
		"another service in the mesh": {func(j *api.Job) {
			j.TaskGroups[0].Services = append(j.TaskGroups[0].Services, &api.Service{Name: "admin", Connect: &api.ConsulConnect{Native: true}})
		}, `service "admin" (group web): this policy does not route it`},
		"another plain service": {func(j *api.Job) {
			j.TaskGroups[0].Tasks[0].Services = []*api.Service{{Name: "admin"}}
		}, `service "admin" (group web, task server): it is not in the mesh`},
		"another service in Nomad": {func(j *api.Job) {
			j.TaskGroups[0].Services = append(j.TaskGroups[0].Services, &api.Service{Name: "admin", Provider: "nomad"})
		}, `service "admin" (group web): it is registered in Nomad`},
	} {
		t.Run(name, func(t *testing.T) {
			job := load(t, "api")
			delete(job.TaskGroups[0].Tasks[0].Env, EnvVersion)
			c.change(job)
			var told []string
			for _, w := range Check(job, green("api")) {
				told = append(told, w.String())
			}
			if got := strings.Join(told, "\n"); c.want == "" && got != "" || !strings.Contains(got, c.want) {
				t.Errorf("says %q, want %q", got, c.want)
			}
			if len(told) > 1 {
				t.Errorf("says more than one thing: %q", told)
			}
		})
	}
	t.Run("a version nobody knows", func(t *testing.T) {
		job, id := load(t, "api"), green("api")
		job.TaskGroups[0].Tasks[0].Env[EnvVersion], id.Version = "1", ""
		if told := Check(job, id); len(told) != 0 {
			t.Errorf("says %v of a version it leaves as it is", told)
		}
	})
}
