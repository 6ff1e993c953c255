package agent

import (
	"context"
	"encoding/json"
	"time"

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
	if err := a.consul.Ping(ctx); err != nil {
		h.Consul = err.Error()
		return h
	}
	if lead.Leader != "" && !lead.Leading {
		h.Differs = a.differs(ctx, lead.Leader, f.policies)
	}
	return h
}

// differs says whether the leader holds other policies. What it does not say
// is not held against it.
func (a *Agent) differs(ctx context.Context, leader, digest string) bool {
	pair, _, err := a.consul.Get(ctx, a.keys.Agent(leader), 0)
	if err != nil || pair == nil {
		return false
	}
	var info kv.AgentInfo
	return json.Unmarshal(pair.Value, &info) == nil && info.Name == leader && info.Policies != digest
}

// watchNomad asks Nomad from time to time whether it is there, and tells when
// that changes.
func (a *Agent) watchNomad(ctx context.Context) error {
	log := a.log.Named("nomad")
	var away time.Time
	tick := time.NewTicker(nomadEvery)
	defer tick.Stop()
	for {
		try, cancel := context.WithTimeout(ctx, nomadEvery/2)
		err := a.nomad.Ping(try)
		cancel()
		if ctx.Err() != nil {
			return nil
		}
		says := api.OK
		switch {
		case err != nil:
			says = err.Error()
			a.metrics.NomadError("ping")
			if away.IsZero() {
				away = time.Now()
				log.Warn("Nomad does not answer; releases wait for it, traffic and rollback do not", "error", err)
			}
		case !away.IsZero():
			log.Info("Nomad answers again", "after", time.Since(away).Round(time.Millisecond).String())
			away = time.Time{}
		}
		a.facts.update(func(f *facts) { f.nomad = says })
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
	}
}

// nomadEvery is how often Nomad is asked whether it is there.
const nomadEvery = 10 * time.Second
