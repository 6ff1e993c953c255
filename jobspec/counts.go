package jobspec

import "github.com/hashicorp/nomad/api"

// Counts says how many allocations each task group asks for. A nil job asks
// for none, and a group that is null is none.
func Counts(job *api.Job) map[string]int {
	if job == nil {
		return nil
	}
	counts := make(map[string]int, len(job.TaskGroups))
	for _, g := range job.TaskGroups {
		if g != nil {
			counts[text(g.Name)] = count(g)
		}
	}
	return counts
}

func count(g *api.TaskGroup) int {
	if g.Count == nil {
		return 1
	}
	return *g.Count
}

// Expected is how many instances of a service the job will register: a group
// that registers it twice, on two ports, gives two for each allocation.
func Expected(job *api.Job, service string) int { return expected(job, job, service) }

// expected reads the names from the template, where ${NOMAD_META_...} and the
// like still mean what the user wrote, and the counts from what is launched.
func expected(template, launched *api.Job, service string) int {
	counts, n := Counts(launched), 0
	for _, p := range services(template) {
		if inConsul(p.service) && p.name == service {
			n += counts[text(p.group.Name)]
		}
	}
	return n
}
