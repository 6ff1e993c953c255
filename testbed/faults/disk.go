package faults

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"syscall"

	"github.com/tealdeploy/teal/agent/deployment"
	"github.com/tealdeploy/teal/testbed/cluster"
	"github.com/tealdeploy/teal/testbed/world"
)

// disk is where an agent's audit file lies, and can be full: a small tmpfs, or,
// for who may not mount one, a file that has no room.
type disk struct {
	dir     string
	mounted bool
}

func newDisk(dir string) (*disk, error) {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, err
	}
	switch err := syscall.Mount("tmpfs", dir, "tmpfs", 0, "size=256k"); {
	case err == nil:
		return &disk{dir, true}, nil
	case errors.Is(err, syscall.EPERM):
		return &disk{dir, false}, nil
	default:
		return nil, fmt.Errorf("mount a tmpfs at %s: %w", dir, err)
	}
}

// audit is the file's path.
func (d *disk) audit() string { return filepath.Join(d.dir, "audit.log") }

func (d *disk) ballast() string { return filepath.Join(d.dir, "ballast") }

// fill leaves no room. What is left of the file's last block is: a line may be
// written in part.
func (d *disk) fill() error {
	if !d.mounted { // what Linux calls /dev/full
		return errors.Join(os.Rename(d.audit(), d.audit()+".1"), os.Symlink("/dev/full", d.audit()))
	}
	file, err := os.Create(d.ballast())
	if err != nil {
		return err
	}
	defer file.Close()
	for block := make([]byte, os.Getpagesize()); ; {
		if _, err := file.Write(block); errors.Is(err, syscall.ENOSPC) {
			return nil
		} else if err != nil {
			return err
		}
	}
}

// free makes room again.
func (d *disk) free() error {
	if !d.mounted {
		return os.Remove(d.audit())
	}
	return os.Remove(d.ballast())
}

// files are the audit file's parts.
func (d *disk) files() ([]string, error) { return filepath.Glob(d.audit() + "*") }

func (d *disk) close() error {
	if !d.mounted {
		return nil
	}
	return syscall.Unmount(d.dir, syscall.MNT_DETACH)
}

// FullDisk has the disk with the agent's audit file run full while a release is
// launched, and while one is watched that is taken back, and kills the agent and
// starts it again while there is no room. It costs no release anything; it is
// told, and the file is whole once there is room again.
func FullDisk(ctx context.Context, w *world.World, name string, log io.Writer) (all []Away, err error) {
	l, err := newLane(ctx, w, name, world.Service{}, log)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, l.close()) }()
	d, err := newDisk(filepath.Join(l.Dir, "disk"))
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, d.close()) }()
	a, err := l.audited(d)
	if err != nil {
		return nil, err
	}
	if err := a.Start(ctx); err != nil {
		return nil, err
	}
	for _, x := range []struct {
		walk    walk
		at      deployment.State
		restart bool
	}{
		{walks[0], deployment.Launching, false},
		{walks[1], deployment.Watching, false},
		{walks[1], deployment.Watching, true},
	} {
		what := fmt.Sprintf("disk full for the audit file, %s while %s", x.walk.name, x.at)
		if x.restart {
			what += ", agent killed and started"
		}
		away := l.without(ctx, what, func(ctx context.Context) error { return l.withoutRoom(ctx, a, d, x.walk, x.at, x.restart) })
		if all = append(all, away); away.Broken != "" {
			fmt.Fprintf(log, "BROKEN: %s: %s\n", away.What, away.Broken)
			l.Site.Logs(log, 40)
			return all, nil
		}
	}
	return all, nil
}

// audited makes an agent with an audit file on a disk.
func (l *lane) audited(d *disk) (*world.Agent, error) {
	text, err := os.ReadFile(l.Config())
	if err != nil {
		return nil, err
	}
	const file = "audited.hcl"
	if err := l.WriteFile(file, string(text)); err != nil {
		return nil, err
	}
	if err := l.Edit(file, "path       = null", fmt.Sprintf("path = %q", d.audit())); err != nil {
		return nil, err
	}
	return l.NewAgent("audited", world.AgentOptions{Config: filepath.Join(l.Dir, file)})
}

// noRoom is what an agent's health says of its audit file then.
const noRoom = "no space left"

// fullAfter are the releases after which a block of a disk is full for sure: one
// writes some thousand bytes.
const fullAfter = 4

func (l *lane) withoutRoom(ctx context.Context, a *world.Agent, d *disk, w walk, at deployment.State, restart bool) error {
	if err := l.begin(w); err != nil {
		return err
	}
	version := l.service.Version
	if err := l.passes(ctx, version, at); err != nil {
		return err
	}
	if err := d.fill(); err != nil {
		return err
	}
	if restart {
		if err := errors.Join(a.Kill(), a.Start(ctx)); err != nil {
			return err
		}
	}
	if err := w.orders(ctx, l, version); err != nil {
		return err
	}
	if err := l.comesTo(ctx, version, w.want); err != nil {
		return err
	}
	// A few lines may still have found room in the file's last block.
	for n := 0; ; n++ {
		_, health, err := a.Health(ctx)
		if err != nil {
			return err
		}
		if strings.Contains(health.Audit, noRoom) {
			break
		}
		if n == fullAfter {
			return fmt.Errorf("%d releases were written to a disk that is full: health says %q", n+1, health.Audit)
		}
		if err := l.through(ctx, w); err != nil {
			return err
		}
		version = l.service.Version
	}
	if err := audits(ctx, a, http.StatusServiceUnavailable, noRoom); err != nil {
		return err
	}
	if err := d.free(); err != nil {
		return err
	}
	if err := audits(ctx, a, http.StatusOK, ""); err != nil {
		return err
	}
	files, err := d.files()
	if err != nil {
		return err
	}
	return cluster.Await(ctx, func(ctx context.Context) error { // what waited is written one after another
		ran, err := l.CLI(ctx, append([]string{"audit", "verify"}, files...)...)
		if err == nil && (ran.Code != 0 || !strings.Contains(ran.Out, "Whole")) {
			err = fmt.Errorf("%s", ran)
		}
		text, problem := os.ReadFile(d.audit())
		if err = errors.Join(err, problem); err == nil && !strings.Contains(string(text), fmt.Sprintf("%q", version)) {
			err = fmt.Errorf("nothing of %s is in the file", version)
		}
		return err
	})
}

// audits waits until an agent's health says so of its audit file.
func audits(ctx context.Context, a *world.Agent, want int, says string) error {
	return cluster.Await(ctx, func(ctx context.Context) error {
		code, health, err := a.Health(ctx)
		if err == nil && (code != want || !strings.Contains(health.Audit, says)) {
			err = fmt.Errorf("health %d, %q: want %d and %q", code, health.Audit, want, says)
		}
		return err
	})
}
