package e2e

import (
	"syscall"
	"testing"
	"time"

	nomadapi "github.com/hashicorp/nomad/api"

	"github.com/tealdeploy/teal/agent/deployment"
	"github.com/tealdeploy/teal/testbed/cluster"
	"github.com/tealdeploy/teal/testbed/world"
)

// Rollback needs nothing: here the candidate is dead, Nomad is stopped, the
// release is paused and the agent was restarted a moment ago.
func TestRollbackWithGreenDeadAndNomadStopped(t *testing.T) {
	s := openAlone(t, "inv3", cluster.Options{})
	a := s.agent("a")
	v := world.Service{Name: "inv3", Version: "1.0.0"}
	s.begin(v)
	c := s.calls("inv3", world.TrafficOptions{Rate: 100})
	v.Version, v.Soak = "2.0.0", time.Hour
	s.write(v)
	d := s.comes("inv3", "2.0.0", deployment.Soaking)
	c.serves(d.To)
	c.answers("2.0.0", 20)

	s.teal(0, "pause", "inv3")
	s.must(s.Nomad.Kill())
	s.must(a.Kill())
	s.killProcesses("inv3", d.To)
	s.must(a.Start(s.soon()))
	s.teal(0, "rollback", "inv3")
	s.ends("inv3", "2.0.0", deployment.RolledBack)
	c.serves(d.From)
	c.answers("1.0.0", 50)
	s.must(c.EndLoad())
	n := c.Load.Count()
	t.Log(n)
	if n.WrongColour != 0 {
		t.Errorf("answers of the wrong colour: %s", n)
	}
	lostOn(t, n, d.To)
	s.must(s.Nomad.Start(s.soon()))
}

// A candidate that dies during the watch, with Nomad stopped and so not to be
// restarted, is taken back by itself.
func TestGreenKilledDuringTheWatchWithNomadStopped(t *testing.T) {
	s := openAlone(t, "inv3b", cluster.Options{})
	s.agent("a")
	v := world.Service{Name: "inv3b", Version: "1.0.0"}
	s.begin(v)
	c := s.calls("inv3b", world.TrafficOptions{Rate: 100})
	v.Version, v.Watch = "2.0.0", time.Minute
	s.write(v)
	d := s.comes("inv3b", "2.0.0", deployment.Watching)
	c.serves(d.To)
	c.answers("2.0.0", 20)
	s.must(s.Nomad.Kill())
	s.killProcesses("inv3b", d.To)
	d = s.ends("inv3b", "2.0.0", deployment.RolledBack)
	s.says(d.Reason, "no instance serves")
	c.serves(d.From)
	c.answers("1.0.0", 50)
	s.must(c.EndLoad())
	n := c.Load.Count()
	t.Log(n)
	if n.WrongColour != 0 {
		t.Errorf("answers of the wrong colour: %s", n)
	}
	lostOn(t, n, d.To)
	s.must(s.Nomad.Start(s.soon()))
}

// A candidate whose job somebody stops in Nomad is taken back as well.
func TestGreenStoppedInNomad(t *testing.T) {
	s := open(t, "inv3c")
	s.agent("a")
	v := world.Service{Name: "inv3c", Version: "1.0.0"}
	s.begin(v)
	c := s.calls("inv3c", world.TrafficOptions{Rate: 100})
	v.Version, v.Watch = "2.0.0", time.Minute
	s.write(v)
	d := s.comes("inv3c", "2.0.0", deployment.Watching)
	c.serves(d.To)
	_, _, err := s.NomadClient().Jobs().DeregisterOpts("inv3c-"+string(d.To), &nomadapi.DeregisterOptions{NoShutdownDelay: true}, nil)
	s.must(err)
	s.ends("inv3c", "2.0.0", deployment.RolledBack)
	c.serves(d.From)
	c.answers("1.0.0", 50)
	s.must(c.EndLoad())
	n := c.Load.Count()
	t.Log(n)
	lostOn(t, n, d.To)
}

// killProcesses kills the app's processes of a colour, as a crash would.
func (s *stage) killProcesses(service string, colour deployment.Colour) {
	s.t.Helper()
	all, err := s.Instances(s.soon(), service)
	s.must(err)
	killed := 0
	for _, i := range all {
		if i.Colour != string(colour) {
			continue
		}
		pid, err := s.Listener(i.Address)
		s.must(err)
		s.must(syscall.Kill(pid, syscall.SIGKILL))
		killed++
	}
	if killed == 0 {
		s.t.Fatalf("%s has no %s instance to kill", service, colour)
	}
}
