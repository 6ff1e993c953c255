package jobspec

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"

	"github.com/hashicorp/nomad/api"
)

// Hash identifies what would run: it changes when an edit of the jobspec or
// of the version changes the job, and only then. Counts, the colour and
// everything Teal or Nomad's server writes are left out, so that a template
// and both of its colours have one hash and a changed count has none of its
// own. The bounds of a scaling block are part of it: they cannot be changed
// by scaling.
//
// version is part of the hash because it is part of the job (APP_VERSION),
// also where the jobspec itself does not mention it. A job that cannot be
// written as JSON has the empty hash, which matches nothing.
func Hash(job *api.Job, version string) string {
	tree, err := spec(job, version)
	if err != nil {
		return ""
	}
	raw, err := json.Marshal([]any{version, tree}) // map keys come sorted
	if err != nil {
		return ""
	}
	sum := sha256.Sum256(raw)
	return hex.EncodeToString(sum[:16])
}
