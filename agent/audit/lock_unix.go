//go:build unix

package audit

import (
	"os"

	"golang.org/x/sys/unix"
)

// lock makes this process the file's only writer until it is closed.
func lock(f *os.File) error {
	return unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB)
}
