// Package cluster runs a real Consul and a real Nomad on loopback, for tests
// and for the demo.
//
// Every cluster has its own ports, its own work directory with the servers'
// data and logs, and a clean environment; several run side by side. Servers
// keep their state on disk, so one that is killed can be started again and
// finds its data, and Nomad its running allocations. When the cluster stops,
// or the process that started it dies in whatever way, no process of the
// cluster is left behind: neither servers nor executors nor tasks.
//
// Consul runs without mesh sidecars; jobs that need bridge
// networking can be planned but not run. Linux only.
package cluster

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"github.com/tealdeploy/teal/testbed/servers"
)

// Options say what to run. The zero value is one Consul and one Nomad.
type Options struct {
	Dir           string    // work directory, kept after Stop; empty means a temporary one, removed by Stop
	Log           io.Writer // told which servers are used; nil means nobody
	ConsulServers int       // 1 (default) to 5
	ConsulClient  bool      // an agent of Consul's that is no server, as every machine has one; else Nomad and clients use the first server
	ACL           bool      // Consul denies by default; Cluster.Token manages everything
	NomadACL      bool      // Nomad denies by default; Cluster.NomadToken manages everything
	TLS           bool      // both speak TLS only, and only with clients of the authority in Cluster.TLS
	WithoutNomad  bool
}

// Cluster is a running Consul and Nomad.
type Cluster struct {
	Dir    string    // work directory: configuration, data, logs
	Consul []*Server // one or more: the servers
	Local  *Server   // the agent of Consul's that Nomad and clients use: the first server, or with Options.ConsulClient none of them
	Nomad  *Server   // nil with Options.WithoutNomad
	Token  string    // Consul's management token with Options.ACL, else empty
	// NomadToken is Nomad's management token with Options.NomadACL, else empty.
	NomadToken string
	// TLS is what clients need with Options.TLS, else nil.
	TLS *TLS

	// MinPort and MaxPort bound the ports Nomad gives to tasks.
	MinPort, MaxPort int

	temporary             bool
	serverCert, serverKey string // files, with Options.TLS
	slot                  *slot
	reaper                *reaper

	mu       sync.Mutex
	programs []*Server // beside the servers, in the order in which they were made
	ports    int       // given out for them
}

// Start runs a cluster and waits until it is of use: Consul has a leader and
// answers on its gRPC port, and Nomad has a leader and a ready node. When it
// fails, nothing is left running.
func Start(ctx context.Context, o Options) (_ *Cluster, err error) {
	if o.ConsulServers == 0 {
		o.ConsulServers = 1
	}
	if o.ConsulServers < 1 || o.ConsulServers > 5 {
		return nil, fmt.Errorf("%d Consul servers: expected 1 to 5", o.ConsulServers)
	}
	if o.Log == nil {
		o.Log = io.Discard
	}
	consul, err := servers.Consul(ctx, o.Log)
	if err != nil {
		return nil, err
	}
	var nomad servers.Binary
	if !o.WithoutNomad {
		if nomad, err = servers.Nomad(ctx, o.Log); err != nil {
			return nil, err
		}
	}
	c := &Cluster{temporary: o.Dir == ""}
	if c.Dir, err = workDir(o.Dir); err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, c.tails(), c.Stop())
		}
	}()
	if c.slot, err = takeSlot(); err != nil {
		return nil, err
	}
	c.MinPort, c.MaxPort = c.slot.taskPorts()
	if err := c.link(consul, nomad); err != nil {
		return nil, err
	}
	if c.reaper, err = startReaper(c.Dir, c.slot.file); err != nil {
		return nil, err
	}
	if o.TLS {
		if err := c.startTLS(); err != nil {
			return nil, err
		}
	}
	if o.ACL {
		c.Token = managementToken
	}
	if o.NomadACL {
		c.NomadToken = managementToken
	}
	if err := c.startConsul(ctx, consul, o.ConsulServers, o.ConsulClient); err != nil {
		return nil, err
	}
	if !o.WithoutNomad {
		if err := c.startNomad(ctx, nomad); err != nil {
			return nil, err
		}
	}
	return c, nil
}

