// Package agent puts Teal's agent together: it reads the settings, makes the
// clients, hands each part what it needs, starts everything in order and ends
// it in the opposite one. It decides nothing about releases; that is package
// controller's, which works here only while this agent leads.
package agent

import (
	"context"
	"fmt"
	"net"
	"sync/atomic"
	"time"

	"github.com/hashicorp/go-hclog"
	"golang.org/x/sync/errgroup"

	"github.com/tealdeploy/teal/agent/api"
	"github.com/tealdeploy/teal/agent/audit"
	"github.com/tealdeploy/teal/agent/consul"
	"github.com/tealdeploy/teal/agent/controller"
	"github.com/tealdeploy/teal/agent/kv"
	"github.com/tealdeploy/teal/agent/leader"
	"github.com/tealdeploy/teal/agent/nomad"
	"github.com/tealdeploy/teal/agent/notify"
	"github.com/tealdeploy/teal/agent/settings"
)

// Agent is one of any number of agents. Create it with New.
type Agent struct {
	options  Options
	settings settings.Settings // as at the start; most need a restart to change
	config   fingerprint       // of the config file they were read from
	since    time.Time
	keys     kv.Keys
	log      hclog.Logger

	consul *consul.Client
	nomad  *nomad.Client
	logOut func(context.Context) error // of Consul, where a login gave the token

	facts      *board
	metrics    *api.Metrics
	audit      *audit.Log // nil: the settings name no file
	controller *controller.Controller
	policies   *keeper
	elector    *leader.Elector

	registration *registration // nil: the settings say not to

	differing atomic.Bool // whether health said last that the leader has other policies
}

// Run makes an agent and runs it until ctx ends.
func Run(ctx context.Context, o Options) error {
	a, err := New(o)
	if err != nil {
		return err
	}
	return a.Run(ctx)
}

// New reads the settings and wires an agent. It asks no server and starts
// nothing: Consul and Nomad need not be there yet.
func New(o Options) (*Agent, error) {
	config := textSum(o.Config) // before it is read: no edit falls between
	s, err := o.load()
	if err != nil {
		return nil, err
	}
	a := &Agent{
		options: o, settings: *s, config: config, since: time.Now().UTC(), keys: kv.NewKeys(s.Prefix),
		log: newLog(o, s), facts: newBoard(), metrics: api.NewMetrics(o.Version),
	}
	if a.consul, a.logOut, err = newConsul(s, a.metrics, a.log.Named("consul"), a.tokenRenewed); err != nil {
		return nil, err
	}
	if a.nomad, err = newNomad(s, a.metrics, a.log.Named("nomad")); err != nil {
		return nil, err
	}
	for _, r := range s.Notify.Receivers {
		a.metrics.Receiver(r.Name, notify.Results)
	}
	a.audit = newAudit(s, a.metrics, a.log.Named("audit"))
	a.controller = newController(a)
	a.policies = newKeeper(s.Policies, a.log.Named("policies"), a.policiesRead)

	check, refused := "", func() {}
	if s.Service.Register {
		a.registration = newRegistration(a.consul, s, o.Version, a.log.Named("registration"))
		check, refused = a.registration.liveness, a.registration.renew
	}
	a.elector = leader.New(leader.Config{
		Consul: a.consul, Key: a.keys.Leader(), Name: s.Name, TTL: s.Lease.TTL,
		Check: check, Refused: refused, Log: a.log.Named("leader"),
	})
	return a, nil
}

func newLog(o Options, s *settings.Settings) hclog.Logger {
	return hclog.New(&hclog.LoggerOptions{
		Name: "teal", Level: hclog.LevelFromString(s.Log.Level), JSONFormat: s.Log.JSON, Output: o.Stderr,
	})
}

