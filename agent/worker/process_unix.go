//go:build unix

package worker

import (
	"errors"
	"fmt"
	"os/exec"
	"runtime"
	"strconv"
	"syscall"
	"time"
)

// process is the running command and everything it started: a process group
// of its own.
type process struct {
	pid  int
	done chan struct{} // closed when the whole group is dead
	exit int           // valid once done is closed; 128 + n when signal n ended it
	sent syscall.Signal
}

// start runs the command. On Linux it dies with this process even if that is
// killed; elsewhere, and for what the command itself has started in the
// background, only a clean end of this process does it.
func start(cfg Config, token uint64) (Running, error) {
	cmd := exec.Command(cfg.Command[0], cfg.Command[1:]...)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = cfg.Stdin, cfg.Stdout, cfg.Stderr
	cmd.Env = append(append([]string{}, cfg.Env...),
		"TEAL_TOKEN="+strconv.FormatUint(token, 10),
		"TEAL_SERVICE="+cfg.Service,
		"ENVIRONMENT_NAME="+string(cfg.Colour))
	cmd.SysProcAttr = groupAttr()

	adoptOrphans()
	p := &process{done: make(chan struct{})}
	started := make(chan error)
	go func() {
		// The kernel sends the parent-death signal when the thread that
		// started the command ends: it must live as long as the command.
		runtime.LockOSThread()
		err := cmd.Start()
		if err == nil {
			p.pid = cmd.Process.Pid
		}
		started <- err
		if err != nil {
			return
		}
		p.exit = exitCode(cmd.Wait())
		p.reapGroup()
		close(p.done)
	}()
	if err := <-started; err != nil {
		return nil, fmt.Errorf("start the command: %w", err)
	}
	return p, nil
}

func (p *process) Ended() <-chan struct{} { return p.done }

func (p *process) Terminate() {
	p.sent = syscall.SIGTERM
	_ = syscall.Kill(-p.pid, syscall.SIGTERM) // only fails if it is gone
}

func (p *process) Kill() {
	p.sent = syscall.SIGKILL
	_ = syscall.Kill(-p.pid, syscall.SIGKILL)
}

// code is 0 for a command that just ended when it was asked to.
func (p *process) Code() int {
	if p.sent == syscall.SIGTERM && p.exit == 128+int(syscall.SIGTERM) {
		return 0
	}
	return p.exit
}

// reapGroup ends what the command left running: it must not process on. It
// waits until the kernel knows of none. That is bounded for the sake of systems
// where we are not given the orphans to reap, and nobody else reaps them.
func (p *process) reapGroup() {
	look := time.NewTicker(2 * time.Millisecond)
	defer look.Stop()
	for deadline := time.Now().Add(time.Second); time.Now().Before(deadline); <-look.C {
		if errors.Is(syscall.Kill(-p.pid, syscall.SIGKILL), syscall.ESRCH) {
			return
		}
		var status syscall.WaitStatus
		for {
			if pid, err := syscall.Wait4(-p.pid, &status, syscall.WNOHANG, nil); err != nil || pid <= 0 {
				break
			}
		}
	}
}

func exitCode(err error) int {
	var exited *exec.ExitError
	switch {
	case err == nil:
		return 0
	case !errors.As(err, &exited):
		return 1
	}
	if status, ok := exited.Sys().(syscall.WaitStatus); ok && status.Signaled() {
		return 128 + int(status.Signal())
	}
	return exited.ExitCode()
}
