package agent

import (
	"context"
	"crypto/sha256"
	"os"
	"path/filepath"
	"time"

	"github.com/fsnotify/fsnotify"
	"github.com/hashicorp/go-hclog"
)

const (
	// settle is how long a file must be quiet: an editor replaces it by several
	// calls.
	settle = 50 * time.Millisecond
	// poll is how often it is read where no event arrives: network file
	// systems send none.
	poll = 30 * time.Second
)

// watchFile calls edited after each change of a file's text, until ctx ends.
// The directories are watched in which a replacement would show: the file's
// own, and that of the file it links to.
func watchFile(ctx context.Context, path string, log hclog.Logger, edited func()) error {
	var events <-chan fsnotify.Event
	var lost <-chan error
	notify, err := fsnotify.NewWatcher()
	if err != nil {
		log.Warn("the config is polled: the system grants no file watches", "interval", poll.String(), "error", err)
	} else {
		defer notify.Close()
		events, lost = notify.Events, notify.Errors
	}
	watch := func() {
		if notify == nil {
			return
		}
		_ = notify.Add(filepath.Dir(path)) // again is no harm; that it fails is made up for by polling
		if target, err := filepath.EvalSymlinks(path); err == nil {
			_ = notify.Add(filepath.Dir(target))
		}
	}
	watch()
	last := textSum(path)
	ticker := time.NewTicker(poll)
	defer ticker.Stop()
	quiet := time.NewTimer(settle)
	quiet.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-events:
			quiet.Reset(settle)
			continue
		case <-lost:
			quiet.Reset(settle)
			continue
		case <-quiet.C:
		case <-ticker.C:
		}
		watch()
		if now := textSum(path); now != last {
			last = now
			edited()
		}
	}
}

// textSum tells texts apart; a file that cannot be read has one of its own.
func textSum(path string) [sha256.Size]byte {
	text, err := os.ReadFile(path)
	if err != nil {
		return sha256.Sum256([]byte("\x00unreadable"))
	}
	return sha256.Sum256(text)
}
