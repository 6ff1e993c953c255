package jobspec

import (
	"errors"
	"fmt"
	"reflect"
	"strings"

	"github.com/hashicorp/nomad/api"

	"github.com/tealdeploy/teal/agent/deployment"
)

// maxID bounds the coloured job ID. Nomad itself sets no limit; it is what
// fits into a file name and a Consul meta value with room to spare.
const maxID = 250

// Refusal is a reason why a job cannot be released blue-green.
type Refusal struct {
	Job    string // the job's ID
	Thing  string // what is refused
	Reason string
	Way    string // what to do about it
}

func (r *Refusal) Error() string {
	return fmt.Sprintf("job %q: %s: %s; %s", r.Job, r.Thing, r.Reason, r.Way)
}

// Refuse gives every reason against releasing job for a routed service, as
// joined *Refusals, or nil.
func Refuse(job *api.Job, service string) error {
	var errs []error
	refuse := func(thing, reason, way string) {
		errs = append(errs, &Refusal{Job: text(job.ID), Thing: thing, Reason: reason, Way: way})
	}
	if hole(reflect.ValueOf(job)) {
		return &Refusal{Thing: "the job", Reason: errHole.Error(), Way: "give the job as Nomad parses it"}
	}
	refuseKind(job, refuse)
	refuseID(job, refuse)
	if len(errs) == 0 { // a job of another kind needs no advice about its services
		refuseService(job, service, refuse)
		refuseVolumes(job, refuse)
	}
	return errors.Join(errs...)
}

type refuser func(thing, reason, way string)

func refuseKind(job *api.Job, refuse refuser) {
	switch kind := text(job.Type); kind {
	case "", api.JobTypeService:
	case api.JobTypeSystem, api.JobTypeSysbatch:
		refuse("type is "+kind, "it runs once on every node, so there is no second copy to switch to",
			`use type = "service" or leave this job to Nomad`)
	default:
		refuse("type is "+kind, "it ends by itself and serves nobody, so there is no traffic to switch",
			`use type = "service" or leave this job to Nomad`)
	}
	if job.Periodic != nil {
		refuse("periodic block", "each run is a job of its own, so it has no colours",
			"remove the block or leave this job to Nomad")
	}
	if job.ParameterizedJob != nil {
		refuse("parameterized block", "it only runs when dispatched, so it has no colours",
			"remove the block or leave this job to Nomad")
	}
	if job.IsMultiregion() {
		refuse("multiregion block", "Nomad would roll out the regions one after another by itself, and one Consul write moves one region only",
			"use a jobspec and a policy for each region, with region = \"...\"")
	}
	if job.Stop != nil && *job.Stop {
		refuse("stop is set", "the jobspec asks for a stopped job, which could never become healthy", "remove stop = true")
	}
	if len(job.TaskGroups) == 0 {
		refuse("no task groups", "there is nothing to run", "add a group")
	}
}

func refuseID(job *api.Job, refuse refuser) {
	id := text(job.ID)
	if id == "" {
		refuse("no job ID", "the colours need a name to be told apart from", `begin the jobspec with job "<name>"`)
		return
	}
	for _, c := range deployment.Colours {
		if strings.HasSuffix(id, "-"+string(c)) {
			refuse("job ID ends in -"+string(c), "Teal adds the colour itself and could not tell this job from a colour of "+strings.TrimSuffix(id, "-"+string(c)),
				fmt.Sprintf("name it %q in the jobspec", strings.TrimSuffix(id, "-"+string(c))))
		}
	}
	if n := len(ColouredID(id, deployment.Green)); n > maxID {
		refuse("job ID is too long", fmt.Sprintf("with its colour it has %d bytes, more than %d", n, maxID), "shorten it")
	}
}

func refuseService(job *api.Job, service string, refuse refuser) {
	found, instances := false, 0
	for _, p := range services(job) {
		if p.name != service {
			continue
		}
		found = true
		thing := fmt.Sprintf("service %q (%s)", service, p.where())
		if !inConsul(p.service) {
			refuse(thing, fmt.Sprintf("its provider is %q, and only Consul can route by colour", p.service.Provider),
				`set provider = "consul" and a connect block`)
			continue
		}
		instances += count(p.group)
		switch c := p.service.Connect; {
		case c != nil && c.Gateway != nil:
			refuse(thing, "it is a gateway, which sends traffic on rather than serving it", "name the service behind the gateway in the policy")
		case c == nil || !c.Native && c.SidecarService == nil:
			refuse(thing, "it is not in the service mesh, so Consul's routes do not apply to it and its callers would reach both colours",
				"add connect { sidecar_service {} } or connect { native = true }")
		}
	}
	if !found {
		names := strings.Join(ServiceNames(job), ", ")
		if names == "" {
			names = "none"
		}
		refuse(fmt.Sprintf("service %q", service), "the job does not register it; its Consul services are: "+names,
			"name one of them in the policy, or add it to the job")
		return
	}
	if instances == 0 && inConsulNamed(job, service) {
		refuse(fmt.Sprintf("service %q", service), "every group that registers it has count = 0, so nothing would serve", "set a count of at least 1")
	}
}

func inConsulNamed(job *api.Job, service string) bool {
	for _, p := range services(job) {
		if p.name == service && inConsul(p.service) {
			return true
		}
	}
	return false
}

// refuseVolumes refuses volumes that one allocation at a time may write: the
// candidate could not start while the active colour holds them. per_alloc
// does not help, because both colours have an allocation number 0.
func refuseVolumes(job *api.Job, refuse refuser) {
	for _, g := range job.TaskGroups {
		for _, name := range sorted(g.Volumes) {
			v := g.Volumes[name]
			if v == nil || !singleWriter(v) {
				continue
			}
			refuse(fmt.Sprintf("volume %q (group %s)", name, text(g.Name)),
				fmt.Sprintf("access_mode %q lets only one colour mount %q, and both run at once", v.AccessMode, v.Source),
				"use a multi-writer access mode, read_only = true, or move the data to a job of its own")
		}
	}
}

func singleWriter(v *api.VolumeRequest) bool {
	if v.ReadOnly {
		return false
	}
	switch v.Type {
	case "csi":
		return v.AccessMode == "single-node-writer" || v.AccessMode == "multi-node-single-writer"
	case "host":
		// On a host volume, single-node-writer lets several allocations of
		// the node write; only this mode does not.
		return v.AccessMode == "single-node-single-writer"
	}
	return false
}
