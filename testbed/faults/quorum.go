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

// spared gives Consul's leader, which is not the first server: that one is
// whom the agents, Nomad and the data plane talk to, and the kill is to be that
// of the leader alone.
func spared(ctx context.Context, s *world.Site) (*cluster.Server, error) {
	for {
		leader, err := s.ConsulLeader(ctx)
		if err != nil || leader != s.Consul[0] {
			return leader, err
		}
		ran, err := s.ConsulCLI(ctx, "operator", "raft", "transfer-leader")
		if err != nil {
			return nil, err
		}
		err = cluster.Await(ctx, func(ctx context.Context) error {
			now, err := s.ConsulLeader(ctx)
			if err == nil && now == s.Consul[0] {
				err = fmt.Errorf("%s still leads: %s", now.Name, ran)
			}
			return err
		})
		if err != nil {
			return nil, err
		}
	}
}