// Stop ends every process of the cluster: gracefully first, then by force
// whatever is left. It may be called more than once.
func (c *Cluster) Stop() error {
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	var errs []error
	c.mu.Lock()
	programs := c.programs
	c.mu.Unlock()
	for i := len(programs) - 1; i >= 0; i-- {
		errs = append(errs, programs[i].stop(ctx))
	}
	if c.Nomad != nil {
		c.stopJobs(ctx)
		errs = append(errs, c.Nomad.stop(ctx))
	}
	if c.Local != nil && !slices.Contains(c.Consul, c.Local) {
		errs = append(errs, c.Local.stop(ctx))
	}
	for i := len(c.Consul) - 1; i >= 0; i-- {
		errs = append(errs, c.Consul[i].stop(ctx))
	}
	errs = append(errs, sweep(c.Dir))
	if c.reaper != nil {
		errs = append(errs, c.reaper.dismiss())
		c.reaper = nil
	}
	if c.slot != nil {
		c.slot.release()
		c.slot = nil
	}
	if c.temporary {
		errs = append(errs, os.RemoveAll(c.Dir))
	}
	return errors.Join(errs...)
}

// Servers are all servers that the cluster has.
func (c *Cluster) Servers() []*Server {
	all := append([]*Server(nil), c.Consul...)
	if c.Local != nil && !slices.Contains(all, c.Local) {
		all = append(all, c.Local)
	}
	if c.Nomad != nil {
		all = append(all, c.Nomad)
	}
	return all
}

// Env is the environment in which the servers' command line tools, and Teal,
// find this cluster.
func (c *Cluster) Env() []string {
	env := []string{"CONSUL_HTTP_ADDR=" + c.consulAddress()}
	if c.Token != "" {
		env = append(env, "CONSUL_HTTP_TOKEN="+c.Token)
	}
	if c.Nomad != nil {
		env = append(env, "NOMAD_ADDR="+c.URL(c.Nomad))
	}
	if c.NomadToken != "" {
		env = append(env, "NOMAD_TOKEN="+c.NomadToken)
	}
	if c.TLS != nil {
		env = append(env, c.TLS.env()...)
	}
	return env
}

// consulAddress is the local Consul's as CONSUL_HTTP_ADDR takes it.
func (c *Cluster) consulAddress() string {
	if c.TLS == nil {
		return c.Local.HTTP
	}
	return c.URL(c.Local)
}

// Bin is a folder that holds the servers' binaries by their plain names: what
// runs in the cluster has it on its PATH, and so can a person.
func (c *Cluster) Bin() string { return filepath.Join(c.Dir, "bin") }

func (c *Cluster) link(binaries ...servers.Binary) error {
	if err := os.MkdirAll(c.Bin(), 0o755); err != nil {
		return err
	}
	for _, b := range binaries {
		if b.Path == "" {
			continue
		}
		path := filepath.Join(c.Bin(), b.Name)
		if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
			return err
		}
		if err := os.Symlink(b.Path, path); err != nil {
			return err
		}
	}
	return nil
}

func workDir(dir string) (string, error) {
	if dir == "" {
		return os.MkdirTemp("", "teal-testbed-")
	}
	dir, err := filepath.Abs(dir)
	if err != nil {
		return "", err
	}
	return dir, os.MkdirAll(dir, 0o755)
}

// tails gives the last lines of each server's log, for the error message.
func (c *Cluster) tails() error {
	var errs []error
	for _, s := range c.Servers() {
		if tail := s.tail(); tail != "" {
			errs = append(errs, fmt.Errorf("last of %s:\n%s", filepath.Base(s.LogFile), tail))
		}
	}
	return errors.Join(errs...)
}
