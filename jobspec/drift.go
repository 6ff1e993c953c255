package jobspec

import (
	"fmt"

	"github.com/hashicorp/nomad/api"
)

// Drift says in which ways a running job is no longer the one Teal rendered:
// stopped, registered again by somebody else, or scaled by hand. running is
// nil when the job is gone. A job that `nomad job run` replaced carries no
// meta of Teal's or another hash; the running spec itself is not compared,
// because Nomad's server adds to it.
func Drift(running *api.Job, rendered *Rendered) []Change {
	if running == nil {
		return []Change{{Path: "Job", Old: quote(rendered.ID)}}
	}
	var changes []Change
	if running.Stop != nil && *running.Stop {
		changes = append(changes, Change{"Stop", "false", "true"})
	}
	for _, key := range tealMeta {
		was, is := rendered.Job.Meta[key], running.Meta[key]
		if was == is {
			continue
		}
		change := Change{Path: "Meta." + key, Old: quote(was)}
		if is != "" {
			change.New = quote(is)
		}
		changes = append(changes, change)
	}
	return append(changes, countChanges(rendered.Counts, Counts(running))...)
}

func quote(s string) string { return fmt.Sprintf("%q", s) }
