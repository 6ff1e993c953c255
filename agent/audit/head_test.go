package audit

import (
	"os"
	"path/filepath"
	"testing"
)

// A link that somebody has put where the end of the chain is written leads
// nowhere, and what an agent left there that was killed is no trouble.
func TestTheHeadIsWrittenThroughNoLink(t *testing.T) {
	dir := t.TempDir()
	path, other := filepath.Join(dir, "audit.log"), filepath.Join(dir, "other")
	if err := os.WriteFile(other, []byte("untouched"), 0o600); err != nil {
		t.Fatal(err)
	}
	h := Head{Seq: 7, Hash: digest([]byte("x"))}
	for _, place := range []string{headPath(path) + ".partial", headPath(path)} {
		if err := os.Symlink("other", place); err != nil {
			t.Fatal(err)
		}
		writeHead(path, h)
		if text, err := os.ReadFile(other); err != nil || string(text) != "untouched" {
			t.Errorf("by way of %s: %q, %v", place, text, err)
		}
		if got := readHead(path); got != h {
			t.Errorf("by way of %s: read %+v", place, got)
		}
		if err := os.Remove(headPath(path)); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.WriteFile(headPath(path)+".partial", []byte("half"), 0o600); err != nil {
		t.Fatal(err)
	}
	if writeHead(path, h); readHead(path) != h {
		t.Errorf("read %+v", readHead(path))
	}
}