// Run runs the agent until ctx ends; then it hands the lead over, takes itself
// out of Consul and returns nil. Servers that are away never end it.
func (a *Agent) Run(ctx context.Context) error {
	surface := api.New(api.Config{Address: a.settings.HTTP.Address, Source: a, Metrics: a.metrics, Logger: a.log})
	listener, err := surface.Listen()
	if err != nil {
		return err
	}
	at := placeOf(listener.Addr().(*net.TCPAddr))
	a.log.Info("teal starts", "version", a.options.Version, "name", a.settings.Name, "http", at.people,
		"policies", a.settings.Policies, "prefix", a.keys.Prefix())

	// Each ends only when all after it have: the lead is given up first, and
	// the checks find somebody who answers until they are gone themselves.
	err = nested(ctx,
		a.follow,
		a.auditing,
		func(ctx context.Context) error { return surface.Run(ctx, listener) },
		func(ctx context.Context) error { return a.register(ctx, at) },
		func(ctx context.Context) error { return a.present(ctx, at.people) },
		a.lead,
	)
	a.leave(ctx)
	if err == nil {
		a.log.Info("teal stopped")
	}
	return err
}

// leave gives back the token that a login gave: it may be one without an end.
func (a *Agent) leave(ctx context.Context) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), farewell)
	defer cancel()
	if err := a.logOut(ctx); err != nil {
		a.log.Warn("a token is left behind in Consul; it ends by itself if the auth method says when", "error", err)
	}
}

// follow keeps up with what changes around the agent.
func (a *Agent) follow(ctx context.Context) error {
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error { return a.policies.run(ctx) })
	g.Go(func() error { return a.reloads(ctx) })
	g.Go(func() error { return a.watchNomad(ctx) })
	g.Go(func() error { return a.watchLead(ctx) })
	return g.Wait()
}

// register keeps the agent registered in Consul.
func (a *Agent) register(ctx context.Context, at place) error {
	if a.registration == nil {
		<-ctx.Done()
		return nil
	}
	return a.registration.run(ctx, at)
}

// tokenRenewed is told that Consul's token is another one.
func (a *Agent) tokenRenewed() {
	if a.registration != nil {
		a.registration.tokenRenewed()
	}
}

// present keeps this agent's own key written.
func (a *Agent) present(ctx context.Context, address string) error {
	p := presence{
		consul: a.consul, key: a.keys.Agent(a.settings.Name), name: a.settings.Name, ttl: a.settings.Lease.TTL,
		refused: func() {}, log: a.log.Named("presence"),
		info: func() (kv.AgentInfo, <-chan struct{}) {
			f, changed := a.facts.now()
			return a.info(f, address), changed
		},
	}
	if a.registration != nil {
		p.check, p.refused = a.registration.liveness, a.registration.renew
		if !wait(ctx, a.registration.done) {
			return nil
		}
	}
	return p.run(ctx)
}

// info is what this agent says of itself to the others.
func (a *Agent) info(f facts, address string) kv.AgentInfo {
	return kv.AgentInfo{
		Name: a.settings.Name, Address: address, Version: a.options.Version, Since: a.since,
		Policies: f.policies, Count: f.count, Errors: bounded(f.policyErrors), Leader: f.leading,
	}
}

// maxErrors is how many mistakes an agent's key tells of; a value in Consul
// has at most 512 KiB.
const maxErrors = 50

func bounded(errors []string) []string {
	if len(errors) <= maxErrors {
		return errors
	}
	return append(errors[:maxErrors:maxErrors], fmt.Sprintf("and %d more", len(errors)-maxErrors))
}

// lead stands for leader once the policies have been read: who leads without
// them would hold every release in flight.
func (a *Agent) lead(ctx context.Context) error {
	if !wait(ctx, a.policies.read) {
		return nil
	}
	if a.registration != nil && !wait(ctx, a.registration.done) {
		return nil
	}
	return a.elector.Run(ctx, a.controller.Run)
}

// watchLead tells the board and the metrics who leads.
func (a *Agent) watchLead(ctx context.Context) error {
	for {
		state, changed := a.elector.Now()
		a.metrics.Leader(state.Leading)
		a.facts.update(func(f *facts) { f.leading = state.Leading })
		if !wait(ctx, changed) {
			return nil
		}
	}
}

// wait waits for a channel to be closed; false when ctx ended first.
func wait(ctx context.Context, ready <-chan struct{}) bool {
	select {
	case <-ready:
		return true
	case <-ctx.Done():
		return false
	}
}
