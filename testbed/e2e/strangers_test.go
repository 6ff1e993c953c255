package e2e

import (
	"context"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	consulapi "github.com/hashicorp/consul/api"

	"github.com/tealdeploy/teal/agent/deployment"
	"github.com/tealdeploy/teal/agent/kv"
	"github.com/tealdeploy/teal/testbed/cluster"
	"github.com/tealdeploy/teal/testbed/world"
)

// Who may read everything and write nothing changes nothing: not through the
// keys, not through the entries, and not through the agent's surface.
func TestStrangersChangeNothing(t *testing.T) {
	s := openAlone(t, "alien", cluster.Options{ACL: true})
	a := s.agent("a")
	v := world.Service{Name: "alien", Version: "1.0.0"}
	s.begin(v)
	v.Version, v.Approval = "2.0.0", "required = true"
	s.write(v)
	waiting := s.comes("alien", "2.0.0", deployment.Approving)
	stranger, err := consulapi.NewClient(&consulapi.Config{Address: s.Consul[0].HTTP, Token: s.token("stranger",
		`key_prefix "" { policy = "read" } service_prefix "" { policy = "read" } node_prefix "" { policy = "read" } session_prefix "" { policy = "write" }`)})
	s.must(err)
	keys, _, err := s.ConsulClient().KV().List(s.Keys.Prefix(), nil)
	s.must(err)
	standing := func() map[string]uint64 {
		t.Helper()
		out := map[string]uint64{}
		now, _, err := s.ConsulClient().KV().List(s.Keys.Prefix(), nil)
		s.must(err)
		for _, pair := range now {
			if !strings.HasPrefix(pair.Key, s.Keys.Agent("")) { // what an agent says of itself
				out[pair.Key] = pair.ModifyIndex
			}
		}
		for _, kind := range []string{consulapi.ServiceRouter, consulapi.ServiceResolver, consulapi.ServiceDefaults} {
			entry, _, err := s.ConsulClient().ConfigEntries().Get(kind, "alien", nil)
			s.must(err)
			out[kind] = entry.GetModifyIndex()
		}
		return out
	}
	before := standing()
	session, _, err := stranger.Session().Create(&consulapi.SessionEntry{Name: "stranger"}, nil)
	s.must(err)

	refused := func(what string, err error) {
		t.Helper()
		if err == nil || !strings.Contains(err.Error(), "Permission denied") {
			t.Errorf("%s: %v", what, err)
		}
	}
	attempt := []string{s.Keys.Prefix(), s.Keys.Worker("alien", deployment.Blue, "x"), s.Keys.Results("alien") + "x", s.Keys.Agent("x")}
	for _, verb := range kv.Verbs {
		attempt = append(attempt, s.Keys.Command("alien", verb))
	}
	for _, pair := range keys {
		attempt = append(attempt, pair.Key)
	}
	for _, key := range attempt {
		pair := &consulapi.KVPair{Key: key, Value: []byte("green"), Session: session}
		_, err := stranger.KV().Put(pair, nil)
		refused("put "+key, err)
		_, err = stranger.KV().Delete(key, nil)
		refused("delete "+key, err)
		_, _, err = stranger.KV().Acquire(pair, nil)
		refused("acquire "+key, err)
		ok, answer, _, err := stranger.Txn().Txn(consulapi.TxnOps{{KV: &consulapi.KVTxnOp{Verb: consulapi.KVSet, Key: key}}}, nil)
		if err != nil || ok || len(answer.Errors) == 0 || !strings.Contains(answer.Errors[0].What, "Permission denied") {
			t.Errorf("set %s in a transaction: %t %+v %v", key, ok, answer, err)
		}
	}
	_, err = stranger.KV().DeleteTree(s.Keys.Prefix(), nil)
	refused("delete all", err)
	for _, entry := range []consulapi.ConfigEntry{
		&consulapi.ServiceRouterConfigEntry{Kind: consulapi.ServiceRouter, Name: "alien"},
		&consulapi.ServiceResolverConfigEntry{Kind: consulapi.ServiceResolver, Name: "alien"},
		&consulapi.ServiceConfigEntry{Kind: consulapi.ServiceDefaults, Name: "alien", Protocol: "http"},
	} {
		_, _, err = stranger.ConfigEntries().Set(entry, nil)
		refused("write the "+entry.GetKind(), err)
		_, err = stranger.ConfigEntries().Delete(entry.GetKind(), "alien", nil)
		refused("delete the "+entry.GetKind(), err)
	}
	refused("register an instance", stranger.Agent().ServiceRegister(&consulapi.AgentServiceRegistration{Name: "alien", Meta: map[string]string{"teal_colour": "green"}}))

	for _, method := range []string{"POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "CONNECT", "BREW"} {
		for _, path := range []string{"/v1/status", "/v1/health", "/v1/metrics", "/", "/v1/commands/alien/approve", "/v1/../v1/status?approve=1"} {
			request, err := http.NewRequestWithContext(s.soon(), method, "http://"+a.HTTP+path, strings.NewReader(strings.Repeat("x", 1<<20)))
			s.must(err)
			response, err := http.DefaultTransport.RoundTrip(request)
			if err != nil {
				continue // closed in its face
			}
			_, _ = io.Copy(io.Discard, response.Body)
			response.Body.Close()
			if response.StatusCode < 400 {
				t.Errorf("%s %s is answered %d", method, path, response.StatusCode)
			}
		}
	}
	// A header without an end does not hold a connection, nor many the surface.
	var slow []net.Conn
	for range 80 {
		conn, err := net.Dial("tcp", a.HTTP)
		s.must(err)
		slow = append(slow, conn)
		fmt.Fprint(conn, "GET /v1/health HTTP/1.1\r\nHost: x\r\nX-Slow: ")
	}
	if status, _, err := a.Health(s.soon()); err != nil || status != http.StatusOK {
		t.Errorf("beside slow clients: %d, %v", status, err)
	}
	for _, conn := range slow {
		_, _ = io.Copy(io.Discard, conn) // until the agent closes it
		conn.Close()
	}
	fat, err := http.NewRequestWithContext(s.soon(), http.MethodGet, "http://"+a.HTTP+"/v1/health", nil)
	s.must(err)
	fat.Header.Set("X-Fat", strings.Repeat("x", 1<<20))
	if response, err := http.DefaultTransport.RoundTrip(fat); err == nil {
		response.Body.Close()
		if response.StatusCode != http.StatusRequestHeaderFieldsTooLarge {
			t.Errorf("a header of a megabyte: %d", response.StatusCode)
		}
	}

	if d := s.comes("alien", "2.0.0", deployment.Approving); d.ID != waiting.ID || d.Approval != nil {
		t.Errorf("it has become %+v", d)
	}
	if now := standing(); !maps.Equal(now, before) {
		t.Errorf("now it stands at %v, it was %v", now, before)
	}
	s.teal(0, "approve", "alien")
	s.ends("alien", "2.0.0", deployment.Succeeded)
}

