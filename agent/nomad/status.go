package nomad

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/hashicorp/nomad/api"

	"github.com/tealdeploy/teal/agent/redact"
)

// jobDead is what Nomad says of a job that it has nothing left to do for.
const jobDead = "dead"

// JobStatus is how a job's present version does.
type JobStatus struct {
	Exists  bool
	Stopped bool
	Version uint64
	Index   uint64 // JobModifyIndex

	Desired int // allocations asked for
	Running int
	// Healthy is as Nomad's deployment judges it; where it judges nothing
	// (update.max_parallel = 0), as many as run.
	Healthy int
	Failed  int // allocations that ended in failure, so far
	// Complete are those that came to a good end by themselves, and Over says
	// that nothing of a batch job is left to do, and how that came is known.
	Complete int
	Over     bool

	Allocs     []Alloc // that run or may yet run, and those that failed
	Deployment Rollout
	Placement  []Placement // what waits for a place

	// Dead is why Nomad will not go on by itself; empty while it may.
	Dead string
}

// Alloc is one allocation.
type Alloc struct {
	ID       string
	Group    string
	Node     string
	Status   string // Nomad's client status
	Healthy  bool
	Restarts uint64
	OOM      time.Time // one of its tasks was last killed for want of memory; zero: never, as far as is known
	Failures []string  // its tasks' latest events, in Nomad's own words
}

// Failed says whether the allocation has come to a bad end.
func (a Alloc) Failed() bool {
	return a.Status == api.AllocClientStatusFailed || a.Status == api.AllocClientStatusLost
}

// Rollout is Nomad's own deployment of the job's present version.
type Rollout struct {
	ID          string
	Status      string
	Description string
}

// Whole says whether every allocation asked for is healthy.
func (s JobStatus) Whole() bool {
	return s.Exists && !s.Stopped && s.Desired > 0 && s.Healthy >= s.Desired
}

// Describe is what stands in the way, in Nomad's own words; empty while
// nothing is known of the job, and for a whole one.
func (s JobStatus) Describe() string {
	if !s.Exists && s.Dead == "" || s.Whole() {
		return ""
	}
	var parts []string
	add := func(part string) {
		if part != "" && !slices.Contains(parts, part) {
			parts = append(parts, part)
		}
	}
	add(s.Dead)
	if s.Exists && !s.Stopped {
		add(fmt.Sprintf("%d of %d healthy, %d running", s.Healthy, s.Desired, s.Running))
	}
	for _, p := range s.Placement {
		add(p.String())
	}
	told := map[string]bool{} // ten copies of one failure are one
	for _, a := range s.Allocs {
		what := strings.Join(a.Failures, ", ")
		if what == "" || told[what] || len(told) == 3 {
			continue
		}
		told[what] = true
		add(fmt.Sprintf("allocation %.8s on %s: %s", a.ID, a.Node, what))
	}
	return bound(redact.Line(strings.Join(parts, "; ")), maxWords)
}

// Status puts a JobStatus together from Nomad's own answers.
func Status(job *api.Job, allocs []*api.AllocationListStub, rollout *api.Deployment, evals []*api.Evaluation) JobStatus {
	if job == nil {
		return JobStatus{Dead: "the job does not exist"}
	}
	s := JobStatus{
		Exists: true, Stopped: value(job.Stop), Version: value(job.Version), Index: value(job.JobModifyIndex),
		Placement: waiting(evals),
	}
	groups := map[string]*api.TaskGroup{} // the api's own look-up takes names for granted
	for _, g := range job.TaskGroups {
		if g != nil {
			s.Desired += value(g.Count)
			groups[value(g.Name)] = g
		}
	}
	s.Over = over(job, allocs, s.Desired)
	// The latest deployment may still be that of an earlier version.
	if rollout != nil && rollout.JobVersion == s.Version && rollout.JobCreateIndex == value(job.CreateIndex) {
		s.Deployment = Rollout{rollout.ID, rollout.Status, rollout.StatusDescription}
	}
	for _, a := range allocs {
		if a == nil {
			continue
		}
		if a.JobVersion == s.Version && a.ClientStatus == api.AllocClientStatusComplete && a.DesiredStatus == api.AllocDesiredStatusRun {
			s.Complete++
		}
		if a.JobVersion != s.Version || a.ClientStatus == api.AllocClientStatusComplete {
			continue
		}
		alloc := Alloc{ID: a.ID, Group: a.TaskGroup, Node: a.NodeName, Status: a.ClientStatus}
		for _, t := range a.TaskStates {
			if t != nil {
				alloc.Restarts += t.Restarts
			}
		}
		alloc.Failures, alloc.OOM = failures(a.TaskStates), outOfMemory(a.TaskStates)
		switch {
		case alloc.Failed():
			s.Failed++
		case a.DesiredStatus != api.AllocDesiredStatusRun:
			continue
		case a.ClientStatus == api.AllocClientStatusRunning:
			s.Running++
			alloc.Healthy = healthy(a, groups[a.TaskGroup], s.Deployment)
			if alloc.Healthy {
				s.Healthy++
			}
		}
		s.Allocs = append(s.Allocs, alloc)
	}
	slices.SortFunc(s.Allocs, func(a, b Alloc) int { return strings.Compare(a.ID, b.ID) })
	s.Dead = dead(s, evals)
	return s
}

// over: Nomad has nothing left to do for a job, and the allocations that are told
// of have come to an end. Those that were told of earlier, or by a server that no
// longer leads, may be older than the job's end.
func over(job *api.Job, allocs []*api.AllocationListStub, desired int) bool {
	return value(job.Status) == jobDead && !slices.ContainsFunc(allocs, alive) && (len(allocs) > 0 || desired == 0)
}

// healthy is Nomad's verdict on a running allocation. An allocation without
// one counts as healthy only where Nomad judges none: in a group without
// updates, and after the deployment, when lost allocations were replaced.
func healthy(a *api.AllocationListStub, g *api.TaskGroup, r Rollout) bool {
	if a.DeploymentStatus != nil && a.DeploymentStatus.Healthy != nil {
		return *a.DeploymentStatus.Healthy
	}
	if g == nil || g.Update == nil || value(g.Update.MaxParallel) == 0 {
		return true
	}
	return r.Status == api.DeploymentStatusSuccessful
}

func dead(s JobStatus, evals []*api.Evaluation) string {
	switch {
	case s.Stopped:
		return "the job is stopped"
	case s.Deployment.Status == api.DeploymentStatusFailed:
		return "deployment failed: " + s.Deployment.Description
	}
	for _, e := range evals {
		if e != nil && e.Status == api.EvalStatusFailed && e.JobModifyIndex == s.Index {
			return "evaluation failed: " + e.StatusDescription
		}
	}
	return ""
}

// waiting is what the blocked evaluation waits for. Nomad keeps one for each
// job and cancels those it replaces.
func waiting(evals []*api.Evaluation) []Placement {
	var newest *api.Evaluation
	for _, e := range evals {
		if e != nil && e.Status == api.EvalStatusBlocked && (newest == nil || e.CreateIndex > newest.CreateIndex) {
			newest = e
		}
	}
	if newest == nil {
		return nil
	}
	return placements(newest.FailedTGAllocs)
}
