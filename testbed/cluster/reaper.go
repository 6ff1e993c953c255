package cluster

import (
	"fmt"
	"io"
	"os"
	"os/exec"
	"syscall"
)

// reapVariable tells a copy of this program that it is to be the reaper.
const reapVariable = "TEAL_TESTBED_REAP"

// A reaper is a second copy of the running program that waits for the first
// to die, in whatever way, and then sweeps the cluster. A parent-death signal
// cannot do this: it dies with a thread, and Nomad's tasks are not our
// children.
type reaper struct {
	cmd  *exec.Cmd
	life io.Closer // the pipe that the kernel closes when we die
}

// init turns a copy of the program into the reaper before anything else of
// it runs.
func init() {
	dir := os.Getenv(reapVariable)
	if dir == "" {
		return
	}
	_, _ = io.Copy(io.Discard, os.Stdin) // ends when the other end is closed
	if err := sweep(dir); err != nil {
		fmt.Fprintln(os.Stderr, "sweep", dir+":", err)
		os.Exit(1)
	}
	os.Exit(0)
}

// startReaper hands the slot's lock on to the reaper, so that nobody takes
// the slot before it has been swept.
func startReaper(dir string, slot *os.File) (*reaper, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	cmd := exec.Command(self)
	cmd.Dir = "/"
	cmd.Env = []string{reapVariable + "=" + dir}
	cmd.ExtraFiles = []*os.File{slot}
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true} // what ends our group or terminal spares it
	life, err := cmd.StdinPipe()
	if err != nil {
		return nil, err
	}
	if err := cmd.Start(); err != nil {
		return nil, fmt.Errorf("start reaper: %w", err)
	}
	return &reaper{cmd, life}, nil
}

// dismiss lets the reaper sweep once more and end.
func (r *reaper) dismiss() error {
	r.life.Close()
	if err := r.cmd.Wait(); err != nil {
		return fmt.Errorf("reaper: %w", err)
	}
	return nil
}