// Tokens in files are rotated while the agent runs: the old ones are gone from
// the servers, and the next release is made with the new ones.
func TestTokensRotate(t *testing.T) {
	s := openAlone(t, "turn", cluster.Options{ACL: true, NomadACL: true})
	s.nomadRules("agent", s.documented("Agent, in Nomad", "turn"))
	first := s.token("first", s.documented("Agent, in Consul", "turn"))
	firstOfNomad := s.nomadACLToken("agent")
	s.must(s.WriteFile("consul.token", first))
	s.must(s.WriteFile("nomad.token", firstOfNomad.SecretID+"\n"))
	s.must(s.Edit("config.hcl", "token_file      = null  # CONSUL", fmt.Sprintf("token_file      = %q  # CONSUL", s.Dir+"/consul.token")))
	s.must(s.Edit("config.hcl", "token_file      = null  # a file", fmt.Sprintf("token_file      = %q  # a file", s.Dir+"/nomad.token")))
	a := s.agentWith("a", world.AgentOptions{Env: []string{"CONSUL_HTTP_TOKEN=", "NOMAD_TOKEN="}})
	v := world.Service{Name: "turn", Version: "1.0.0", Watch: -1, Soak: -1}
	s.begin(v)
	pid := a.PID()

	second := s.token("second", s.documented("Agent, in Consul", "turn"))
	secondOfNomad := s.nomadACLToken("agent")
	s.must(s.WriteFile("consul.token", second))
	s.must(s.WriteFile("nomad.token", secondOfNomad.SecretID))
	// Consul destroys the sessions of nobody, but answers the old token no more.
	tokens, _, err := s.ConsulClient().ACL().TokenList(nil)
	s.must(err)
	for _, token := range tokens {
		if len(token.Policies) == 1 && token.Policies[0].Name == "first" {
			_, err := s.ConsulClient().ACL().TokenDelete(token.AccessorID, nil)
			s.must(err)
		}
	}
	_, err = s.NomadClient().ACLTokens().Delete(firstOfNomad.AccessorID, nil)
	s.must(err)
	s.must(cluster.Await(s.soon(), func(ctx context.Context) error {
		status, h, err := a.Health(ctx)
		if err == nil && (status != http.StatusOK || !h.Leading) {
			err = fmt.Errorf("health answers %d: %+v", status, h)
		}
		return err
	}))
	v.Version = "2.0.0"
	s.write(v)
	s.ends("turn", "2.0.0", deployment.Succeeded)
	if a.PID() != pid {
		t.Errorf("process %d, it was %d", a.PID(), pid)
	}

	// Consul's agent writes what a check finds with the token that the check was
	// registered with: were that the old one, nobody would be told of this death.
	s.must(a.Kill())
	s.must(cluster.Await(s.soon(), func(ctx context.Context) error {
		checks, _, err := s.ConsulClient().Health().Checks("teal", (&consulapi.QueryOptions{}).WithContext(ctx))
		if err == nil && !slices.ContainsFunc(checks, func(c *consulapi.HealthCheck) bool {
			return c.Type == "tcp" && c.Status == consulapi.HealthCritical
		}) {
			err = fmt.Errorf("no check has failed: %v", checks.AggregatedStatus())
		}
		return err
	}))
}

