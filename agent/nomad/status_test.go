package nomad

import (
	"strings"
	"testing"

	"github.com/hashicorp/nomad/api"
)

func ptr[T any](v T) *T { return &v }

// running is version 3 of a job with one judged group of two.
func running() (*api.Job, []*api.AllocationListStub, *api.Deployment) {
	job := testJob()
	job.Version, job.CreateIndex, job.JobModifyIndex = ptr(uint64(3)), ptr(uint64(7)), ptr(uint64(70))
	group := api.NewTaskGroup("web", 2)
	group.Update = api.DefaultUpdateStrategy()
	job.TaskGroups = []*api.TaskGroup{group}
	alloc := func(id string) *api.AllocationListStub {
		return &api.AllocationListStub{ID: id, TaskGroup: "web", NodeName: "node-1", JobVersion: 3, ClientStatus: "running", DesiredStatus: "run",
			DeploymentStatus: &api.AllocDeploymentStatus{Healthy: ptr(true)}}
	}
	return job, []*api.AllocationListStub{alloc("aaaaaaaa-1"), alloc("bbbbbbbb-2")},
		&api.Deployment{ID: "d", JobVersion: 3, JobCreateIndex: 7, Status: "running", StatusDescription: "Deployment is running"}
}

func TestWhole(t *testing.T) {
	job, allocs, d := running()
	if s := Status(job, allocs, d, nil); !s.Whole() || s.Describe() != "" {
		t.Fatalf("two of two: %+v", s)
	}
	for name, spoil := range map[string]func(){
		"not judged yet":           func() { allocs[0].DeploymentStatus = nil },
		"judged unhealthy":         func() { allocs[0].DeploymentStatus.Healthy = ptr(false) },
		"of an earlier version":    func() { allocs[0].JobVersion = 2 },
		"told to stop":             func() { allocs[0].DesiredStatus = "stop" },
		"not running yet":          func() { allocs[0].ClientStatus = "pending" },
		"lost":                     func() { allocs[0].ClientStatus = "lost" },
		"stopped":                  func() { job.Stop = ptr(true) },
		"no answer of Nomad's yet": func() { allocs = nil },
		"old rollout was successful": func() {
			allocs[0].DeploymentStatus = nil
			d.Status, d.JobVersion = "successful", 2
		},
		"rollout of a job of the same name": func() {
			allocs[0].DeploymentStatus = nil
			d.Status, d.JobCreateIndex = "successful", 1
		},
	} {
		job, allocs, d = running()
		spoil()
		if s := Status(job, allocs, d, nil); s.Whole() || s.Describe() == "" {
			t.Errorf("%s: whole %v, says %q", name, s.Whole(), s.Describe())
		}
	}
}

func TestHealthWhereNomadDoesNotJudge(t *testing.T) {
	job, allocs, _ := running()
	allocs[0].DeploymentStatus, allocs[1].DeploymentStatus = nil, nil
	job.TaskGroups[0].Update.MaxParallel = ptr(0)
	if s := Status(job, allocs, nil, nil); s.Healthy != 2 {
		t.Errorf("max_parallel 0: %d healthy, want as many as run", s.Healthy)
	}
	job, allocs, d := running()
	d.Status = "successful"
	allocs[1].DeploymentStatus = nil // replaced a lost one after the deployment
	if s := Status(job, allocs, d, nil); s.Healthy != 2 {
		t.Errorf("after the deployment: %d healthy, want 2", s.Healthy)
	}
}

func TestDead(t *testing.T) {
	job, allocs, d := running()
	if s := Status(job, allocs, d, nil); s.Dead != "" {
		t.Errorf("running job is dead: %s", s.Dead)
	}
	d.Status, d.StatusDescription = "failed", "Failed due to progress deadline"
	if s := Status(job, allocs, d, nil); s.Dead != "deployment failed: Failed due to progress deadline" {
		t.Errorf("dead %q", s.Dead)
	}
	d.JobVersion = 2
	if s := Status(job, allocs, d, nil); s.Dead != "" {
		t.Errorf("an earlier version's failure is this one's: %q", s.Dead)
	}
	evals := []*api.Evaluation{{Status: "failed", StatusDescription: "maximum attempts reached (5)", JobModifyIndex: 70}}
	if s := Status(job, allocs, d, evals); !strings.Contains(s.Dead, "maximum attempts") {
		t.Errorf("dead %q", s.Dead)
	}
	if s := Status(nil, nil, nil, nil); s.Exists || s.Dead == "" {
		t.Errorf("no job: %+v", s)
	}
}

