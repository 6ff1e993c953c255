package rollback_test

import (
	"errors"
	"testing"
	"time"

	"github.com/tealdeploy/teal/agent/deployment"
	"github.com/tealdeploy/teal/rollback"
)

// The policy may say how long a trigger may not know, and what then. It is asked
// for without a break, of each trigger for itself, and never of Consul's health.
func TestPatience(t *testing.T) {
	away := &rollback.Answer{Err: errors.New("away")}
	const body = refunds + "above = 5"
	for _, then := range rollback.Thens {
		a := newAsked(t, "prometheus", body)
		a.watch.Bound(rollback.Patience{For: 10 * time.Second, Then: then})
		for range 10 {
			a.hears(away).want(unknown, "away")
		}
		a.hears(figures(3)).want(fine, "") // a break
		for range 10 {
			if a.hears(away).want(unknown, "away"); a.got.Hold {
				t.Fatalf("%s: held after %s", then, a.at)
			}
		}
		a.hears(away)
		if then == rollback.ThenRollback {
			a.want(bad, "nothing has been known for 10s, and the policy allows 10s: away")
		} else {
			a.want(unknown, "nothing has been known for 10s, and the policy allows 10s: away")
		}
		if a.got.Hold != (then == rollback.ThenHold) || a.got.Trigger != "x" {
			t.Errorf("%s: %+v", then, a.got)
		}
		// What is bad goes before what is unknown.
		a.hears(figures(9)).want(bad, "it is 9")
	}
	// No bound: for ever.
	a := newAsked(t, "prometheus", body)
	for range 1000 {
		a.hears(away)
	}
	if a.want(unknown, "away"); a.got.Hold {
		t.Error("held without a bound")
	}
	// Consul away is another matter.
	a = newAsked(t, "prometheus", body)
	a.watch.Bound(rollback.Patience{For: time.Second, Then: rollback.ThenRollback})
	for range 100 {
		a.at = a.at.Add(time.Second)
		answer := figures(3)
		answer.At = a.at
		a.got = a.watch.Observe(rollback.Observation{At: a.at, Expected: 1, HealthErr: errors.New("no leader"),
			Active: []deployment.Instance{{ID: "i", Health: deployment.Passing}}, Answers: map[string]rollback.Answer{"x": *answer}})
	}
	a.want(unknown, "no leader")
}
