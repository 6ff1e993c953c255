package cluster

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// marker is the environment variable by which a process of a cluster is
// known; its value is the work directory. Nomad hands it on to executors and
// tasks.
const marker = "TEAL_TESTBED_CLUSTER"

// sweep kills every process of the cluster in dir and unmounts what Nomad
// mounted there. It returns when they are gone.
func sweep(dir string) error {
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	err := Await(ctx, func(context.Context) error {
		left, err := processes(dir)
		if err != nil {
			return err
		}
		for _, pid := range left {
			if err := syscall.Kill(pid, syscall.SIGKILL); err != nil && !errors.Is(err, syscall.ESRCH) {
				return fmt.Errorf("kill %d: %w", pid, err)
			}
		}
		if len(left) > 0 {
			return fmt.Errorf("processes %v were killed and are not gone yet", left)
		}
		return nil
	})
	return errors.Join(err, unmount(dir))
}

// Processes gives the pids of everything that runs as a part of this cluster:
// servers, executors and tasks.
func (c *Cluster) Processes() ([]int, error) { return processes(c.Dir) }

func processes(dir string) ([]int, error) {
	entries, err := os.ReadDir("/proc")
	if err != nil {
		return nil, err
	}
	var found []int
	for _, e := range entries {
		pid, err := strconv.Atoi(e.Name())
		if err != nil || pid == os.Getpid() {
			continue
		}
		if belongs(pid, dir) {
			found = append(found, pid)
		}
	}
	return found, nil
}

// belongs tells whether a process is the cluster's. It goes by the marker in
// its environment, and for a task that cleared its environment by its
// directory or binary being in Nomad's data. A command line that names the
// directory is no proof: it may be somebody reading a log. A process that is
// gone, or a zombie, belongs to nobody.
func belongs(pid int, dir string) bool {
	proc := filepath.Join("/proc", strconv.Itoa(pid))
	if env, err := os.ReadFile(filepath.Join(proc, "environ")); err == nil {
		mark := []byte(marker + "=" + dir)
		if slices.ContainsFunc(bytes.Split(env, []byte{0}), func(v []byte) bool { return bytes.Equal(v, mark) }) {
			return true
		}
	}
	for _, link := range []string{"cwd", "exe"} {
		target, err := os.Readlink(filepath.Join(proc, link))
		if err == nil && strings.HasPrefix(target, filepath.Join(dir, "nomad-1")+"/") {
			return true
		}
	}
	return false
}

// unmount takes down the mounts Nomad makes for the secrets of its tasks when
// it runs as root; they outlive a killed Nomad and keep dir from being removed.
func unmount(dir string) error {
	mounts, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		return err
	}
	var errs []error
	for _, line := range slices.Backward(strings.Split(string(mounts), "\n")) { // innermost first
		fields := strings.Fields(line)
		if len(fields) < 5 || !strings.HasPrefix(fields[4], dir+"/") {
			continue
		}
		if err := syscall.Unmount(fields[4], syscall.MNT_DETACH); err != nil {
			errs = append(errs, fmt.Errorf("unmount %s: %w", fields[4], err))
		}
	}
	return errors.Join(errs...)
}
