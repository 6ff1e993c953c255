// Package deployment is the heart of Teal: what is recorded of a service and
// of the release in flight, the states a release goes through, and the pure
// Step that moves it from one to the next. It does no I/O and reads no clock:
// every event carries its own time.
package deployment

import (
	"encoding/json"
	"fmt"
	"slices"
	"time"
)

// Format is the version of the record this agent writes. A record with a
// greater one was written by a newer agent and is held, never overwritten.
const Format = 1

// Service is everything Teal remembers of one service. It is stored as JSON
// under teal/services/<svc>/state and saved before anything it says is done.
type Service struct {
	Format int    `json:"format"`
	Name   string `json:"name"`

	// Active is the colour that serves; None before the first cutover.
	Active Colour `json:"active"`
	// Slots says what runs on each colour. A colour without an entry is empty.
	Slots map[Colour]Slot `json:"slots,omitempty"`

	// Route is what the router needs to move the service or to give it back,
	// so that both work without the policy.
	Route Route `json:"route"`

	// Jobs is the state of job-processing leadership.
	Jobs JobOwnership `json:"jobs"`

	// Deployment is the release in flight, nil when the service is idle.
	Deployment *Deployment `json:"deployment,omitempty"`
	// Queued is a newer version that waits for the way back to be released.
	Queued *Candidate `json:"queued,omitempty"`

	// Tests are the jobs that gates have started, or are about to start, in
	// Nomad: noted before, and forgotten once they are over.
	Tests []Test `json:"tests,omitempty"`

	// Seen are the source hashes this service was already released from (or
	// refused), newest last, bounded. A source in Seen never starts a release
	// by itself again after a restart or a change of leader.
	Seen []string `json:"seen,omitempty"`
	// Overrides are variables given to `teal deploy -var`, in force until the
	// policy changes its own value of the same variable.
	Overrides map[string]Override `json:"overrides,omitempty"`

	// Paused is set by an operator: nothing moves forward by itself.
	Paused *Flag `json:"paused,omitempty"`
	// Held is set by Teal: something must be looked at before it goes on.
	// Rollback ignores both.
	Held *Flag `json:"held,omitempty"`
	// Problem is why the policy's present text cannot be released; what runs
	// is not touched by it.
	Problem *Flag `json:"problem,omitempty"`

	// Finished lists the kept deployment records, newest first, bounded.
	Finished []string `json:"finished,omitempty"`
	// Managed is false once `teal release` has given the service back.
	Managed bool `json:"managed"`
}

// Decode reads the record of a service as it stands in KV. Of a newer format
// nothing else may make sense here.
func Decode(name string, raw []byte) (Service, error) {
	var s Service
	err := json.Unmarshal(raw, &s)
	as := struct {
		Format int `json:"format"`
	}{s.Format}
	if err != nil {
		_ = json.Unmarshal(raw, &as) // whatever else it says
	}
	if as.Format > Format {
		return Service{}, fmt.Errorf("the record of %s has format %d and this teal knows up to %d: a newer teal wrote it; upgrade this one", name, as.Format, Format)
	}
	if err != nil {
		return Service{}, fmt.Errorf("the record of %s cannot be read: %w", name, err)
	}
	if d := s.Deployment; d != nil && !slices.Contains(States, d.State) {
		return Service{}, fmt.Errorf("the record of %s cannot be read: %q is no state of a deployment", name, d.State)
	}
	if what := s.unsound(); what != "" {
		return Service{}, fmt.Errorf("the record of %s cannot be read: %s", name, what)
	}
	if s.Name == "" {
		s.Name = name
	}
	if s.Name != name {
		return Service{}, fmt.Errorf("the record of %s cannot be read: it says that it is the one of %q", name, s.Name)
	}
	return s, nil
}

