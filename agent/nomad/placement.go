package nomad

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/hashicorp/nomad/api"
)

// Placement is why a task group's allocations cannot be placed, in Nomad's
// own terms.
type Placement struct {
	Group     string
	Missing   int            // allocations without a place
	Pool      string         // node pool looked in
	Looked    int            // nodes looked at
	Available map[string]int // nodes by datacenter
	Filtered  map[string]int // nodes by the constraint or class that rules them out
	Exhausted map[string]int // nodes by what they have too little of: memory, cpu, ports
	Quota     []string       // quotas that are used up (enterprise)
}

func placements(failed map[string]*api.AllocationMetric) []Placement {
	var all []Placement
	for _, group := range slices.Sorted(maps.Keys(failed)) {
		m := failed[group]
		if m == nil {
			continue
		}
		filtered := maps.Clone(m.ConstraintFiltered)
		for class, n := range m.ClassFiltered {
			if filtered == nil {
				filtered = map[string]int{}
			}
			filtered["class "+class] = n
		}
		all = append(all, Placement{
			Group: group, Missing: m.CoalescedFailures + 1, Pool: m.NodePool, Looked: m.NodesEvaluated,
			Available: m.NodesAvailable, Filtered: filtered, Exhausted: m.DimensionExhausted, Quota: m.QuotaExhausted,
		})
	}
	return all
}

// String is one line for people.
func (p Placement) String() string {
	var why []string
	nodes := 0
	for _, n := range p.Available {
		nodes += n
	}
	switch {
	case nodes == 0 && len(p.Available) > 0:
		why = append(why, "no node is available in datacenter "+strings.Join(slices.Sorted(maps.Keys(p.Available)), ", "))
	case p.Looked == 0:
		why = append(why, fmt.Sprintf("no node is eligible in node pool %q", p.Pool))
	default:
		why = append(why, fmt.Sprintf("%s looked at", count(p.Looked, "node")))
	}
	for _, what := range slices.Sorted(maps.Keys(p.Exhausted)) {
		why = append(why, fmt.Sprintf("%s exhausted on %s", what, count(p.Exhausted[what], "node")))
	}
	for _, what := range slices.Sorted(maps.Keys(p.Filtered)) {
		why = append(why, fmt.Sprintf("constraint %q rules out %s", what, count(p.Filtered[what], "node")))
	}
	for _, q := range p.Quota {
		why = append(why, fmt.Sprintf("quota %q is used up", q))
	}
	return fmt.Sprintf("group %q: %s cannot be placed: %s", p.Group, count(p.Missing, "allocation"), strings.Join(why, ", "))
}

func count(n int, thing string) string {
	if n == 1 {
		return "1 " + thing
	}
	return fmt.Sprintf("%d %ss", n, thing)
}
