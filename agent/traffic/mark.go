package traffic

import (
	"maps"
	"strconv"
	"strings"

	"github.com/hashicorp/consul/api"

	"github.com/tealdeploy/teal/agent/deployment"
)

// The Meta keys of the config entries Teal writes. They make an entry say by
// itself whose it is, under which leader it was written and what it was.
const (
	metaOwner   = "teal_owner"   // the agents' KV prefix
	metaEpoch   = "teal_epoch"   // the leader's; see Target.Epoch
	metaColour  = "teal_colour"  // the active colour
	metaMove    = "teal_move"    // deployment/nonce of the last move
	metaDigest  = "teal_digest"  // of what Teal wrote
	metaCreated = "teal_created" // "true": the entry did not exist before
	metaAdded   = "teal_added"   // service-defaults: the protocol Teal added
)

// mark is Teal's part of an entry's Meta.
type mark struct {
	owner   string
	epoch   uint64
	colour  deployment.Colour
	move    string
	digest  string
	created bool
}

func readMark(meta map[string]string) mark {
	epoch, _ := strconv.ParseUint(meta[metaEpoch], 10, 64)
	colour, err := deployment.ParseColour(meta[metaColour])
	if err != nil {
		colour = deployment.None
	}
	return mark{
		owner: meta[metaOwner], epoch: epoch, colour: colour, move: meta[metaMove],
		digest: meta[metaDigest], created: meta[metaCreated] == "true",
	}
}

// write is meta with m in it; everybody else's keys stay.
func (m mark) write(meta map[string]string) map[string]string {
	out := eraseMark(meta)
	if out == nil {
		out = map[string]string{}
	}
	out[metaOwner] = m.owner
	out[metaEpoch] = strconv.FormatUint(m.epoch, 10)
	if m.colour.Valid() {
		out[metaColour] = string(m.colour)
	}
	if m.move != "" {
		out[metaMove] = m.move
	}
	if m.digest != "" {
		out[metaDigest] = m.digest
	}
	if m.created {
		out[metaCreated] = "true"
	}
	return out
}

// eraseMark is meta without Teal's keys, nil if nothing is left.
func eraseMark(meta map[string]string) map[string]string {
	out := maps.Clone(meta)
	maps.DeleteFunc(out, func(k, _ string) bool { return strings.HasPrefix(k, "teal_") })
	if len(out) == 0 {
		return nil
	}
	return out
}

// ourOwner checks that an entry is nobody else's. Controllers mark what they
// write: two of them on one entry would overwrite each other for ever.
func ourOwner(e api.ConfigEntry, owner string) error {
	meta := e.GetMeta()
	if o := meta[metaOwner]; o != "" && o != owner {
		return refuse(e.GetKind(), e.GetName(), "is managed by the Teal agents under the KV prefix %s, ours is %s: "+
			"run `teal release %s` there first", o, owner, e.GetName())
	}
	for _, key := range []string{"external-source", "consul.hashicorp.com/source-datacenter", "managed-by", "created-by"} {
		if v := meta[key]; v != "" && v != "teal" && meta[metaOwner] == "" {
			return refuse(e.GetKind(), e.GetName(), "is managed by somebody else (Meta %s = %s): "+
				"let that tool give it up and remove the key, then try again", key, v)
		}
	}
	return nil
}
