package e2e

import (
	"fmt"
	"net"
	"strconv"
	"testing"

	"github.com/tealdeploy/teal/agent/deployment"
	"github.com/tealdeploy/teal/testbed/world"
)

func loadGate(body string) string {
	return fmt.Sprintf("gate \"load\" \"rush\" {\n  duration = \"2s\"\n  paths = [\"/version\"]\n%s\n}", body)
}

// A load decides by its limits, and says nothing when it could not be sent. At the port
// of an instance that serves, on the same machine, it is not aimed.
func TestGateLoad(t *testing.T) {
	s := open(t, "gload")
	s.agent("a")
	v := world.Service{Name: "gload", Version: "1.0.0"}
	s.begin(v)
	c := s.calls("gload", world.TrafficOptions{})

	v.Version, v.Gates = "2.0.0", loadGate("rate = 50\nramp = \"1s\"\np99 = \"8s\"\nerrors = 0")
	s.write(v)
	g := gateOf(s.ends("gload", "2.0.0", deployment.Succeeded), "rush")
	if n, err := strconv.Atoi(g.Figures["requests"]); err != nil || n < 90 || g.Figures["errors"] != "0.00 %" || g.Figures["p99"] == "" {
		t.Errorf("the evidence is %+v", g)
	}

	v.Version, v.Fault, v.Gates = "3.0.0", "errors:0.5", loadGate("rate = 50\nerrors = 0.1")
	s.write(v)
	d := s.ends("gload", "3.0.0", deployment.Failed)
	s.says(d.Reason, "rush", "requests failed, more than 10.00 %", "status 500")

	// Answers that are right, and late.
	v.Version, v.Fault, v.Gates = "3.5.0", "slow", loadGate("rate = 20\nerrors = 0.01\np95 = \"100ms\"")
	s.write(v)
	d = s.ends("gload", "3.5.0", deployment.Failed)
	s.says(d.Reason, "rush", "p95 was ", "more than 100ms")
	if g := gateOf(d, "rush"); g.Figures["errors"] != "0.00 %" || g.Figures["p95"] == "" {
		t.Errorf("the evidence is %+v", g)
	}

	// What serves is none of the candidate's.
	serves := s.coloured(v.Name, string(d.From))[0]
	_, port, err := net.SplitHostPort(serves.Address)
	s.must(err)
	v.Version, v.Fault, v.Gates = "3.7.0", "", loadGate("rate = 20\nport = "+port+"\ninterval = \"1s\"\ntimeout = \"3s\"\ndeadline = \"4s\"")
	s.write(v)
	rec := s.record("gload", "that it is held", func(r deployment.Service) bool { return r.Held != nil })
	s.says(rec.Held.Reason, "rush", "port "+port+" of ", "an instance of "+string(d.From)+", which serves: it is not the candidate")
	s.teal(0, "abort", "gload")
	s.ends("gload", "3.7.0", deployment.Aborted)

	// More than one machine can send.
	v.Version, v.Gates = "4.0.0", loadGate("rate = 20000\nerrors = 1\ntimeout = \"30s\"\ndeadline = \"31s\"\ninterval = \"30s\"")
	s.write(v)
	rec = s.record("gload", "that it is held", func(r deployment.Service) bool {
		return r.Held != nil && r.InFlight() && r.Deployment.Candidate.Version == v.Version
	})
	s.says(rec.Held.Reason, "rush", "of 20000 requests a second could be sent")
	if rec.Slots[rec.Active].Version != "2.0.0" {
		t.Errorf("%s serves", rec.Slots[rec.Active].Version)
	}
	c.answers("2.0.0", 20)
	if n := c.unharmed(); n.Versions["3.0.0"] != 0 || n.Versions["3.5.0"] != 0 || n.Versions["3.7.0"] != 0 || n.Versions["4.0.0"] != 0 {
		t.Errorf("what did not pass has served: %s", n)
	}
}
