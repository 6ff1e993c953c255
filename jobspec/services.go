package jobspec

import (
	"regexp"
	"strings"

	"github.com/hashicorp/nomad/api"
)

// placed is a service with the place it stands in.
type placed struct {
	service *api.Service
	group   *api.TaskGroup
	task    *api.Task // nil for a group's own service
	name    string    // resolved as far as a jobspec can tell
}

// where names the place for people.
func (p placed) where() string {
	if p.task != nil {
		return "group " + text(p.group.Name) + ", task " + p.task.Name
	}
	return "group " + text(p.group.Name)
}

// services lists a job's services with the names they will have in Consul. What is
// null in it, which Nomad never says, is left out.
func services(job *api.Job) []placed {
	var all []placed
	add := func(g *api.TaskGroup, t *api.Task, list []*api.Service) {
		for _, s := range list {
			if s != nil {
				all = append(all, placed{s, g, t, resolve(s.Name, job, g, t)})
			}
		}
	}
	for _, g := range job.TaskGroups {
		if g == nil {
			continue
		}
		add(g, nil, g.Services)
		for _, t := range g.Tasks {
			if t != nil {
				add(g, t, t.Services)
			}
		}
	}
	return all
}

// ServiceNames lists the Consul services a job registers, in the order in
// which it declares them, each once.
func ServiceNames(job *api.Job) []string {
	var names []string
	seen := map[string]bool{}
	for _, p := range services(job) {
		if inConsul(p.service) && !seen[p.name] {
			seen[p.name] = true
			names = append(names, p.name)
		}
	}
	return names
}

func inConsul(s *api.Service) bool {
	return s.Provider == "" || s.Provider == api.ServiceProviderConsul
}

// variable is what Nomad takes for an interpolation (its helper/args).
var variable = regexp.MustCompile(`\$\{[a-zA-Z0-9_\-\.]+\}`)

// resolve does what Nomad's server and client do to a service's name, for
// everything that does not depend on the node or the allocation. What it
// cannot know stays as written.
func resolve(name string, job *api.Job, g *api.TaskGroup, t *api.Task) string {
	if !strings.Contains(name, "${") {
		return name
	}
	task := "group" // Nomad's own word for it in ${TASK} and ${BASE}
	if t != nil {
		task = t.Name
	}
	jobName := text(job.Name)
	if jobName == "" {
		jobName = text(job.ID)
	}
	known := map[string]string{
		"JOB":              jobName,
		"TASKGROUP":        text(g.Name),
		"TASK":             task,
		"BASE":             jobName + "-" + text(g.Name) + "-" + task,
		"NOMAD_JOB_NAME":   jobName,
		"NOMAD_JOB_ID":     text(job.ID),
		"NOMAD_GROUP_NAME": text(g.Name),
		"NOMAD_NAMESPACE":  text(job.Namespace),
		"NOMAD_REGION":     text(job.Region),
	}
	if t != nil {
		known["NOMAD_TASK_NAME"] = t.Name
	}
	if len(job.Datacenters) == 1 && !strings.Contains(job.Datacenters[0], "*") {
		known["NOMAD_DC"] = job.Datacenters[0]
	}
	metas := []map[string]string{job.Meta, g.Meta}
	if t != nil {
		metas = append(metas, t.Meta)
	}
	for _, meta := range metas {
		for k, v := range meta {
			known["NOMAD_META_"+k] = v
			known["NOMAD_META_"+strings.ToUpper(k)] = v
		}
	}
	return variable.ReplaceAllStringFunc(name, func(ref string) string {
		if v, ok := known[ref[2:len(ref)-1]]; ok {
			return v
		}
		return ref
	})
}

// jobIDReference is the one name of the job that the colour changes.
const jobIDReference = "${NOMAD_JOB_ID}"

// keepServiceNames makes every service keep its name although the job's ID
// changes, and everything in the job that calls one by that name.
func keepServiceNames(job *api.Job, template string) {
	keep := func(name *string) { *name = strings.ReplaceAll(*name, jobIDReference, template) }
	for _, p := range services(job) {
		keep(&p.service.Name)
		c := p.service.Connect
		if c == nil {
			continue
		}
		if c.SidecarService != nil && c.SidecarService.Proxy != nil {
			for _, u := range c.SidecarService.Proxy.Upstreams {
				keep(&u.DestinationName)
			}
		}
		if c.Gateway == nil {
			continue
		}
		if c.Gateway.Ingress != nil {
			for _, l := range c.Gateway.Ingress.Listeners {
				for _, s := range l.Services {
					keep(&s.Name)
				}
			}
		}
		if c.Gateway.Terminating != nil {
			for _, s := range c.Gateway.Terminating.Services {
				keep(&s.Name)
			}
		}
	}
}
