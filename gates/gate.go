// Package gates holds what a candidate must prove before it may serve: the
// Gate contract, the runner that drives a release's gates, and one file for
// each kind of gate.
//
// A gate judges; it never acts. It does not know what is done with its
// verdict, and it cannot let traffic through by failing to answer.
package gates

import (
	"context"
	"time"

	"github.com/hashicorp/hcl/v2"

	"github.com/tealdeploy/teal/agent/deployment"
)

// Verdict is what one look at the candidate says.
type Verdict int

// Hold is the zero value on purpose: a gate that says nothing lets nothing
// through.
const (
	Hold Verdict = iota // not known yet: never lets traffic through, never fails the release
	Pass
	Fail
)

func (v Verdict) String() string {
	switch v {
	case Pass:
		return "pass"
	case Fail:
		return "fail"
	}
	return "hold"
}

// Target is what a gate looks at: the candidate, never the active colour.
type Target struct {
	Service   string
	Namespace string // Consul namespace, empty for default
	Colour    deployment.Colour
	Version   string // as known from the policy's variables; may be empty
	Hash      string // jobspec + policy hash the verdict is bound to

	// Serving is the colour that has the traffic, none before the first release,
	// and ServingVersion what it runs; empty if that is not known. They are there
	// to be told from the candidate.
	Serving        deployment.Colour
	ServingVersion string
	// Others are that colour's instances, which no gate may take for the
	// candidate's.
	Others []deployment.Instance

	// Instances are the candidate's instances as last seen in Consul. The
	// runner refreshes them before every look.
	Instances []deployment.Instance
	// Expected is how many instances the jobspec asks for.
	Expected int

	// Read gives the value of a key in Consul, nil when there is none.
	Read func(ctx context.Context, key string) ([]byte, error)

	// Peer tells of another service that Teal manages, nil when there is none.
	Peer func(ctx context.Context, service string) (*Peer, error)

	// Jobs runs test jobs in Nomad, for the gates that need them.
	Jobs Jobs
	// MayExec says that the agent's config allows commands on its machine.
	MayExec bool

	// Gate is the name of the gate that looks, set by the runner.
	Gate string
	// Say tells how a look that takes long is getting on; set by the runner,
	// and not to be called once Check has returned.
	Say func(reason string)
}

// Finding is the outcome of one look.
type Finding struct {
	Verdict Verdict
	Reason  string            // one sentence for a person: what was seen, where
	Figures map[string]string // evidence, bounded and free of secrets
}

// Gate is one thing a candidate must prove. Implementations are immutable
// after decoding, safe for concurrent use, and marshal to JSON in a form that
// changes exactly when their configuration does (it is part of the policy's
// hash). An error means "could not ask" and counts as Hold.
type Gate interface {
	Check(ctx context.Context, target Target) (Finding, error)
}

// Named is a gate as declared in a policy, with the settings that every kind
// shares.
type Named struct {
	Kind string
	Name string

	// Attempts is how many looks must fail before the gate fails. A look that
	// could not judge counts neither way.
	Attempts int
	// Interval is the time between looks.
	Interval time.Duration
	// Timeout bounds one look.
	Timeout time.Duration
	// Deadline bounds the whole gate: no look begins after it. A gate whose last
	// look failed then fails; one that could not judge stays on hold.
	Deadline time.Duration

	// Parallel numbers the group of neighbours that are looked at side by side,
	// from 1; 0 is a gate that has its turn alone.
	Parallel int `json:",omitempty"`

	Gate Gate
}

// Kind decodes the body of a `gate "<kind>" "<name>"` block, less the
// attributes that all kinds share, into a gate.
type Kind func(body hcl.Body, eval *hcl.EvalContext) (Gate, hcl.Diagnostics)

// own are the shared settings of kinds whose looks are long, where they differ
// from the defaults of all.
var own = map[string]Named{
	"depends":   {Attempts: DefaultAttempts, Interval: 2 * time.Second, Timeout: DefaultTimeout, Deadline: time.Hour},
	"exec":      {Attempts: 1, Interval: time.Second, Timeout: time.Minute, Deadline: 10 * time.Minute},
	"kv":        {Attempts: 1, Interval: time.Second, Timeout: DefaultTimeout, Deadline: time.Hour},
	"load":      {Attempts: 1, Interval: 10 * time.Second, Timeout: 5 * time.Minute, Deadline: 15 * time.Minute},
	"window":    {Attempts: 1, Interval: 10 * time.Second, Timeout: DefaultTimeout, Deadline: 7 * 24 * time.Hour},
	"nomad-job": {Attempts: 1, Interval: 10 * time.Second, Timeout: 10 * time.Minute, Deadline: 30 * time.Minute},
}

// Kinds are the gates a policy may name.
var Kinds = map[string]Kind{
	"depends":    decodeDepends,
	"exec":       decodeExec,
	"grpc":       decodeGRPC,
	"http":       decodeHTTP,
	"http-json":  decodeHTTPJSON,
	"kv":         decodeKV,
	"load":       decodeLoad,
	"metrics":    decodeMetrics,
	"prometheus": decodePrometheus,
	"nomad-job":  decodeNomadJob,
	"window":     decodeWindow,
}
