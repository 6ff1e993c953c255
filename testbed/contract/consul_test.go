// Package contract_test holds the fakes' contracts against the real servers.
package contract_test

import (
	"errors"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	consulapi "github.com/hashicorp/consul/api"

	"github.com/tealdeploy/teal/agent/consul"
	"github.com/tealdeploy/teal/agent/consul/consultest"
	"github.com/tealdeploy/teal/agent/deployment"
	"github.com/tealdeploy/teal/testbed/cluster"
)

// startConsul runs one Consul server for a test.
func startConsul(t *testing.T, o cluster.Options) *cluster.Cluster {
	t.Helper()
	o.WithoutNomad, o.Log = true, t.Output()
	c, err := cluster.Start(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := c.Stop(); err != nil {
			t.Error(err)
		}
	})
	return c
}

func consulClient(t *testing.T, server *cluster.Server, token string, wait time.Duration) *consul.Client {
	t.Helper()
	client, err := consul.New(consul.Config{
		API:   &consulapi.Config{Address: server.HTTP},
		Token: func() string { return token }, Wait: wait,
	})
	if err != nil {
		t.Fatal(err)
	}
	return client
}

func TestConsulKeepsTheContract(t *testing.T) {
	t.Parallel()
	c := startConsul(t, cluster.Options{})
	consultest.Contract(t, on(subject(t, c, c.Consul[0])))
}

