package deployment

// State is where a deployment stands.
type State string

// The states, in the order a good release passes them. Paused and held are
// flags of the service, not states.
const (
	Preparing   State = "preparing"         // render and plan; nothing is registered
	Launching   State = "launching"         // the candidate is registered, Nomad and Consul bring it up
	Gating      State = "gating"            // gates look at it
	Approving   State = "awaiting-approval" // a person must agree
	CuttingOver State = "cutting-over"      // jobs to none, the one route write, its verification
	Watching    State = "watching"          // triggers may take traffic back
	Soaking     State = "soaking"           // the previous colour is still whole
	Retiring    State = "retiring"          // the previous colour is kept, scaled or stopped
	RollingBack State = "rolling-back"      // the one route write back, its verification
	Done        State = "done"              // see Outcome
)

// States lists them all.
var States = []State{Preparing, Launching, Gating, Approving, CuttingOver, Watching, Soaking, Retiring, RollingBack, Done}

// BeforeCutover says whether the candidate has not been given traffic yet.
func (s State) BeforeCutover() bool {
	switch s {
	case Preparing, Launching, Gating, Approving:
		return true
	}
	return false
}