func TestFailuresInNomadsOwnWords(t *testing.T) {
	job, allocs, d := running()
	words := map[string][]*api.TaskEvent{
		`task "t": Driver Failure: Failed to pull image "shop/api:9": not found`: {
			{Type: "Received", DisplayMessage: "Task received by client"},
			{Type: "Driver Failure", DisplayMessage: `Failed to pull image "shop/api:9": not found`},
		},
		`task "t": Terminated: Exit Code: 137 (OOM killed)`: {
			{Type: "Terminated", DisplayMessage: "Exit Code: 137", Details: map[string]string{"exit_code": "137", "oom_killed": "true"}},
			{Type: "Restarting", DisplayMessage: "Task restarting in 15s"},
		},
		`task "t": Terminated: Exit Code: 3`: {
			{Type: "Terminated", DisplayMessage: "Exit Code: 3", Details: map[string]string{"exit_code": "3"}},
			{Type: "Killed", DisplayMessage: "Task successfully killed"},
		},
		`task "t": Task hook failed: template: missing dependency`: {
			{Type: "Task hook failed", DisplayMessage: "template: missing dependency"},
		},
	}
	for want, events := range words {
		allocs[0].ClientStatus = "failed"
		allocs[0].TaskStates = map[string]*api.TaskState{"t": {Failed: true, Events: events}, "gone": nil}
		s := Status(job, allocs, d, nil)
		if s.Failed != 1 || !strings.Contains(s.Describe(), "allocation aaaaaaaa on node-1: "+want) {
			t.Errorf("says %q, want %q", s.Describe(), want)
		}
	}
	allocs[0].TaskStates = map[string]*api.TaskState{"t": {Events: []*api.TaskEvent{
		{Type: "Terminated", DisplayMessage: "Exit Code: 0", Details: map[string]string{"exit_code": "0"}}}}}
	if s := Status(job, allocs, d, nil); strings.Contains(s.Describe(), "Exit Code") {
		t.Errorf("a clean end is told as a failure: %q", s.Describe())
	}
}

func TestOneFailureOfManyCopiesIsToldOnce(t *testing.T) {
	job, allocs, d := running()
	for range 3 {
		allocs = append(allocs, allocs...)
	}
	for _, a := range allocs {
		a.ClientStatus = "failed"
		a.TaskStates = map[string]*api.TaskState{"t": {Failed: true, Events: []*api.TaskEvent{{Type: "Driver Failure", DisplayMessage: "no such image"}}}}
	}
	if s := Status(job, allocs, d, nil).Describe(); strings.Count(s, "no such image") != 1 {
		t.Errorf("says %q", s)
	}
}

func TestPlacementSaysWhatIsMissing(t *testing.T) {
	job, allocs, d := running()
	blocked := &api.Evaluation{Status: "blocked", CreateIndex: 9, FailedTGAllocs: map[string]*api.AllocationMetric{"web": {
		NodesEvaluated: 4, NodePool: "default", NodesAvailable: map[string]int{"dc1": 4}, CoalescedFailures: 2,
		DimensionExhausted: map[string]int{"memory": 3}, ConstraintFiltered: map[string]int{"${attr.cpu.arch} = arm64": 1},
		ClassFiltered: map[string]int{"gpu": 1}}}}
	older := &api.Evaluation{Status: "blocked", CreateIndex: 5, FailedTGAllocs: map[string]*api.AllocationMetric{"old": {}}}
	done := &api.Evaluation{Status: "complete", CreateIndex: 12, FailedTGAllocs: map[string]*api.AllocationMetric{"done": {}}}
	want := `group "web": 3 allocations cannot be placed: 4 nodes looked at, memory exhausted on 3 nodes, ` +
		`constraint "${attr.cpu.arch} = arm64" rules out 1 node, constraint "class gpu" rules out 1 node`
	allocs = allocs[:1]
	if s := Status(job, allocs, d, []*api.Evaluation{older, blocked, done}); !strings.Contains(s.Describe(), want) {
		t.Errorf("says %q\nwant %q", s.Describe(), want)
	}
	for want, m := range map[string]*api.AllocationMetric{
		"no node is available in datacenter dc9":   {NodesAvailable: map[string]int{"dc9": 0}},
		`no node is eligible in node pool "gpu"`:   {NodePool: "gpu"},
		`quota "small" is used up`:                 {NodesEvaluated: 1, QuotaExhausted: []string{"small"}},
		`network: port collision exhausted on 1 n`: {NodesEvaluated: 1, DimensionExhausted: map[string]int{"network: port collision": 1}},
	} {
		if got := placements(map[string]*api.AllocationMetric{"g": m})[0].String(); !strings.Contains(got, want) {
			t.Errorf("says %q, want %q", got, want)
		}
	}
}

