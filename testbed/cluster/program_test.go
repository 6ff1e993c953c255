package cluster_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/tealdeploy/teal/testbed/cluster"
)

// A program beside the servers has their binaries on its PATH, can be
// terminated and killed and started again, and ends with the cluster.
func TestProgramsBelongToTheCluster(t *testing.T) {
	c := start(t, cluster.Options{WithoutNomad: true})
	shell, err := exec.LookPath("sh")
	if err != nil {
		t.Fatal(err)
	}
	ready := filepath.Join(c.Dir, "ready")
	p := c.Program(cluster.Program{
		Name: "program", Path: shell, Env: []string{"WORD=seven"},
		Args: []string{"-c", `command -v consul; echo "$WORD"; trap 'exit 7' TERM; touch "` + ready + `"; while true; do sleep 0.1; done`},
		Ready: func(context.Context) error {
			_, err := os.Stat(ready)
			return err
		},
	})
	if p.Running() {
		t.Error("it runs before it was started")
	}
	for range 2 {
		if err := p.Start(t.Context()); err != nil {
			t.Fatal(err)
		}
		if code, err := p.Terminate(t.Context()); err != nil || code != 7 {
			t.Errorf("after SIGTERM: code %d, %v", code, err)
		}
		if err := os.Remove(ready); err != nil {
			t.Fatal(err)
		}
	}
	if got, want := p.Tail(2), filepath.Join(c.Bin(), "consul")+"\nseven"; got != want {
		t.Errorf("it said %q, want %q", got, want)
	}
	if err := p.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	stopped(t, c)
	if p.Running() {
		t.Error("it outlived the cluster")
	}
}

// Ports for programs are each given once and are nobody's tasks'.
func TestPortsForPrograms(t *testing.T) {
	c := start(t, cluster.Options{WithoutNomad: true})
	seen := map[int]bool{}
	var err error
	for port := 0; err == nil; port, err = c.Port() {
		if seen[port] || port >= c.MinPort && port <= c.MaxPort {
			t.Fatalf("port %d was given before, or is a task's", port)
		}
		seen[port] = true
		if port == 0 {
			continue
		}
		l, lerr := net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", port))
		if lerr != nil {
			t.Error(lerr)
			continue
		}
		l.Close()
	}
	if len(seen) < 50 {
		t.Errorf("only %d ports: %v", len(seen), errors.Unwrap(err))
	}
}
