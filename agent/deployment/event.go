package deployment

import (
	"encoding/json"
	"time"
)

// Kind is what happened.
type Kind string

// What moves a deployment. Reports come from the work of a state, requests
// from operators and policy edits.
const (
	Begin     Kind = "begin"     // a candidate is to be released to the idle colour
	Switch    Kind = "switch"    // traffic is to go to what already runs on the idle colour
	Supersede Kind = "supersede" // a newer version takes the candidate's place
	Void      Kind = "void"      // policy or jobspec was edited: earlier passes no longer hold

	Planned     Kind = "planned"      // Nomad can place a second copy
	Refused     Kind = "refused"      // it cannot, or the jobspec cannot have colours
	Launched    Kind = "launched"     // every instance was healthy long enough
	LaunchFail  Kind = "launch-fail"  // it was not, within the deadline
	GatesPass   Kind = "gates-pass"   // all of them, for this exact hash
	GateFail    Kind = "gate-fail"    // one of them
	NeedConsent Kind = "need-consent" // gates passed, a person must agree
	Approve     Kind = "approve"
	Expire      Kind = "expire" // nobody approved in time
	Force       Kind = "force"  // an operator sends traffic without gates or health
	Abort       Kind = "abort"

	Unready Kind = "unready" // at the moment of cutover the precondition did not hold; nothing was written
	Routed  Kind = "routed"  // traffic goes to the candidate, verified

	Trigger    Kind = "trigger"     // a trigger found the candidate bad
	Rollback   Kind = "rollback"    // an operator, or a redeploy of the previous version
	RoutedBack Kind = "routed-back" // traffic goes to the previous colour, verified

	WatchPass Kind = "watch-pass" // watched long enough
	SoakEnd   Kind = "soak-end"   // soaked long enough
	Retired   Kind = "retired"    // the previous colour was kept, scaled or stopped
)

// What changes a service beside its deployment.
const (
	Adopt       Kind = "adopt"        // a running job becomes the active colour
	Enrol       Kind = "enrol"        // a service without a running job comes under management
	Prepared    Kind = "prepared"     // both subsets are defined and routed
	Pause       Kind = "pause"        // by an operator
	Resume      Kind = "resume"       // by an operator; also clears a hold
	Hold        Kind = "hold"         // by Teal
	Unhold      Kind = "unhold"       // what Teal held for is gone
	Queue       Kind = "queue"        // a newer version waits for the way back to be released
	JobsNone    Kind = "jobs-none"    // the key says none
	JobsMoved   Kind = "jobs-moved"   // the key says the new colour
	Progress    Kind = "progress"     // a gate has news
	Consented   Kind = "consent"      // an approver's key was written, for this or for something else
	Withdraw    Kind = "withdraw"     // an approver's key was deleted
	TestBegin   Kind = "test-begin"   // a gate is about to start a job in Nomad
	TestOver    Kind = "test-over"    // it is over, or was stopped
	Note        Kind = "note"         // evidence only
	Weaken      Kind = "weaken"       // the way back lost or regained strength
	Registered  Kind = "registered"   // the candidate's job is in Nomad, and the colour was empty before
	Emptied     Kind = "emptied"      // a colour's job was stopped
	Dismiss     Kind = "dismiss"      // Nomad is about to be asked to scale or stop the previous colour
	Rescaled    Kind = "rescaled"     // a colour's counts were changed in place
	Trouble     Kind = "trouble"      // the policy's text cannot be released, or again can
	MarkSeen    Kind = "mark-seen"    // this source needs no release of its own
	SetVars     Kind = "set-vars"     // variables given on the command line
	GiveBack    Kind = "give-back"    // plain entries are restored
	MoveWritten Kind = "move-written" // Consul acknowledged the route write
)

// Event is something that happened, with all that Step needs to know of it.
type Event struct {
	Kind    Kind
	At      time.Time
	By      string            // who: an operator, "policy edit", "teal"
	Reason  string            // one sentence for a person
	Figures map[string]string // evidence

	ID        string     // Begin, Switch: of the new deployment
	Candidate *Candidate // Begin, Queue, Void
	Slot      *Slot      // Planned, Adopt, Rescaled
	Colour    Colour     // Emptied, Rescaled: which
	Route     *Route     // Adopt, Enrol, Prepared
	Gates     []GateRecord
	Ask       *Ask       // NeedConsent: whose, where the policy names approvers
	Consent   *Consent   // Consented
	Test      *Test      // TestBegin, TestOver
	Then      string     // Retired: keep, scale or stop
	KeepUntil *time.Time // when a candidate that ends badly is stopped
	Detected  time.Time  // Trigger: first bad observation
	Written   time.Time  // Routed, RoutedBack, MoveWritten
	Overrides map[string]Override
	OnResume  Kind   // Hold: see Flag.OnResume
	Cause     Cause  // Hold: see Flag.Cause; Unhold: lift no other
	Force     bool   // Switch: an operator overrides proof and health
	Source    string // MarkSeen
	Digest    string // Routed, RoutedBack: of the routes as written

	Baseline json.RawMessage // any before the cutover: see Deployment.Baseline
	Learned  json.RawMessage // WatchPass: see Slot.Learned
}
