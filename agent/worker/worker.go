// Package worker runs a background worker's command only while its colour
// owns the service's jobs (see package joblock). It is what `teal work` does.
//
// It needs no agent: the key in Consul is the authority. It registers itself
// in Consul for as long as the command runs, so that a handover can see when
// the old colour has let go, and ends the command by its own clock before
// Consul could take it for dead. What no lock can exclude is a process that
// is stopped (SIGSTOP, a paused machine) and goes on later: against that the
// command gets a token that only grows, to fence its own store with.
package worker

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/hashicorp/consul/api"
	"github.com/hashicorp/go-hclog"

	"github.com/tealdeploy/teal/agent/deployment"
	"github.com/tealdeploy/teal/agent/joblock"
	"github.com/tealdeploy/teal/agent/kv"
)

// Consul is what a worker needs of Consul.
type Consul interface {
	Get(ctx context.Context, key string, index uint64) (*api.KVPair, uint64, error)
	Read(ctx context.Context, key string) (*api.KVPair, error)
	Acquire(ctx context.Context, key string, value []byte, session string) (bool, error)
	NewSession(ctx context.Context, s *api.SessionEntry) (string, error)
	RenewSession(ctx context.Context, id string) (time.Duration, error)
	DestroySession(ctx context.Context, id string) error
}

// Defaults of Config.
const (
	// DefaultTTL is the shortest Consul allows.
	DefaultTTL = 10 * time.Second
	// DefaultKillTimeout is how long a command has to end after SIGTERM.
	DefaultKillTimeout = 20 * time.Second
)

// Config is one worker.
type Config struct {
	Keys    kv.Keys
	Service string
	Colour  deployment.Colour
	Command []string // the program and its arguments

	// KillTimeout is how long the command has between SIGTERM and SIGKILL. It
	// has less when Consul is away: it must be dead before its lease ends.
	KillTimeout time.Duration
	// TTL is the session's: how long the worker can do without Consul. The
	// command gets SIGTERM after 6/10 of it without contact and SIGKILL after
	// 9/10.
	TTL time.Duration

	ID  string   // unique among all workers; empty: made of host and process
	Env []string // of the command; nil: this process's

	Stdin          *os.File
	Stdout, Stderr *os.File
	Log            hclog.Logger

	// Start begins the command under a token; nil: as a process, see Command.
	// A simulation has other commands.
	Start func(cfg Config, token uint64) (Running, error)
}

// Running is a command that runs, with everything it started.
type Running interface {
	// Ended is closed when all of it is dead; Code is its exit code then.
	Ended() <-chan struct{}
	Code() int
	Terminate()
	Kill()
}

// Exit codes for a command that could not be run, as shells have them.
const (
	exitUsage    = 2
	exitNotFound = 127
)

// Run works until the command exits while its colour owns the jobs, and
// returns its exit code (128 + n when signal n killed it), or until ctx ends,
// and returns how the command ended then, 0 when it ended by our SIGTERM or
// was not running. Whatever runs the worker may restart it at once.
//
// Consul being away never ends it: the command is stopped in time and started
// again when Consul is back. An error comes with an exit code above 0.
func Run(ctx context.Context, cfg Config, consul Consul) (int, error) {
	if err := cfg.complete(); err != nil {
		return exitUsage, err
	}
	if cfg.Start == nil {
		cfg.Start = start
	}
	w := &worker{Config: cfg, consul: consul}
	return w.run(ctx)
}

func (w *worker) run(ctx context.Context) (int, error) {
	for {
		if err := w.awaitOwnership(ctx); err != nil {
			return 0, nil // ctx ended
		}
		exit, done, err := w.own(ctx)
		if err != nil {
			return exitNotFound, err
		}
		if done {
			return exit, nil
		}
	}
}

type worker struct {
	Config
	consul Consul
	pause  backoff
}

func (c *Config) complete() error {
	switch {
	case c.Service == "":
		return errors.New("no service: say which with -service")
	case !c.Colour.Valid():
		return fmt.Errorf("colour %q: expected blue or green; give -colour $ENVIRONMENT_NAME, which Teal sets in the job", c.Colour)
	case len(c.Command) == 0 || c.Command[0] == "":
		return errors.New("no command: give it after --")
	case c.TTL < 0 || c.KillTimeout < 0:
		return errors.New("a time is negative")
	case c.TTL > joblock.MaxLease:
		return fmt.Errorf("a TTL of %s: a handover waits no longer than %s for a worker that cannot be reached", c.TTL, joblock.MaxLease)
	}
	if c.TTL < DefaultTTL {
		c.TTL = DefaultTTL
	}
	if c.KillTimeout == 0 {
		c.KillTimeout = DefaultKillTimeout
	}
	if c.ID == "" {
		host, err := os.Hostname()
		if err != nil {
			host = "unknown"
		}
		c.ID = fmt.Sprintf("%s-%d-%x", host, os.Getpid(), time.Now().UnixNano())
	}
	if c.Env == nil {
		c.Env = os.Environ()
	}
	if c.Log == nil {
		c.Log = hclog.NewNullLogger()
	}
	return nil
}

// key is the worker's own.
func (w *worker) key() string { return w.Keys.Worker(w.Service, w.Colour, w.ID) }
