package servers

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"syscall"
	"time"
)

// built gives the pinned server from the cache, building it when it is not
// there. Runs that need the same server at the same time build it once.
func built(ctx context.Context, log io.Writer, name string) (Binary, error) {
	root, err := source(ctx)
	if err != nil {
		return Binary{}, err
	}
	r := recipes[name]
	dir := filepath.Join(root, name)
	version, err := pinned(ctx, dir, r.module)
	if err != nil {
		return Binary{}, err
	}
	cache, err := os.UserCacheDir()
	if err != nil {
		return Binary{}, err
	}
	cache = filepath.Join(cache, "teal", "servers")
	if err := os.MkdirAll(cache, 0o755); err != nil {
		return Binary{}, err
	}
	binary := Binary{Name: name, Path: filepath.Join(cache, name+"-"+version), Version: version, Source: Built}
	if exists(binary.Path) {
		return binary, nil
	}
	unlock, err := lock(ctx, log, binary.Path+".lock")
	if err != nil {
		return Binary{}, err
	}
	defer unlock()
	if exists(binary.Path) { // somebody else built it while we waited
		return binary, nil
	}
	fmt.Fprintf(log, "%s is not on PATH: building %s %s from source, once; a cold build takes some minutes on 2 cores\n",
		name, name, version)
	partial := binary.Path + ".partial"
	defer os.Remove(partial) // what a broken build left
	// The module's go.mod and go.sum pin every byte, hence readonly.
	if _, err := goTool(ctx, dir, "build", "-mod=readonly", "-trimpath", "-buildvcs=false", "-tags", r.tags, "-o", partial, r.module+r.program); err != nil {
		return Binary{}, err
	}
	if err := os.Rename(partial, binary.Path); err != nil {
		return Binary{}, err
	}
	return binary, nil
}

// lock takes the file lock that keeps two runs from building the same server.
// The kernel drops it when its holder dies.
func lock(ctx context.Context, log io.Writer, path string) (unlock func(), err error) {
	file, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o644)
	if err != nil {
		return nil, err
	}
	said := false
	again := time.NewTicker(200 * time.Millisecond)
	defer again.Stop()
	for {
		err := syscall.Flock(int(file.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
		if err == nil {
			return func() { file.Close() }, nil
		}
		if !errors.Is(err, syscall.EWOULDBLOCK) {
			file.Close()
			return nil, fmt.Errorf("lock %s: %w", path, err)
		}
		if !said {
			fmt.Fprintf(log, "waiting for another run that builds %s\n", filepath.Base(path))
			said = true
		}
		select {
		case <-ctx.Done():
			file.Close()
			return nil, fmt.Errorf("lock %s: %w", path, ctx.Err())
		case <-again.C:
		}
	}
}
