package gates_test

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/tealdeploy/teal/agent/deployment"
	"github.com/tealdeploy/teal/gates"
)

// fleet is instances with the healths given, in order.
func fleet(healths ...deployment.Health) []deployment.Instance {
	var all []deployment.Instance
	for i, h := range healths {
		all = append(all, deployment.Instance{ID: fmt.Sprintf("api-%d", i+1), Node: fmt.Sprintf("node-%d", i+1), Health: h})
	}
	return all
}

func TestHealth(t *testing.T) {
	const (
		ok   = deployment.Passing
		warn = deployment.Warning
		bad  = deployment.Critical
	)
	for _, c := range []struct {
		name      string
		instances []deployment.Instance
		expected  int
		verdict   gates.Verdict
		reason    string
	}{
		{"all pass", fleet(ok, ok), 2, gates.Pass, "2 of 2 instances of api green pass Consul's checks"},
		{"more than asked for, as while one is replaced", fleet(ok, ok, bad), 2, gates.Pass, "2 of 2 instances of api green pass Consul's checks"},
		{"one is critical", fleet(ok, bad), 2, gates.Hold, "1 of 2 instances of api green pass Consul's checks: api-2 on node-2 is critical"},
		{"Consul routes to a warning one, but it is not proven", fleet(ok, warn), 2, gates.Hold, "1 of 2 instances of api green pass Consul's checks: api-2 on node-2 is warning"},
		{"a health Consul did not give", fleet(""), 1, gates.Hold, "0 of 1 instances of api green pass Consul's checks: api-1 on node-1 is of unknown health"},
		{"some are missing", fleet(ok), 3, gates.Hold, "1 of 3 instances of api green pass Consul's checks: 2 not registered in Consul"},
		{"none is there", nil, 2, gates.Hold, "0 of 2 instances of api green pass Consul's checks: 2 not registered in Consul"},
		{"nothing is expected: nothing is proven", fleet(ok), 0, gates.Hold, "no instance of api green is expected; there is nothing to prove"},
		{"a hundred are critical", fleet(slices.Repeat([]deployment.Health{bad}, 100)...), 100, gates.Hold,
			"0 of 100 instances of api green pass Consul's checks: api-1 on node-1 is critical; api-10 on node-10 is critical; api-100 on node-100 is critical; and 97 more"},
	} {
		t.Run(c.name, func(t *testing.T) {
			finding, err := gates.Health{}.Check(t.Context(), gates.Target{
				Service: "api", Colour: deployment.Green, Instances: c.instances, Expected: c.expected,
			})
			if err != nil || finding.Verdict != c.verdict || finding.Reason != c.reason {
				t.Errorf("got %s %q, %v,\nwant %s %q", finding.Verdict, finding.Reason, err, c.verdict, c.reason)
			}
			passing := 0
			for _, i := range c.instances {
				if i.Health == ok {
					passing++
				}
			}
			want := map[string]string{"passing": fmt.Sprint(passing), "expected": fmt.Sprint(c.expected), "known": fmt.Sprint(len(c.instances))}
			if !maps.Equal(finding.Figures, want) {
				t.Errorf("figures %v, want %v", finding.Figures, want)
			}
		})
	}
}

// The built-in gate waits for slow instances up to the launch's deadline, and
// then holds: it is not for this gate to call a candidate bad.
func TestAlwaysHealth(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		began := time.Now()
		gate := gates.AlwaysHealth(10 * time.Minute)
		if gate.Kind != gates.HealthKind || gate.Name == "" {
			t.Errorf("the gate is called %q %q", gate.Kind, gate.Name)
		}
		out, err := gates.Run(t.Context(), []gates.Named{gate}, steady, nil)
		if err != nil || out.Verdict != gates.Hold || !strings.Contains(out.Reason, "could not be judged within 10m0s") {
			t.Errorf("got %+v, %v", out, err)
		}
		if took := time.Since(began); took != 10*time.Minute {
			t.Errorf("gave up after %s", took)
		}
	})
	if _, ok := gates.Kinds[gates.HealthKind]; ok {
		t.Errorf("a policy could name %s, and so leave it out", gates.HealthKind)
	}
}
