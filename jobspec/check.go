package jobspec

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/hashicorp/nomad/api"
)

// Warning is something that works but may surprise when two colours run.
type Warning struct {
	Thing  string
	Reason string
}

func (w Warning) String() string { return w.Thing + ": " + w.Reason }

type warner func(thing, reason string)

// Check lists what people should know before a job gets colours. It assumes
// that Refuse has nothing against it.
func Check(job *api.Job, id Identity) []Warning {
	var all []Warning
	warn := func(thing, reason string) { all = append(all, Warning{thing, reason}) }
	checkServices(job, id.Service, warn)
	for _, g := range job.TaskGroups {
		checkPorts(g, warn)
		checkVolumes(g, warn)
		checkUpdate(g, warn)
		checkGroup(g, warn)
		for _, t := range g.Tasks {
			checkTask(job, g, t, id, warn)
		}
	}
	return all
}

func checkServices(job *api.Job, routed string, warn warner) {
	for _, p := range services(job) {
		if p.name == routed {
			continue
		}
		thing := fmt.Sprintf("service %q (%s)", p.name, p.where())
		switch {
		case !inConsul(p.service):
			warn(thing, "it is registered in Nomad, without a colour: its callers reach both colours while both run")
		case p.service.Connect != nil:
			warn(thing, "this policy does not route it: both colours serve it as soon as the candidate is healthy; give it a policy or a job of its own")
		default:
			warn(thing, "it is not in the mesh: its callers reach both colours while both run, unless they filter by the meta teal_colour")
		}
	}
}

func checkPorts(g *api.TaskGroup, warn warner) {
	networks := slices.Clone(g.Networks)
	for _, t := range g.Tasks {
		if t.Resources != nil {
			networks = append(networks, t.Resources.Networks...)
		}
	}
	for _, n := range networks {
		for _, p := range n.ReservedPorts {
			if p.IgnoreCollision {
				continue
			}
			warn(fmt.Sprintf("port %q (group %s)", p.Label, text(g.Name)),
				fmt.Sprintf("%d is static, so blue and green cannot share a node: as many more nodes are needed as the group has allocations", p.Value))
		}
	}
}

func checkVolumes(g *api.TaskGroup, warn warner) {
	for _, name := range sorted(g.Volumes) {
		v := g.Volumes[name]
		if v == nil || v.ReadOnly {
			continue
		}
		thing := fmt.Sprintf("volume %q (group %s)", name, text(g.Name))
		if v.Sticky {
			warn(thing, "it is sticky: each colour claims a volume of its own and does not see the other's data")
			continue
		}
		warn(thing, "blue and green write to it at the same time while both run")
	}
}

func checkUpdate(g *api.TaskGroup, warn warner) {
	u := g.Update
	if u == nil {
		return
	}
	thing := fmt.Sprintf("update (group %s)", text(g.Name))
	if u.Canary != nil && *u.Canary > 0 {
		warn(thing, "canary and auto_promote are left out: the whole candidate is launched beside the active colour")
	}
	if u.AutoRevert != nil && *u.AutoRevert {
		warn(thing, "auto_revert is left out: it would put an older version in the candidate's place")
	}
	if u.MaxParallel != nil && *u.MaxParallel == 0 {
		warn(thing, "max_parallel = 0 makes Nomad judge no health: running counts as healthy, Consul's checks decide")
	}
}

func checkGroup(g *api.TaskGroup, warn warner) {
	name := text(g.Name)
	if g.Disconnect != nil {
		warn(fmt.Sprintf("disconnect (group %s)", name),
			"allocations on an unreachable node stay in the count as unknown: a release waits for them until its launch deadline")
	}
	if g.Consul != nil && g.Consul.Namespace != "" && g.Consul.Namespace != "default" {
		warn(fmt.Sprintf("consul namespace %q (group %s)", g.Consul.Namespace, name), "the policy must name the same namespace")
	}
	if scales(g) {
		warn(fmt.Sprintf("scaling (group %s)", name), "the autoscaler acts on each colour by itself, also on the one that is kept as the way back")
	}
}

func checkTask(job *api.Job, g *api.TaskGroup, t *api.Task, id Identity, warn warner) {
	where := fmt.Sprintf("(group %s, task %s)", text(g.Name), t.Name)
	if v, ok := t.Env[EnvColour]; ok {
		warn("env "+EnvColour+" "+where, fmt.Sprintf("its own value %q is replaced by the colour", v))
	}
	if v, ok := t.Env[EnvVersion]; ok && id.Version != "" && v != id.Version {
		warn("env "+EnvVersion+" "+where, fmt.Sprintf("its own value %q is replaced by the version %q", v, id.Version))
	}
	if t.Vault != nil {
		warn("vault "+where, fmt.Sprintf("a Vault role bound to nomad_job_id = %q must accept %s-blue and %s-green as well", text(job.ID), text(job.ID), text(job.ID)))
	}
	for _, tmpl := range t.Templates {
		if tmpl.EmbeddedTmpl != nil && strings.Contains(*tmpl.EmbeddedTmpl, "nomad/jobs/"+text(job.ID)) {
			warn("template "+where, fmt.Sprintf("only a job named %q may read the variable nomad/jobs/%s by itself: give %s-blue and %s-green a policy (nomad acl policy apply -job), or use the path nomad/jobs",
				text(job.ID), text(job.ID), text(job.ID), text(job.ID)))
			break
		}
	}
}

func sorted[V any](m map[string]V) []string { return slices.Sorted(maps.Keys(m)) }