// Nomad tells of a task that was killed for want of memory in its events.
func TestOutOfMemory(t *testing.T) {
	job, allocs, d := running()
	event := func(at int64, killed string) *api.TaskEvent {
		return &api.TaskEvent{Type: api.TaskTerminated, Time: at, Details: map[string]string{"oom_killed": killed, "exit_code": "137"}}
	}
	allocs[0].TaskStates = map[string]*api.TaskState{
		"web":  {Events: []*api.TaskEvent{event(10, "true"), event(30, "true"), nil, event(40, "false")}},
		"side": {Events: []*api.TaskEvent{event(20, "true")}},
		"none": nil,
	}
	s := Status(job, allocs, d, nil)
	if got := s.Allocs[0].OOM.UnixNano(); got != 30 {
		t.Errorf("last killed at %d, want 30", got)
	}
	if !s.Allocs[1].OOM.IsZero() {
		t.Errorf("another one was killed at %s", s.Allocs[1].OOM)
	}
}

// What Nomad never says must not end the agent: jobs and lists of which a part is null.
func TestStatusOfWhatIsNull(t *testing.T) {
	job, allocs, d := running()
	job.TaskGroups = append(job.TaskGroups, nil, &api.TaskGroup{Count: ptr(0)})
	if s := Status(job, append(allocs, nil), d, []*api.Evaluation{nil}); !s.Whole() {
		t.Errorf("two of two: %+v", s)
	}
	if got := ends(append(allocs, nil)); len(got) != 0 {
		t.Errorf("tasks that never ran ended: %+v", got)
	}
}

// What a driver tells is in other people's words.
func TestWordsOfATaskAreOneLine(t *testing.T) {
	job, allocs, d := running()
	allocs[0].ClientStatus = "failed"
	allocs[0].TaskStates = map[string]*api.TaskState{"web": {Failed: true, Events: []*api.TaskEvent{{Type: api.TaskDriverFailure, DisplayMessage: "no image\n\x1b[2J\u202eit said"}}}}
	if got := Status(job, allocs, d, nil).Describe(); !strings.Contains(got, "no image .[2J.it said") {
		t.Errorf("%q", got)
	}
}

// What a job's end came to is known only from allocations that have ended.
func TestOver(t *testing.T) {
	alloc := func(status string) []*api.AllocationListStub {
		return []*api.AllocationListStub{{ID: "a", TaskGroup: "web", ClientStatus: status, DesiredStatus: "run", JobVersion: 3}}
	}
	for _, c := range []struct {
		status string
		allocs []*api.AllocationListStub
		over   bool
	}{
		{"running", alloc("running"), false},
		{"dead", alloc("complete"), true},
		{"dead", alloc("failed"), true},
		{"dead", alloc("running"), false}, // told of before the end, or by who no longer leads
		{"dead", alloc("pending"), false},
		{"dead", nil, false},
		{"running", alloc("complete"), false},
	} {
		job, _, _ := running()
		job.Status = ptr(c.status)
		if s := Status(job, c.allocs, nil, nil); s.Over != c.over {
			t.Errorf("%s with %+v: over %t", c.status, s.Allocs, s.Over)
		}
	}
}
