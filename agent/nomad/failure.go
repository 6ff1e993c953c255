package nomad

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/hashicorp/nomad/api"

	"github.com/tealdeploy/teal/agent/redact"
)

// failing are the task events that tell why a task does not run; the others
// tell what was done about it.
var failing = []string{
	api.TaskDriverFailure, api.TaskSetupFailure, api.TaskFailedValidation, api.TaskArtifactDownloadFailed,
	api.TaskTerminated, api.TaskNotRestarting, taskHookFailed, api.TaskLeaderDead,
	api.TaskKilled,
}

// taskHookFailed is missing from Nomad's api package: templates, Vault,
// Consul and volumes fail in hooks.
const taskHookFailed = "Task hook failed"

// maxEvents bounds the events told of one task.
const maxEvents = 2

// failures tells what went wrong with an allocation's tasks, the latest last,
// in Nomad's own words.
func failures(tasks map[string]*api.TaskState) []string {
	var all []string
	for _, name := range slices.Sorted(maps.Keys(tasks)) {
		t := tasks[name]
		if t == nil || !t.Failed && t.Restarts == 0 && !broken(t) {
			continue
		}
		var told []string
		for _, e := range t.Events {
			if e == nil || !slices.Contains(failing, e.Type) || harmless(e) {
				continue
			}
			told = append(told, fmt.Sprintf("task %q: %s", name, describe(e)))
		}
		all = append(all, told[max(0, len(told)-maxEvents):]...)
	}
	return all
}

func broken(t *api.TaskState) bool {
	return slices.ContainsFunc(t.Events, func(e *api.TaskEvent) bool {
		return e != nil && slices.Contains(failing, e.Type) && !harmless(e)
	})
}

// outOfMemory is when a task was last killed for want of memory.
func outOfMemory(tasks map[string]*api.TaskState) (last time.Time) {
	for _, t := range tasks {
		if t == nil {
			continue
		}
		for _, e := range t.Events {
			if e == nil || e.Type != api.TaskTerminated || e.Details["oom_killed"] != "true" {
				continue
			}
			if at := time.Unix(0, e.Time); at.After(last) {
				last = at
			}
		}
	}
	return last
}

func harmless(e *api.TaskEvent) bool {
	switch e.Type {
	case api.TaskTerminated:
		return e.Details["exit_code"] == "0" && e.Details["oom_killed"] != "true"
	case api.TaskKilled:
		return e.Details["kill_error"] == ""
	}
	return false
}

func describe(e *api.TaskEvent) string {
	words := redact.Line(e.DisplayMessage)
	if words == "" {
		words = redact.Line(e.Message)
	}
	if e.Details["oom_killed"] == "true" && !strings.Contains(words, "OOM") {
		words += " (OOM killed)"
	}
	if words == "" {
		return e.Type
	}
	return e.Type + ": " + bound(words, 500)
}
