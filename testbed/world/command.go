package world

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os/exec"
	"path/filepath"
	"strings"
	"time"
)

// Ran is a command that has ended.
type Ran struct {
	Command string
	Code    int
	Out     string
	Err     string
	Took    time.Duration
}

// String is what a person would have seen.
func (r Ran) String() string {
	return fmt.Sprintf("$ %s\n%s%s(exit code %d after %s)", r.Command, r.Out, r.Err, r.Code, r.Took.Round(time.Millisecond))
}

// CLI runs teal with the site's environment. Only a command that could not be
// run at all is an error; how it ended is its code.
func (s *Site) CLI(ctx context.Context, args ...string) (Ran, error) {
	return s.run(ctx, s.World.Teal, nil, args...)
}

// CLIWith runs teal with more, or other, environment.
func (s *Site) CLIWith(ctx context.Context, env []string, args ...string) (Ran, error) {
	return s.run(ctx, s.World.Teal, env, args...)
}

// ConsulCLI runs the consul command, which is the server's own binary.
func (s *Site) ConsulCLI(ctx context.Context, args ...string) (Ran, error) {
	return s.run(ctx, filepath.Join(s.Bin(), "consul"), nil, args...)
}

// NomadCLI runs the nomad command.
func (s *Site) NomadCLI(ctx context.Context, args ...string) (Ran, error) {
	return s.run(ctx, filepath.Join(s.Bin(), "nomad"), nil, args...)
}

// Shell runs a script as a person types it, and ends it at the first command
// that fails.
func (s *Site) Shell(ctx context.Context, script string) (Ran, error) {
	return s.run(ctx, "/bin/sh", nil, "-ec", script)
}

func (s *Site) run(ctx context.Context, path string, env []string, args ...string) (Ran, error) {
	cmd := exec.CommandContext(ctx, path, args...)
	cmd.Dir = s.Dir
	cmd.Env = append(append([]string{"PATH=" + s.Bin() + ":/usr/bin:/bin", "HOME=" + s.Dir}, s.Env()...), env...)
	var out, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &stderr
	began := time.Now()
	err := cmd.Run()
	r := Ran{
		Command: filepath.Base(path) + " " + strings.Join(args, " "),
		Out:     out.String(), Err: stderr.String(), Took: time.Since(began),
	}
	var exit *exec.ExitError
	switch {
	case errors.As(err, &exit) && ctx.Err() == nil:
		r.Code = exit.ExitCode()
	case err != nil:
		return r, fmt.Errorf("%s: %w", r.Command, err)
	}
	return r, nil
}
