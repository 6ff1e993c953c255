package controller

import (
	"strings"

	"github.com/tealdeploy/teal/agent/deployment"
)

// gist is what the tenure needs to know of a record without decoding it
// again: ten thousand idle services must cost little.
type gist struct {
	managed, quiet, held, paused bool
	state                        deployment.State // in flight, or empty
	router                       string           // kind of its router, once it is prepared
	edited                       bool             // it is held for an edit of its route
	jobs                         []string         // namespace/ID of the colours' jobs
}

func gistOf(rec deployment.Service, err error) gist {
	if err != nil {
		return gist{held: true}
	}
	g := gist{managed: rec.Managed, quiet: quiet(rec), held: rec.Held != nil, paused: rec.Paused != nil}
	g.edited = rec.Held != nil && rec.Held.Cause == deployment.RouteEdited
	if rec.InFlight() {
		g.state = rec.Deployment.State
	}
	if rec.Managed && rec.Route.Prepared {
		g.router = rec.Route.Router
	}
	for colour, slot := range rec.Slots {
		g.jobs = append(g.jobs, jobKey(slot.Namespace, slot.Job))
		if plain, ok := plainID(slot.Job, colour); ok && !slot.Adopted {
			// Somebody may run the jobspec by hand beside the colours.
			g.jobs = append(g.jobs, jobKey(slot.Namespace, plain))
		}
	}
	return g
}

// jobKey names a job among all namespaces.
func jobKey(namespace, id string) string {
	if namespace == "" {
		namespace = "default"
	}
	return namespace + "/" + id
}

// tally counts services for the metrics as their records change.
type tally struct {
	managed, held, paused int
	states                map[deployment.State]int
}

func newTally() tally { return tally{states: map[deployment.State]int{}} }

func (t *tally) replace(was, is gist) {
	t.add(was, -1)
	t.add(is, 1)
}

func (t *tally) add(g gist, n int) {
	if g.managed {
		t.managed += n
	}
	if g.held {
		t.held += n
	}
	if g.paused {
		t.paused += n
	}
	if g.state != "" {
		t.states[g.state] += n
	}
}

// plainID is the jobspec's own ID of a colour's job.
func plainID(job string, colour deployment.Colour) (id string, ok bool) {
	return strings.CutSuffix(job, "-"+string(colour))
}
