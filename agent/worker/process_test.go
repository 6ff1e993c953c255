//go:build linux

package worker

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/hashicorp/consul/api"

	"github.com/tealdeploy/teal/agent/consul"
	"github.com/tealdeploy/teal/agent/consul/consultest"
	"github.com/tealdeploy/teal/agent/kv"
)

// putter is a Consul in which a person can write keys.
type putter interface {
	Consul
	Put(ctx context.Context, key string, value []byte) error
	List(ctx context.Context, prefix string, index uint64) (api.KVPairs, uint64, error)
}

// shell is a worker whose command is a shell script, in the fake Consul or in
// the real one that TEAL_TEST_CONSUL names.
type shell struct {
	*testing.T
	consul putter
	Config
	ctx    context.Context
	stop   context.CancelFunc
	out    *bufio.Scanner
	ended  chan struct{}
	exit   int
	result error
}

func run(t *testing.T, script string, set func(*Config)) *shell {
	t.Helper()
	s := &shell{T: t, ended: make(chan struct{}), consul: consultest.New().Client("node")}
	prefix := "teal/"
	if address := os.Getenv("TEAL_TEST_CONSUL"); address != "" {
		c, err := consul.New(consul.Config{API: &api.Config{Address: address}})
		if err != nil {
			t.Fatal(err)
		}
		s.consul = c
		prefix = fmt.Sprintf("test-%d/", time.Now().UnixNano())
	}
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	s.Config = Config{Keys: kv.NewKeys(prefix), Service: "api", Colour: blue,
		Command: []string{"/bin/sh", "-c", script}, Stdout: w, Stderr: os.Stderr, KillTimeout: 5 * time.Second}
	if set != nil {
		set(&s.Config)
	}
	s.ctx, s.stop = context.WithCancel(context.Background())
	s.out = bufio.NewScanner(r)
	go func() {
		defer close(s.ended)
		s.exit, s.result = Run(s.ctx, s.Config, s.consul)
		w.Close()
	}()
	t.Cleanup(func() {
		s.stop()
		<-s.ended
		r.Close()
	})
	return s
}

func (s *shell) jobs(value string) {
	s.Helper()
	if err := s.consul.Put(context.Background(), s.Keys.JobProcessor("api"), []byte(value)); err != nil {
		s.Fatal(err)
	}
}

// says waits for the command's next line.
func (s *shell) says() string {
	s.Helper()
	if !s.out.Scan() {
		s.Fatalf("the command's output ended: %v", s.out.Err())
	}
	return s.out.Text()
}

// exits waits for Run to return.
func (s *shell) exits(want int) {
	s.Helper()
	select {
	case <-s.ended:
	case <-time.After(20 * time.Second):
		s.Fatal("does not end")
	}
	if s.exit != want {
		s.Fatalf("exit code %d, want %d (%v)", s.exit, want, s.result)
	}
}

// gone says whether a process is dead; a zombie is.
func gone(pid int) bool {
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return true
	}
	_, after, _ := strings.Cut(string(stat), ") ")
	return strings.HasPrefix(after, "Z")
}

func (s *shell) dies(pid int) {
	s.Helper()
	look := time.NewTicker(5 * time.Millisecond)
	defer look.Stop()
	for end := time.Now().Add(10 * time.Second); !gone(pid); <-look.C {
		if time.Now().After(end) {
			s.Fatalf("process %d lives", pid)
		}
	}
}

