//go:build unix

package policy

import (
	"io/fs"
	"syscall"
)

// identity is what a file is to the system, whatever its name.
func identity(info fs.FileInfo) (device, inode uint64) {
	s, ok := info.Sys().(*syscall.Stat_t)
	if !ok {
		return 0, 0
	}
	return uint64(s.Dev), uint64(s.Ino) // other types elsewhere
}
