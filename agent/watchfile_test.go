package agent

import (
	"context"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/hashicorp/go-hclog"
)

// An edit in place, a replacement, a link that is turned over, and a whole
// directory that is swapped, as Kubernetes does it.
func TestFileIsWatched(t *testing.T) {
	dir := t.TempDir()
	link := func(to, name string) {
		t.Helper()
		if err := os.Symlink(to, filepath.Join(dir, name+".new")); err != nil {
			t.Fatal(err)
		}
		if err := os.Rename(filepath.Join(dir, name+".new"), filepath.Join(dir, name)); err != nil {
			t.Fatal(err)
		}
	}
	path := write(t, filepath.Join(dir, "config.hcl"), "1")
	edits := make(chan struct{}, 100)
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() {
		done <- watchFile(ctx, path, fingerprint{}, hclog.NewNullLogger(), func() { edits <- struct{}{} })
	}()
	edited := func(what string) {
		t.Helper()
		select {
		case <-edits:
		case <-time.After(5 * time.Second):
			t.Fatalf("not noticed: %s", what)
		}
	}
	edited("what had changed before it was watched")

	write(t, path, "2")
	edited("an edit in place")
	write(t, path+"~", "3")
	if err := os.Rename(path+"~", path); err != nil {
		t.Fatal(err)
	}
	edited("a replacement")
	write(t, filepath.Join(dir, "elsewhere", "real.hcl"), "4")
	link("elsewhere/real.hcl", "config.hcl")
	edited("a link in its place")
	write(t, filepath.Join(dir, "elsewhere", "real.hcl"), "5")
	edited("an edit behind the link")
	write(t, filepath.Join(dir, "..v1", "config.hcl"), "6")
	write(t, filepath.Join(dir, "..v2", "config.hcl"), "7")
	link("..v1", "..data")
	link("..data/config.hcl", "config.hcl")
	edited("another link")
	link("..v2", "..data")
	edited("a swapped directory")
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	edited("that it is gone")

	// Noise beside it delays nothing.
	quiet := make(chan struct{})
	go func() {
		defer close(quiet)
		for tick := time.NewTicker(settle / 10); ctx.Err() == nil; <-tick.C {
			_ = os.WriteFile(filepath.Join(dir, "log.txt"), []byte("noise"), 0o600)
		}
	}()
	write(t, path, "8")
	edited("an edit among noise")
	cancel()
	<-quiet
	if err := <-done; err != nil {
		t.Error(err)
	}
	if len(edits) > 0 {
		t.Errorf("%d edits too many", len(edits))
	}
}
