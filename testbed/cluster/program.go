package cluster

import (
	"context"
	"fmt"
	"path/filepath"
	"syscall"

	"github.com/tealdeploy/teal/testbed/servers"
)

// Program is something that runs beside the servers, such as an agent.
type Program struct {
	Name  string   // also of its log file
	Path  string   // of the binary
	Args  []string // without the program's name
	Env   []string // added to the clean environment that servers have, too
	Ready func(context.Context) error
	As    *syscall.Credential // who it runs as; nil: whoever runs this
}

// Program makes a process of the cluster out of p. It is not started yet; it
// ends with the cluster, before the servers, whatever happens.
func (c *Cluster) Program(p Program) *Server {
	if p.Ready == nil {
		p.Ready = func(context.Context) error { return nil }
	}
	s := &Server{
		Name:    p.Name,
		Binary:  servers.Binary{Name: p.Name, Path: p.Path},
		LogFile: filepath.Join(c.Dir, p.Name+".log"),
		args:    p.Args,
		dir:     c.Dir,
		env:     append(c.cleanEnv(), p.Env...),
		ready:   p.Ready,
		as:      p.As,
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.programs = append(c.programs, s)
	return s
}

// Port gives a port of 127.0.0.1 that no other cluster and no task uses, each
// only once. Nobody holds it: whoever gets it listens on it soon.
func (c *Cluster) Port() (int, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.ports == otherPorts {
		return 0, fmt.Errorf("all %d ports of this cluster are given out", otherPorts)
	}
	c.ports++
	return c.MaxPort + c.ports, nil
}
