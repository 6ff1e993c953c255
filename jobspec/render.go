// Package jobspec turns a user's Nomad job into the blue or the green one and
// says what it could not or should not do with it. It works on jobs as
// Nomad's own parser returns them (canonicalized), is pure, and does no I/O.
//
// It does not talk to Nomad (agent/nomad does) and does not decide when a
// colour is launched.
package jobspec

import (
	"encoding/json"
	"fmt"
	"strconv"

	"github.com/hashicorp/nomad/api"

	"github.com/tealdeploy/teal/agent/deployment"
)

// The metadata Teal writes. MetaColour stands on every Consul service,
// sidecar and job; the others on the job only.
const (
	MetaColour     = "teal_colour"
	MetaService    = "teal_service"
	MetaHash       = "teal_hash"
	MetaEpoch      = "teal_epoch"
	MetaDeployment = "teal_deployment"
)

// The environment Teal gives to every task.
const (
	EnvColour  = "ENVIRONMENT_NAME" // blue or green
	EnvVersion = "APP_VERSION"      // only where the version is known
)

// Identity is what makes a job one colour of a service rather than the other.
type Identity struct {
	Service    string // the routed Consul service
	Colour     deployment.Colour
	Version    string // empty where it is not known
	Epoch      uint64 // of the leader that renders, the fencing token
	Deployment string // ID of the release

	// Hash is what Hash says of the template; computed when empty.
	Hash string

	// Counts replaces the count of groups that an autoscaler moves, so that a
	// candidate starts as large as the active colour has become. Groups
	// without an enabled scaling block keep the jobspec's own count.
	Counts map[string]int
}

// Rendered is one colour of a job.
type Rendered struct {
	Job      *api.Job // to be registered as it is
	ID       string   // its job ID, <job>-<colour>
	Template string   // the jobspec's own job ID
	Hash     string
	Counts   map[string]int
	Expected int      // instances of the routed service
	Warnings []string // what Check found, for people
}

// ColouredID is the ID of one colour of a job.
func ColouredID(job string, c deployment.Colour) string { return job + "-" + string(c) }

// DeploymentOf is the ID of the release a running job was rendered for, empty
// for a job that Teal did not register.
func DeploymentOf(job *api.Job) string {
	if job == nil {
		return ""
	}
	return job.Meta[MetaDeployment]
}

// Render makes one colour of job. The template is not changed. The error
// joins one *Refusal for every reason against it.
//
// What differs from the template: the job ID; teal_colour in the meta of each
// Consul service and sidecar; ENVIRONMENT_NAME and APP_VERSION in each task's
// env, over the user's own; Teal's job meta; canary, auto_promote and
// auto_revert, which are turned off. All else is as written.
//
// The job's Name stays the template's, for both colours. Nomad resolves
// ${JOB}, ${BASE} and ${NOMAD_JOB_NAME} from the name, so services, metrics
// labels and templates that use them do not notice the colour. Nomad's CLI,
// its allocation names (api-blue.web[0]), its links and its events use the
// ID; only the job list of its web page shows the name, hence twice, with
// the ID in the address. ${NOMAD_JOB_ID} does change, so where it names a
// service (the service itself, an upstream, a gateway's listener) it is
// replaced by the template's ID. A running task sees its real ID.
//
// Canaries would never be promoted if the idle colour was not quite empty;
// auto_revert would have Nomad replace a failed candidate by whatever ran on
// that colour two releases ago, which would then look healthy. A way back is
// Teal's own business.
func Render(job *api.Job, id Identity) (*Rendered, error) {
	if !id.Colour.Valid() {
		return nil, fmt.Errorf("render %s: colour is %q: expected blue or green", text(job.ID), id.Colour)
	}
	if err := Refuse(job, id.Service); err != nil {
		return nil, err
	}
	out, err := Copy(job)
	if err != nil {
		return nil, fmt.Errorf("copy job %s: %w", *job.ID, err)
	}
	if id.Hash == "" {
		id.Hash = Hash(job, id.Version)
	}

	template := *job.ID
	keepServiceNames(out, template)
	coloured := ColouredID(template, id.Colour)
	out.ID = &coloured
	if text(out.Name) == "" {
		out.Name = &template
	}
	out.Meta = with(out.Meta, map[string]string{
		MetaService:    id.Service,
		MetaColour:     string(id.Colour),
		MetaHash:       id.Hash,
		MetaEpoch:      strconv.FormatUint(id.Epoch, 10),
		MetaDeployment: id.Deployment,
	})
	plainUpdate(out.Update)
	for _, g := range out.TaskGroups {
		plainUpdate(g.Update)
		resize(g, id.Counts)
		for _, s := range g.Services {
			paint(s, id.Colour)
		}
		for _, t := range g.Tasks {
			for _, s := range t.Services {
				paint(s, id.Colour)
			}
			t.Env = with(t.Env, environment(id))
		}
	}
	var warnings []string
	for _, w := range Check(job, id) {
		warnings = append(warnings, w.String())
	}
	return &Rendered{
		Job:      out,
		ID:       coloured,
		Template: template,
		Hash:     id.Hash,
		Counts:   Counts(out),
		Expected: expected(job, out, id.Service),
		Warnings: warnings,
	}, nil
}

// Copy is a deep copy of a job, the way it would travel to Nomad.
func Copy(job *api.Job) (*api.Job, error) {
	raw, err := json.Marshal(job)
	if err != nil {
		return nil, err
	}
	out := new(api.Job)
	return out, json.Unmarshal(raw, out)
}

// paint puts the colour on a Consul service. A sidecar's meta hides its
// parent's in Consul, so it gets the colour too; a gateway is registered with
// the meta of its service. canary_meta replaces meta where it is set.
func paint(s *api.Service, c deployment.Colour) {
	if !inConsul(s) {
		return
	}
	colour := map[string]string{MetaColour: string(c)}
	s.Meta = with(s.Meta, colour)
	if len(s.CanaryMeta) > 0 {
		s.CanaryMeta = with(s.CanaryMeta, colour)
	}
	if s.Connect != nil && s.Connect.SidecarService != nil {
		s.Connect.SidecarService.Meta = with(s.Connect.SidecarService.Meta, colour)
	}
}

func environment(id Identity) map[string]string {
	env := map[string]string{EnvColour: string(id.Colour)}
	if id.Version != "" {
		env[EnvVersion] = id.Version
	}
	return env
}

func plainUpdate(u *api.UpdateStrategy) {
	if u == nil {
		return
	}
	none, no := 0, false
	u.Canary, u.AutoPromote, u.AutoRevert = &none, &no, &no
}

func resize(g *api.TaskGroup, counts map[string]int) {
	n, ok := counts[text(g.Name)]
	if !ok || !scales(g) {
		return
	}
	if g.Scaling.Min != nil {
		n = max(n, int(*g.Scaling.Min))
	}
	if g.Scaling.Max != nil {
		n = min(n, int(*g.Scaling.Max))
	}
	g.Count = &n
}

func scales(g *api.TaskGroup) bool {
	return g.Scaling != nil && (g.Scaling.Enabled == nil || *g.Scaling.Enabled)
}

func with(m, more map[string]string) map[string]string {
	if m == nil {
		m = make(map[string]string, len(more))
	}
	for k, v := range more {
		m[k] = v
	}
	return m
}

func text(s *string) string {
	if s == nil {
		return ""
	}
	return *s
}
