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
