package gates

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/tealdeploy/teal/agent/deployment"
)

// HealthKind is the kind of the built-in gate. It is not among Kinds: every
// release has it and no policy can leave it out.
const HealthKind = "consul-health"

// Health passes once every instance the jobspec asks for passes Consul's
// checks. It never fails: an instance that is not healthy may still become so,
// and how long that may take is the launch's deadline.
type Health struct{}

// AlwaysHealth is the built-in gate as the runner takes it.
func AlwaysHealth(deadline time.Duration) Named {
	return Named{
		Kind:     HealthKind,
		Name:     "instances",
		Attempts: DefaultAttempts,
		Interval: DefaultInterval,
		Timeout:  DefaultTimeout,
		Deadline: deadline,
		Gate:     Health{},
	}
}

// Check implements Gate. Warning is not enough here, although Consul routes to
// it: what starts with a warning is not proven.
func (Health) Check(_ context.Context, target Target) (Finding, error) {
	var passing int
	var not []string
	for _, instance := range target.Instances {
		if instance.Health == deployment.Passing {
			passing++
			continue
		}
		state := string(instance.Health)
		if state == "" {
			state = "of unknown health"
		}
		not = append(not, fmt.Sprintf("%s on %s is %s", instance.ID, instance.Node, state))
	}
	slices.Sort(not)
	finding := Finding{Figures: map[string]string{
		"passing":  strconv.Itoa(passing),
		"expected": strconv.Itoa(target.Expected),
		"known":    strconv.Itoa(len(target.Instances)),
	}}
	switch {
	case target.Expected <= 0:
		finding.Reason = fmt.Sprintf("no instance of %s %s is expected; there is nothing to prove", target.Service, target.Colour)
	case passing >= target.Expected:
		finding.Verdict = Pass
		finding.Reason = fmt.Sprintf("%d of %d instances of %s %s pass Consul's checks", passing, target.Expected, target.Service, target.Colour)
	default:
		finding.Reason = fmt.Sprintf("%d of %d instances of %s %s pass Consul's checks", passing, target.Expected, target.Service, target.Colour)
		if missing := target.Expected - len(target.Instances); missing > 0 {
			not = append(not, fmt.Sprintf("%d not registered in Consul", missing))
		}
		finding.Reason += ": " + listed(not)
	}
	return finding, nil
}

// listed joins the first few of a list that may be long.
func listed(items []string) string {
	const most = 3
	if len(items) > most {
		return strings.Join(items[:most], "; ") + fmt.Sprintf("; and %d more", len(items)-most)
	}
	return strings.Join(items, "; ")
}
