package agent

import (
	"context"
	"crypto/sha256"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/fsnotify/fsnotify"
	"github.com/hashicorp/go-hclog"

	"github.com/tealdeploy/teal/agent/plainfile"
)

const (
	// settle is how long a file must be quiet: an editor replaces it by several
	// calls.
	settle = 50 * time.Millisecond
	// poll is how often it is read where no event arrives: network file
	// systems send none.
	poll = 30 * time.Second
)

// watchFile calls edited after each change of a file's text since it was last,
// until ctx ends. The directories are watched in which a replacement would
// show: the file's own, and that of the file it links to.
func watchFile(ctx context.Context, path string, last fingerprint, log hclog.Logger, edited func()) error {
	var events <-chan fsnotify.Event
	var lost <-chan error
	notify, err := fsnotify.NewWatcher()
	if err != nil {
		log.Warn("the config is polled: the system grants no file watches", "interval", poll.String(), "error", err)
	} else {
		defer notify.Close()
		events, lost = notify.Events, notify.Errors
	}
	var names []string
	watch := func() {
		names = []string{path}
		if target, err := filepath.EvalSymlinks(path); err == nil {
			names = append(names, target)
		}
		for i, name := range names {
			if notify != nil {
				_ = notify.Add(filepath.Dir(name)) // again is no harm; where it fails there is polling
			}
			names[i] = filepath.Base(name)
		}
	}
	look := func() {
		watch()
		if now := textSum(path); now != last {
			last = now
			edited()
		}
	}
	watch()
	ticker := time.NewTicker(poll)
	defer ticker.Stop()
	quiet := time.NewTimer(settle) // it may have changed before it was watched
	defer quiet.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case event := <-events:
			// Two dots begin the names that Kubernetes swaps all files by.
			if name := filepath.Base(event.Name); slices.Contains(names, name) || strings.HasPrefix(name, "..") {
				quiet.Reset(settle)
			}
			continue
		case <-lost:
			quiet.Reset(settle)
			continue
		case <-quiet.C:
		case <-ticker.C:
		}
		look()
	}
}

// fingerprint tells texts apart.
type fingerprint [sha256.Size]byte

// textSum is a file's fingerprint; one that cannot be read has one, too.
func textSum(path string) fingerprint {
	text, err := plainfile.Read(path, 1<<20)
	if err != nil {
		return sha256.Sum256([]byte("\x00unreadable"))
	}
	return sha256.Sum256(text)
}
