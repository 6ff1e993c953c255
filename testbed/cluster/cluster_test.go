package cluster_test

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

	nomadapi "github.com/hashicorp/nomad/api"

	"github.com/tealdeploy/teal/testbed/cluster"
)

// helperVariable makes a copy of this test binary start a cluster with a job,
// say so, and wait to be killed.
const helperVariable = "TEAL_TESTBED_TEST_HELPER"

func TestMain(m *testing.M) {
	if os.Getenv(helperVariable) != "" {
		os.Exit(helper())
	}
	os.Exit(m.Run())
}

func helper() int {
	c, err := cluster.Start(context.Background(), cluster.Options{Log: os.Stderr})
	if err == nil {
		err = runSleeper(context.Background(), c)
	}
	pids, _ := c.Processes()
	fmt.Println(c.Dir, len(pids), err)
	select {}
}

// A Nomad that crashes and comes back finds its allocations still running:
// same allocation, same task process.
func TestNomadRestartKeepsAllocations(t *testing.T) {
	c := start(t, cluster.Options{})
	if err := runSleeper(t.Context(), c); err != nil {
		t.Fatal(err)
	}
	before := sleeper(t, c)
	if err := c.Nomad.Kill(); err != nil {
		t.Fatal(err)
	}
	if pids, err := c.Processes(); err != nil || len(pids) < 3 { // Consul, executor, task
		t.Fatalf("with Nomad dead %v are left, %v: want its executor and task too", pids, err)
	}
	began := time.Now()
	if err := c.Nomad.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	t.Logf("Nomad ready again after %s", time.Since(began))
	if after := sleeper(t, c); after != before {
		t.Errorf("before the crash %s, after it %s", before, after)
	}
	stopped(t, c)
}

// Consul keeps its data over a crash; a paused Consul answers after it is resumed.
func TestConsulRestartKeepsData(t *testing.T) {
	c := start(t, cluster.Options{WithoutNomad: true})
	kv := c.ConsulClient().KV()
	if _, err := kv.Put(pair("teal/x", "kept"), nil); err != nil {
		t.Fatal(err)
	}
	began := time.Now()
	if err := c.Consul[0].Restart(t.Context()); err != nil {
		t.Fatal(err)
	}
	t.Logf("Consul ready again after %s", time.Since(began))
	got, _, err := kv.Get("teal/x", nil)
	if err != nil || got == nil || string(got.Value) != "kept" {
		t.Fatalf("after the restart: %v, %v", got, err)
	}
	if err := c.Consul[0].Pause(); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
	defer cancel()
	if _, _, err := kv.Get("teal/x", query(ctx)); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("a paused Consul answered: %v", err)
	}
	if err := c.Consul[0].Resume(); err != nil {
		t.Fatal(err)
	}
	if _, _, err := kv.Get("teal/x", nil); err != nil {
		t.Error(err)
	}
	stopped(t, c)
}

// With three servers another one leads after the leader was killed, whichever
// that was, and the Consul beside them, which is none, finds it; under ACLs that
// deny by default. Two clusters run side by side.
func TestThreeServersElectAnotherLeader(t *testing.T) {
	c := start(t, cluster.Options{WithoutNomad: true, ConsulServers: 3, ConsulClient: true, ACL: true})
	other := start(t, cluster.Options{WithoutNomad: true})
	old, err := c.ConsulLeader(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if err := old.Kill(); err != nil {
		t.Fatal(err)
	}
	began := time.Now()
	var leader *cluster.Server
	await(t, func(ctx context.Context) error {
		if leader, err = c.ConsulLeader(ctx); err == nil && leader == old {
			err = errors.New("the killed server still counts as the leader")
		}
		return err
	})
	t.Logf("%s leads after %s", leader.Name, time.Since(began))
	await(t, func(context.Context) error {
		_, err := c.ConsulClient().KV().Put(pair("teal/x", "y"), nil)
		return err
	})
	if err := old.Start(t.Context()); err != nil {
		t.Error(err)
	}
	stopped(t, other)
	stopped(t, c)
}

// A start that is given up leaves nothing.
func TestAbandonedStartLeavesNothing(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "work")
	ctx, cancel := context.WithTimeout(t.Context(), time.Second)
	defer cancel()
	c, err := cluster.Start(ctx, cluster.Options{Dir: dir})
	if err == nil {
		t.Fatalf("ready within a second, with %d servers", len(c.Servers()))
	}
	if _, err := os.Stat(filepath.Join(dir, "consul-1.log")); err != nil {
		t.Errorf("Consul was not even started, or the work directory is gone: %v", err)
	}
	left, err := (&cluster.Cluster{Dir: dir}).Processes()
	if err != nil || len(left) > 0 {
		t.Errorf("%v are left, %v", left, err)
	}
}

