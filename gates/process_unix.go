//go:build unix

package gates

import (
	"context"
	"errors"
	"io"
	"os/exec"
	"runtime"
	"syscall"
	"time"
)

// drain is how long a command's output is waited for once its group is dead:
// what has left the group may still hold it open.
const drain = time.Second

// runGroup runs a command as a process group of its own, and kills the whole of
// it when ctx ends, and what is left of it when the command itself has ended. On
// Linux the command also dies with the agent. An error means that it could not
// be run.
func runGroup(ctx context.Context, command, env []string, dir string, output io.Writer) (code int, err error) {
	cmd := exec.CommandContext(ctx, command[0], command[1:]...)
	cmd.Env, cmd.Dir = env, dir
	cmd.Stdout, cmd.Stderr = output, output
	cmd.SysProcAttr = groupAttr()
	cmd.WaitDelay = drain
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
	done := make(chan error, 1)
	go func() {
		// The kernel sends the parent-death signal when the thread that started
		// the command ends: it must live as long as the command.
		runtime.LockOSThread()
		if err := cmd.Start(); err != nil {
			done <- err
			return
		}
		err := cmd.Wait()
		_ = syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) // only fails if nothing is left
		done <- err
	}()
	err = <-done
	var exited *exec.ExitError
	switch {
	case err == nil, errors.Is(err, exec.ErrWaitDelay):
		return 0, nil
	case !errors.As(err, &exited):
		return 0, err
	}
	if status, ok := exited.Sys().(syscall.WaitStatus); ok && status.Signaled() {
		return 128 + int(status.Signal()), nil
	}
	return exited.ExitCode(), nil
}
