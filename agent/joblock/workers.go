package joblock

import (
	"encoding/json"
	"time"

	"github.com/hashicorp/consul/api"
)

// Worker is what a worker writes into its own key, which its session holds
// for as long as it processes.
type Worker struct {
	Host  string    `json:"host,omitempty"`
	PID   int       `json:"pid,omitempty"`
	Token uint64    `json:"token,omitempty"` // ModifyIndex of the leader key it works under
	Since time.Time `json:"since,omitzero"`
	// Lease is how long after its last contact with Consul the worker may
	// still be processing: its session's TTL.
	Lease Duration `json:"lease,omitempty"`
	// Stop is set by the leading agent when the drain deadline has passed:
	// end at once, then let go of the key.
	Stop bool `json:"stop,omitempty"`
}

// DefaultLease is assumed of a worker that does not say.
const DefaultLease = 10 * time.Second

// MaxLease bounds what a worker may ask everybody to wait for it. A worker must
// not take a longer lease: it would not be waited out.
const MaxLease = time.Minute

// ParseWorker reads a worker's value. It never fails: whatever holds a key
// under workers/ with a session counts as a worker.
func ParseWorker(value []byte) Worker {
	var w Worker
	if err := json.Unmarshal(value, &w); err != nil {
		w = Worker{}
	}
	return w
}

// Value is the worker as its key's value.
func (w Worker) Value() []byte {
	data, err := json.Marshal(w)
	if err != nil {
		panic("worker is not JSON: " + err.Error()) // plain fields only
	}
	return data
}

// lease is the bounded Lease.
func (w Worker) lease() time.Duration {
	switch l := time.Duration(w.Lease); {
	case l <= 0:
		return DefaultLease
	case l > MaxLease:
		return MaxLease
	default:
		return l
	}
}

// Duration is a time.Duration that is written as text, "10s".
type Duration time.Duration

// MarshalText writes "10s".
func (d Duration) MarshalText() ([]byte, error) { return []byte(time.Duration(d).String()), nil }

// UnmarshalText reads "10s".
func (d *Duration) UnmarshalText(text []byte) error {
	v, err := time.ParseDuration(string(text))
	*d = Duration(v)
	return err
}

// working is those of a prefix's pairs that a session holds. A key without one
// was put there by hand or left behind: nobody processes under it.
func working(pairs api.KVPairs) api.KVPairs {
	var held api.KVPairs
	for _, p := range pairs {
		if p.Session != "" {
			held = append(held, p)
		}
	}
	return held
}