// unsound says what in a record no agent can have written. Everybody with the
// right may write anything there, and all else may rely on this.
func (s Service) unsound() string {
	maybe := []Colour{s.Active, s.Jobs.Owner, s.Jobs.Target}
	for c := range s.Slots {
		if !c.Valid() {
			return fmt.Sprintf("%q is no colour", string(c))
		}
	}
	if d := s.Deployment; d != nil {
		maybe = append(maybe, d.From)
		switch {
		case !d.To.Valid():
			return fmt.Sprintf("%q is no colour to release to", string(d.To))
		case d.From == d.To:
			return fmt.Sprintf("it releases from %s to %s", d.From, d.To)
		case d.State == RollingBack && !d.From.Valid():
			return "it rolls back to no colour"
		}
		if what := d.Ask.unsound(); what != "" {
			return what
		}
	}
	for _, c := range maybe {
		if !c.Valid() && c != None && c != "" {
			return fmt.Sprintf("%q is no colour", string(c))
		}
	}
	return ""
}

// Slot is what runs on a colour.
type Slot struct {
	Job       string         `json:"job"`                 // Nomad job ID
	Namespace string         `json:"namespace,omitempty"` // Nomad namespace
	Region    string         `json:"region,omitempty"`    // Nomad region
	Version   string         `json:"version,omitempty"`   // as the policy's variables name it
	Hash      string         `json:"hash,omitempty"`      // of the jobspec, less colour and counts
	Expected  int            `json:"expected,omitempty"`  // instances of the routed service
	Counts    map[string]int `json:"counts,omitempty"`    // task group → count
	// Adopted marks a job that ran before Teal came: its instances carry no
	// colour meta and its ID no colour.
	Adopted bool `json:"adopted,omitempty"`
	// Found is the hash of an adopted job as Nomad had it: Nomad adds to a
	// job, so it is not the hash of its jobspec. It tells whether somebody
	// has replaced the job since.
	Found string `json:"found,omitempty"`
	// Proof says why this slot may serve: the hash its gates passed for, or
	// who forced it. Empty means unproven.
	Proof string `json:"proof,omitempty"`
	// Unregistered is set until Nomad has the job: nothing of the slot has ever run,
	// as far as is known, also if its release has ended.
	Unregistered bool `json:"unregistered,omitempty"`
	// StopAt is when a failed or aborted candidate, kept for debugging, is
	// stopped.
	StopAt *time.Time `json:"stop_at,omitempty"`
	// Scaled is set once the retired colour was scaled to zero: the job is
	// there, its instances are not.
	Scaled bool `json:"scaled,omitempty"`
	// Serves is since when it has had the traffic, if that is known.
	Serves time.Time `json:"serves,omitzero"`
	// Learned is what its own watch found out of how it usually fares, for that of
	// its successor to compare with. Whoever judges knows its form; it is bounded.
	Learned json.RawMessage `json:"learned,omitempty"`
	// Leaving are jobs with another ID, namespace or region that stood on this
	// colour before, and that nobody has seen to be gone yet. Whoever stops this
	// one stops them, too.
	Leaving []Slot `json:"leaving,omitempty"`
}

// SameJob says whether two slots name the same job in Nomad.
func (s Slot) SameJob(as Slot) bool {
	return s.Job == as.Job && s.Namespace == as.Namespace && s.Region == as.Region
}

// All are the slot's job and those that are leaving, each by itself, the oldest
// first.
func (s Slot) All() []Slot {
	return append(slices.Clip(s.Leaving), s)
}

// inPlaceOf is the slot with what has to leave for it: a release may end before
// it has seen to that, and the next one must know.
func (s Slot) inPlaceOf(old Slot) Slot {
	s.Leaving = nil
	for _, o := range old.All() {
		if o.Leaving = nil; !o.SameJob(s) {
			s.Leaving = append(s.Leaving, o)
		}
	}
	return s
}

// Route is what is needed to move or give back a service's traffic.
type Route struct {
	Router    string `json:"router,omitempty"` // kind: service-router, service-resolver
	Namespace string `json:"namespace,omitempty"`
	Partition string `json:"partition,omitempty"`
	// Original holds the entries found at adoption as JSON, by kind, so that
	// `teal release` can restore them. A kind that is missing did not exist.
	Original map[string]string `json:"original,omitempty"`
	// Prepared is set once both subsets are defined and routed, at PreparedAt.
	Prepared   bool      `json:"prepared,omitempty"`
	PreparedAt time.Time `json:"prepared_at,omitzero"`
	// Settled is set once those who do not come through the router are sent to
	// the active colour, too.
	Settled bool `json:"settled,omitempty"`
	// Loose is set while instances without colour meta count as blue, that is
	// from adoption until the adopted job is retired.
	Loose bool `json:"loose,omitempty"`
	// Digest is the router's own digest of the entry it last wrote, to tell a
	// person's edit from its own.
	Digest string `json:"digest,omitempty"`
}

