package policy

import (
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/fsnotify/fsnotify"
	"github.com/hashicorp/go-hclog"
)

// directories are the watched ones. Files are watched through the directories
// they stand in: an editor, a deployment tool or Kubernetes puts another file
// in a file's place, and a watch on the file itself would follow the old one.
type directories struct {
	notify *fsnotify.Watcher // nil when the system grants none
	logger hclog.Logger
	byPath map[string]*directory
}

type directory struct {
	info  fs.FileInfo     // as it was when the watch was set
	names map[string]bool // those of interest; nil means all
}

func newDirectories(logger hclog.Logger) *directories {
	notify, err := fsnotify.NewWatcher()
	if err != nil {
		logger.Warn("policy files are polled: the system grants no file watches", "interval", poll, "error", err)
		notify = nil
	}
	return &directories{notify: notify, logger: logger, byPath: map[string]*directory{}}
}

func (d *directories) close() {
	if d.notify != nil {
		d.notify.Close()
	}
}

// events and errors are nil, and so never ready, where the system grants no
// watches at all.
func (d *directories) events() <-chan fsnotify.Event {
	if d.notify == nil {
		return nil
	}
	return d.notify.Events
}

func (d *directories) errors() <-chan error {
	if d.notify == nil {
		return nil
	}
	return d.notify.Errors
}

// concerns says whether an event may be about a file that is read. Names that
// begin with two dots are Kubernetes' way of swapping all files at once.
func (d *directories) concerns(event fsnotify.Event) bool {
	dir, name := filepath.Split(event.Name)
	at, ok := d.byPath[filepath.Clean(dir)]
	if !ok {
		return d.byPath[event.Name] != nil // the directory itself
	}
	return at.names == nil || at.names[name] || strings.HasPrefix(name, "..") || d.byPath[event.Name] != nil
}

// update watches what the reader reads, and says whether that needed a new
// watch.
func (d *directories) update(r *reader) bool {
	if d.notify == nil {
		return false
	}
	wanted := map[string]*directory{}
	d.want(wanted, r.path, false)
	if info, err := os.Stat(r.path); err == nil && info.IsDir() {
		wanted[absolute(r.path)] = &directory{}
	}
	for path, u := range r.units {
		d.want(wanted, path, !u.version.plain)
	}
	for path, v := range r.named {
		d.want(wanted, path, !v.plain)
	}

	for path := range d.byPath {
		if wanted[path] == nil {
			_ = d.notify.Remove(path) // an error means that it has gone by itself
			delete(d.byPath, path)
		}
	}
	added := false
	for path, want := range wanted {
		info, err := os.Stat(path)
		if err != nil {
			continue // gone in this moment; its parent's event brings us back
		}
		have := d.byPath[path]
		if have != nil && os.SameFile(have.info, info) {
			have.names = want.names
			continue
		}
		if have != nil {
			_ = d.notify.Remove(path)
			delete(d.byPath, path)
		}
		if err := d.notify.Add(path); err != nil {
			d.logger.Warn("directory is polled: it cannot be watched", "path", path, "interval", poll, "error", err)
			// Remembered all the same, so that it is said once.
		}
		want.info = info
		d.byPath[path] = want
		added = true
	}
	return added
}

// want adds the directories in which a file's replacement would show: its own,
// and the one that a symbolic link leads to.
func (d *directories) want(wanted map[string]*directory, path string, follow bool) {
	path = absolute(path)
	add := func(path string) {
		dir, name := filepath.Dir(path), filepath.Base(path)
		for wanted[dir] == nil { // else it is known to be there
			if _, err := os.Stat(dir); err == nil || dir == filepath.Dir(dir) {
				break
			}
			dir, name = filepath.Dir(dir), filepath.Base(dir) // not there yet: wait for it to come
		}
		at := wanted[dir]
		if at == nil {
			at = &directory{names: map[string]bool{}}
			wanted[dir] = at
		}
		if at.names != nil {
			at.names[name] = true
		}
	}
	add(path)
	if !follow {
		return
	}
	if info, err := os.Lstat(path); err == nil && info.Mode()&fs.ModeSymlink != 0 {
		if target, err := filepath.EvalSymlinks(path); err == nil {
			add(target)
		}
	}
}

func absolute(path string) string {
	if abs, err := filepath.Abs(path); err == nil {
		return abs
	}
	return path
}
