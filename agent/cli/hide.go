package cli

import (
	"strings"
	"unsafe"
)

// HideTokens returns a process's arguments, and takes the ACL tokens among them
// out of what the process list shows of it, /proc/PID/cmdline. It must be given
// os.Args itself, before anybody has kept a part of it: the runtime lays its
// strings over the memory that the system reads. What follows "--" is another
// program's.
func HideTokens(args []string) []string {
	kept := make([]string, len(args))
	for i, arg := range args {
		kept[i] = strings.Clone(arg)
	}
	for i, arg := range kept {
		if arg == "--" {
			break
		}
		name, value, joined := strings.Cut(strings.TrimLeft(arg, "-"), "=")
		switch {
		case !strings.HasPrefix(arg, "-") || name != "token":
		case joined:
			blank(args[i][len(arg)-len(value):])
		case i+1 < len(args):
			blank(args[i+1])
		}
	}
	return kept
}

// blank writes over a string where it lies.
func blank(s string) {
	for i := range len(s) {
		*(*byte)(unsafe.Add(unsafe.Pointer(unsafe.StringData(s)), i)) = 'x'
	}
}
