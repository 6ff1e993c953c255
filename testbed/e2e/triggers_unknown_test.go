package e2e

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/tealdeploy/teal/agent/deployment"
	"github.com/tealdeploy/teal/testbed/cluster"
	"github.com/tealdeploy/teal/testbed/world"
)

// watchHeld waits until a version's watch is held for what words say.
func (s *stage) watchHeld(v world.Service, words ...string) deployment.Service {
	s.t.Helper()
	return s.record(v.Name, fmt.Sprintf("that the watch is held for %q", words), func(r deployment.Service) bool {
		if r.Held == nil || r.Deployment == nil || r.Deployment.Candidate.Version != v.Version || r.Deployment.State != deployment.Watching {
			return false
		}
		for _, w := range words {
			if !strings.Contains(r.Held.Reason, w) {
				return false
			}
		}
		return true
	})
}

// Nobody asks the service (Flagger #1035: "no values found" fails a healthy version):
// it is neither taken back nor let through, until somebody comes. Enough of them having
// come, it may fall idle again.
func TestErrorsOfAnIdleService(t *testing.T) {
	s := open(t, "idle")
	s.agent("a")
	v := world.Service{Name: "idle", Version: "1.0.0"}
	s.begin(v)
	v.Version, v.Watch, v.Triggers = "2.0.0", 2*time.Second, "trigger \"errors\" \"http-5xx\" {\nwindow = \"2s\"\n}"
	s.write(v)
	held := s.watchHeld(v, "the watch goes on: trigger http-5xx has not seen enough", "too few requests (0 of 50 within 2s)")
	if held.Active != held.Deployment.To {
		t.Errorf("%s serves, want %s", held.Active, held.Deployment.To)
	}
	c := s.calls(v.Name, world.TrafficOptions{Rate: 100})
	s.says(evidence(s.ends(v.Name, v.Version, deployment.Succeeded)), "every trigger can tell again")

	v.Version, v.Watch = "3.0.0", 20*time.Second
	s.write(v)
	s.comes(v.Name, v.Version, deployment.Watching)
	c.answers(v.Version, 300)
	c.unharmed() // which ends the load
	d := s.ends(v.Name, v.Version, deployment.Succeeded)
	s.judged(d, "http-5xx", "no requests within 2s")
	if strings.Contains(evidence(d), "hold") {
		t.Errorf("an idle service was held:\n%s", evidence(d))
	}
}

// Without Consul nobody knows how the instances fare: nothing is taken back, and the
// watch goes on when it is there again.
func TestConsulHealthWithConsulAway(t *testing.T) {
	s := openAlone(t, "t-consul-away", cluster.Options{})
	a := s.agent("a")
	v := world.Service{Name: "t-consul-away", Version: "1.0.0"}
	s.begin(v)
	c := s.calls(v.Name, world.TrafficOptions{})
	v.Version, v.Watch = "2.0.0", 20*time.Second
	s.write(v)
	to := s.comes(v.Name, v.Version, deployment.Watching).To
	c.serves(to)
	s.must(s.Consul[0].Kill())
	s.must(cluster.Await(s.soon(), func(ctx context.Context) error {
		for line := range strings.Lines(a.Tail(200)) {
			if strings.Contains(line, "a trigger cannot tell any more") && strings.Contains(line, "trigger=instances") && strings.Contains(line, "Consul could not be asked") {
				return nil
			}
		}
		return errors.New("the log does not say that Consul could not be asked")
	}))
	c.answers(v.Version, 100)
	s.must(s.Consul[0].Restart(s.soon()))
	d := s.ends(v.Name, v.Version, deployment.Succeeded)
	if d.Rollback != nil {
		t.Errorf("taken back: %+v", d.Rollback)
	}
	c.serves(to)
	c.answers(v.Version, 50)
	c.unharmed()
}

// Where the policy wants a person to look at what is not known, they do: before the
// time of the watch is up it is watched anew for their word, after that it is accepted.
func TestUnknownHolds(t *testing.T) {
	s := open(t, "unknown-hold")
	s.agent("a")
	v := world.Service{Name: "unknown-hold", Version: "1.0.0"}
	s.begin(v)
	c := s.calls(v.Name, world.TrafficOptions{})
	server := httptest.NewServer(http.NotFoundHandler())
	url := server.URL
	server.Close() // nobody listens there any more
	v.Version, v.Watch = "2.0.0", 20*time.Second
	v.Triggers = fmt.Sprintf("trigger \"http-json\" \"orders\" {\nurl = %q\npath = \"n\"\nbelow = 1\ninterval = \"200ms\"\n}\nunknown {\nfor = \"2s\"\nthen = \"hold\"\n}", url)
	s.write(v)
	held := s.watchHeld(v, "trigger orders: nothing has been known for", "the policy allows 2s", "connection refused", "teal resume watches anew")
	s.teal(0, "resume", v.Name)
	anew := s.watchHeld(v, "the time of the watch is up; teal resume accepts 2.0.0 as it is")
	if !anew.Deployment.Since.After(held.Deployment.Since) {
		t.Errorf("the watch began %s, and again %s", held.Deployment.Since, anew.Deployment.Since)
	}
	c.serves(anew.Deployment.To)
	s.teal(0, "resume", v.Name)
	d := s.ends(v.Name, v.Version, deployment.Succeeded)
	if n := len(d.Verdicts); n == 0 || d.Verdicts[0].Verdict != "accepted" {
		t.Errorf("verdicts on record: %+v", d.Verdicts)
	}
	c.unharmed()
}
