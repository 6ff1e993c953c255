//go:build unix

package plainfile

import (
	"errors"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

// What is no plain file of a bounded size is an error that names the path, and
// nobody waits for it.
func TestRead(t *testing.T) {
	dir := t.TempDir()
	at := func(name string) string { return filepath.Join(dir, name) }
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	must(os.WriteFile(at("full"), []byte(strings.Repeat("x", 2048)), 0o600))
	must(os.WriteFile(at("long"), []byte(strings.Repeat("x", 2049)), 0o600))
	must(os.Symlink("full", at("link")))
	must(os.Symlink("loop", at("loop")))
	must(os.Symlink("/dev/zero", at("endless")))
	must(syscall.Mkfifo(at("pipe"), 0o600))
	must(os.Symlink("pipe", at("link-to-pipe")))
	socket, err := net.Listen("unix", at("socket"))
	must(err)
	defer socket.Close()
	for name, want := range map[string]string{
		"full": "", "link": "",
		"long":    "it is larger than 2 KiB",
		"endless": "it is not a plain file", "pipe": "it is not a plain file", "link-to-pipe": "it is not a plain file", ".": "it is not a plain file",
		"socket": "", "loop": "too many levels", "nothing": "no such file",
	} {
		text, err := Read(at(name), 2048)
		var where *fs.PathError
		switch {
		case name == "full" || name == "link":
			if err != nil || len(text) != 2048 {
				t.Errorf("%s: %d bytes, %v", name, len(text), err)
			}
		case err == nil || text != nil || !errors.As(err, &where) || where.Path != at(name) || !strings.Contains(err.Error(), want):
			t.Errorf("%s: %d bytes, %v; want %q", name, len(text), err, want)
		}
	}
}
