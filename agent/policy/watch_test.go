package policy

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/hashicorp/hcl/v2"
)

// change is one call of onChange.
type change struct {
	set   *Set
	diags hcl.Diagnostics
}

// watch runs a watcher until the test ends, without the help of polling.
func watch(t *testing.T, path string) (*Watcher, <-chan change) {
	t.Helper()
	w := NewWatcher(path, hclog.NewNullLogger())
	w.poll = time.Hour
	changes := make(chan change, 1000)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() {
		done <- w.Run(ctx, func(set *Set, diags hcl.Diagnostics) { changes <- change{set, diags} })
	}()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("run: %v", err)
		}
	})
	return w, changes
}

// until waits for a change after which ok holds.
func until(t *testing.T, changes <-chan change, what string, ok func(change) bool) change {
	t.Helper()
	deadline := time.After(10 * time.Second)
	var last change
	for {
		select {
		case last = <-changes:
			if ok(last) {
				return last
			}
		case <-deadline:
			t.Fatalf("not seen: %s; last diagnostics: %v", what, last.diags)
		}
	}
}

func inForce(service string, soak time.Duration) func(change) bool {
	return func(c change) bool {
		p := c.set.Policy(service)
		return p != nil && p.Soak.For == soak
	}
}

func TestWatchEdits(t *testing.T) {
	dir := t.TempDir()
	write(t, dir, "api.nomad.hcl", "one")
	write(t, dir, "a.hcl", edition("a", "1h"))
	_, changes := watch(t, dir)
	until(t, changes, "the first read", inForce("a", time.Hour))

	write(t, dir, "a.hcl", edition("a", "2h"))
	until(t, changes, "an edit in place", inForce("a", 2*time.Hour))

	write(t, dir, "a.hcl.new", edition("a", "3h"))
	if err := os.Rename(filepath.Join(dir, "a.hcl.new"), filepath.Join(dir, "a.hcl")); err != nil {
		t.Fatal(err)
	}
	until(t, changes, "a replacement", inForce("a", 3*time.Hour))

	write(t, dir, "a.hcl", "service \"a\" {\n  jop = 1\n}\n")
	broken := until(t, changes, "a broken edit", func(c change) bool { return c.diags.HasErrors() })
	if !inForce("a", 3*time.Hour)(broken) || !strings.Contains(broken.diags.Error(), "a.hcl:") {
		t.Errorf("a broken edit: %v", broken.diags)
	}

	write(t, dir, "a.hcl", edition("a", "4h"))
	write(t, dir, "b.hcl", edition("b", "1h"))
	until(t, changes, "a repair", func(c change) bool {
		return inForce("a", 4*time.Hour)(c) && inForce("b", time.Hour)(c) && len(c.diags) == 0
	})

	write(t, dir, "api.nomad.hcl", "two")
	until(t, changes, "an edit of the jobspec", func(c change) bool { return c.set.Policy("a").Job.Source() == "two" })

	if err := os.Remove(filepath.Join(dir, "b.hcl")); err != nil {
		t.Fatal(err)
	}
	until(t, changes, "a removal", func(c change) bool { return c.set.Policy("b") == nil })
}

// The last edit of a burst counts, however the burst falls.
func TestWatchLosesNoEdit(t *testing.T) {
	dir := t.TempDir()
	write(t, dir, "api.nomad.hcl", "one")
	write(t, dir, "a.hcl", edition("a", "1h"))
	_, changes := watch(t, dir)
	until(t, changes, "the first read", inForce("a", time.Hour))
	for burst := range 5 {
		last := 0
		for i := range 200 {
			last = 1000*(burst+1) + i
			write(t, dir, "a.hcl", edition("a", fmt.Sprintf("%dm", last)))
		}
		until(t, changes, "the last of a burst", inForce("a", time.Duration(last)*time.Minute))
	}
}

