package world

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Service is a service as its operator describes it: a policy, and the
// example's jobspec under another name. Times are small, so that a release
// takes seconds; zero values stand for these small defaults.
type Service struct {
	Name    string
	Version string
	Count   int    // instances; 2
	Fault   string // of every instance, as examples/app knows it
	After   int    // requests before the fault begins

	Manual     bool          // auto = false
	HealthyFor time.Duration // 500ms
	Deadline   time.Duration // of the launch; 60s
	KeepFailed time.Duration // 1s
	Gates      string        // gate blocks
	Approval   string        // body of the approval block
	Cutover    string        // body of the cutover block
	Jobs       string        // body of the jobs block
	Watch      time.Duration // 2s; negative: none
	Interval   time.Duration // between two looks of it; 250ms
	Triggers   string        // trigger blocks; Consul's health when empty and there is a watch
	Soak       time.Duration // 1s; negative: none
	Then       string        // keep
	Newer      string        // queue

	Jobspec string            // text; examples/jobs/api.nomad.hcl, renamed, when empty
	Vars    map[string]string // more of the jobspec's variables, as HCL
}

// Defaults that a zero field stands for.
func (v Service) filled() Service {
	or := func(d *time.Duration, otherwise time.Duration) {
		if *d == 0 {
			*d = otherwise
		}
	}
	if v.Count == 0 {
		v.Count = 2
	}
	or(&v.HealthyFor, 500*time.Millisecond)
	or(&v.Deadline, time.Minute)
	or(&v.KeepFailed, time.Second)
	or(&v.Watch, 2*time.Second)
	or(&v.Interval, 250*time.Millisecond)
	or(&v.Soak, time.Second)
	v.Watch, v.Soak = max(v.Watch, 0), max(v.Soak, 0)
	if v.Triggers == "" && v.Watch > 0 {
		v.Triggers = `trigger "consul-health" "instances" {}`
	}
	if v.Then == "" {
		v.Then = "keep"
	}
	if v.Newer == "" {
		v.Newer = "queue"
	}
	return v
}

// Policy is the policy file's text.
func (v Service) Policy(app string) string {
	v = v.filled()
	vars := map[string]string{
		"version": strconv.Quote(v.Version),
		"app":     strconv.Quote(app),
	}
	if v.Jobspec == "" {
		vars["count"] = strconv.Itoa(v.Count)
		vars["fault"] = strconv.Quote(v.Fault)
		vars["fault_after"] = strconv.Itoa(v.After)
	}
	maps.Copy(vars, v.Vars)
	var b strings.Builder
	fmt.Fprintf(&b, "service %q {\n  job  = %q\n  auto = %t\n  variables = {\n", v.Name, v.Name+".nomad.hcl", !v.Manual)
	for _, name := range slices.Sorted(maps.Keys(vars)) {
		fmt.Fprintf(&b, "    %s = %s\n", name, vars[name])
	}
	fmt.Fprintf(&b, "  }\n  launch {\n    deadline    = %q\n    healthy_for = %q\n    keep_failed = %q\n  }\n", v.Deadline, v.HealthyFor, v.KeepFailed)
	for _, block := range []struct{ name, body string }{
		{"", v.Gates}, {"approval", v.Approval}, {"cutover", "protocol = \"http\"\n" + v.Cutover}, {"jobs", v.Jobs},
	} {
		switch {
		case block.body == "":
		case block.name == "":
			fmt.Fprintf(&b, "%s\n", block.body)
		default:
			fmt.Fprintf(&b, "  %s {\n%s\n  }\n", block.name, block.body)
		}
	}
	fmt.Fprintf(&b, "  watch {\n    for      = %q\n    interval = %q\n%s\n  }\n", v.Watch, v.Interval, v.Triggers)
	fmt.Fprintf(&b, "  soak {\n    for   = %q\n    then  = %q\n    newer = %q\n  }\n}\n", v.Soak, v.Then, v.Newer)
	return b.String()
}

// Renamed is an example's jobspec with another name for its job, group,
// service and task.
func Renamed(text, old, name string) string {
	return strings.ReplaceAll(text, strconv.Quote(old), strconv.Quote(name))
}

// APIJobspec is examples/jobs/api.nomad.hcl for a service of another name.
func (w *World) APIJobspec(name string) (string, error) {
	text, err := w.Example("jobs", "api.nomad.hcl")
	return Renamed(text, "api", name), err
}

// Write puts a service's jobspec and policy where the agents read them.
func (s *Site) Write(v Service) error {
	if v.Jobspec == "" {
		text, err := s.APIJobspec(v.Name)
		if err != nil {
			return err
		}
		if err := s.WriteFile("policies/"+v.Name+".nomad.hcl", text); err != nil {
			return err
		}
	} else if err := s.WriteFile("policies/"+v.Name+".nomad.hcl", v.Jobspec); err != nil {
		return err
	}
	return s.WriteFile("policies/"+v.Name+".hcl", v.Policy(s.App))
}

// RunPlain runs a service as an ordinary Nomad job, without Teal, and waits
// until all of its instances pass.
func (s *Site) RunPlain(ctx context.Context, v Service) error {
	v = v.filled()
	text := v.Jobspec
	if text == "" {
		var err error
		if text, err = s.APIJobspec(v.Name); err != nil {
			return err
		}
	}
	file := "plain/" + v.Name + ".nomad.hcl"
	if err := s.WriteFile(file, text); err != nil {
		return err
	}
	args := []string{"job", "run", "-detach", "-var", "version=" + v.Version, "-var", "app=" + s.App}
	if v.Jobspec == "" {
		args = append(args, "-var", "count="+strconv.Itoa(v.Count), "-var", "fault="+v.Fault, "-var", "fault_after="+strconv.Itoa(v.After))
	}
	ran, err := s.NomadCLI(ctx, append(args, s.Dir+"/"+file)...)
	if err == nil && ran.Code != 0 {
		err = fmt.Errorf("%s", ran)
	}
	if err != nil {
		return err
	}
	err = s.AwaitInstances(ctx, v.Name, func(all []Instance) bool { return Passing(all, "") == v.Count })
	if err != nil || v.Jobspec != "" { // which names its job as it likes
		return err
	}
	_, err = s.AwaitRunning(ctx, v.Name, v.Count)
	return err
}
