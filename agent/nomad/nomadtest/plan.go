package nomadtest

import (
	"github.com/hashicorp/nomad/api"

	"github.com/tealdeploy/teal/agent/nomad"
)

func (s *Server) plan(job *api.Job) nomad.Plan {
	at := s.jobs[named(value(job.Namespace), value(job.ID))]
	p := nomad.Plan{New: at == nil, Changed: true}
	have, room := map[string]int{}, s.memory-s.used()
	if at != nil {
		p.Index = value(at.job.JobModifyIndex)
		p.Changed = essence(at.job) != essence(job)
		for _, a := range s.allocs {
			if g := job.LookupTaskGroup(a.stub.TaskGroup); a.of == named(value(job.Namespace), value(job.ID)) && a.wanted() {
				if g != nil && !destructive(a.job, job, g) {
					have[a.stub.TaskGroup]++
				} else {
					room += memory(a.job.LookupTaskGroup(a.stub.TaskGroup))
				}
			}
		}
	}
	for _, g := range job.TaskGroups {
		want := value(g.Count)
		gp := nomad.GroupPlan{Name: *g.Name, InPlace: uint64(min(want, have[*g.Name])), Stop: uint64(max(0, have[*g.Name]-want))}
		for n := have[*g.Name]; n < want; n++ {
			if room < memory(g) {
				p.Failures = append(p.Failures, nomad.Placement{Group: *g.Name, Missing: want - n, Looked: 1, Exhausted: map[string]int{"memory": 1}})
				break
			}
			room -= memory(g)
			gp.Place++
		}
		p.Groups = append(p.Groups, gp)
	}
	return p
}

func (s *Server) used() (mb int) {
	for _, a := range s.allocs {
		if !a.ended() {
			mb += memory(a.job.LookupTaskGroup(a.stub.TaskGroup))
		}
	}
	return mb
}

func memory(g *api.TaskGroup) (mb int) {
	for _, t := range g.Tasks {
		if t.Resources != nil {
			mb += value(t.Resources.MemoryMB)
		}
	}
	return mb
}

func exhausted(missing int) *api.AllocationMetric {
	return &api.AllocationMetric{NodesEvaluated: 1, NodesExhausted: 1, DimensionExhausted: map[string]int{"memory": 1}, CoalescedFailures: missing - 1}
}
