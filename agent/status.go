package agent

import (
	"context"
	"encoding/json"
	"strings"

	consulapi "github.com/hashicorp/consul/api"

	"github.com/tealdeploy/teal/agent/api"
	"github.com/tealdeploy/teal/agent/deployment"
	"github.com/tealdeploy/teal/agent/kv"
)

// Status reads how everything stands from Consul, as `teal status` does: any
// agent can tell, not only the leader.
func (a *Agent) Status(ctx context.Context) (api.Status, error) {
	leader, err := a.leader(ctx)
	if err != nil {
		return api.Status{}, err
	}
	agents, err := a.agents(ctx)
	if err != nil {
		return api.Status{}, err
	}
	services, err := a.services(ctx)
	if err != nil {
		return api.Status{}, err
	}
	st := api.NewStatus(leader, agents, services)
	st.Audit, err = a.audits(ctx)
	return st, err
}

// audits are the ends of the agents' audit files, as they noted them.
func (a *Agent) audits(ctx context.Context) ([]kv.AuditHead, error) {
	pairs, _, err := a.consul.List(ctx, a.keys.Audits(), 0)
	if err != nil {
		return nil, err
	}
	var all []kv.AuditHead
	for _, p := range pairs {
		var head kv.AuditHead
		if json.Unmarshal(p.Value, &head) == nil && head.Name != "" {
			all = append(all, head)
		}
	}
	return all, nil
}

func (a *Agent) leader(ctx context.Context) (string, error) {
	pair, _, err := a.consul.Get(ctx, a.keys.Leader(), 0)
	if err != nil || pair == nil || pair.Session == "" {
		return "", err
	}
	return strings.TrimSpace(string(pair.Value)), nil
}

// agents are those that are there. What is not readable is left out.
func (a *Agent) agents(ctx context.Context) ([]kv.AgentInfo, error) {
	pairs, _, err := a.consul.List(ctx, a.keys.Agents(), 0)
	if err != nil {
		return nil, err
	}
	var all []kv.AgentInfo
	for _, p := range pairs {
		var info kv.AgentInfo
		if json.Unmarshal(p.Value, &info) == nil && info.Name != "" {
			all = append(all, info)
		}
	}
	return all, nil
}

// services reads every record but not the finished ones beside it, which are
// most of what is stored.
func (a *Agent) services(ctx context.Context) (all []api.Service, err error) {
	folders, err := a.consul.Folders(ctx, a.keys.Services())
	if err != nil {
		return nil, err
	}
	err = a.consul.GetEach(ctx, a.keys.States(folders), func(p *consulapi.KVPair) {
		if name, ok := a.keys.SplitState(p.Key); ok {
			all = append(all, summary(name, p.Value))
		}
	})
	return all, err
}

// summary is a service's line, also when its record cannot be read.
func summary(name string, value []byte) api.Service {
	record, err := deployment.Decode(name, value)
	if err != nil {
		return api.Service{Name: name, Active: deployment.None, State: api.Unreadable, Error: err.Error()}
	}
	return api.Summarise(record)
}
