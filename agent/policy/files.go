package policy

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/tealdeploy/teal/agent/plainfile"
)

// racy is how fresh a file may be for its time stamp to say nothing: a second
// write within the file system's resolution leaves it unchanged. Git has the
// same rule for its index.
const racy = 2 * time.Second

// version is one file's state when it was last looked at.
type version struct {
	stamp stamp     // of when it was read; zero when it could not be
	at    time.Time // when it was read
	hash  string    // SHA-256 of the text, empty when it could not be read
	text  string    // kept only while it is decoded
	err   error
	// plain says that path was no symbolic link. One in its place is another
	// file, and so is what a changed one leads to.
	plain bool
}

// stamp tells a file from what stands in its place later. It is all that is
// kept of a fs.FileInfo, which takes four times as much.
type stamp struct {
	device, inode  uint64 // zero where the system has none
	size, modified int64  // bytes, nanoseconds since 1970
}

func stampOf(info fs.FileInfo) stamp {
	s := stamp{size: info.Size(), modified: info.ModTime().UnixNano()}
	s.device, s.inode = identity(info)
	return s
}

// unchanged says whether info shows the file that v was read from, with no
// doubt.
func (v *version) unchanged(info fs.FileInfo) bool {
	return v.err == nil && v.stamp == stampOf(info) && v.at.Sub(info.ModTime()) > racy
}

// readVersion reads path, or returns last when that is still what is there.
func readVersion(path string, last *version, always bool) *version {
	now := time.Now()
	info, err := os.Stat(path)
	if err == nil && !always && last != nil && last.unchanged(info) {
		return last
	}
	v := &version{at: now}
	if err == nil {
		var text []byte
		text, err = plainfile.Read(path, maxFileSize)
		v.text = string(text)
	}
	if err != nil {
		v.err = explain(path, err)
		return v
	}
	if itself, err := os.Lstat(path); err == nil {
		v.plain = itself.Mode()&fs.ModeSymlink == 0
	}
	sum := sha256.Sum256([]byte(v.text))
	v.stamp, v.hash = stampOf(info), hex.EncodeToString(sum[:])
	return v
}

// explain says what is wrong with a file in words that do not depend on which
// call noticed.
func explain(path string, err error) error {
	var underlying *fs.PathError
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return fmt.Errorf("there is no file %s", path)
	case errors.As(err, &underlying):
		err = underlying.Err
	}
	return fmt.Errorf("cannot read %s: %w", path, err)
}

// policyFiles lists the policy files of path, which is a file or a directory.
// In a directory they are its *.hcl without the jobspecs *.nomad.hcl
// and hidden files; editors' backups and Kubernetes' ..data do not
// have such names. Directories within are not entered.
func policyFiles(path string) ([]string, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, explain(path, err)
	}
	if !info.IsDir() {
		return []string{path}, nil
	}
	dir, err := os.Open(path)
	if err != nil {
		return nil, explain(path, err)
	}
	defer dir.Close()
	entries, err := dir.ReadDir(-1)
	if err != nil {
		return nil, explain(path, err)
	}
	var files []string
	for _, entry := range entries {
		if !isPolicyName(entry.Name()) || entry.IsDir() {
			continue
		}
		file := filepath.Join(path, entry.Name())
		if entry.Type()&fs.ModeSymlink != 0 {
			if target, err := os.Stat(file); err == nil && target.IsDir() {
				continue
			}
		}
		files = append(files, file)
	}
	return files, nil
}

func isPolicyName(name string) bool {
	return strings.HasSuffix(name, ".hcl") && !strings.HasSuffix(name, ".nomad.hcl") &&
		!strings.HasPrefix(name, ".") && !strings.HasPrefix(name, "#")
}

// textOf is a policy file's or a named file's text with the check that it is
// text at all.
func textOf(path string, v *version) (string, error) {
	if v.err != nil {
		return "", v.err
	}
	if bytes.IndexByte([]byte(v.text), 0) >= 0 || invalidUTF8([]byte(v.text)) >= 0 {
		return "", fmt.Errorf("%s is not UTF-8 text", path)
	}
	return v.text, nil
}
