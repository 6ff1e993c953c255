package agent

import (
	"context"
	"encoding/json"
	"time"

	"github.com/hashicorp/go-hclog"

	"github.com/tealdeploy/teal/agent/api"
	"github.com/tealdeploy/teal/agent/kv"
)

// asking bounds what a question about health waits for Consul.
const asking = 2 * time.Second

// Health says how the agent is; see api.Health. Consul is asked each time.
func (a *Agent) Health(ctx context.Context) api.Health {
	ctx, cancel := context.WithTimeout(ctx, asking)
	defer cancel()
	f, _ := a.facts.now()
	lead, _ := a.elector.Now()
	h := api.Health{
		Name: a.settings.Name, Version: a.options.Version, Leader: lead.Leader, Leading: lead.Leading,
		Policies: f.policies, PolicyCount: f.count, PolicyErrors: f.policyErrors, ConfigErrors: f.configErrors,
		Consul: api.OK, Nomad: f.nomad,
	}
	_, h.Audit, _ = a.audit.Now()
	if err := a.consul.Ping(ctx); err != nil {
		h.Consul = err.Error()
		return h
	}
	h.Differs = lead.Leader != "" && !lead.Leading && a.differs(ctx, lead.Leader, f.policies)
	switch was := a.differing.Swap(h.Differs); {
	case h.Differs && !was:
		a.log.Warn("the leader has other policies than this agent: give both the same files", "leader", lead.Leader)
	case was && !h.Differs:
		a.log.Info("the leader has no other policies than this agent any more", "leader", lead.Leader)
	}
	return h
}

// differs says whether the leader holds other policies. What it does not say
// is not held against it; while Consul does not tell, it is as it was.
func (a *Agent) differs(ctx context.Context, leader, digest string) bool {
	pair, _, err := a.consul.Get(ctx, a.keys.Agent(leader), 0)
	if err != nil {
		return a.differing.Load()
	}
	var info kv.AgentInfo
	return pair != nil && json.Unmarshal(pair.Value, &info) == nil && info.Name == leader && info.Policies != digest
}

// nomadEvery is how often Nomad is asked whether it is there.
const nomadEvery = 10 * time.Second

// watchNomad asks Nomad from time to time whether it is there.
func (a *Agent) watchNomad(ctx context.Context) error {
	nomad := remote{log: a.log.Named("nomad")}
	tick := time.NewTicker(nomadEvery)
	defer tick.Stop()
	for {
		try, cancel := context.WithTimeout(ctx, nomadEvery/2)
		err := a.nomad.Ping(try)
		cancel()
		if ctx.Err() != nil {
			return nil
		}
		says := nomad.says(err)
		a.facts.update(func(f *facts) { f.nomad = says })
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
	}
}

// remote is a Nomad that comes and goes; both are told once.
type remote struct {
	log  hclog.Logger
	away time.Time // since when; zero: it is there
}

// says is how it is, for health.
func (r *remote) says(err error) string {
	switch {
	case err != nil && r.away.IsZero():
		r.away = time.Now()
		r.log.Warn("Nomad does not answer; releases wait for it, traffic and rollback do not", "error", err)
	case err == nil && !r.away.IsZero():
		r.log.Info("Nomad answers again", "after", time.Since(r.away).Round(time.Millisecond).String())
		r.away = time.Time{}
	}
	if err != nil {
		return err.Error()
	}
	return api.OK
}
