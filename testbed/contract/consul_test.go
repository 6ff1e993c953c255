// Package contract_test holds the fakes' contracts against the real servers.
package contract_test

import (
	"context"
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

func consulClient(t *testing.T, c *cluster.Cluster, token string, wait time.Duration) *consul.Client {
	t.Helper()
	client, err := consul.New(consul.Config{
		API:   &consulapi.Config{Address: c.Consul[0].HTTP},
		Token: func() string { return token }, Wait: wait,
	})
	if err != nil {
		t.Fatal(err)
	}
	return client
}

func TestConsulKeepsTheContract(t *testing.T) {
	c := startConsul(t, cluster.Options{})
	catalog := c.ConsulClient().Catalog()
	register := func(r *consulapi.CatalogRegistration) error {
		r.Address, r.SkipNodeUpdate = "127.0.0.1", false
		_, err := catalog.Register(r, nil)
		return err
	}
	subject := consultest.Subject{
		API: consulClient(t, c, "", consultest.Wait), Prefix: "t-", Node: c.Consul[0].Name,
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
	t.Run("clauses", func(t *testing.T) {
		consultest.Contract(t, func(t *testing.T, clause func(t *testing.T, s consultest.Subject)) {
			t.Parallel()
			clause(t, subject)
		})
	})
	if err := subject.Ping(context.WithoutCancel(t.Context())); err != nil {
		t.Error(err)
	}
}
