package cluster

import (
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"syscall"
)

// Ports of all clusters lie below the range from which Linux takes the ports
// of outgoing connections, so that nothing takes one between two starts of a
// server. Each cluster on the machine holds one slot of them.
const (
	firstPort   = 20000
	slotCount   = 15
	slotPorts   = 800
	serverPorts = 20  // the first of a slot are the servers'
	otherPorts  = 300 // the last are for what runs beside them, the rest is the tasks'
)

type slot struct {
	base int
	file *os.File // locked; the reaper holds it too, until it has swept
}

// takeSlot finds a slot that no other cluster holds and whose server ports
// nobody listens on.
func takeSlot() (*slot, error) {
	dir := filepath.Join(os.TempDir(), "teal-testbed-slots")
	if err := os.MkdirAll(dir, 0o777); err != nil {
		return nil, err
	}
	for i := range slotCount {
		file, err := os.OpenFile(filepath.Join(dir, strconv.Itoa(i)), os.O_CREATE|os.O_RDWR, 0o666)
		if err != nil {
			return nil, err
		}
		err = syscall.Flock(int(file.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
		s := &slot{base: firstPort + i*slotPorts, file: file}
		if err == nil && s.free() {
			return s, nil
		}
		file.Close()
		if err != nil && !errors.Is(err, syscall.EWOULDBLOCK) {
			return nil, fmt.Errorf("lock %s: %w", file.Name(), err)
		}
	}
	return nil, fmt.Errorf("all %d slots of ports from %d are taken: too many clusters run", slotCount, firstPort)
}

func (s *slot) free() bool {
	for i := range serverPorts {
		listener, err := net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", s.base+i))
		if err != nil {
			return false
		}
		listener.Close()
	}
	return true
}

func (s *slot) port(n int) int { return s.base + n }

func (s *slot) taskPorts() (lowest, highest int) {
	return s.base + serverPorts, s.base + slotPorts - otherPorts - 1
}

func (s *slot) release() { s.file.Close() }
