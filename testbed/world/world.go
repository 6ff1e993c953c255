// Package world is a whole installation for end-to-end tests, the demo and the
// benchmark: real Consul and Nomad, Teal and the example app built from this
// checkout, agents as processes of their own, and a data plane under load that
// follows Consul's xDS stream.
//
// A World is the servers and the binaries; a Site in it is one installation of
// Teal with its own keys, policies and agents. Many sites share a world, as
// long as their services have different names. Nothing here knows how Teal
// works: it sees what an operator sees, that is keys, entries, answers.
package world

import (
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"sync"

	"github.com/tealdeploy/teal/testbed/cluster"
	"github.com/tealdeploy/teal/testbed/product"
)

// World is the servers and what is run on them.
type World struct {
	*cluster.Cluster

	Root string // of the checkout
	Teal string // path of the agent's binary
	App  string // path of the example app's
}

// Options say what to run.
type Options struct {
	cluster.Options
	Binaries string // folder for the binaries, which are kept; empty: a temporary one
}

// built remembers the binaries of this process: several worlds need them once.
var built struct {
	sync.Mutex
	dir, teal, app string
}

// Start builds the binaries, unless this process has already, and runs the
// servers.
func Start(ctx context.Context, o Options) (*World, error) {
	w := &World{}
	var err error
	if w.Root, err = product.Root(ctx); err != nil {
		return nil, err
	}
	if w.Teal, w.App, err = binaries(ctx, o.Binaries, o.Log); err != nil {
		return nil, err
	}
	if w.Cluster, err = cluster.Start(ctx, o.Options); err != nil {
		return nil, err
	}
	return w, nil
}

func binaries(ctx context.Context, dir string, log io.Writer) (teal, app string, err error) {
	built.Lock()
	defer built.Unlock()
	if built.app != "" {
		return built.teal, built.app, nil
	}
	if log != nil {
		fmt.Fprintln(log, "building teal and the example app")
	}
	if dir == "" {
		if dir, err = os.MkdirTemp("", "teal-binaries-"); err != nil {
			return "", "", err
		}
		built.dir = dir
	}
	if teal, err = product.Teal(ctx, dir); err != nil {
		return "", "", err
	}
	if app, err = product.App(ctx, dir); err != nil {
		return "", "", err
	}
	built.teal, built.app = teal, app
	return teal, app, nil
}

// RemoveBinaries removes what was built into a temporary folder, at the end of
// the process.
func RemoveBinaries() {
	built.Lock()
	defer built.Unlock()
	if built.dir != "" {
		_ = os.RemoveAll(built.dir) // it is in the temporary folder
		built.dir, built.teal, built.app = "", "", ""
	}
}

// Example reads a file of the checkout's examples.
func (w *World) Example(path ...string) (string, error) {
	text, err := os.ReadFile(filepath.Join(append([]string{w.Root, "examples"}, path...)...))
	return string(text), err
}

// Tails writes the end of every log to out.
func (w *World) Tails(out io.Writer, lines int) {
	for _, s := range w.Servers() {
		fmt.Fprintf(out, "--- last of %s\n%s\n", s.LogFile, s.Tail(lines))
	}
}
