package contract_test

import (
	"testing"

	consulapi "github.com/hashicorp/consul/api"
	nomadapi "github.com/hashicorp/nomad/api"

	"github.com/tealdeploy/teal/agent/nomad"
	"github.com/tealdeploy/teal/agent/nomad/nomadtest"
	"github.com/tealdeploy/teal/testbed/cluster"
)

// nomadCluster runs Consul and Nomad for a test.
func nomadCluster(t *testing.T) *cluster.Cluster {
	t.Helper()
	c, err := cluster.Start(t.Context(), cluster.Options{Log: t.Output()})
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

func nomadClient(t *testing.T, c *cluster.Cluster) *nomad.Client {
	t.Helper()
	client, err := nomad.New(&nomadapi.Config{Address: "http://" + c.Nomad.HTTP})
	if err != nil {
		t.Fatal(err)
	}
	return client
}

// One Nomad serves all: jobs of different names do not meet.
func TestNomad(t *testing.T) {
	c := nomadCluster(t)
	// What an ingress gateway listens for must have its protocol.
	if _, _, err := c.ConsulClient().ConfigEntries().Set(&consulapi.ServiceConfigEntry{Kind: consulapi.ServiceDefaults, Name: "edge", Protocol: "http"}, nil); err != nil {
		t.Fatal(err)
	}
	for name, test := range map[string]func(*testing.T, *nomad.Client){
		"keeps the contract":               nomadKeepsTheContract,
		"keeps the hash":                   nomadKeepsTheHash,
		"keeps the hash of an adopted job": nomadKeepsTheHashOfAnAdoptedJob,
		"parses the fixtures":              nomadParsesTheFixtures,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			test(t, nomadClient(t, c))
		})
	}
}

func nomadKeepsTheContract(t *testing.T, client *nomad.Client) {
	nomadtest.Contract(t, func(*testing.T) nomadtest.Subject { return nomadtest.Subject{Client: client, Prefix: "t-"} })
}
