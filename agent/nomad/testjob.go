package nomad

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"github.com/hashicorp/nomad/api"
)

// Dispatch starts an instance of a parameterized job, or finds the one that was
// started with the same token before: Nomad itself keeps it from being started
// twice for as long as it remembers that instance.
func (c *Client) Dispatch(ctx context.Context, namespace, parent, token string, meta map[string]string) (id string, err error) {
	op := c.ask("dispatch", namespace, parent, "dispatch-job")
	limited, cancel := context.WithTimeout(ctx, requestTimeout)
	defer cancel()
	w := c.writing(limited, namespace)
	w.IdempotencyToken = token
	r, _, err := c.api.Jobs().Dispatch(parent, meta, nil, "", w)
	if err != nil {
		return "", op.failed(ctx, err)
	}
	return r.DispatchedJobID, nil
}

// Dispatched is the instance that was started with this token, nil when there
// is none.
func (c *Client) Dispatched(ctx context.Context, namespace, parent, token string) (*api.Job, error) {
	op := c.ask("look for an instance of", namespace, parent, "list-jobs")
	limited, cancel := context.WithTimeout(ctx, requestTimeout)
	defer cancel()
	q := c.reading(limited, namespace)
	q.Prefix = parent + api.JobDispatchLaunchSuffix
	q.Filter = fmt.Sprintf("DispatchIdempotencyToken == %q", token)
	list, _, err := c.api.Jobs().List(q)
	if err != nil {
		return nil, op.failed(ctx, err)
	}
	for _, stub := range list {
		if stub.ParentID == parent {
			return c.Job(ctx, namespace, stub.ID)
		}
	}
	return nil, nil
}

// TaskEnd is how a task of a job that is over has ended.
type TaskEnd struct {
	Alloc, Group, Task string
	Failed             bool
	Exit               string // its exit code, empty when it never ran
	Words              string // why it failed, in Nomad's own words
}

// Ends are how the tasks of a job's allocations have ended, those that failed
// first and the newest of them before older ones.
func (c *Client) Ends(ctx context.Context, namespace, id string) ([]TaskEnd, error) {
	op := c.ask("read the allocations of", namespace, id, "read-job")
	limited, cancel := context.WithTimeout(ctx, requestTimeout)
	defer cancel()
	list, _, err := c.api.Jobs().Allocations(id, false, c.reading(limited, namespace))
	if err != nil {
		return nil, op.failed(ctx, err)
	}
	return ends(list), nil
}

func ends(list []*api.AllocationListStub) []TaskEnd {
	list = slices.DeleteFunc(slices.Clone(list), func(a *api.AllocationListStub) bool { return a == nil })
	slices.SortStableFunc(list, func(a, b *api.AllocationListStub) int { return cmp.Compare(b.CreateIndex, a.CreateIndex) })
	var failed, others []TaskEnd
	for _, a := range list {
		for _, name := range sortedNames(a.TaskStates) {
			t := a.TaskStates[name]
			end := TaskEnd{Alloc: a.ID, Group: a.TaskGroup, Task: name, Failed: t.Failed, Exit: exitCode(t)}
			if !t.Failed {
				others = append(others, end)
				continue
			}
			if all := failures(map[string]*api.TaskState{name: t}); len(all) > 0 {
				end.Words = all[len(all)-1]
			}
			failed = append(failed, end)
		}
	}
	return append(failed, others...)
}

func sortedNames(states map[string]*api.TaskState) []string {
	var names []string
	for name, t := range states {
		if t != nil {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return names
}

// exitCode is the one of the task's last run.
func exitCode(t *api.TaskState) string {
	code := ""
	for _, e := range t.Events {
		if e != nil && e.Type == api.TaskTerminated && e.Details["exit_code"] != "" {
			code = e.Details["exit_code"]
		}
	}
	return code
}

// LogTail is the last of what a task wrote to stdout or stderr, at most most
// bytes of it.
func (c *Client) LogTail(ctx context.Context, namespace, alloc, task, stream string, most int) (string, error) {
	op := c.ask("logs of", namespace, task, "read-logs")
	op.what = fmt.Sprintf("read %s of task %q", stream, task)
	limited, cancel := context.WithTimeout(ctx, requestTimeout)
	defer cancel()
	path := "/v1/client/fs/logs/" + url.PathEscape(alloc) + "?" + url.Values{
		"task": {task}, "type": {stream}, "plain": {"true"}, "origin": {"end"}, "offset": {strconv.Itoa(most)},
	}.Encode()
	body, err := c.api.Raw().Response(path, c.reading(limited, namespace))
	if err != nil {
		return "", op.failed(ctx, err)
	}
	defer body.Close() //nolint:errcheck // read side
	text, err := io.ReadAll(io.LimitReader(body, int64(most)))
	if err != nil && !errors.Is(err, io.ErrUnexpectedEOF) {
		return "", op.failed(ctx, err)
	}
	return strings.ToValidUTF8(string(text), "."), nil
}