// A test run that is killed with SIGKILL leaves no server, executor or task.
func TestNothingOutlivesAKilledParent(t *testing.T) {
	began := time.Now()
	parent := exec.CommandContext(t.Context(), os.Args[0])
	parent.Env = append(os.Environ(), helperVariable+"=1")
	out, err := parent.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := parent.Start(); err != nil {
		t.Fatal(err)
	}
	line, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		t.Fatal(err)
	}
	dir, rest, _ := strings.Cut(strings.TrimSpace(line), " ")
	defer os.RemoveAll(dir)
	var count int // Consul, Nomad, its log collector and executor, the task and its child
	if _, err := fmt.Sscanf(rest, "%d <nil>", &count); err != nil || count < 6 {
		t.Errorf("helper says %q, want 6 processes and no error", rest)
	}
	t.Logf("helper: %s after %s", strings.TrimSpace(line), time.Since(began))
	if err := parent.Process.Signal(syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	_ = parent.Wait()
	watcher := cluster.Cluster{Dir: dir}
	began = time.Now()
	await(t, func(context.Context) error {
		left, err := watcher.Processes()
		if err == nil && len(left) > 0 {
			err = fmt.Errorf("%v are left", left)
		}
		return err
	})
	t.Logf("all gone %s after the parent", time.Since(began))
}

func await(t *testing.T, ask func(context.Context) error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	if err := cluster.Await(ctx, ask); err != nil {
		t.Fatal(err)
	}
}

func start(t *testing.T, o cluster.Options) *cluster.Cluster {
	t.Helper()
	o.Log = t.Output()
	began := time.Now()
	c, err := cluster.Start(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := c.Stop(); err != nil {
			t.Error(err)
		}
	})
	t.Logf("cluster ready after %s", time.Since(began))
	return c
}

// stopped stops the cluster and looks for what is left of it.
func stopped(t *testing.T, c *cluster.Cluster) {
	t.Helper()
	pids, err := c.Processes()
	if err != nil || len(pids) == 0 {
		t.Fatalf("the running cluster has processes %v, %v", pids, err)
	}
	began := time.Now()
	if err := c.Stop(); err != nil {
		t.Error(err)
	}
	t.Logf("stopped after %s", time.Since(began))
	for _, pid := range pids {
		if err := syscall.Kill(pid, 0); err == nil && !zombie(pid) {
			t.Errorf("process %d is left", pid)
		}
	}
	if _, err := os.Stat(c.Dir); !os.IsNotExist(err) {
		t.Errorf("%s is left: %v", c.Dir, err)
	}
}

func zombie(pid int) bool {
	stat, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/stat")
	return err != nil || strings.Contains(string(stat), ") Z ")
}

// runSleeper runs a job that outlives everything unless it is swept: it
// ignores SIGINT and SIGTERM.
func runSleeper(ctx context.Context, c *cluster.Cluster) error {
	client := c.NomadClient()
	job, err := client.Jobs().ParseHCL(`
job "sleeper" {
  group "g" {
    task "sleep" {
      driver = "raw_exec"
      config {
        command = "/bin/sh"
        args    = ["-c", "trap '' INT TERM; while :; do sleep 1000; done"]
      }
      kill_timeout = "5m"
    }
  }
}`, false)
	if err != nil {
		return err
	}
	if _, _, err := client.Jobs().Register(job, nil); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	var index uint64
	for {
		wait := (&nomadapi.QueryOptions{WaitIndex: index, WaitTime: time.Second}).WithContext(ctx)
		allocs, meta, err := client.Jobs().Allocations("sleeper", false, wait)
		if err != nil {
			return err
		}
		if len(allocs) == 1 && allocs[0].ClientStatus == "running" {
			return nil
		}
		index = meta.LastIndex
	}
}

// sleeper names the running allocation and the start of its task.
func sleeper(t *testing.T, c *cluster.Cluster) string {
	t.Helper()
	allocs, _, err := c.NomadClient().Jobs().Allocations("sleeper", false, nil)
	if err != nil || len(allocs) != 1 || allocs[0].ClientStatus != "running" {
		t.Fatalf("allocations of sleeper: %v, %v", allocs, err)
	}
	task := allocs[0].TaskStates["sleep"]
	return fmt.Sprint(allocs[0].ID, " ", task.State, " ", task.StartedAt, " restarts ", task.Restarts)
}
