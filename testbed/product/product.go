// Package product builds what the tests and the demo run of this checkout:
// Teal itself and the example app, with the product's own module and not the
// testbed's.
package product

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
)

// Teal builds the agent into dir and gives the path of the binary.
func Teal(ctx context.Context, dir string) (string, error) {
	return build(ctx, filepath.Join(dir, "teal"), ".")
}

// TealWith builds the agent as Teal does, with a file for go's -overlay.
func TealWith(ctx context.Context, dir, overlay string) (string, error) {
	return buildIn(ctx, ".", filepath.Join(dir, "teal"), ".", "-overlay", overlay)
}

// App builds the example app into dir and gives the path of the binary.
func App(ctx context.Context, dir string) (string, error) {
	return build(ctx, filepath.Join(dir, "app"), "./examples/app")
}

// Ticker builds the testbed's own background worker into dir and gives the path
// of the binary.
func Ticker(ctx context.Context, dir string) (string, error) {
	return buildIn(ctx, "testbed", filepath.Join(dir, "ticker"), "./cmd/ticker")
}

// Backend builds the testbed's own instance into dir, which speaks what the
// example app does not, and gives the path of the binary.
func Backend(ctx context.Context, dir string) (string, error) {
	return buildIn(ctx, "testbed", filepath.Join(dir, "backend"), "./cmd/backend")
}

// Worker builds the example worker into dir and gives the path of the binary.
// An overlay is the path of a file for go's -overlay, or empty.
func Worker(ctx context.Context, dir, overlay string) (string, error) {
	return buildIn(ctx, filepath.Join("examples", "worker"), filepath.Join(dir, "worker"), ".", "-overlay", overlay)
}

func build(ctx context.Context, binary, pkg string) (string, error) {
	return buildIn(ctx, ".", binary, pkg)
}

// buildIn builds in the module that is in a folder of the checkout.
func buildIn(ctx context.Context, module, binary, pkg string, flags ...string) (string, error) {
	root, err := Root(ctx)
	if err != nil {
		return "", err
	}
	if binary, err = filepath.Abs(binary); err != nil {
		return "", err
	}
	args := append([]string{"build", "-trimpath", "-o", binary}, flags...)
	if _, err := goTool(ctx, filepath.Join(root, module), append(args, pkg)...); err != nil {
		return "", err
	}
	return binary, nil
}

// Root is the folder of the product's module in this checkout.
func Root(ctx context.Context) (string, error) {
	if _, file, _, ok := runtime.Caller(0); ok && filepath.IsAbs(file) {
		root := filepath.Join(filepath.Dir(file), "..", "..")
		if _, err := os.Stat(filepath.Join(root, "examples", "app")); err == nil {
			return root, nil
		}
	}
	// Built with -trimpath: ask the go command, which knows when it runs in testbed.
	out, err := goTool(ctx, "", "list", "-m", "-f", "{{.Dir}}", "github.com/tealdeploy/teal")
	return strings.TrimSpace(string(out)), err
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