// Whoever opens connections to the agent's surface, and goes on and on, takes
// nothing from it that it needs: it may have few files open, releases all the same,
// and answers others.
func TestManyConnectionsTakeNothingAway(t *testing.T) {
	s := open(t, "crowd")
	few := filepath.Join(s.Dir, "few.sh")
	s.must(os.WriteFile(few, []byte("#!/bin/sh\nulimit -n 256\nexec "+s.World.Teal+" \"$@\"\n"), 0o755)) //nolint:gosec // it is run
	a := s.agentWith("a", world.AgentOptions{Binary: few})
	v := world.Service{Name: "crowd", Version: "1.0.0"}
	s.begin(v)
	ctx, cancel := context.WithCancel(t.Context())
	var opened sync.WaitGroup
	enough := make(chan struct{})
	opened.Go(func() {
		var all []net.Conn
		defer func() {
			for _, conn := range all {
				conn.Close()
			}
		}()
		tick := time.NewTicker(2 * time.Millisecond)
		defer tick.Stop()
		for ctx.Err() == nil {
			if conn, err := net.Dial("tcp", a.HTTP); err == nil {
				if all = append(all, conn); len(all) == 500 {
					close(enough)
				}
			}
			select {
			case <-ctx.Done():
			case <-tick.C:
			}
		}
	})
	defer opened.Wait()
	defer cancel()
	<-enough
	v.Version, v.Watch, v.Soak = "2.0.0", -1, -1
	s.write(v)
	s.ends("crowd", "2.0.0", deployment.Succeeded)
	s.must(cluster.Await(s.soon(), func(ctx context.Context) error {
		status, h, err := a.Health(ctx)
		if err == nil && (status != http.StatusOK || !h.Leading) {
			err = fmt.Errorf("health answers %d: %+v", status, h)
		}
		return err
	}))
	if said := a.Tail(1000); strings.Contains(said, "too many open files") {
		t.Errorf("it ran out of files:\n%s", a.Tail(30))
	}
}
