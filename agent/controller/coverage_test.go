package controller

import (
	"errors"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/tealdeploy/teal/agent/deployment"
)

// score counts what simulated schedules have come to. One is shared by all
// schedules of a run; late is the present schedule's own.
type score struct {
	mu     *sync.Mutex
	faults map[string]int
	states map[string]int
	edges  map[string]int
	steps  *int

	late func(agent string) time.Duration
}

func newScore() *score {
	return &score{mu: &sync.Mutex{}, faults: map[string]int{}, states: map[string]int{}, edges: map[string]int{}, steps: new(int)}
}

// of is the tally for one schedule; late says by how much an agent's knowledge
// of health may lag.
func (y *score) of(late func(string) time.Duration) *score {
	own := *y
	own.late = late
	return &own
}

func (y *score) slack(agent string) time.Duration { return y.late(agent) }

// suffered are what may become of a request, or of its answer.
var suffered = []string{
	"Consul: error after success", "Consul: lost before it arrived", "Consul: write delayed", "Consul: write carried out twice",
	"Consul: write arrives after its sender gave up", "Consul: never answered",
	"Consul: blocking query returned early", "Consul: stale answer to a blocking query",
	"Nomad: error after success", "Nomad: lost before it arrived", "Nomad: write delayed", "Nomad: write carried out twice",
	"Nomad: write arrives after its sender gave up", "Nomad: never answered", "Nomad: answer delayed",
	"Nomad: answered by a deposed leader", "Nomad: a job, its allocations and its deployment answered at different moments",
	"Nomad: watch fell silent",
}

// spared are the kinds of faults that no schedule had; at which writes an agent
// crashed is chance.
func (y *score) spared() []string {
	kinds := slices.Clone(suffered)
	for _, h := range anything {
		kinds = append(kinds, h.name)
	}
	return slices.DeleteFunc(kinds, func(kind string) bool { return y.faults[kind] > 0 })
}

// unlisted are faults that happened and are in no list: these are then not complete.
func (y *score) unlisted() []string {
	var out []string
	for kind := range y.faults {
		known := slices.Contains(suffered, kind) || slices.ContainsFunc(anything, func(h happening) bool { return h.name == kind })
		if !known && !strings.HasPrefix(kind, "crashed ") {
			out = append(out, kind)
		}
	}
	return out
}

func (y *score) fault(kind string) {
	y.mu.Lock()
	defer y.mu.Unlock()
	y.faults[kind]++
}

// stepped finds out by which edges one record followed from another: its
// deployment's log names the events, and the step table says which of them
// were edges.
func (y *score) stepped(before, now deployment.Service) {
	if y == nil || now.Deployment == nil {
		return
	}
	y.mu.Lock()
	defer y.mu.Unlock()
	state, seen := deployment.Preparing, 0
	if b := before.Deployment; b != nil && b.ID == now.Deployment.ID {
		state, seen = b.State, len(b.Log)
	}
	for n, entry := range now.Deployment.Log {
		if n < seen {
			continue
		}
		kind, _, _ := strings.Cut(entry.What, ":")
		if deployment.Kind(kind) == deployment.Switch {
			state = deployment.CuttingOver
		}
		if next, ok := stepTable()[via{state, deployment.Kind(kind)}]; ok {
			y.edges[via{state, deployment.Kind(kind)}.String()]++
			state = next
		}
		y.states[string(state)]++
	}
}

// via is an edge of the step table.
type via struct {
	from deployment.State
	by   deployment.Kind
}

func (v via) String() string { return string(v.from) + " " + string(v.by) }

// stepTable is the table as deployment.Step shows it to anybody: every event
// tried in every state.
var stepTable = sync.OnceValue(func() map[via]deployment.State {
	table := map[via]deployment.State{}
	for _, state := range deployment.States {
		for _, kind := range []deployment.Kind{
			deployment.Supersede, deployment.Void, deployment.Planned, deployment.Refused, deployment.Launched, deployment.LaunchFail,
			deployment.GatesPass, deployment.GateFail, deployment.NeedConsent, deployment.Approve, deployment.Expire, deployment.Force,
			deployment.Abort, deployment.Unready, deployment.Routed, deployment.Trigger, deployment.Rollback, deployment.RoutedBack,
			deployment.WatchPass, deployment.SoakEnd, deployment.Retired,
		} {
			s := deployment.Service{
				Name: "x", Managed: true, Active: deployment.Blue,
				Slots:      map[deployment.Colour]deployment.Slot{deployment.Blue: {Job: "b"}, deployment.Green: {Job: "g"}},
				Deployment: &deployment.Deployment{ID: "d", State: state, From: deployment.Blue, To: deployment.Green},
			}
			next, _, err := deployment.Step(s, deployment.Event{Kind: kind, Slot: &deployment.Slot{}, Candidate: &deployment.Candidate{}})
			if !errors.Is(err, deployment.ErrTransition) {
				table[via{state, kind}] = next.Deployment.State
			}
		}
	}
	return table
})

// elsewhere are edges that no schedule can take, and why.
var elsewhere = map[string]string{
	"cutting-over trigger":      "a probe asks over real HTTP, which virtual time cannot wait for: TestProbeOfAFirstRelease, and TestProbeThroughTheEntryPoint end to end",
	"awaiting-approval unready": "the controller says it only of a cutover it has begun: the step table's own tests",
}

// missing are the edges that no schedule took and that one could have taken.
func (y *score) missing() []string {
	var out []string
	for v := range stepTable() {
		if y.edges[v.String()] == 0 && elsewhere[v.String()] == "" {
			out = append(out, v.String())
		}
	}
	slices.Sort(out)
	return out
}

// most lists counts, the greatest first.
func most(counts map[string]int) []string {
	names := slices.Sorted(maps.Keys(counts))
	slices.SortStableFunc(names, func(a, b string) int { return counts[b] - counts[a] })
	return names
}