// JobOwnership is the state of job-processing leadership. The key's value is
// the authority for workers; this says where it is going.
type JobOwnership struct {
	Owner  Colour    `json:"owner"`            // as last written to the key
	Target Colour    `json:"target,omitempty"` // who should own it
	Since  time.Time `json:"since,omitzero"`   // when the handover began
	// Outcome is how the last handover ended: "released", "forced" and so on.
	Outcome string `json:"outcome,omitempty"`
}

// Moving says whether a handover is under way.
func (j JobOwnership) Moving() bool { return j.Target != "" && j.Owner != j.Target }

// Flag is a pause or a hold, with who set it and why.
type Flag struct {
	By     string    `json:"by"`
	Reason string    `json:"reason"`
	At     time.Time `json:"at"`
	// OnResume is what an operator's resume brings about beside lifting the
	// hold: it accepts what Teal could not judge.
	OnResume Kind `json:"on_resume,omitempty"`
	// Cause is set on a hold that lifts itself once what it is about is gone.
	Cause Cause `json:"cause,omitempty"`
}

// Cause is what a hold is about, where Teal itself can see the end of it.
type Cause string

// The causes.
const (
	RouteEdited Cause = "route"  // somebody changed the router's entries
	JobEdited   Cause = "job"    // somebody changed a colour's job in Nomad
	OtherPolicy Cause = "policy" // the leader has no policy, or another one, than the release began with
	// CannotTell: the time of a watch or a soak is up, and a trigger does not know.
	CannotTell Cause = "unknown"
)

// Override is a variable's value given on the command line.
type Override struct {
	Value string `json:"value"`
	// Policy is the policy's own value at that time; once it differs, the
	// policy wins again.
	Policy string `json:"policy,omitempty"`
}

// Candidate is the version being released.
type Candidate struct {
	Version  string            `json:"version,omitempty"`
	Hash     string            `json:"hash"`             // of the jobspec, less colour and counts
	Policy   string            `json:"policy"`           // hash of the policy it is judged by
	Source   string            `json:"source,omitempty"` // hash of jobspec text, variables and policy
	Job      string            `json:"job"`              // the jobspec's own job ID, uncoloured
	Vars     map[string]string `json:"vars,omitempty"`   // the jobspec's variables as used
	Expected int               `json:"expected,omitempty"`
	By       string            `json:"by"` // who or what asked: "policy edit", "alice@host"
}

// Proof is what a pass of the candidate's gates is bound to.
func (c Candidate) Proof() string { return c.Hash + "+" + c.Policy }

// Deployment is one release of a candidate.
type Deployment struct {
	ID          string    `json:"id"`
	Service     string    `json:"service"`
	State       State     `json:"state"`
	Since       time.Time `json:"since"` // of the state
	Started     time.Time `json:"started"`
	Candidate   Candidate `json:"candidate"`
	From        Colour    `json:"from"` // None for the first release: there is no way back
	To          Colour    `json:"to"`
	FromVersion string    `json:"from_version,omitempty"`

	// Slotted is set once the idle colour's slot is the candidate's.
	Slotted bool `json:"slotted,omitempty"`
	// Registered is set once the candidate's job is in Nomad. Until then, what
	// Consul has of the colour is somebody else.
	Registered bool `json:"registered,omitempty"`
	// Evict is what still occupied the idle colour when the candidate was
	// launched; it is stopped first.
	Evict *Slot `json:"evict,omitempty"`

	Gates []GateRecord `json:"gates,omitempty"`
	// Ask is whose consent is waited for, where the policy names approvers. It
	// stays when the wait ends without an approval.
	Ask      *Ask      `json:"ask,omitempty"`
	Approval *Approval `json:"approval,omitempty"`
	// Forced is who overrode gates or health, and why.
	Forced *Flag `json:"forced,omitempty"`
	// Weakened says why the way back is not as strong as it was; empty when
	// it is whole.
	Weakened string `json:"weakened,omitempty"`

	// Baseline is what was learned of the previous colour before the cutover, so
	// that a watch that begins anew knows it too. As Slot.Learned; gone at the end.
	Baseline json.RawMessage `json:"baseline,omitempty"`

	Cutover  *Move `json:"cutover,omitempty"`
	Rollback *Move `json:"rollback,omitempty"`
	// Dismissed is set before Nomad is asked for the first time to scale or stop
	// the previous colour: from then on it may go at any time.
	Dismissed bool `json:"dismissed,omitempty"`
	// Verdicts is what the watch and the soak came to, oldest first, bounded.
	Verdicts []Verdict `json:"verdicts,omitempty"`

	Outcome Outcome   `json:"outcome,omitempty"`
	Reason  string    `json:"reason,omitempty"`
	Ended   time.Time `json:"ended,omitzero"`

	// Log is the evidence: who, what, when, which figures. Bounded.
	Log []Entry `json:"log,omitempty"`
}

