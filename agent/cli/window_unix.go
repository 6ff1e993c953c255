//go:build unix

package cli

import (
	"os"

	"golang.org/x/sys/unix"
)

// windowSize asks the terminal for its size; 80 by 24 when it does not tell.
func windowSize(f *os.File) (columns, rows int) {
	ws, err := unix.IoctlGetWinsize(int(f.Fd()), unix.TIOCGWINSZ)
	if err != nil || ws.Col == 0 || ws.Row == 0 {
		return 80, 24
	}
	return int(ws.Col), int(ws.Row)
}