// Agents talk to whatever Consul runs on their node, which passes on what only
// the leader can answer, and wraps what it says.
func TestAFollowerKeepsTheContract(t *testing.T) {
	t.Parallel()
	c := startConsul(t, cluster.Options{ConsulServers: 3})
	leader, err := c.ConsulLeader(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range c.Consul {
		if s != leader {
			consultest.Contract(t, on(subject(t, c, s)))
			return
		}
	}
}

// on runs all clauses at once.
func on(s consultest.Subject) func(t *testing.T, clause func(t *testing.T, s consultest.Subject)) {
	return func(t *testing.T, clause func(t *testing.T, s consultest.Subject)) {
		t.Parallel()
		clause(t, s)
	}
}

// subject is a real Consul as its clients at one of its servers see it.
func subject(t *testing.T, c *cluster.Cluster, server *cluster.Server) consultest.Subject {
	catalog := c.ConsulClientOf(server).Catalog()
	register := func(r *consulapi.CatalogRegistration) error {
		r.Address = "127.0.0.1"
		_, err := catalog.Register(r, nil)
		return err
	}
	return consultest.Subject{
		API: consulClient(t, server, "", consultest.Wait), Prefix: "t-", Node: server.Name,
		SetInstance: func(service string, i deployment.Instance) error {
			return register(&consulapi.CatalogRegistration{
				Node: i.Node,
				Service: &consulapi.AgentService{ID: i.ID, Service: service, Address: i.Address, Port: i.Port, Meta: i.Meta,
					Connect: &consulapi.AgentServiceConnect{Native: true}},
				Check: &consulapi.AgentCheck{CheckID: i.ID, Name: "test", ServiceID: i.ID, Status: string(i.Health)},
			})
		},
		RemoveInstance: func(_, node, id string) error {
			_, err := catalog.Deregister(&consulapi.CatalogDeregistration{Node: node, ServiceID: id}, nil)
			return err
		},
		SetCheck: func(node, check, status string) error {
			if status == "" {
				_, err := catalog.Deregister(&consulapi.CatalogDeregistration{Node: node, CheckID: check}, nil)
				return err
			}
			return register(&consulapi.CatalogRegistration{
				Node:  node,
				Check: &consulapi.AgentCheck{CheckID: check, Name: "test", Status: status},
			})
		},
	}
}

// Under ACLs every refusal is told as one, with the rule that is missing as it
// is written in a policy, and what is merely invisible is not taken for gone.
func TestWhatIsForbiddenIsTold(t *testing.T) {
	t.Parallel()
	c := startConsul(t, cluster.Options{ACL: true})
	ctx := t.Context()
	// Not the anonymous token: that one is not even told that it was not shown
	// everything.
	var token struct{ SecretID string }
	if _, err := c.ConsulClient().Raw().Write("/v1/acl/token", map[string]string{"Description": "may do nothing"}, &token, nil); err != nil {
		t.Fatal(err)
	}
	manager, nobody := consulClient(t, c.Consul[0], c.Token, 0), consulClient(t, c.Consul[0], token.SecretID, 0)
	if err := manager.Put(ctx, "teal/k", []byte("v")); err != nil {
		t.Fatal(err)
	}
	session, err := manager.NewSession(ctx, &consulapi.SessionEntry{TTL: "1h"})
	if err != nil {
		t.Fatal(err)
	}
	router := &consulapi.ServiceRouterConfigEntry{Kind: consulapi.ServiceRouter, Name: "api"}
	set := &consulapi.KVTxnOp{Verb: consulapi.KVSet, Key: "teal/k", Value: []byte("x")}
	check := &consulapi.KVTxnOp{Verb: consulapi.KVCheckSession, Key: "teal/k", Session: session}
	one := func(err error) error { return err }
	for _, c := range []struct {
		what string
		err  error
		rule string
	}{
		{"Get", second(nobody.Get(ctx, "teal/k", 0)), `key "teal/k" { policy = "read" }`},
		{"Read", last(nobody.Read(ctx, "teal/k")), `key "teal/k" { policy = "read" }`},
		{"List", second(nobody.List(ctx, "teal/", 0)), `key_prefix "teal/" { policy = "read" }`},
		{"Keys", last(nobody.Keys(ctx, "teal/")), `key_prefix "teal/" { policy = "list" }`},
		{"Put", one(nobody.Put(ctx, "teal/k", nil)), `key "teal/k" { policy = "write" }`},
		{"CAS", last(nobody.CAS(ctx, "teal/k", nil, 1)), `key "teal/k" { policy = "write" }`},
		{"Delete", one(nobody.Delete(ctx, "teal/k")), `key "teal/k" { policy = "write" }`},
		{"Acquire", last(nobody.Acquire(ctx, "teal/k", nil, session)), `key "teal/k" { policy = "write" }`},
		{"Txn write", last(nobody.Txn(ctx, consulapi.KVTxnOps{set})), `key "teal/k" { policy = "write" }`},
		{"Txn check", last(nobody.Txn(ctx, consulapi.KVTxnOps{check})), `key "teal/k" { policy = "read" }`},
		{"NewSession", last(nobody.NewSession(ctx, &consulapi.SessionEntry{})), `{ policy = "write" }`},
		{"RenewSession", last(nobody.RenewSession(ctx, session)), `{ policy = "write" }`},
		{"DestroySession", one(nobody.DestroySession(ctx, session)), `{ policy = "write" }`},
		{"Entry", last(nobody.Entry(ctx, router.Kind, "api")), `service "api" { policy = "read" }`},
		{"SetEntry", last(nobody.SetEntry(ctx, router, 0)), `service "api" { policy = "write" }`},
		{"DeleteEntry", last(nobody.DeleteEntry(ctx, router.Kind, "api", 1)), `service "api" { policy = "write" }`},
		{"Chain", last(nobody.Chain(ctx, "api", "")), `service "api" { policy = "read" }`},
		{"Instances", second(nobody.Instances(ctx, "api", 0)), `service "api" { policy = "read" }`},
		{"RegisterService", one(nobody.RegisterService(ctx, &consulapi.AgentServiceRegistration{Name: "api"})), `service "api" { policy = "write" }`},
	} {
		if !errors.Is(c.err, consul.ErrForbidden) || !strings.Contains(c.err.Error(), c.rule) {
			t.Errorf("%s: %v, want the rule %s", c.what, c.err, c.rule)
		}
	}
	if pair, err := manager.Read(ctx, "teal/k"); err != nil || string(pair.Value) != "v" {
		t.Errorf("the key is %v (%v)", pair, err)
	}
}

func last[T any](_ T, err error) error           { return err }
func second[T, U any](_ T, _ U, err error) error { return err }

// Tests that can be held against the fake or the real Consul are held against
// both: against the fake where they are, against the real one here.
func TestOnTheRealConsul(t *testing.T) {
	t.Parallel()
	c := startConsul(t, cluster.Options{})
	for name, args := range map[string][]string{
		"traffic": {"./agent/traffic"},
		// The others of that package need a clock of their own.
		"worker": {"-run", "TestTheCommands|TestItRuns|TestWhat|TestACommand|TestIfWe", "./agent/worker"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			cmd := exec.CommandContext(t.Context(), "go", append([]string{"test", "-count=1", "-v"}, args...)...)
			cmd.Dir = "../.."
			cmd.Env = append(os.Environ(), "TEAL_TEST_CONSUL="+c.Consul[0].HTTP)
			out, err := cmd.CombinedOutput()
			if err != nil {
				t.Fatalf("%v\n%s", err, out)
			}
			passed := strings.Count(string(out), "--- PASS")
			if passed < 5 {
				t.Errorf("only %d tests ran:\n%s", passed, out)
			}
			t.Logf("%d tests passed", passed)
		})
	}
}
