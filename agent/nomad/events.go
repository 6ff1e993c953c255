package nomad

import (
	"context"
	"encoding/json"
	"errors"

	"github.com/hashicorp/nomad/api"
)

// Event is something that happened to a job.
type Event struct {
	Index     uint64
	Type      string // Nomad's own: JobRegistered, JobDeregistered, AllocationUpdated, …
	Namespace string
	ID        string
	Job       *api.Job // as it was then; nil when it is gone
}

// Stream calls see for each change of any job in any namespace the token may
// read, over one connection, until ctx ends or the connection does. index 0
// means from now on; an event's index + 1 goes on after it. Nomad's buffer is
// finite, so whoever streams reads the jobs of interest after connecting
// again: what was missed is not repeated.
func (c *Client) Stream(ctx context.Context, index uint64, see func(Event)) error {
	op := request{c: c, operation: "stream", what: "follow Nomad's event stream", need: `namespace "*" { capabilities = ["read-job"] }`}
	streaming, stop := context.WithCancel(ctx) // also ends the api's own goroutine
	defer stop()
	topics := map[api.Topic][]string{api.TopicJob: {"*"}}
	frames, err := c.api.EventStream().Stream(streaming, topics, index, c.reading(streaming, "*"))
	if err != nil {
		return op.failed(ctx, err)
	}
	for {
		select {
		case <-ctx.Done():
			return op.failed(ctx, ctx.Err())
		case frame, ok := <-frames:
			switch {
			case !ok:
				return op.failed(ctx, errors.New("the stream ended"))
			case frame.Err != nil:
				return op.failed(ctx, frame.Err)
			}
			for _, e := range frame.Events {
				see(jobEvent(e))
			}
		}
	}
}

func jobEvent(e api.Event) Event {
	out := Event{Index: e.Index, Type: e.Type, ID: e.Key}
	// Not Event.Job(): it cannot decode every job.
	var payload struct{ Job *api.Job }
	if raw, err := json.Marshal(e.Payload); err == nil && json.Unmarshal(raw, &payload) == nil {
		out.Job = payload.Job
	}
	if len(e.FilterKeys) > 0 {
		out.Namespace = e.FilterKeys[len(e.FilterKeys)-1]
	}
	if out.Job != nil && out.Job.Namespace != nil {
		out.Namespace = *out.Job.Namespace
	}
	if out.Job != nil && out.Job.ID != nil {
		out.ID = *out.Job.ID
	}
	return out
}
