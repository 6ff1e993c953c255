package faults

import (
	"context"
	"fmt"
	"time"

	consulapi "github.com/hashicorp/consul/api"

	"github.com/tealdeploy/teal/agent/deployment"
	"github.com/tealdeploy/teal/agent/kv"
	"github.com/tealdeploy/teal/testbed/world"
)

// walk is a whole release from its policy's edit to the last thing that is
// done for it, and how it has to end, whatever happens on the way.
type walk struct {
	name    string
	service world.Service
	// orders are what people do on the way.
	orders func(ctx context.Context, l *lane, version string) error
	want   end
}

// gate is one that a good version passes.
const gate = `gate "http" "smoke" {
  path     = "/version"
  json     = { version = "{version}" }
  interval = "100ms"
}`

// walks go through every state that a release can be in.
var walks = []walk{{
	name: "release",
	service: world.Service{
		Gates: gate, Approval: "required = true", Watch: time.Second, Soak: 500 * time.Millisecond, Then: "stop",
	},
	orders: func(ctx context.Context, l *lane, version string) error {
		if err := l.passes(ctx, version, deployment.Approving); err != nil {
			return err
		}
		return l.put(ctx, kv.Approve, "")
	},
	want: end{
		Outcome: deployment.Succeeded, Record: "candidate", Active: "candidate", Router: "candidate",
		Resolver: "candidate", DataPlane: "candidate", Jobs: "candidate", Candidate: 1, PreviousStopped: true,
	},
}, {
	name:    "rollback",
	service: world.Service{Gates: gate, Watch: time.Hour, KeepFailed: 300 * time.Millisecond},
	orders: func(ctx context.Context, l *lane, version string) error {
		if err := l.passes(ctx, version, deployment.Watching); err != nil {
			return err
		}
		d, err := l.AwaitState(ctx, l.service.Name, version, deployment.Watching)
		if err != nil {
			return err
		}
		// The jobs follow beside the watch; then there is something to take back.
		err = l.AwaitKey(ctx, l.Keys.JobProcessor(l.service.Name), func(p *consulapi.KVPair) bool {
			return p != nil && string(p.Value) == string(d.To)
		})
		if err != nil {
			return err
		}
		return l.put(ctx, kv.Rollback, "")
	},
	want: end{
		Outcome: deployment.RolledBack, Record: "previous", Active: "previous", Router: "previous",
		Resolver: "previous", DataPlane: "previous", Jobs: "previous", Previous: 1, CandidateStopped: true,
	},
}}

// passes waits until a release is in a state; that it has ended is an error.
func (l *lane) passes(ctx context.Context, version string, state deployment.State) error {
	d, err := l.AwaitRelease(ctx, l.service.Name, version, func(d deployment.Deployment) bool {
		return d.State == state || d.Outcome != ""
	})
	switch {
	case err != nil:
		return fmt.Errorf("the release of %s does not come to %s: %w; it is %s", version, state, err, d.State)
	case d.State != state:
		return fmt.Errorf("the release of %s ended %s before it came to %s: %s", version, d.Outcome, state, d.Reason)
	}
	return nil
}

// begin makes the service's next release the walk's.
func (l *lane) begin(w walk) error {
	v := w.service
	v.Name, v.Count = l.service.Name, l.service.Count
	l.service = v
	return l.next()
}

// through writes the policy, gives the orders and waits for the end.
func (l *lane) through(ctx context.Context, w walk) error {
	if err := l.begin(w); err != nil {
		return err
	}
	version := l.service.Version
	if err := w.orders(ctx, l, version); err != nil {
		return err
	}
	return l.comesTo(ctx, version, w.want)
}
