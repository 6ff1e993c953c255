package agent

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"net"
	"os"
	"strconv"
	"time"

	consulapi "github.com/hashicorp/consul/api"
	"github.com/hashicorp/go-hclog"

	"github.com/tealdeploy/teal/agent/consul"
	"github.com/tealdeploy/teal/agent/settings"
)

// The agent's two checks. Liveness says that the process is there, and the
// sessions are bound to it; health is for people. They are two so that a
// mistake in a policy does not cost the lead.
const (
	livenessEvery = time.Second
	healthEvery   = 10 * time.Second
	// forgetAfter is when Consul drops the registration of an agent that was
	// not stopped but ended.
	forgetAfter = 10 * time.Minute
)

// farewell bounds what is said to Consul on the way out.
const farewell = 2 * time.Second

// registrar is the part of Consul that services are registered at.
type registrar interface {
	RegisterService(ctx context.Context, reg *consulapi.AgentServiceRegistration) error
	DeregisterService(ctx context.Context, id string) error
}

// registration keeps the agent registered as a service of the local Consul
// agent.
//
// The checks' IDs are this process's own. An agent that was killed and came
// back within the second, on the same address, would otherwise answer for its
// predecessor: the check would never fail, and the dead one's session would
// hold the leader key until its TTL. With IDs of its own, and the old
// registration taken away first, the old checks are gone, and the sessions
// bound to them end.
type registration struct {
	consul   registrar
	service  string
	id       string
	version  string
	liveness string // ID of the check that sessions are bound to
	health   string
	log      hclog.Logger

	done    chan struct{} // closed when first registered
	again   chan struct{}
	renewed chan struct{}
}

func newRegistration(c registrar, s *settings.Settings, version string, log hclog.Logger) *registration {
	var own [4]byte
	_, _ = rand.Read(own[:]) // documented never to fail
	id := s.Service.Name + "-" + s.Name
	return &registration{
		consul: c, service: s.Service.Name, id: id, version: version, log: log,
		liveness: id + "-alive-" + hex.EncodeToString(own[:]),
		health:   id + "-health-" + hex.EncodeToString(own[:]),
		done:     make(chan struct{}),
		again:    make(chan struct{}, 1),
		renewed:  make(chan struct{}, 1),
	}
}

// tokenRenewed asks for the service to be registered again, with the token that
// is used from now on: Consul's agent writes what the checks find with the token
// of the registration, and when that is gone nobody learns of this agent's death
// before its sessions' TTL has passed. It does not wait.
func (r *registration) tokenRenewed() {
	select {
	case r.renewed <- struct{}{}:
	default:
	}
}

// renew asks for the service to be registered again: Consul does not know its
// checks, because it was restarted without its data or somebody took the
// registration away. It does not wait.
func (r *registration) renew() {
	select {
	case r.again <- struct{}{}:
	default:
	}
}

// settled is how long a registration may take to reach Consul's servers:
// until then it is not repeated.
const settled = time.Second

// run registers, again whenever it is asked to, and takes the registration
// back when ctx ends.
func (r *registration) run(ctx context.Context, at place) error {
	service := r.describe(at)
	register := func(ctx context.Context) error { return r.consul.RegisterService(ctx, service) }
	remove := func(ctx context.Context) error { return r.consul.DeregisterService(ctx, r.id) }

	complaint := &complaint{log: r.log, what: "register this agent in Consul, without which it does not stand for leader", alone: true}
	if until(ctx, complaint, remove) && until(ctx, complaint, register) {
		r.log.Debug("registered", "service", r.service, "id", r.id)
		complaint.alone = false
		close(r.done)
		r.keep(ctx, complaint, register)
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), farewell)
	defer cancel()
	if err := remove(ctx); err != nil {
		r.log.Warn("the registration is left behind; Consul forgets it when its check has failed for long", "id", r.id, "error", err)
	}
	return nil
}

func (r *registration) keep(ctx context.Context, c *complaint, register func(context.Context) error) {
	for last := time.Now(); ; {
		why := "Consul no longer knew this agent's checks"
		select {
		case <-ctx.Done():
			return
		case <-r.renewed:
			why = "the token is another one"
		case <-r.again:
			if time.Since(last) < settled {
				continue // who needs it asks again
			}
		}
		if until(ctx, c, register) {
			last = time.Now()
			r.log.Info("registered again: "+why, "id", r.id)
		}
	}
}

// describe is the registration.
func (r *registration) describe(at place) *consulapi.AgentServiceRegistration {
	return &consulapi.AgentServiceRegistration{
		ID: r.id, Name: r.service, Address: at.host, Port: at.port,
		Meta: map[string]string{"version": r.version},
		Checks: consulapi.AgentServiceChecks{{
			CheckID:                        r.liveness,
			Name:                           "Teal's agent runs",
			Notes:                          "Leadership depends on it.",
			TCP:                            at.check,
			Interval:                       livenessEvery.String(),
			Timeout:                        livenessEvery.String(),
			Status:                         consulapi.HealthPassing,
			DeregisterCriticalServiceAfter: forgetAfter.String(),
		}, {
			CheckID:  r.health,
			Name:     "Teal's agent is well",
			Notes:    "Config and policies are good and Consul answers.",
			HTTP:     "http://" + at.check + "/v1/health",
			Interval: healthEvery.String(),
			Timeout:  (healthEvery / 2).String(),
		}},
	}
}

// place is where the agent's HTTP surface is.
type place struct {
	check  string // host:port for the machine's own Consul agent to ask
	host   string // for others; empty when it is all of the machine's
	port   int
	people string // host:port for people
}

// placeOf is the place of a listener.
func placeOf(l *net.TCPAddr) place {
	port := strconv.Itoa(l.Port)
	if !l.IP.IsUnspecified() {
		at := net.JoinHostPort(l.IP.String(), port)
		return place{check: at, host: l.IP.String(), port: l.Port, people: at}
	}
	host, err := os.Hostname()
	if err != nil {
		host = "localhost"
	}
	return place{check: net.JoinHostPort("127.0.0.1", port), port: l.Port, people: net.JoinHostPort(host, port)}
}

// until tries until it succeeds; false when ctx ended first.
func until(ctx context.Context, c *complaint, try func(context.Context) error) bool {
	var pause consul.Backoff
	for ctx.Err() == nil {
		err := try(ctx)
		if err == nil {
			c.over()
			return true
		}
		if ctx.Err() == nil {
			c.about(err)
			pause.Wait(ctx)
		}
	}
	return false
}
