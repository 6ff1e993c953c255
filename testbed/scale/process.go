package scale

import (
	"bytes"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// process is a running agent as the kernel knows it.
type process int

// ticks are what the kernel counts a process's time in: 100 a second on Linux,
// whatever the machine.
const tick = 10 * time.Millisecond

// cpu is the processor time used so far.
func (p process) cpu() (time.Duration, error) {
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", p))
	if err != nil {
		return 0, err
	}
	fields := strings.Fields(string(stat[bytes.LastIndexByte(stat, ')')+1:]))
	var sum time.Duration
	for _, f := range fields[11:13] { // utime, stime
		n, err := strconv.ParseInt(f, 10, 64)
		if err != nil {
			return 0, err
		}
		sum += time.Duration(n) * tick
	}
	return sum, nil
}

// memory is the resident memory in MB now, and at its highest so far.
func (p process) memory() (now, peak float64, err error) {
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", p))
	if err != nil {
		return 0, 0, err
	}
	for line := range strings.Lines(string(status)) {
		name, value, _ := strings.Cut(line, ":")
		kb, _ := strconv.ParseFloat(strings.TrimSuffix(strings.TrimSpace(value), " kB"), 64)
		switch name {
		case "VmRSS":
			now = kb / 1024
		case "VmHWM":
			peak = kb / 1024
		}
	}
	return now, peak, nil
}

// connections are the process's established TCP connections to an address.
func (p process) connections(to string) (int, error) {
	sockets := map[string]bool{}
	links, err := filepath.Glob(fmt.Sprintf("/proc/%d/fd/*", p))
	if err != nil {
		return 0, err
	}
	for _, link := range links {
		if target, err := os.Readlink(link); err == nil { // else it was closed meanwhile
			if inode, ok := strings.CutPrefix(target, "socket:["); ok {
				sockets[strings.TrimSuffix(inode, "]")] = true
			}
		}
	}
	host, port, err := net.SplitHostPort(to)
	if err != nil {
		return 0, err
	}
	ip := net.ParseIP(host).To4()
	number, err := strconv.Atoi(port)
	if err != nil || ip == nil {
		return 0, fmt.Errorf("%s is no IPv4 address with a port", to)
	}
	remote := fmt.Sprintf("%02X%02X%02X%02X:%04X", ip[3], ip[2], ip[1], ip[0], number)
	table, err := os.ReadFile("/proc/net/tcp")
	if err != nil {
		return 0, err
	}
	n := 0
	for line := range strings.Lines(string(table)) {
		const established = "01"
		if f := strings.Fields(line); len(f) > 9 && f[2] == remote && f[3] == established && sockets[f[9]] {
			n++
		}
	}
	return n, nil
}