func atoi(t *testing.T, text string) int {
	t.Helper()
	n, err := strconv.Atoi(text)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

func TestTheCommandsExitCodeIsOurs(t *testing.T) {
	s := run(t, `echo "$TEAL_SERVICE $ENVIRONMENT_NAME $TEAL_TOKEN"; exit 7`, nil)
	s.jobs("blue")
	pair, err := s.consul.Read(s.ctx, s.Keys.JobProcessor("api"))
	if err != nil {
		t.Fatal(err)
	}
	if got, want := s.says(), fmt.Sprintf("api blue %d", pair.ModifyIndex); got != want {
		t.Errorf("environment %q, want %q", got, want)
	}
	s.exits(7)
	if left, _, err := s.consul.List(context.Background(), s.Keys.Workers("api", none), 0); err != nil || len(left) != 0 {
		t.Errorf("still registered: %v %v", left, err)
	}
}

func TestItRunsOnlyWhileTheJobsAreOurs(t *testing.T) {
	s := run(t, `trap 'echo end; exit 0' TERM; echo begin; while :; do sleep 0.01; done`, nil)
	s.jobs("green")
	s.jobs("none")
	for range 3 {
		s.jobs("blue")
		if got := s.says(); got != "begin" {
			t.Fatal(got)
		}
		left, _, err := s.consul.List(s.ctx, s.Keys.Workers("api", blue), 0)
		if err != nil || len(left) != 1 || left[0].Session == "" {
			t.Fatalf("registered: %v %v", left, err)
		}
		s.jobs("none")
		if got := s.says(); got != "end" {
			t.Fatal(got)
		}
	}
	s.stop()
	s.exits(0)
}

func TestWhatTheCommandLeavesBehindDiesWithIt(t *testing.T) {
	s := run(t, `(trap '' TERM; echo ready; while :; do sleep 0.01; done) & echo $!; wait`, nil)
	s.jobs("blue")
	a, b := s.says(), s.says() // in either order
	if a == "ready" {
		a = b
	}
	child := atoi(t, a)
	s.stop()
	s.exits(0)
	if !gone(child) {
		t.Error("a process of the command's group lives on")
	}
}

func TestACommandThatIgnoresSIGTERMIsKilled(t *testing.T) {
	s := run(t, `trap '' TERM; echo $$; while :; do sleep 0.01; done`, func(c *Config) { c.KillTimeout = 200 * time.Millisecond })
	s.jobs("blue")
	pid := atoi(t, s.says())
	s.jobs("green")
	s.dies(pid)
}

func TestACommandKilledFromOutside(t *testing.T) {
	s := run(t, `kill -9 $$`, nil)
	s.jobs("blue")
	s.exits(137)
}

func TestACommandThatDoesNotExist(t *testing.T) {
	s := run(t, "", func(c *Config) { c.Command = []string{filepath.Join(t.TempDir(), "no-such-worker")} })
	s.jobs("blue")
	s.exits(127)
	if !errors.Is(s.result, os.ErrNotExist) {
		t.Error(s.result)
	}
}

func TestMistakesAreToldAtOnce(t *testing.T) {
	for name, c := range map[string]Config{
		"no service": {Colour: blue, Command: []string{"x"}},
		"no colour":  {Service: "api", Command: []string{"x"}},
		"no command": {Service: "api", Colour: blue},
		"long TTL":   {Service: "api", Colour: blue, Command: []string{"x"}, TTL: 2 * time.Minute},
	} {
		if exit, err := Run(context.Background(), c, nil); exit != 2 || err == nil {
			t.Errorf("%s: %d %v", name, exit, err)
		}
	}
}

// TestIfWeAreKilledTheCommandDies runs this test binary as the worker, so that
// it can be killed.
func TestIfWeAreKilledTheCommandDies(t *testing.T) {
	if os.Getenv("TEAL_TEST_VICTIM") != "" {
		c := consultest.New().Client("node")
		cfg := Config{Keys: kv.NewKeys(""), Service: "api", Colour: blue, Stdout: os.Stdout,
			Command: []string{"/bin/sh", "-c", `trap '' TERM; echo pid $$; while :; do sleep 0.01; done`}}
		_ = c.Put(context.Background(), cfg.Keys.JobProcessor("api"), []byte("blue"))
		_, _ = Run(context.Background(), cfg, c)
		return
	}
	victim := exec.Command(os.Args[0], "-test.run=^"+t.Name()+"$")
	victim.Env = append(os.Environ(), "TEAL_TEST_VICTIM=1")
	out, err := victim.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := victim.Start(); err != nil {
		t.Fatal(err)
	}
	s := &shell{T: t, out: bufio.NewScanner(out)}
	pid := atoi(t, strings.TrimPrefix(s.says(), "pid "))
	t.Cleanup(func() { _ = syscall.Kill(pid, syscall.SIGKILL) })
	if gone(pid) {
		t.Fatal("dead before")
	}
	if err := victim.Process.Signal(syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	s.dies(pid)
	_ = victim.Wait()
}
