package policy

import (
	"context"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/hashicorp/hcl/v2"
)

const (
	// settle is how long files must be quiet before they are read: an editor
	// replaces one by several calls, a delivery writes many.
	settle = 50 * time.Millisecond
	// unsettled is how long files may go on changing before they are read all
	// the same.
	unsettled = 500 * time.Millisecond
	// poll is how often time stamps are compared where no event arrived:
	// network file systems send none, and the kernel's watches can run out.
	poll = 30 * time.Second
)

// Watcher keeps the policies of a path current.
type Watcher struct {
	path   string
	logger hclog.Logger
	reload chan struct{}
	poll   time.Duration
}

// NewWatcher prepares to watch a policy file or a directory of them. It does
// nothing until Run.
func NewWatcher(path string, logger hclog.Logger) *Watcher {
	return &Watcher{path: path, logger: logger, reload: make(chan struct{}, 1), poll: poll}
}

// Reload asks for every file to be read again, whatever its time stamp says.
// The outcome is given to Run's onChange even when nothing has changed. It
// does not wait, and may be called from any goroutine at any time.
func (w *Watcher) Reload() {
	select {
	case w.reload <- struct{}{}:
	default: // one is already asked for, and has not begun
	}
}

// Run gives onChange the policies as they are now, and again after each change
// of a policy file, a jobspec or another file that policies name, until ctx
// ends. A file with mistakes does not take away its services' last good
// policies; the diagnostics, always those of all files, say what is wrong.
// onChange is called from this goroutine only.
func (w *Watcher) Run(ctx context.Context, onChange func(*Set, hcl.Diagnostics)) error {
	watched := newDirectories(w.logger)
	defer watched.close()
	return w.run(ctx, watched, onChange)
}

func (w *Watcher) run(ctx context.Context, watched *directories, onChange func(*Set, hcl.Diagnostics)) error {
	r := newReader(w.path)

	round := func(always, tell bool) {
		watched.update(r) // before reading, so that no change falls between
		set, diags, changed := r.read(always)
		for fresh := changed; fresh && watched.update(r); changed = changed || fresh {
			// A directory that was not watched until now may have changed
			// between reading it and watching it.
			set, diags, fresh = r.read(false)
		}
		if changed || tell {
			onChange(set, diags)
		}
	}
	round(false, true)

	quiet := time.NewTimer(settle)
	quiet.Stop()
	ticker := time.NewTicker(w.poll)
	defer ticker.Stop()
	var latest time.Time // when to read although files still change; zero when nothing is pending
	pending := func() {
		now := time.Now()
		if latest.IsZero() {
			latest = now.Add(unsettled)
		}
		quiet.Reset(min(settle, latest.Sub(now)))
	}
	for {
		select {
		case <-ctx.Done():
			return nil
		case event := <-watched.events():
			if watched.concerns(event) {
				pending()
			}
		case err := <-watched.errors():
			// Usually that events were lost: there are too many. Reading
			// everything again makes up for it.
			w.logger.Debug("watching policy files", "error", err)
			pending()
		case <-quiet.C:
			latest = time.Time{}
			round(false, false)
		case <-ticker.C:
			round(false, false)
		case <-w.reload:
			round(true, true)
		}
	}
}
