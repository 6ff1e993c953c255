// Package servers finds the Consul, the Nomad, the Prometheus and the PostgreSQL that
// tests and the demo run.
//
// A server on PATH is used as it is. Otherwise the pinned version is built
// from source, by the module of its own in consul/, nomad/ or prometheus/, into the
// user's cache directory, once. These servers are test tools: nothing of them is
// linked into Teal.
package servers

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
)

// Where a binary came from.
const (
	FromPath = "PATH"  // installed by the user
	Built    = "built" // built from the pinned module into the cache
)

// Binary is a server that can be run.
type Binary struct {
	Name    string // consul, nomad or prometheus
	Path    string
	Version string // without a leading v, such as 1.21.0
	Source  string // FromPath or Built
}

// Consul gives the Consul to run. What is used, and that a cold build takes
// minutes, is written to log.
func Consul(ctx context.Context, log io.Writer) (Binary, error) {
	return find(ctx, log, "consul")
}

// Nomad gives the Nomad to run, as Consul does.
func Nomad(ctx context.Context, log io.Writer) (Binary, error) {
	return find(ctx, log, "nomad")
}

// Prometheus gives the Prometheus to run, as Consul does.
func Prometheus(ctx context.Context, log io.Writer) (Binary, error) {
	return find(ctx, log, "prometheus")
}

// recipe is how a server tells its version, and how it is built.
type recipe struct {
	version []string // arguments
	before  string   // what stands before it in the first line of the output
	module  string
	program string // package in it; empty: the module's root
	tags    string
}

var recipes = map[string]recipe{
	"consul": {version: []string{"version"}, before: " v", module: "github.com/hashicorp/consul"},
	"nomad":  {version: []string{"version"}, before: " v", module: "github.com/hashicorp/nomad"},
	"prometheus": {
		version: []string{"--version"}, before: "version ", module: "github.com/prometheus/prometheus", program: "/cmd/prometheus",
		// Of all that it can discover, instances in Consul are what is needed.
		tags: "remove_all_sd,enable_consul_sd",
	},
}

func find(ctx context.Context, log io.Writer, name string) (Binary, error) {
	if log == nil {
		log = io.Discard
	}
	binary, err := onPath(ctx, name)
	if err == nil && binary.Path == "" {
		binary, err = built(ctx, log, name)
	}
	if err != nil {
		return Binary{}, fmt.Errorf("%s server: %w", name, err)
	}
	fmt.Fprintf(log, "using %s %s (%s: %s)\n", name, binary.Version, binary.Source, binary.Path)
	return binary, nil
}

// onPath gives an empty Binary when there is none.
func onPath(ctx context.Context, name string) (Binary, error) {
	path, err := exec.LookPath(name)
	if err != nil {
		return Binary{}, nil
	}
	b, err := describe(ctx, path, recipes[name])
	b.Name = name
	return b, err
}

// describe asks a program for its version.
func describe(ctx context.Context, path string, r recipe) (Binary, error) {
	out, err := exec.CommandContext(ctx, path, r.version...).Output()
	if err != nil {
		return Binary{}, fmt.Errorf("%s %s: %w", path, strings.Join(r.version, " "), err)
	}
	first, _, _ := strings.Cut(string(out), "\n") // "Consul v1.21.0", "prometheus, version 2.42.0 (…)"
	_, version, ok := strings.Cut(first, r.before)
	if !ok {
		return Binary{}, fmt.Errorf("%s %s says %q: expected a name and a version", path, strings.Join(r.version, " "), first)
	}
	version, _, _ = strings.Cut(strings.TrimSpace(version), " ")
	return Binary{Path: path, Version: version, Source: FromPath}, nil
}

// pinned reads the version that the server's own module asks for.
func pinned(ctx context.Context, dir, module string) (string, error) {
	out, err := goTool(ctx, dir, "mod", "edit", "-json")
	if err != nil {
		return "", err
	}
	var mod struct {
		Require []struct{ Path, Version string }
	}
	if err := json.Unmarshal(out, &mod); err != nil {
		return "", fmt.Errorf("go mod edit -json in %s: %w", dir, err)
	}
	for _, r := range mod.Require {
		if r.Path == module {
			return strings.TrimPrefix(r.Version, "v"), nil
		}
	}
	return "", fmt.Errorf("%s does not require %s", filepath.Join(dir, "go.mod"), module)
}

// source is the folder of this package, which holds the servers' modules.
func source(ctx context.Context) (string, error) {
	if _, file, _, ok := runtime.Caller(0); ok && filepath.IsAbs(file) {
		if dir := filepath.Dir(file); exists(filepath.Join(dir, "consul", "go.mod")) {
			return dir, nil
		}
	}
	// Built with -trimpath: ask the go command, which knows when it runs in testbed.
	out, err := goTool(ctx, "", "list", "-f", "{{.Dir}}", "github.com/tealdeploy/teal/testbed/servers")
	if err != nil {
		return "", err
	}
	return strings.TrimSpace(string(out)), nil
}

func goTool(ctx context.Context, dir string, args ...string) ([]byte, error) {
	cmd := exec.CommandContext(ctx, "go", args...)
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "GOWORK=off")
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		return nil, fmt.Errorf("go %s: %w: %s", strings.Join(args, " "), err, strings.TrimSpace(stderr.String()))
	}
	return out, nil
}

func exists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}
