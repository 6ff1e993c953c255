package faults

import (
	"context"
	"fmt"

	consulapi "github.com/hashicorp/consul/api"

	"github.com/tealdeploy/teal/testbed/cluster"
	"github.com/tealdeploy/teal/testbed/world"
)

// quorum waits until every Consul server is a voter and well, so that the
// death of one is what Consul promises to survive.
func quorum(ctx context.Context, w *world.World) error {
	return cluster.Await(ctx, func(ctx context.Context) error {
		q := (&consulapi.QueryOptions{}).WithContext(ctx)
		health, err := w.ConsulClient().Operator().AutopilotServerHealth(q)
		if err != nil {
			return err
		}
		voters := 0
		for _, s := range health.Servers {
			if s.Healthy && s.Voter {
				voters++
			}
		}
		if voters != len(w.Consul) || !health.Healthy {
			return fmt.Errorf("%d of %d Consul servers are healthy voters", voters, len(w.Consul))
		}
		return nil
	})
}
