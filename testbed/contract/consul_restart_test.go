package contract_test

import (
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	consulapi "github.com/hashicorp/consul/api"

	"github.com/tealdeploy/teal/testbed/cluster"
)

// A Consul server that was killed leads again some milliseconds before it has
// applied its log, and tells in the default mode that there is no instance and no
// key. Our client gets an error meanwhile, or what is there: else a restart of
// Consul's would look like the end of every instance.
func TestARestartedConsulForgetsNothing(t *testing.T) {
	t.Parallel()
	const transactions, restarts, askers = 200, 3, 200
	c := startConsul(t, cluster.Options{})
	client := consulClient(t, c.Consul[0], "", time.Second)
	for i := range transactions { // a log that takes a while to apply
		ops := make(consulapi.KVTxnOps, 64)
		for k := range ops {
			ops[k] = &consulapi.KVTxnOp{Verb: consulapi.KVSet, Key: fmt.Sprintf("teal/%d/%d", i, k), Value: []byte(strings.Repeat("x", 1000))}
		}
		if _, err := client.Txn(t.Context(), ops); err != nil {
			t.Fatal(err)
		}
	}
	if err := client.RegisterService(t.Context(), &consulapi.AgentServiceRegistration{Name: "api", ID: "api-1"}); err != nil {
		t.Fatal(err)
	}
	for list := 0; list == 0; time.Sleep(10 * time.Millisecond) { // until the agent has told the servers
		instances, _, err := client.PlainInstances(t.Context(), "api", 0)
		if err != nil {
			t.Fatal(err)
		}
		list = len(instances)
	}
	last := fmt.Sprintf("teal/%d/0", transactions-1)
	bare := c.ConsulClient().KV()
	var empty, missing, misled atomic.Int64
	for range restarts {
		if err := c.Consul[0].Kill(); err != nil {
			t.Fatal(err)
		}
		var asking sync.WaitGroup
		var answered atomic.Int64
		for range askers {
			asking.Go(func() {
				for answered.Load() < 5*askers && t.Context().Err() == nil {
					pair, _, err := client.Get(t.Context(), last, 0)
					if err == nil && pair == nil {
						missing.Add(1)
					}
					list, _, err := client.PlainInstances(t.Context(), "api", 0)
					if err == nil && len(list) == 0 {
						empty.Add(1)
					}
					if pair, _, err := bare.Get(last, nil); err == nil && pair == nil {
						misled.Add(1)
					}
					if err == nil {
						answered.Add(1)
					} else {
						time.Sleep(time.Millisecond)
					}
				}
			})
		}
		err := c.Consul[0].Start(t.Context())
		asking.Wait()
		if err != nil {
			t.Fatal(err)
		}
	}
	t.Logf("in the default mode %d answers said that there was no key", misled.Load())
	if empty.Load() > 0 || missing.Load() > 0 {
		t.Errorf("after %d restarts %d answers told of no instance, %d of no key", restarts, empty.Load(), missing.Load())
	}
}
