// Package policy turns policy files into typed, validated policies, and keeps
// them current while the files change. All mistakes of a file are reported at
// once as HCL diagnostics, with file, line and the offending text. It reads
// files and nothing else: no server is asked, and the jobspec's text is taken
// as it is, for Nomad to parse.
package policy

import (
	"time"

	"github.com/tealdeploy/teal/agent/packed"
	"github.com/tealdeploy/teal/gates"
	"github.com/tealdeploy/teal/rollback"
)

// Policy is one `service` block: how one service is released. Policies are
// shared between sets and must not be changed.
type Policy struct {
	Service   string // the Consul service whose traffic is moved
	Namespace string // Consul namespace (enterprise); empty is default
	Partition string // Consul admin partition (enterprise); empty is default

	// File and Line say where the block stands; they are not part of Hash.
	File string `json:"-"`
	Line int    `json:"-"`

	Job  Job
	Auto bool // an edit that changes the job starts a release by itself

	Launch   Launch
	Gates    []gates.Named
	Approval Approval
	Cutover  Cutover
	Jobs     Jobs
	Watch    Watch
	Soak     Soak

	digest string // of all that agents must agree on; see Set.Digest
	source string // SourceHash without overrides, which is asked for often
}

// Job is the jobspec and its variables.
type Job struct {
	Path      string            `json:"-"` // absolute
	source    packed.Text       // the file's text as last read
	Variables map[string]string // the jobspec's own HCL2 variables, as HCL expressions Nomad accepts
	// VersionVariable names the variable that holds the version; "version" by
	// default.
	VersionVariable string
}

// Launch bounds the candidate's start.
type Launch struct {
	Deadline   time.Duration // until every instance is healthy, else the release is aborted
	HealthyFor time.Duration // every instance must pass Consul's checks this long without a break
	KeepFailed time.Duration // how long a failed candidate is kept for debugging
}

// Approval asks for a person's consent between gates and cutover.
type Approval struct {
	Required bool
	Deadline time.Duration // 0 means no deadline
	// Hold says what comes once the deadline has passed: the release is held
	// instead of aborted.
	Hold bool `json:",omitempty"`
	// Approvers are those whose consent counts, in order; none: whoever may give
	// the command. Quorum is how many of them it takes, 0 without approvers.
	// Those that came after the first release are left out of the hash where
	// they are not set, so that policies without them keep theirs.
	Approvers []string `json:",omitempty"`
	Quorum    int      `json:",omitempty"`
}

// MaxApprovers bounds a policy's approvers: each consent that counts is checked
// in the transaction that acts on it, and Consul takes 64 operations in one.
const MaxApprovers = 32

// Cutover says how traffic is moved.
type Cutover struct {
	Router   string // one of Routers
	Protocol string // written to service-defaults when the service has none; empty: never write
	Probe    *Probe
	Repair   bool          // write our routes back over a person's edit instead of holding
	Timeout  time.Duration // bounds verification; the route itself is one write
}

// Probe is an active check through a real entry point after the write.
type Probe struct {
	URL    string
	Expect string // must be contained in the body
	Header map[string]string
}

// Jobs bounds the handover of background-job processing.
type Jobs struct {
	HandoverDeadline time.Duration
}

// Watch is the time after cutover in which triggers may take traffic back.
type Watch struct {
	For      time.Duration
	Interval time.Duration // between scrapes
	Triggers []rollback.Named
	// Unknown bounds how long triggers may not know.
	Unknown rollback.Patience
	// Early is what suffices to end the watch before its time.
	Early rollback.Early
}

// Soak is the time after the watch in which the previous colour stays whole.
type Soak struct {
	For   time.Duration
	Then  string // keep | scale | stop
	Newer string // queue | replace: what a newer version does during watch and soak
}

// The words a policy may choose from.
var (
	// Routers are the ways to move traffic, by the Consul entry that is written. Only
	// the first has routes, and so a preview route for each colour.
	Routers = []string{"service-router", "service-resolver"}
	// Thens are what may become of the previous colour when the soak ends.
	Thens = []string{"keep", "scale", "stop"}
	// ApprovalThens are what may come of a release that nobody approved in time.
	ApprovalThens = []string{"abort", "hold"}
	// Newers are what a newer version may do during watch and soak.
	Newers = []string{"queue", "replace"}
)

// Defaults that also hold for a service whose policy has gone while it is still
// being looked after.
const (
	DefaultKeepFailed       = 10 * time.Minute
	DefaultHandoverDeadline = 30 * time.Second
)

// Defaults is the policy of a service that sets nothing. Defaults stand nowhere
// else.
func Defaults() Policy {
	return Policy{
		Job:      Job{VersionVariable: "version"},
		Auto:     true,
		Launch:   Launch{Deadline: 10 * time.Minute, HealthyFor: 10 * time.Second, KeepFailed: DefaultKeepFailed},
		Approval: Approval{Required: false, Deadline: 0},
		Cutover:  Cutover{Router: "service-router", Timeout: 30 * time.Second},
		Jobs:     Jobs{HandoverDeadline: DefaultHandoverDeadline},
		Watch:    Watch{For: 15 * time.Minute, Interval: time.Second, Unknown: rollback.Patience{Then: rollback.ThenHold}},
		Soak:     Soak{For: 24 * time.Hour, Then: "keep", Newer: "queue"},
	}
}
