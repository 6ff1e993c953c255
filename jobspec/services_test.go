package jobspec

import (
	"slices"
	"testing"

	"github.com/hashicorp/nomad/api"
)

func TestNamesAreResolvedAsFarAsAJobspecTells(t *testing.T) {
	str := func(s string) *string { return &s }
	task := &api.Task{Name: "server", Meta: map[string]string{"tier": "task"}}
	group := &api.TaskGroup{Name: str("web"), Meta: map[string]string{"tier": "group", "zone": "a"}, Tasks: []*api.Task{task}}
	job := &api.Job{ID: str("api"), Name: str("API"), Namespace: str("shop"), Region: str("eu"), Datacenters: []string{"dc1"},
		Meta: map[string]string{"tier": "job", "team": "x"}, TaskGroups: []*api.TaskGroup{group}}
	for name, want := range map[string]struct{ group, task string }{
		"plain":                    {"plain", "plain"},
		"${JOB}":                   {"API", "API"},
		"${BASE}":                  {"API-web-group", "API-web-server"},
		"${TASKGROUP}-${TASK}":     {"web-group", "web-server"},
		"${NOMAD_JOB_NAME}":        {"API", "API"},
		"${NOMAD_JOB_ID}":          {"api", "api"},
		"${NOMAD_GROUP_NAME}":      {"web", "web"},
		"${NOMAD_TASK_NAME}":       {"${NOMAD_TASK_NAME}", "server"},
		"${NOMAD_NAMESPACE}":       {"shop", "shop"},
		"${NOMAD_REGION}":          {"eu", "eu"},
		"${NOMAD_DC}":              {"dc1", "dc1"},
		"${NOMAD_META_tier}":       {"group", "task"},
		"${NOMAD_META_TEAM}":       {"x", "x"},
		"${NOMAD_META_zone}-x":     {"a-x", "a-x"},
		"${node.unique.name}":      {"${node.unique.name}", "${node.unique.name}"},
		"${NOMAD_ALLOC_INDEX}-api": {"${NOMAD_ALLOC_INDEX}-api", "${NOMAD_ALLOC_INDEX}-api"},
		"$JOB ${ JOB } ${JOB":      {"$JOB ${ JOB } ${JOB", "$JOB ${ JOB } ${JOB"},
	} {
		if got := resolve(name, job, group, nil); got != want.group {
			t.Errorf("%s of a group is %s, want %s", name, got, want.group)
		}
		if got := resolve(name, job, group, task); got != want.task {
			t.Errorf("%s of a task is %s, want %s", name, got, want.task)
		}
	}
	job.Name, job.Datacenters = nil, []string{"dc1", "dc2"}
	if got := resolve("${JOB}-${NOMAD_DC}", job, group, nil); got != "api-${NOMAD_DC}" {
		t.Errorf("without a name, in two datacenters: %s", got)
	}
	job.Datacenters = []string{"*"}
	if got := resolve("${NOMAD_DC}", job, group, nil); got != "${NOMAD_DC}" {
		t.Errorf("in any datacenter: %s", got)
	}
}

func TestServiceNamesAreConsulsEachOnce(t *testing.T) {
	job := load(t, "api")
	g := job.TaskGroups[0]
	g.Services = append(g.Services, &api.Service{Name: "admin", Provider: "nomad"}, &api.Service{Name: "zed", Provider: "consul"}, g.Services[0], &api.Service{Name: "alpha"})
	if got, want := ServiceNames(job), []string{"api", "zed", "alpha"}; !slices.Equal(got, want) {
		t.Errorf("%v, want %v", got, want)
	}
	if got := Expected(job, "api"); got != 2*count(g) {
		t.Errorf("%d instances of a service that is registered twice by %d allocations", got, count(g))
	}
	if got := Expected(job, "admin"); got != 0 {
		t.Errorf("%d instances in Consul of a service that is Nomad's", got)
	}
}

// References to a service by the job's ID, from everywhere in the job, go on
// meaning the same service.
func TestReferencesByTheJobsIDAreKept(t *testing.T) {
	job := load(t, "api")
	ref := "${NOMAD_JOB_ID}-stock"
	job.TaskGroups[0].Services = append(job.TaskGroups[0].Services,
		&api.Service{Name: "side", Connect: &api.ConsulConnect{SidecarService: &api.ConsulSidecarService{
			Proxy: &api.ConsulProxy{Upstreams: []*api.ConsulUpstream{{DestinationName: ref}}}}}},
		&api.Service{Name: "in", Connect: &api.ConsulConnect{Gateway: &api.ConsulGateway{Ingress: &api.ConsulIngressConfigEntry{
			Listeners: []*api.ConsulIngressListener{{Services: []*api.ConsulIngressService{{Name: ref}}}}}}}},
		&api.Service{Name: "out", Connect: &api.ConsulConnect{Gateway: &api.ConsulGateway{Terminating: &api.ConsulTerminatingConfigEntry{
			Services: []*api.ConsulLinkedService{{Name: ref}}}}}},
	)
	got := render(t, job, green("api")).Job.TaskGroups[0].Services
	for what, name := range map[string]string{
		"upstream":            got[1].Connect.SidecarService.Proxy.Upstreams[0].DestinationName,
		"ingress listener":    got[2].Connect.Gateway.Ingress.Listeners[0].Services[0].Name,
		"terminating service": got[3].Connect.Gateway.Terminating.Services[0].Name,
	} {
		if name != "api-stock" {
			t.Errorf("the %s is %s, want api-stock", what, name)
		}
	}
}
