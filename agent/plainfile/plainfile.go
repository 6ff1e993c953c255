// Package plainfile reads small files that somebody else keeps: tokens,
// identities, certificates, policies. Whoever may write in their folder can put
// something else in their place; reading neither waits for it nor takes more of
// it than a file may have. It knows nothing of what is in them.
package plainfile

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"syscall"
)

// ErrNotPlain is what is said of a pipe, a device, a socket and a folder.
var ErrNotPlain = errors.New("it is not a plain file")

// Read is the text of a plain file, or of one that a link leads to, of at most
// so many bytes. An error is a *fs.PathError.
func Read(path string, most int64) ([]byte, error) {
	// Opening a pipe would wait for a writer, for ever and whatever the context.
	f, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if err != nil {
		return nil, err
	}
	defer f.Close() //nolint:errcheck // read side
	text, err := read(f, most)
	if err != nil {
		var known *fs.PathError
		if !errors.As(err, &known) {
			err = &fs.PathError{Op: "read", Path: path, Err: err}
		}
		return nil, err
	}
	return text, nil
}

// read looks at what was opened: what stands at its path may be another thing by
// now.
func read(f *os.File, most int64) ([]byte, error) {
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() {
		return nil, ErrNotPlain
	}
	text, err := io.ReadAll(io.LimitReader(f, most+1))
	if err == nil && int64(len(text)) > most {
		err = fmt.Errorf("it is larger than %d KiB", most/1024)
	}
	return text, err
}