// Kubernetes delivers files as links into a hidden directory, and replaces the
// link to that directory.
func TestWatchSymlinkSwap(t *testing.T) {
	dir := t.TempDir()
	write(t, dir, "..v1/a.hcl", edition("a", "1h"))
	write(t, dir, "..v1/api.nomad.hcl", "one")
	write(t, dir, "..v2/a.hcl", edition("a", "2h"))
	write(t, dir, "..v2/api.nomad.hcl", "two")
	link := func(target, name string) {
		t.Helper()
		if err := os.Symlink(target, filepath.Join(dir, name)); err != nil {
			t.Fatal(err)
		}
	}
	link("..v1", "..data")
	link("..data/a.hcl", "a.hcl")
	link("..data/api.nomad.hcl", "api.nomad.hcl")
	_, changes := watch(t, dir)
	until(t, changes, "the first read", inForce("a", time.Hour))

	link("..v2", "..data_tmp")
	if err := os.Rename(filepath.Join(dir, "..data_tmp"), filepath.Join(dir, "..data")); err != nil {
		t.Fatal(err)
	}
	c := until(t, changes, "the swap", inForce("a", 2*time.Hour))
	if len(c.diags) > 0 || c.set.Policy("a").Job.Source() != "two" {
		t.Errorf("after the swap: %v, %q", c.diags, c.set.Policy("a").Job.Source())
	}
}

// The directory itself may come late, and be replaced: as a link to a release
// or by moving another one to its place.
func TestWatchDirectoryReplaced(t *testing.T) {
	root := t.TempDir()
	for i, soak := range []string{"1h", "2h", "3h"} {
		write(t, root, fmt.Sprintf("v%d/a.hcl", i+1), edition("a", soak))
		write(t, root, fmt.Sprintf("v%d/api.nomad.hcl", i+1), "job")
	}
	dir := filepath.Join(root, "policies")
	_, changes := watch(t, dir)
	until(t, changes, "that there is nothing", func(c change) bool { return c.diags.HasErrors() })
	swap := func(target string) {
		t.Helper()
		if err := os.Symlink(target, dir+".new"); err != nil {
			t.Fatal(err)
		}
		if err := os.Rename(dir+".new", dir); err != nil {
			t.Fatal(err)
		}
	}
	swap("v1")
	until(t, changes, "the directory", inForce("a", time.Hour))
	swap("v2")
	until(t, changes, "the other directory", inForce("a", 2*time.Hour))
	write(t, root, "v2/a.hcl", edition("a", "5h"))
	until(t, changes, "an edit in the other directory", inForce("a", 5*time.Hour))
	if err := os.Remove(dir); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(filepath.Join(root, "v3"), dir); err != nil {
		t.Fatal(err)
	}
	until(t, changes, "the directory in its place", inForce("a", 3*time.Hour))
	write(t, dir, "a.hcl", edition("a", "6h"))
	until(t, changes, "an edit in it", inForce("a", 6*time.Hour))
}

// Jobspecs may lie elsewhere, in a directory that comes later.
func TestWatchJobspecElsewhere(t *testing.T) {
	root := t.TempDir()
	write(t, root, "policies/a.hcl", "service \"a\" {\n  job = \"../jobs/deep/a.nomad.hcl\"\n}\n")
	_, changes := watch(t, filepath.Join(root, "policies"))
	until(t, changes, "that the jobspec is missing", func(c change) bool { return c.diags.HasErrors() })
	write(t, root, "jobs/deep/a.nomad.hcl", "one")
	until(t, changes, "the jobspec", func(c change) bool { return c.set.Policy("a") != nil })
	write(t, root, "jobs/deep/a.nomad.hcl", "two")
	until(t, changes, "the jobspec's edit", func(c change) bool { return c.set.Policy("a").Job.Source() == "two" })
}

// Reload answers even when there is nothing new, and without any event.
func TestReload(t *testing.T) {
	dir := t.TempDir()
	write(t, dir, "api.nomad.hcl", "one")
	write(t, dir, "a.hcl", edition("a", "1h"))
	w, changes := watch(t, dir)
	until(t, changes, "the first read", inForce("a", time.Hour))
	w.Reload()
	until(t, changes, "the answer", inForce("a", time.Hour))
}

// Where no events come, polling finds the edit.
func TestPolling(t *testing.T) {
	dir := t.TempDir()
	write(t, dir, "api.nomad.hcl", "one")
	path := write(t, dir, "a.hcl", edition("a", "1h"))
	w := NewWatcher(path, hclog.NewNullLogger())
	w.poll = 10 * time.Millisecond
	changes := make(chan change, 1000)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	var mute directories // no watches, as on a system that grants none
	go func() {
		done <- w.run(ctx, &mute, func(set *Set, diags hcl.Diagnostics) { changes <- change{set, diags} })
	}()
	defer func() { cancel(); <-done }()
	until(t, changes, "the first read", inForce("a", time.Hour))
	write(t, dir, "a.hcl", edition("a", "2h"))
	until(t, changes, "the edit", inForce("a", 2*time.Hour))
}