// GateRecord is the progress and result of one gate.
type GateRecord struct {
	Kind     string            `json:"kind"`
	Name     string            `json:"name"`
	Verdict  string            `json:"verdict"` // hold, pass, fail
	Reason   string            `json:"reason,omitempty"`
	Figures  map[string]string `json:"figures,omitempty"`
	Attempts int               `json:"attempts,omitempty"`
	At       time.Time         `json:"at,omitzero"`
	Proof    string            `json:"proof"` // the hash this verdict is bound to
}

// Verdict is what a watch or a soak came to, with the figures it went by.
type Verdict struct {
	At      time.Time         `json:"at"`
	State   State             `json:"state"`   // in which it was given
	Verdict string            `json:"verdict"` // passed, bad, accepted
	By      string            `json:"by,omitempty"`
	Reason  string            `json:"reason,omitempty"`
	Figures map[string]string `json:"figures,omitempty"`
}

// Test is a job that a gate runs in Nomad against a candidate.
type Test struct {
	Deployment string `json:"deployment"`
	Proof      string `json:"proof"` // the candidate it tests
	Gate       string `json:"gate"`
	Job        string `json:"job"`             // its ID; that of the parameterized job where it has a token
	Token      string `json:"token,omitempty"` // by which the instance is found among its job's
	Namespace  string `json:"namespace,omitempty"`
	Region     string `json:"region,omitempty"`
}

// Stray says whether a test is of no use any more: what it tests is not, or no
// longer, being proved. A hold without a cause that lifts by itself is one for
// the gates: nobody follows the test until a person resumes.
func (s Service) Stray(t Test) bool {
	d := s.Deployment
	return d == nil || d.State != Gating || d.ID != t.Deployment || d.Candidate.Proof() != t.Proof ||
		s.Held != nil && s.Held.Cause == ""
}

// Approval is consent to one exact candidate: a person's, or that of a quorum
// of the named approvers.
type Approval struct {
	By    string    `json:"by"`
	At    time.Time `json:"at"`
	Proof string    `json:"proof"`
	// Consents are the approvers' that made it up, where the policy names them.
	Consents []Consent `json:"consents,omitempty"`
}

// Move is one shift of traffic, with the times the figures come from.
type Move struct {
	To       Colour    `json:"to"`
	By       string    `json:"by"`
	Reason   string    `json:"reason,omitempty"`
	Decided  time.Time `json:"decided"`           // the decision was known to the agent
	Written  time.Time `json:"written,omitzero"`  // Consul acknowledged the write
	Verified time.Time `json:"verified,omitzero"` // read back, chain and probe agree
	Detected time.Time `json:"detected,omitzero"` // rollback: first bad observation
}

// Outcome is how a deployment ended.
type Outcome string

// The outcomes.
const (
	Succeeded  Outcome = "succeeded"   // serves, watched, previous colour retired
	RolledBack Outcome = "rolled-back" // traffic went there and was taken back
	Failed     Outcome = "failed"      // never served
	Aborted    Outcome = "aborted"     // stopped by an operator before cutover
	Superseded Outcome = "superseded"  // a newer version took its place before cutover
)

// Entry is one line of evidence.
type Entry struct {
	At      time.Time         `json:"at"`
	By      string            `json:"by"`
	What    string            `json:"what"`
	Figures map[string]string `json:"figures,omitempty"`
}
