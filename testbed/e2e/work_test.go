package e2e

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"testing"

	"github.com/tealdeploy/teal/agent/deployment"
	"github.com/tealdeploy/teal/testbed/cluster"
)

// Workers need no agent, and no more rights than are documented. While Consul
// is away they end in time, and when it is back the owner's go on by
// themselves: never on both sides, and no worker itself ends.
func TestWorkSurvivesConsulAway(t *testing.T) {
	s := openAlone(t, "work", cluster.Options{ACL: true, WithoutNomad: true})
	rules := strings.ReplaceAll(s.documented("Worker", "work"), "/reports/", "/work/")
	if !strings.Contains(rules, s.Keys.JobProcessor("work")) {
		t.Fatalf("docs/acl.md gives the worker no rule for its key:\n%s", rules)
	}
	token := s.token("worker", rules)
	j := s.journal("journal")
	s.must(s.WriteFile("worker.sh", fmt.Sprintf(`trap 'stop=1' TERM
echo "$ENVIRONMENT_NAME begins" >> %[1]s
while [ -z "$stop" ]; do
  echo "$ENVIRONMENT_NAME works" >> %[1]s
  sleep 0.2
done
echo "$ENVIRONMENT_NAME ends" >> %[1]s
`, j.path)))
	s.must(s.Put(s.soon(), s.Keys.JobProcessor("work"), "blue"))
	workers := map[deployment.Colour]*cluster.Server{}
	for _, colour := range deployment.Colours {
		w := s.Program(cluster.Program{
			Name: "worker-" + string(colour), Path: s.World.Teal,
			Args:  []string{"work", "-service", "work", "--", "/bin/sh", filepath.Join(s.Dir, "worker.sh")},
			Env:   append(s.Env(), "ENVIRONMENT_NAME="+string(colour), "CONSUL_HTTP_TOKEN="+token),
			Ready: func(context.Context) error { return nil },
		})
		s.must(w.Start(s.soon()))
		workers[colour] = w
	}
	t.Cleanup(func() {
		for colour, w := range workers {
			if t.Failed() {
				fmt.Fprintf(t.Output(), "--- worker of %s\n%s\n", colour, w.Tail(40))
			}
		}
	})
	j.more(deployment.Blue, "works")

	s.must(s.Consul[0].Kill())
	j.more(deployment.Blue, "ends")
	s.must(s.Consul[0].Start(s.soon()))
	j.more(deployment.Blue, "begins")
	j.more(deployment.Blue, "works")

	// By hand, as the agent does it: through none, once blue is seen to have ended.
	s.must(s.Put(s.soon(), s.Keys.JobProcessor("work"), "none"))
	s.must(cluster.Await(s.soon(), func(context.Context) error {
		if count(j.lines(), "blue ends") < 2 {
			return errors.New("blue still works")
		}
		return nil
	}))
	s.must(s.Put(s.soon(), s.Keys.JobProcessor("work"), "green"))
	j.more(deployment.Green, "works")
	j.apart()
	for colour, w := range workers {
		if !w.Running() {
			t.Errorf("the worker of %s ended by itself", colour)
		}
	}
	// SIGTERM ends the command first, then the worker, without an error.
	code, err := workers[deployment.Green].Terminate(s.soon())
	s.must(err)
	if lines := j.lines(); code != 0 || lines[len(lines)-1] != "green ends" {
		t.Errorf("exit code %d, the last that was heard: %q", code, lines[len(lines)-1])
	}
}
