package world_test

import (
	"os"
	"strconv"
	"strings"
	"testing"

	consulapi "github.com/hashicorp/consul/api"

	"github.com/tealdeploy/teal/testbed/cluster"
	"github.com/tealdeploy/teal/testbed/load"
	"github.com/tealdeploy/teal/testbed/world"
)

// What the end-to-end tests go by: a service that runs without Teal is asked
// through the data plane, its injected errors are told from lost requests, its
// processes are found, and the commands' exit codes come through.
func TestPlainServiceUnderLoad(t *testing.T) {
	w, err := world.Start(t.Context(), world.Options{Options: cluster.Options{Log: os.Stderr}})
	if err != nil {
		t.Fatal(err)
	}
	defer world.RemoveBinaries()
	defer func() {
		if err := w.Stop(); err != nil {
			t.Error(err)
		}
	}()
	s, err := w.NewSite("plain")
	if err != nil {
		t.Fatal(err)
	}
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	_, _, err = s.ConsulClient().ConfigEntries().Set(&consulapi.ServiceConfigEntry{
		Kind: consulapi.ServiceDefaults, Name: "plain", Protocol: "http",
	}, nil)
	must(err)
	must(s.RunPlain(t.Context(), world.Service{Name: "plain", Version: "1.0.0"}))
	c, err := s.NewTraffic("plain", world.TrafficOptions{Rate: 100, Uncoloured: "blue"})
	must(err)
	defer c.Close()
	must(c.Reachable(t.Context()))
	must(c.Begin(t.Context()))
	must(s.Fault(t.Context(), "plain", "", "errors:0.5"))
	must(c.AwaitCount(t.Context(), "injected errors", func(n load.Count) bool { return n.Injected > 5 }))
	must(s.Fault(t.Context(), "plain", "", "none"))
	must(c.EndLoad())
	if n := c.Load.Count(); n.Lost != 0 || n.Versions["1.0.0"] == 0 || n.Colours["blue"] != n.Versions["1.0.0"] || n.Requests != n.Colours["blue"]+n.Injected {
		t.Errorf("counted %s", n)
	}

	all, err := s.Instances(t.Context(), "plain")
	must(err)
	for _, i := range all {
		pid, err := s.Listener(i.Address)
		must(err)
		if exe, err := os.Readlink("/proc/" + strconv.Itoa(pid) + "/exe"); err != nil || exe != s.App {
			t.Errorf("on %s listens %s, %v, want %s", i.Address, exe, err, s.App)
		}
	}
	if _, err := s.Listener("127.0.0.1:1"); err == nil {
		t.Error("somebody is said to listen where nobody does")
	}

	ran, err := s.ConsulCLI(t.Context(), "kv", "put", "word", "seven")
	must(err)
	if value, err := s.Value(t.Context(), "word"); ran.Code != 0 || err != nil || value != "seven" {
		t.Errorf("%s\nvalue %q, %v", ran, value, err)
	}
	ran, err = s.ConsulCLI(t.Context(), "kv", "get", "no-such-key")
	must(err)
	if ran.Code != 1 || !strings.Contains(ran.Err, "no-such-key") {
		t.Error(ran)
	}
	ran, err = s.CLI(t.Context(), "no-such-command")
	must(err)
	if ran.Code != 1 || !strings.Contains(ran.Err, "no-such-command") {
		t.Error(ran)
	}
}
