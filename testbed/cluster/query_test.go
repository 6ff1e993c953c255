package cluster_test

import (
	"context"

	consulapi "github.com/hashicorp/consul/api"
)

func pair(key, value string) *consulapi.KVPair {
	return &consulapi.KVPair{Key: key, Value: []byte(value)}
}

func query(ctx context.Context) *consulapi.QueryOptions {
	return (&consulapi.QueryOptions{}).WithContext(ctx)
}
