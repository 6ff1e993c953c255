package cluster

import (
	"context"
	"encoding/json"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"slices"
	"time"

	consulapi "github.com/hashicorp/consul/api"

	"github.com/tealdeploy/teal/testbed/servers"
)

// managementToken is no secret: it opens nothing but a test on loopback.
const managementToken = "7ea1b9ee-0000-4000-8000-000000000001"

// startConsul runs n servers, and a client beside them where one is asked for:
// each on a loopback address of its own.
func (c *Cluster) startConsul(ctx context.Context, binary servers.Binary, n int, client bool) error {
	all := n
	if client {
		all++
	}
	for i := range all {
		s, err := c.consulAgent(binary, i, n)
		if err != nil {
			return err
		}
		if i == 0 || i == n {
			c.Local = s
		}
		if i < n {
			c.Consul = append(c.Consul, s)
		}
		if err := s.launch(); err != nil {
			return err
		}
	}
	for _, s := range c.Servers() {
		if err := s.WaitReady(ctx); err != nil {
			return err
		}
	}
	return nil
}

// consulAgent makes the i-th agent of Consul's; the first n are the servers.
func (c *Cluster) consulAgent(binary servers.Binary, i, n int) (*Server, error) {
	name := "consul-client"
	if i < n {
		name = fmt.Sprintf("consul-%d", i+1)
	}
	address := fmt.Sprintf("127.0.0.%d", i+1)
	join := make([]string, n)
	for j := range n {
		join[j] = fmt.Sprintf("127.0.0.%d:%d", j+1, c.slot.port(3))
	}
	config := map[string]any{
		"node_name":               name,
		"data_dir":                filepath.Join(c.Dir, name),
		"bind_addr":               address,
		"client_addr":             address,
		"retry_join":              join,
		"retry_interval":          "1s",
		"disable_update_check":    true,
		"leave_on_terminate":      false,
		"skip_leave_on_interrupt": true,
		"disable_keyring_file":    true,
		"log_level":               "info",
		"connect":                 map[string]any{"enabled": true},
		"limits":                  map[string]any{"http_max_conns_per_client": 4096},
		// On a machine that has much else to do nobody is dead who is late; with
		// his node all services on it would be.
		"gossip_lan": map[string]any{"probe_interval": "3s", "probe_timeout": "2s", "suspicion_mult": 8},
		"ports": map[string]any{
			"http": c.slot.port(0), "grpc": c.slot.port(1), "server": c.slot.port(2), "serf_lan": c.slot.port(3),
			"https": -1, "grpc_tls": -1, "dns": -1, "serf_wan": -1,
		},
	}
	if i < n {
		config["server"], config["bootstrap_expect"] = true, n
		config["performance"] = map[string]any{"raft_multiplier": 1}
	}
	if c.TLS != nil {
		c.consulTLS(config)
	}
	if c.Token != "" {
		config["acl"] = map[string]any{
			"enabled": true, "default_policy": "deny", "enable_token_persistence": true,
			"tokens": map[string]any{"initial_management": c.Token, "agent": c.Token},
		}
	}
	file := filepath.Join(c.Dir, name+".json")
	text, err := json.MarshalIndent(config, "", "  ")
	if err != nil {
		return nil, err
	}
	if err := os.WriteFile(file, text, 0o600); err != nil {
		return nil, err
	}
	s := &Server{
		Name:    name,
		Binary:  binary,
		HTTP:    fmt.Sprintf("%s:%d", address, c.slot.port(0)),
		GRPC:    fmt.Sprintf("%s:%d", address, c.slot.port(1)),
		LogFile: filepath.Join(c.Dir, name+".log"),
		args:    []string{"agent", "-config-file", file},
		dir:     c.Dir,
		env:     c.cleanEnv(),
	}
	s.ready = func(ctx context.Context) error { return c.consulReady(ctx, s) }
	return s, nil
}

// consulReady asks whether the server knows a leader, counts its own node as
// alive and takes xDS connections.
func (c *Cluster) consulReady(ctx context.Context, s *Server) error {
	client := c.ConsulClientOf(s)
	leader, err := client.Status().LeaderWithQueryOptions(query(ctx))
	if err != nil {
		return err
	}
	if leader == "" {
		return fmt.Errorf("%s: no leader yet", s.Name)
	}
	nodes, _, err := client.Health().Node(s.Name, query(ctx))
	if err != nil {
		return err
	}
	alive := func(c *consulapi.HealthCheck) bool {
		return c.CheckID == "serfHealth" && c.Status == consulapi.HealthPassing
	}
	if !slices.ContainsFunc(nodes, alive) { // other checks are those of the services on it
		return fmt.Errorf("%s: its node is not in the catalog yet", s.Name)
	}
	// Without a certificate authority proxies are told nothing.
	if _, _, err := client.Agent().ConnectCARoots(query(ctx)); err != nil {
		return err
	}
	conn, err := (&net.Dialer{Timeout: time.Second}).DialContext(ctx, "tcp", s.GRPC)
	if err != nil {
		return err
	}
	return conn.Close()
}

// ConsulLeader gives the server that leads, as the others see it.
func (c *Cluster) ConsulLeader(ctx context.Context) (*Server, error) {
	var last error
	for _, s := range c.Consul {
		if !s.Running() {
			continue
		}
		leader, err := c.ConsulClientOf(s).Status().LeaderWithQueryOptions(query(ctx))
		if err != nil {
			last = err
			continue
		}
		host, _, err := net.SplitHostPort(leader)
		if err != nil {
			last = fmt.Errorf("%s knows no leader", s.Name)
			continue
		}
		for _, l := range c.Consul {
			if own, _, _ := net.SplitHostPort(l.HTTP); own == host {
				return l, nil
			}
		}
	}
	return nil, fmt.Errorf("consul leader: %w", last)
}
