// Package joblock moves job-processing leadership of a service: the key
// <prefix>services/<svc>/job-processor-leader, whose value is the only
// authority on which colour may process background jobs.
//
// The value goes from one colour to the other through none, and only after
// the old colour's workers are seen to have let go. Only the leading agent
// writes it, in fenced transactions; its ModifyIndex is the workers' token,
// which only grows. Nothing here stops a worker: workers watch the key (see
// package worker), and go on whether an agent lives or not.
package joblock

import (
	"context"
	"fmt"
	"strings"

	"github.com/hashicorp/consul/api"

	"github.com/tealdeploy/teal/agent/deployment"
)

// Reader reads keys; index and answer are those of a blocking query.
type Reader interface {
	Get(ctx context.Context, key string, index uint64) (*api.KVPair, uint64, error)
	List(ctx context.Context, prefix string, index uint64) (api.KVPairs, uint64, error)
}

// Key is the key as it was read.
type Key struct {
	// Owner is who may process; None also for a missing key and for a value
	// that is no colour: workers obey neither.
	Owner deployment.Colour
	// Index is the key's ModifyIndex, 0 if there is no key.
	Index uint64
	// Garbled is the value if it is none of blue, green and none.
	Garbled string
}

// Parse takes a pair as Consul returned it, nil for a missing key. White space
// around the value is allowed: people use echo and editors.
func Parse(pair *api.KVPair) Key {
	if pair == nil {
		return Key{Owner: deployment.None}
	}
	k := Key{Owner: deployment.None, Index: pair.ModifyIndex}
	value := strings.TrimSpace(string(pair.Value))
	if c, err := deployment.ParseColour(value); err == nil {
		k.Owner = c
	} else if value != string(deployment.None) {
		k.Garbled = value
		if k.Garbled == "" {
			k.Garbled = "(empty)"
		}
	}
	return k
}

// Edited says in what way the key differs from what Teal last wrote, for
// people; empty if it does not.
func (k Key) Edited(wrote deployment.Colour) string {
	switch {
	case k.Garbled != "":
		return fmt.Sprintf("job-processor-leader holds %.40q, expected blue, green or none: nobody processes jobs", k.Garbled)
	case k.Index == 0 && wrote.Valid():
		return fmt.Sprintf("job-processor-leader was deleted, it said %s: nobody processes jobs", wrote)
	case k.Owner.String() != wrote.String():
		return fmt.Sprintf("job-processor-leader was set to %s by somebody else, Teal wrote %s", k.Owner, wrote)
	}
	return ""
}
