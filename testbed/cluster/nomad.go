package cluster

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	nomadapi "github.com/hashicorp/nomad/api"

	"github.com/tealdeploy/teal/testbed/servers"
)

// nomadConfig is one agent that is server and client. It is not -dev: a dev
// agent forgets its state, and stops its allocations, when it ends.
//
// The cloud fingerprinters are off because they stop the agent where they
// find half a configuration. Capacity is made up, so that a small machine
// places as many allocations as a test asks for.
const nomadConfig = `
name                 = "nomad-1"
data_dir             = %[1]q
bind_addr            = "127.0.0.1"
disable_update_check = true
leave_on_interrupt   = false
leave_on_terminate   = false
log_level            = "info"

ports {
  http = %[2]d
  rpc  = %[3]d
  serf = %[4]d
}

advertise {
  http = "127.0.0.1"
  rpc  = "127.0.0.1"
  serf = "127.0.0.1"
}

server {
  enabled          = true
  bootstrap_expect = 1
  raft_multiplier  = 1
  num_schedulers   = 2
}

client {
  enabled           = true
  servers           = ["127.0.0.1:%[3]d"]
  network_interface = "lo"
  cpu_total_compute = 16000
  memory_total_mb   = 32768
  min_dynamic_port  = %[5]d
  max_dynamic_port  = %[6]d
  options = {
    "fingerprint.denylist" = "env_aws,env_gce,env_azure,env_digitalocean"
  }
}

plugin "raw_exec" {
  config { enabled = true }
}

acl {
  enabled                  = %[10]t
  token_min_expiration_ttl = "1s" # so that tests see one end
  policy_ttl               = "1s" # and a rule that was taken away, on clients too
}

consul {
  address          = %[7]q
  grpc_address     = %[8]q
  token            = %[9]q
  client_auto_join = false
  server_auto_join = false
%[11]s}
%[12]s`

func (c *Cluster) startNomad(ctx context.Context, binary servers.Binary) error {
	const name = "nomad-1"
	lowest, highest := c.slot.taskPorts()
	file := filepath.Join(c.Dir, name+".hcl")
	var own, towardsConsul string
	env := append(c.cleanEnv(), "CONSUL_HTTP_ADDR="+c.consulAddress()) // raw_exec hands it on to tasks
	if c.TLS != nil {
		own = fmt.Sprintf(nomadTLS, c.TLS.File, c.serverCert, c.serverKey)
		towardsConsul = fmt.Sprintf(nomadConsulTLS, c.TLS.File, c.TLS.Cert, c.TLS.Key)
		env = append(env, c.TLS.env()...)
	}
	text := fmt.Sprintf(nomadConfig, filepath.Join(c.Dir, name),
		c.slot.port(10), c.slot.port(11), c.slot.port(12), lowest, highest,
		c.Local.HTTP, c.Local.GRPC, c.Token, c.NomadToken != "", towardsConsul, own)
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		return err
	}
	c.Nomad = &Server{
		Name:    name,
		Binary:  binary,
		HTTP:    fmt.Sprintf("127.0.0.1:%d", c.slot.port(10)),
		LogFile: filepath.Join(c.Dir, name+".log"),
		args:    []string{"agent", "-config", file},
		dir:     c.Dir,
		env:     env,
		ready:   c.nomadReady,
	}
	if err := c.Nomad.launch(); err != nil {
		return err
	}
	return c.Nomad.WaitReady(ctx)
}

// nomadReady asks whether Nomad has a leader and its own node can be given
// work that registers in Consul.
func (c *Cluster) nomadReady(ctx context.Context) error {
	client := c.NomadClient()
	ask := (&nomadapi.QueryOptions{}).WithContext(ctx)
	if c.NomadToken != "" {
		write := (&nomadapi.WriteOptions{}).WithContext(ctx)
		// Once is enough; that it was done already is no matter.
		if _, _, err := client.ACLTokens().BootstrapOpts(c.NomadToken, write); err != nil && !strings.Contains(err.Error(), "already") {
			return err
		}
	}
	nodes, _, err := client.Nodes().List(ask)
	if err != nil {
		return err
	}
	for _, stub := range nodes {
		if stub.Status != nomadapi.NodeStatusReady || !stub.Drivers["raw_exec"].Healthy {
			continue
		}
		node, _, err := client.Nodes().Info(stub.ID, ask)
		if err != nil {
			return err
		}
		if node.Attributes["consul.version"] != "" && node.Attributes["consul.grpc"] != "" {
			return nil
		}
	}
	return fmt.Errorf("nomad: no node is ready with raw_exec and Consul yet")
}

// stopJobs deregisters every job and gives the tasks a moment to end by
// themselves. Whatever does not is swept afterwards, so no error counts.
func (c *Cluster) stopJobs(ctx context.Context) {
	if !c.Nomad.Running() {
		return
	}
	_ = c.Nomad.Resume() // in case it is paused
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	client := c.NomadClient()
	jobs, _, err := client.Jobs().List((&nomadapi.QueryOptions{Namespace: "*"}).WithContext(ctx))
	if err != nil {
		return
	}
	for _, job := range jobs { // not purged: the list of allocations leaves out those of purged jobs at once
		write := (&nomadapi.WriteOptions{Namespace: job.Namespace}).WithContext(ctx)
		_, _, _ = client.Jobs().DeregisterOpts(job.ID, &nomadapi.DeregisterOptions{NoShutdownDelay: true}, write)
	}
	_ = Await(ctx, func(ctx context.Context) error {
		allocs, _, err := client.Allocations().List((&nomadapi.QueryOptions{Namespace: "*"}).WithContext(ctx))
		if err != nil {
			return err
		}
		for _, a := range allocs {
			if a.ClientStatus == nomadapi.AllocClientStatusRunning {
				return fmt.Errorf("allocation %s still runs", a.ID)
			}
		}
		return nil
	})
}
