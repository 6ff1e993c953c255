package world

import (
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

// Listener finds the process of this world that listens on an IPv4 address,
// host:port, as the kernel tells it.
func (w *World) Listener(address string) (pid int, err error) {
	host, port, err := net.SplitHostPort(address)
	if err != nil {
		return 0, err
	}
	n, err := strconv.Atoi(port)
	ip := net.ParseIP(host).To4()
	if err != nil || ip == nil {
		return 0, fmt.Errorf("%s is not an IPv4 address with a port", address)
	}
	// The kernel prints the address in its own byte order; 0A is LISTEN.
	local := fmt.Sprintf("%02X%02X%02X%02X:%04X", ip[3], ip[2], ip[1], ip[0], n)
	table, err := os.ReadFile("/proc/net/tcp")
	if err != nil {
		return 0, err
	}
	inode := ""
	for line := range strings.Lines(string(table)) {
		if f := strings.Fields(line); len(f) > 9 && f[1] == local && f[3] == "0A" {
			inode = f[9]
		}
	}
	if inode == "" {
		return 0, fmt.Errorf("nobody listens on %s", address)
	}
	pids, err := w.Processes()
	if err != nil {
		return 0, err
	}
	for _, pid := range pids {
		open, _ := filepath.Glob(fmt.Sprintf("/proc/%d/fd/*", pid)) // only a bad pattern is an error
		for _, fd := range open {
			if target, err := os.Readlink(fd); err == nil && target == "socket:["+inode+"]" {
				return pid, nil
			}
		}
	}
	return 0, fmt.Errorf("no process of this world listens on %s", address)
}
