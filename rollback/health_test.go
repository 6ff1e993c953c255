package rollback_test

import (
	"testing"
	"time"

	"github.com/tealdeploy/teal/agent/deployment"
	"github.com/tealdeploy/teal/rollback"
)

// colour makes instances, one a letter: p passes, w warns, c is critical, m is
// in maintenance, and ? is of unknown health.
func colour(letters string) []deployment.Instance {
	health := map[rune]deployment.Health{'p': deployment.Passing, 'w': deployment.Warning, 'c': deployment.Critical, 'm': "maintenance"}
	var out []deployment.Instance
	for i, letter := range letters {
		out = append(out, deployment.Instance{ID: string(rune('a' + i)), Node: "n", Health: health[letter]})
	}
	return out
}

// What one look says, when instances have served before and nothing is put up
// with.
func TestHealthAtOneLook(t *testing.T) {
	for _, c := range []struct {
		name       string
		instances  string
		expected   int
		minPassing float64
		want       rollback.Verdict
	}{
		{"all pass", "ppp", 3, 0.5, fine},
		{"more than expected pass", "pppp", 3, 1, fine},
		{"all expected pass beside one that is on its way out", "pppc", 3, 1, fine},
		{"all of those that are expected pass, and nobody knows how many are", "pp", 0, 1, fine},
		{"one of two, and half is enough", "pc", 2, 0.5, unknown},
		{"one of three, and half is enough", "pcc", 3, 0.5, bad},
		{"one of three, the others are gone", "p", 3, 0.5, bad},
		{"one of many, and any is enough", "pccccccccc", 10, 0, unknown},
		{"none, and any is enough", "cc", 2, 0, bad},
		{"14 of 25, and 0.56 is enough", "pppppppppppppp" + "ccccccccccc", 25, 0.56, unknown},
		{"13 of 25, and 0.56 is not had", "ppppppppppppp" + "cccccccccccc", 25, 0.56, bad},
		{"a warning is not lost, and not fine", "pw", 2, 1, unknown},
		{"nobody knows of one how it fares", "p?", 2, 1, unknown},
		{"nobody knows of any how it fares", "??", 2, 1, unknown},
		{"taken out of service by hand", "mm", 2, 0.5, bad},
		{"nobody in the catalog", "", 2, 0.5, bad},
		{"nobody in the catalog, and nobody knows how many are expected", "", 0, 0.5, bad},
	} {
		j := rollback.Health{MinPassing: c.minPassing}.Begin()
		j.Observe(rollback.Observation{At: began, Active: colour("p"), Expected: 1})
		got := j.Observe(rollback.Observation{At: began.Add(time.Second), Active: colour(c.instances), Expected: c.expected})
		if got.Verdict != c.want || got.Reason == "" {
			t.Errorf("%s: %s (%s), want %s", c.name, got.Verdict, got.Reason, c.want)
		}
	}
}

// Where nobody knows how many are expected, it is as many as there once were.
func TestHealthWhenNobodyKnowsHowMany(t *testing.T) {
	j := rollback.Health{MinPassing: 0.5}.Begin()
	for i, c := range []struct {
		instances string
		want      rollback.Verdict
	}{{"pppp", fine}, {"ppp", unknown}, {"pp", unknown}, {"p", bad}} {
		got := j.Observe(rollback.Observation{At: began.Add(time.Duration(i) * time.Second), Active: colour(c.instances)})
		if got.Verdict != c.want {
			t.Errorf("%s: %s (%s), want %s", c.instances, got.Verdict, got.Reason, c.want)
		}
	}
}

// However few are enough, none is not, also for who never saw any.
func TestHealthOfTheDead(t *testing.T) {
	j := rollback.Health{MinPassing: 0, For: time.Second}.Begin()
	for i, want := range []rollback.Verdict{unknown, bad} {
		got := j.Observe(rollback.Observation{At: began.Add(time.Duration(i) * time.Second), Active: colour("cc"), Expected: 2})
		if got.Verdict != want {
			t.Errorf("look %d: %s (%s), want %s", i, got.Verdict, got.Reason, want)
		}
	}
}

// Nothing is fine because there is nothing.
func TestHealthOfNothing(t *testing.T) {
	j := rollback.DefaultHealth().Begin()
	if got := j.Observe(rollback.Observation{At: began}); got.Verdict != unknown {
		t.Errorf("%s (%s)", got.Verdict, got.Reason)
	}
}

func TestHealthFigures(t *testing.T) {
	j := rollback.DefaultHealth().Begin()
	j.Observe(rollback.Observation{At: began, Active: colour("ppwc"), Expected: 7})
	got := j.Observe(rollback.Observation{At: began.Add(1500 * time.Millisecond), Active: colour("ppwc"), Expected: 7})
	for key, want := range map[string]float64{"passing": 2, "warning": 1, "known": 4, "expected": 7, "needed": 4, "short_s": 1.5} {
		if value, ok := got.Figures[key]; !ok || value != want {
			t.Errorf("%s is %v, want %v", key, value, want)
		}
	}
	if want := "2 of 7 instances pass Consul's checks, 1 with a warning (3 not in the catalog; d on n is critical), and at least 4 have to; this is put up with for 10s, of which 1.5s have passed"; got.Reason != want {
		t.Errorf("reason %q,\nwant %q", got.Reason, want)
	}
}

// A clock that is set back neither shortens nor lengthens the time that is put
// up with.
func TestHealthWithAClockSetBack(t *testing.T) {
	j := rollback.DefaultHealth().Begin()
	for i, at := range []time.Duration{0, 4, -3600, -3596} {
		want := map[int]float64{0: 0, 1: 4, 2: 4, 3: 8}[i]
		got := j.Observe(rollback.Observation{At: began.Add(at * time.Second), Active: colour("pccc"), Expected: 4})
		if got.Figures["short_s"] != want {
			t.Errorf("look %d: short for %v s, want %v", i, got.Figures["short_s"], want)
		}
	}
}
