package cluster

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"time"

	consulapi "github.com/hashicorp/consul/api"
	nomadapi "github.com/hashicorp/nomad/api"

	"github.com/tealdeploy/teal/testbed/servers"
)

// readyIn bounds how long a server may take to become ready.
const readyIn = 60 * time.Second

// Server is one Consul or Nomad agent, or a program beside them. Its methods may be called at any time
// and from any goroutine.
type Server struct {
	Name    string
	Binary  servers.Binary
	HTTP    string // host:port
	GRPC    string // host:port of xDS, Consul only
	LogFile string // appended to over restarts

	args  []string
	dir   string
	env   []string
	ready func(context.Context) error
	as    *syscall.Credential

	once   sync.Once // makes the client
	consul *consulapi.Client
	nomad  *nomadapi.Client

	mu   sync.Mutex
	cmd  *exec.Cmd
	done chan struct{} // closed when the process has ended
}

// launch starts the process and returns at once.
func (s *Server) launch() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.running() {
		return fmt.Errorf("%s runs already", s.Name)
	}
	log, err := os.OpenFile(s.LogFile, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err != nil {
		return err
	}
	defer log.Close()
	cmd := exec.Command(s.Binary.Path, s.args...)
	cmd.Dir = s.dir
	cmd.Env = s.env
	cmd.Stdout, cmd.Stderr = log, log
	// Its own group: Ctrl-C in a terminal is for us, who then stop it in order.
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Credential: s.as}
	if err := cmd.Start(); err != nil {
		return fmt.Errorf("start %s: %w", s.Name, err)
	}
	done := make(chan struct{})
	s.cmd, s.done = cmd, done
	go func() {
		_ = cmd.Wait() // how it ended is in its log
		close(done)
	}()
	return nil
}

// cleanEnv keeps the settings of whoever runs the test (proxies, cloud
// credentials, CONSUL_ and NOMAD_ variables) from the servers and their tasks.
func (c *Cluster) cleanEnv() []string {
	return []string{
		"PATH=" + c.Bin() + string(os.PathListSeparator) + os.Getenv("PATH"),
		"HOME=" + c.Dir, "TMPDIR=" + os.TempDir(), marker + "=" + c.Dir,
	}
}

// Start runs a server that was killed or stopped, on its ports and with its
// data, and waits until it is ready.
func (s *Server) Start(ctx context.Context) error {
	if err := s.launch(); err != nil {
		return err
	}
	return s.WaitReady(ctx)
}

// Restart kills the server and starts it again.
func (s *Server) Restart(ctx context.Context) error {
	if err := s.Kill(); err != nil {
		return err
	}
	return s.Start(ctx)
}

// WaitReady waits until the server is of use, or has ended.
func (s *Server) WaitReady(ctx context.Context) error {
	s.mu.Lock()
	done := s.done
	s.mu.Unlock()
	if done == nil {
		return fmt.Errorf("%s was never started", s.Name)
	}
	ctx, cancel := context.WithTimeout(ctx, readyIn)
	defer cancel()
	ctx, end := context.WithCancelCause(ctx)
	defer end(nil)
	go func() {
		select {
		case <-done:
			end(errors.New("the process ended"))
		case <-ctx.Done():
		}
	}()
	if err := Await(ctx, s.ready); err != nil {
		return fmt.Errorf("%s is not ready: %w", s.Name, err)
	}
	return nil
}

// Kill ends the server with SIGKILL, as a crash does, and returns when it is
// gone. Tasks of a killed Nomad go on running.
func (s *Server) Kill() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.running() {
		return nil
	}
	if err := s.cmd.Process.Kill(); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return fmt.Errorf("kill %s: %w", s.Name, err)
	}
	<-s.done
	return nil
}

// Pause freezes the server with SIGSTOP and returns when all of it stands
// still: its connections stay open and nothing answers.
func (s *Server) Pause() error {
	if err := s.signal(syscall.SIGSTOP); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	return Await(ctx, func(context.Context) error {
		threads, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/stat", s.PID()))
		if err != nil {
			return err
		}
		for _, file := range threads {
			stat, err := os.ReadFile(file)
			if err != nil {
				return err
			}
			if !strings.Contains(string(stat), ") T ") {
				return fmt.Errorf("pause %s: a thread still runs", s.Name)
			}
		}
		return nil
	})
}

// Resume lets a paused server go on.
func (s *Server) Resume() error { return s.signal(syscall.SIGCONT) }

// PID is the server's process, or 0 when it does not run.
func (s *Server) PID() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.running() {
		return 0
	}
	return s.cmd.Process.Pid
}

// Running tells whether the process is there; it may be paused.
func (s *Server) Running() bool { return s.PID() != 0 }

// running wants s.mu held.
func (s *Server) running() bool {
	if s.cmd == nil {
		return false
	}
	select {
	case <-s.done:
		return false
	default:
		return true
	}
}

// Signal sends the process a signal.
func (s *Server) Signal(sig syscall.Signal) error { return s.signal(sig) }

// Terminate asks the process to end, as an operator or Nomad does, and gives
// its exit code once it has.
func (s *Server) Terminate(ctx context.Context) (code int, err error) {
	if err := s.signal(syscall.SIGTERM); err != nil {
		return 0, err
	}
	return s.Wait(ctx)
}

// Wait waits for the process to end and gives its exit code, -1 when a signal
// ended it.
func (s *Server) Wait(ctx context.Context) (code int, err error) {
	s.mu.Lock()
	cmd, done := s.cmd, s.done
	s.mu.Unlock()
	if done == nil {
		return 0, fmt.Errorf("%s was never started", s.Name)
	}
	select {
	case <-done:
		return cmd.ProcessState.ExitCode(), nil
	case <-ctx.Done():
		return 0, fmt.Errorf("%s has not ended: %w", s.Name, context.Cause(ctx))
	}
}

func (s *Server) signal(sig syscall.Signal) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.running() {
		return fmt.Errorf("%s to %s: it does not run", sig, s.Name)
	}
	return s.cmd.Process.Signal(sig)
}

// stop asks the server to end and kills it when it does not within 5 seconds.
func (s *Server) stop(ctx context.Context) error {
	s.mu.Lock()
	done := s.done
	s.mu.Unlock()
	if done == nil {
		return nil
	}
	_ = s.signal(syscall.SIGCONT) // both fail when it has ended already
	_ = s.signal(syscall.SIGINT)
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	select {
	case <-done:
		return nil
	case <-ctx.Done():
		return s.Kill()
	}
}

// Tail is the end of the log.
func (s *Server) Tail(n int) string { return s.tailOf(n) }

func (s *Server) tail() string { return s.tailOf(15) }

func (s *Server) tailOf(n int) string {
	text, err := os.ReadFile(s.LogFile)
	if err != nil {
		return ""
	}
	lines := strings.Split(strings.TrimSpace(string(text)), "\n")
	return strings.Join(lines[max(0, len(lines)-n):], "\n")
}
