// Package policy turns policy files into typed, validated policies. All
// mistakes of a file are reported at once as HCL diagnostics, with file, line
// and the offending text. It talks to no server.
package policy

import (
	"time"

	"github.com/tealdeploy/teal/gates"
	"github.com/tealdeploy/teal/rollback"
)

// Policy is one `service` block: how one service is released.
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
}

// Job is the jobspec and its variables.
type Job struct {
	Path      string            `json:"-"` // absolute
	Source    string            `json:"-"` // the file's text as last read
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
	Deadline time.Duration // 0 means no deadline; when it passes the release is aborted
}

// Cutover says how traffic is moved.
type Cutover struct {
	Router   string // a name in traffic.Kinds
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
}

// Soak is the time after the watch in which the previous colour stays whole.
type Soak struct {
	For   time.Duration
	Then  string // keep | scale | stop
	Newer string // queue | replace: what a newer version does during watch and soak
}
